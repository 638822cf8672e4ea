//! Fully connected layer with gradients; fixed blocks of rows are spread over threads.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::gemm::{Matrix, gemm};
use super::memory::{slice, tensor_like, with_values};
use super::tail::Tail;

/// Rows of the product that one thread computes together: fixed, so that results do not depend on the threads.
const ROWS: usize = 32;

/// Returns `x * weight^T`, without bias.
///
/// Shapes: `x` `(n, in)`, `weight` `(out, in)` -> `(n, out)`, all f32 on the CPU.
/// Errors: a message if the shapes do not fit.
pub(crate) fn linear(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let tail = Tail::identity(weight.dim(0)?);
    x.contiguous()?.apply_op2(&weight.contiguous()?, Linear::new(x, weight, tail)?)
}

/// Returns `x * weight^T` after the tail, without gradients.
///
/// Shapes and errors: as [`linear`].
pub(crate) fn linear_then(x: &Tensor, weight: &Tensor, tail: Tail) -> Result<Tensor> {
    x.contiguous()?.apply_op2_no_bwd(&weight.contiguous()?, &Linear::new(x, weight, tail)?)
}

struct Linear {
    rows: usize,
    inputs: usize,
    outputs: usize,
    tail: Tail,
}

impl Linear {
    fn new(x: &Tensor, weight: &Tensor, tail: Tail) -> Result<Self> {
        let ((rows, inputs), (outputs, depth)) = (x.dims2()?, weight.dims2()?);
        if inputs != depth {
            candle_core::bail!("a weight of shape {outputs}x{depth} does not fit {inputs} features");
        }
        tail.check(outputs)?;
        Ok(Self { rows, inputs, outputs, tail })
    }

    /// `rows x columns = left(block) * right`, with `left` cut into blocks of rows.
    fn blocks<'a>(
        &self,
        [rows, columns]: [usize; 2],
        left: impl Fn(usize, usize) -> Matrix<'a> + Sync,
        right: Matrix<'a>,
    ) -> Vec<f32> {
        let mut out = vec![0.0; rows * columns];
        out.par_chunks_mut((ROWS * columns).max(1))
            .enumerate()
            .for_each(|(block, out)| gemm(out, false, left(block * ROWS, out.len() / columns), right));
        out
    }
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "bitloop-linear"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight) = (slice(s1, l1)?, slice(s2, l2)?);
        let weight = Matrix::new(weight, self.outputs, self.inputs).transposed();
        let block = |start, count| {
            Matrix::new(&x[start * self.inputs..(start + count) * self.inputs], count, self.inputs)
        };
        let mut y = self.blocks([self.rows, self.outputs], block, weight);
        self.tail.apply(&mut y, 1);
        Ok((CpuStorage::F32(y), Shape::from((self.rows, self.outputs))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        with_values(dy, |dy| {
            let dx = with_values(weight, |values| {
                let values = Matrix::new(values, self.outputs, self.inputs);
                let block = |start: usize, count: usize| {
                    Matrix::new(
                        &dy[start * self.outputs..(start + count) * self.outputs],
                        count,
                        self.outputs,
                    )
                };
                tensor_like(self.blocks([self.rows, self.inputs], block, values), x)
            })?;
            let dw = with_values(x, |values| {
                let values = Matrix::new(values, self.rows, self.inputs);
                let dy = Matrix::new(dy, self.rows, self.outputs);
                let block = |start, count| dy.columns(start, count).transposed();
                tensor_like(self.blocks([self.outputs, self.inputs], block, values), weight)
            })?;
            Ok((Some(dx), Some(dw)))
        })
    }
}
