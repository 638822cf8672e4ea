//! Rectifier, with or without an upper limit, and its gradient, each in one pass.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::memory::{slice, tensor_like, with_values};

/// Values that one thread takes at a time: long enough to hide the hand-over.
const BLOCK: usize = 16 * 1024;

/// Returns `min(max(x, 0), upper)`; `upper` may be infinite.
///
/// Shapes: kept; f32 on the CPU. Errors: those of candle.
pub(crate) fn relu(x: &Tensor, upper: f32) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Relu { upper })
}

struct Relu {
    upper: f32,
}

impl CustomOp1 for Relu {
    fn name(&self) -> &'static str {
        "bitloop-relu"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(storage, layout)?;
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(|(y, x)| {
            for (y, x) in y.iter_mut().zip(x) {
                *y = if *x < 0.0 { 0.0 } else { *x };
                *y = if *y > self.upper { self.upper } else { *y };
            }
        });
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let dx = with_values(x, |values| {
            with_values(dy, |dy| {
                let mut dx = vec![0.0; values.len()];
                dx.par_chunks_mut(BLOCK).zip(values.par_chunks(BLOCK)).zip(dy.par_chunks(BLOCK)).for_each(
                    |((dx, x), dy)| {
                        for ((dx, x), dy) in dx.iter_mut().zip(x).zip(dy) {
                            *dx = if *x > 0.0 && *x < self.upper { *dy } else { 0.0 };
                        }
                    },
                );
                tensor_like(dx, x)
            })
        })?;
        Ok(Some(dx))
    }
}
