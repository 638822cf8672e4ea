//! Operators on the CPU that are much faster than candle's, with their gradients, as candle `CustomOp`s.
//!
//! Work is spread over images (or channels, or rows) in rayon's *current* pool; whatever is summed across images is
//! summed over a fixed number of groups in a fixed order. Results are therefore the same bytes for any number of
//! threads. Kernels know nothing of graphs' names, quantizers or training. `unsafe` lives in [`gemm`], [`nhwc`]
//! and [`cuda`].

mod choice;
mod conv;
pub(crate) mod cuda;
mod curve;
mod dense;
mod depthwise;
mod gemm;
mod linear;
mod memory;
pub(crate) mod nhwc;
mod pairs;
mod phases;
mod pool;
mod relu;
mod tail;
#[cfg(test)]
mod tests;
mod windows;

pub(crate) use choice::Operators;
pub use choice::{KERNELS_VARIABLE, Kernels, KernelsError};
pub(crate) use conv::{conv2d, conv2d_then};
pub(crate) use curve::{Curve, curve};
pub(crate) use linear::{linear, linear_then};
pub(crate) use memory::{slice, tensor_like, with_values};
pub use pairs::Pair;
pub(crate) use pool::{average_pool, max_pool};
pub(crate) use relu::relu;
pub(crate) use tail::{Tail, add, apply_tail};

/// Groups of images over which weight gradients are summed: enough for many cores, few enough to add up cheaply.
const IMAGE_GROUPS: usize = 16;

/// Adds up the equally long parts of `sums` in order.
fn sum_in_order(sums: &[f32], length: usize) -> Vec<f32> {
    let mut total = vec![0.0; length];
    for part in sums.chunks_exact(length.max(1)) {
        for (t, p) in total.iter_mut().zip(part) {
            *t += p;
        }
    }
    total
}
