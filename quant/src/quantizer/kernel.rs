use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::Encoding;
pub(super) use crate::kernels::cuda::{Channel, Output};
use crate::kernels::{tensor_like, with_values};

/// 1.5 * 2^23: adding and subtracting it rounds half to even, as between 2^23 and 2^24 f32 has steps of one.
///
/// `f32::round_ties_even` does the same, but as a function call where the CPU's baseline has no such instruction.
pub(super) const ROUNDING: f32 = 12_582_912.0;

/// One pass over a tensor, per tensor or along axis 0.
pub(super) struct Quantize {
    encoding: Encoding,
    output: Output,
}

impl Quantize {
    pub(super) fn new(encoding: &Encoding, output: Output) -> Self {
        Self { encoding: encoding.clone(), output }
    }

    /// Neighbouring values that share an encoding, of so many.
    pub(super) fn per_channel(&self, values: usize) -> usize {
        (values / self.encoding.scale().len().max(1)).max(1)
    }

    pub(super) fn channels(&self) -> impl Iterator<Item = Channel> + '_ {
        let grid = self.encoding.grid();
        let pairs = self.encoding.scale().iter().zip(self.encoding.offset());
        pairs.map(move |(&scale, &offset)| Channel {
            scale,
            low: (grid.qmin() + offset) as f32,
            high: (grid.qmax() + offset) as f32,
            offset: offset as f32,
        })
    }

    /// The same out of candle's operators alone, in a handful of passes over all channels.
    pub(super) fn composed(&self, x: &Tensor) -> Result<Tensor> {
        let channels: Vec<Channel> = self.channels().collect();
        let mut shape = vec![1; x.rank()];
        if channels.len() > 1 {
            shape[0] = channels.len();
        }
        let along = |part: fn(&Channel) -> f32| {
            let values: Vec<f32> = channels.iter().map(part).collect();
            Tensor::from_vec(values, shape.as_slice(), x.device())
        };
        let (lo, hi, scale) = (along(|c| c.low)?, along(|c| c.high)?, along(|c| c.scale)?);
        let steps = x.broadcast_div(&scale)?;
        match self.output {
            Output::Nearest => {
                rounded(&steps.broadcast_maximum(&lo)?.broadcast_minimum(&hi)?)?.broadcast_mul(&scale)
            }
            Output::Code => {
                let offset = along(|c| c.offset)?;
                rounded(&steps.broadcast_maximum(&lo)?.broadcast_minimum(&hi)?)?.broadcast_sub(&offset)
            }
            Output::Mask => {
                // One step beyond the ends is enough to tell inside from outside.
                let (below, above) = (along(|c| c.low - 1.0)?, along(|c| c.high + 1.0)?);
                let code = rounded(&steps.broadcast_maximum(&below)?.broadcast_minimum(&above)?)?;
                let inside = code.broadcast_ge(&lo)?.mul(&code.broadcast_le(&hi)?)?;
                inside.to_dtype(x.dtype())
            }
        }
    }
}

fn rounded(x: &Tensor) -> Result<Tensor> {
    // Two operators, not one affine: a fused multiply-add could cancel both additions.
    let shift = Tensor::new(ROUNDING, x.device())?;
    x.broadcast_add(&shift)?.broadcast_sub(&shift)
}

impl CustomOp1 for Quantize {
    fn name(&self) -> &'static str {
        "quantize"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let values = storage.as_slice::<f32>()?;
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("quantizing takes a contiguous tensor");
        };
        let values = &values[start..end];
        let per_channel = self.per_channel(values.len());
        let mut result = Vec::with_capacity(values.len());
        for (channel, values) in self.channels().zip(values.chunks(per_channel)) {
            match self.output {
                Output::Nearest => result.extend(values.iter().map(|x| channel.nearest(*x))),
                Output::Code => result.extend(values.iter().map(|x| channel.code(*x))),
                Output::Mask => result.extend(values.iter().map(|x| channel.mask(*x))),
            }
        }
        Ok((CpuStorage::F32(result), layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        storage: &candle_core::CudaStorage,
        layout: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        let channels: Vec<Channel> = self.channels().collect();
        let y = crate::kernels::cuda::quantize((storage, layout), &channels, self.output)?;
        Ok((y, layout.shape().clone()))
    }

    /// Straight-through: the gradient passes where no clamping took place.
    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let passed = with_values(x, |x| {
            with_values(gradient, |gradient| {
                let per_channel = self.per_channel(x.len());
                let mut passed = Vec::with_capacity(x.len());
                let values = x.chunks(per_channel).zip(gradient.chunks(per_channel));
                for (channel, (x, gradient)) in self.channels().zip(values) {
                    passed.extend(x.iter().zip(gradient).map(|(x, gradient)| channel.passed(*x, *gradient)));
                }
                Ok(passed)
            })
        })?;
        Ok(Some(tensor_like(passed, x)?))
    }
}

impl Channel {
    /// Clamping before rounding gives the same code, as the ends are integers, and keeps the sum in range.
    #[inline(always)]
    fn rounded(self, x: f32, lo: f32, hi: f32) -> f32 {
        let steps = x / self.scale;
        // Comparisons rather than `max` and `min`, which would turn NaN into an end of the grid.
        let steps = if steps < lo { lo } else { steps };
        let steps = if steps > hi { hi } else { steps };
        (steps + ROUNDING) - ROUNDING
    }

    #[inline(always)]
    fn nearest(self, x: f32) -> f32 {
        self.rounded(x, self.low, self.high) * self.scale
    }

    #[inline(always)]
    fn code(self, x: f32) -> f32 {
        self.rounded(x, self.low, self.high) - self.offset
    }

    /// The nearest step, at most one beyond the ends: enough to tell inside from outside.
    #[inline(always)]
    pub(super) fn step(self, x: f32) -> f32 {
        self.rounded(x, self.low - 1.0, self.high + 1.0)
    }

    #[inline(always)]
    pub(super) fn is_inside(self, step: f32) -> bool {
        step >= self.low && step <= self.high
    }

    /// The gradient that passes straight through, zero where the value was clamped.
    #[inline(always)]
    pub(super) fn passed(self, x: f32, gradient: f32) -> f32 {
        if self.is_inside(self.step(x)) { gradient } else { 0.0 }
    }

    #[inline(always)]
    fn mask(self, x: f32) -> f32 {
        f32::from(u8::from(self.is_inside(self.step(x))))
    }
}
