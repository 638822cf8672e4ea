use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::kernel::{Output, Quantize};
use super::{Encoding, Grid, QuantError, check_channels};

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

impl Learned {
    fn sums(&self, channel: usize, x: &[f32], gradient: &[f32]) -> Sums {
        let (grid, scale) = (self.encoding.grid(), self.encoding.scale()[channel]);
        let offset = self.encoding.offset()[channel];
        let (lo, hi) = ((grid.qmin() + offset) as f32, (grid.qmax() + offset) as f32);
        let mut sums = Sums::default();
        for (x, gradient) in x.iter().zip(gradient) {
            let steps = x / scale;
            let rounded = steps.round_ties_even();
            let gradient = f64::from(*gradient);
            if (lo..=hi).contains(&rounded) {
                sums.scale += gradient * f64::from(rounded - steps);
            } else {
                sums.scale += gradient * f64::from(rounded.clamp(lo, hi));
                sums.offset += gradient * f64::from(scale);
            }
        }
        sums
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
        let mask = x.detach().contiguous()?.apply_op1_no_bwd(&Quantize::new(&self.encoding, Output::Mask))?;
        let values = x.flatten_all()?.to_vec1::<f32>()?;
        let gradients = gradient.flatten_all()?.to_vec1::<f32>()?;
        let per_channel = (values.len() / self.min.len()).max(1);
        let channels = values.chunks(per_channel).zip(gradients.chunks(per_channel)).enumerate();
        let (mut to_min, mut to_max) = (vec![0.0; self.min.len()], vec![0.0; self.min.len()]);
        for (channel, (values, gradients)) in channels {
            let ends = self.to_range(channel, self.sums(channel, values, gradients));
            (to_min[channel], to_max[channel]) = ends;
        }
        let ends = |values, like: &Tensor| Tensor::from_vec(values, like.shape(), like.device());
        Ok((Some(gradient.mul(&mask)?), Some(ends(to_min, min)?), Some(ends(to_max, max)?)))
    }
}
