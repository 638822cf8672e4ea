//! Activation functions of one value, in one pass and without gradients.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::memory::slice;

/// Values that one thread takes at a time: long enough to hide the hand-over.
const BLOCK: usize = 16 * 1024;

/// A function of one value; `bitloop_core::graph::Op` says what each computes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Curve {
    LeakyRelu { slope: f32 },
    HardSwish,
    HardSigmoid { alpha: f32, beta: f32 },
    Sigmoid,
    Clip { min: f32, max: f32 },
}

/// Returns the curve's value for every value of `x`; NaN stays NaN.
///
/// Shapes: kept; f32 on the CPU. Errors: those of candle.
pub(crate) fn curve(x: &Tensor, curve: Curve) -> Result<Tensor> {
    x.contiguous()?.apply_op1_no_bwd(&curve)
}

impl Curve {
    fn map(self, x: &[f32]) -> Vec<f32> {
        match self {
            Self::LeakyRelu { slope } => each(x, |x| if x < 0.0 { slope * x } else { x }),
            Self::HardSwish => each(x, |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
            Self::HardSigmoid { alpha, beta } => each(x, |x| (alpha * x + beta).clamp(0.0, 1.0)),
            Self::Sigmoid => each(x, |x| 1.0 / (1.0 + (-x).exp())),
            Self::Clip { min, max } => each(x, |x| x.clamp(min, max)),
        }
    }
}

fn each(x: &[f32], function: impl Fn(f32) -> f32 + Sync) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    y.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(|(y, x)| {
        y.iter_mut().zip(x).for_each(|(y, x)| *y = function(*x));
    });
    y
}

impl CustomOp1 for Curve {
    fn name(&self) -> &'static str {
        "bitloop-curve"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(self.map(slice(storage, layout)?)), layout.shape().clone()))
    }
}
