use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::kernel::{Channel, Output, Quantize};
use super::{Encoding, Grid, QuantError, check_channels};
use crate::kernels::{tensor_like, with_values};

/// Returns the nearest values on the grid of a learned range, with gradients to the values and to the range.
///
/// The encoding is that of [`Encoding::from_stored`]. The values' gradient is straight-through, as in
/// [`super::fake_quantize`]. With `r = x / scale`, inside where the code is not clamped:
/// `dscale = sum g * (inside ? rne(r) - r : clamped code + offset)`, `doffset = sum g * (inside ? 0 : scale)`, and with
/// `n` steps, symmetric: `dmin = -dscale / n`, `dmax = dscale / n`; asymmetric, with
/// `t = dscale - doffset * min / scale^2`: `dmin = -t / n + doffset / scale`, `dmax = t / n`, where an offset on its
/// bound gets no gradient.
///
/// Shapes: `x` any f32 on the CPU, `min` and `max` `(1,)`, or `(channels,)` for an `x` of `(channels, ...)`; kept.
/// Errors: `Channels`, `NotFinite`, `Tensor`.
/// Source: `/design/methods/aimet_and_demotion.md` section 2.4; golden data.
pub fn fake_quantize_learned(
    x: &Tensor,
    min: &Tensor,
    max: &Tensor,
    grid: Grid,
) -> std::result::Result<Tensor, QuantError> {
    let ends = min.to_vec1::<f32>()?;
    let stored: Vec<_> = ends.iter().copied().zip(max.to_vec1::<f32>()?).collect();
    let encoding = Encoding::from_stored(&stored, grid)?;
    if min.dims() != max.dims() {
        return Err(QuantError::Channels { scales: ends.len(), shape: max.dims().to_vec() });
    }
    check_channels(x, &encoding)?;
    let op = Learned { encoding, min: ends };
    Ok(x.contiguous()?.apply_op3(&min.contiguous()?, &max.contiguous()?, op)?)
}

struct Learned {
    encoding: Encoding,
    /// Lower ends of the stored range.
    min: Vec<f32>,
}

/// Gradients to scale and offset of one channel.
#[derive(Clone, Copy, Default)]
struct Sums {
    scale: f64,
    offset: f64,
}

impl Sums {
    /// Adds what one value has to say, and returns the gradient that passes straight through.
    #[inline(always)]
    fn add(&mut self, channel: Channel, x: f32, gradient: f32) -> f32 {
        let step = channel.step(x);
        let wide = f64::from(gradient);
        if channel.is_inside(step) {
            self.scale += wide * f64::from(step - x / channel.scale);
            return gradient;
        }
        self.scale += wide * f64::from(step.clamp(channel.low, channel.high));
        self.offset += wide * f64::from(channel.scale);
        0.0
    }
}

impl Learned {
    /// Returns the gradients to the values, and those to the ends of every channel's range, in one pass over the values.
    fn gradients(&self, x: &[f32], gradient: &[f32]) -> (Vec<f32>, Vec<(f32, f32)>) {
        let quantize = Quantize::new(&self.encoding, Output::Nearest);
        let per_channel = quantize.per_channel(x.len());
        let mut passed = Vec::with_capacity(x.len());
        let mut ends = Vec::with_capacity(self.min.len());
        for (index, channel) in quantize.channels().enumerate() {
            let values = x.chunks(per_channel).zip(gradient.chunks(per_channel)).nth(index);
            let (x, gradient) = values.unwrap_or((&[], &[]));
            let mut sums = Sums::default();
            passed.extend(x.iter().zip(gradient).map(|(x, gradient)| sums.add(channel, *x, *gradient)));
            ends.push(self.to_range(index, sums));
        }
        (passed, ends)
    }

    /// Carries the gradients on to the ends of the stored range.
    fn to_range(&self, channel: usize, sums: Sums) -> (f32, f32) {
        let grid = self.encoding.grid();
        let n = f64::from(grid.steps());
        if grid.is_symmetric() {
            return ((-sums.scale / n) as f32, (sums.scale / n) as f32);
        }
        let scale = f64::from(self.encoding.scale()[channel]);
        let offset = self.encoding.offset()[channel];
        let bound = offset == -grid.qmax() || offset == -grid.qmin();
        let to_offset = if bound { 0.0 } else { sums.offset };
        let through_scale = sums.scale - to_offset * f64::from(self.min[channel]) / (scale * scale);
        ((-through_scale / n + to_offset / scale) as f32, (through_scale / n) as f32)
    }
}

impl CustomOp3 for Learned {
    fn name(&self) -> &'static str {
        "quantize-learned"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        candle_core::CustomOp1::cpu_fwd(&Quantize::new(&self.encoding, Output::Nearest), x, layout)
    }

    fn bwd(
        &self,
        x: &Tensor,
        min: &Tensor,
        max: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradients = with_values(x, |x| with_values(gradient, |gradient| Ok(self.gradients(x, gradient))));
        let (passed, found) = gradients?;
        let (to_min, to_max): (Vec<f32>, Vec<f32>) = found.into_iter().unzip();
        let ends = |values, like: &Tensor| Tensor::from_vec(values, like.shape(), like.device());
        Ok((Some(tensor_like(passed, x)?), Some(ends(to_min, min)?), Some(ends(to_max, max)?)))
    }
}
