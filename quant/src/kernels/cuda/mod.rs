//! Our kernels for GPUs: what candle lacks or does in many passes, as custom ops that a CPU computes too.
//!
//! None of this was run on a GPU yet. Its text is compiled as C and compared with the CPU's kernels, thread by thread;
//! nvrtc's compiler, the driver's calls and the GPU's own functions (`tanhf`, `expf`, `logf`, `log2`) are not covered by
//! that.
//!
//! The sources beside this file are compiled by the CUDA driver's companion nvrtc when they are first used, which every
//! build of candle for CUDA links; so building needs no compiler of ours. Everything that can go wrong on the host -
//! extents, grids, who is refused - is computed here and tested without a GPU; `device` only hands it over.

mod depthwise;
#[cfg(feature = "cuda")]
#[expect(unsafe_code, reason = "kernels read and write memory that Rust knows nothing of")]
mod device;
mod qkeras;
mod quantize;
#[cfg(test)]
mod tests;

pub(crate) use depthwise::depthwise;
#[cfg(feature = "cuda")]
pub(crate) use device::{qkeras_backward, qkeras_forward, quantize};
pub(crate) use qkeras::{Family, FittedMap, Found, Map};
pub(crate) use quantize::{Channel, Output};

#[cfg(any(feature = "cuda", test))]
const DEPTHWISE_SOURCE: &str = include_str!("depthwise.cu");
#[cfg(any(feature = "cuda", test))]
const QUANTIZE_SOURCE: &str = include_str!("quantize.cu");
#[cfg(any(feature = "cuda", test))]
const QKERAS_SOURCE: &str = include_str!("qkeras.cu");

/// Threads of a block: enough to hide the memory's latency, few enough for any GPU.
const BLOCK_THREADS: usize = 256;
/// Threads that run in lockstep; a block's width is a multiple of it.
const WARP: usize = 32;
/// Blocks along the grid's second axis that every GPU takes.
const GRID_MAX: usize = 65_535;

/// Blocks of a grid and threads of a block, along two axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Launch {
    grid: [u32; 2],
    block: [u32; 2],
}

impl Launch {
    /// Covers `columns` once along the first axis, and up to `rows` along the second one; kernels go on from there in
    /// steps of the grid's height.
    fn over(columns: usize, rows: usize) -> Option<Self> {
        let width = columns.next_multiple_of(WARP).clamp(WARP, BLOCK_THREADS);
        let height = (BLOCK_THREADS / width).min(rows.max(1));
        let grid = [columns.div_ceil(width), rows.div_ceil(height).min(GRID_MAX)];
        let axes = |[first, second]: [usize; 2]| Some([axis(first)?, axis(second)?]);
        Some(Self { grid: axes(grid)?, block: axes([width, height])? })
    }
}

/// An extent along a grid: at least one, and no more than every GPU takes along its first axis.
fn axis(extent: usize) -> Option<u32> {
    i32::try_from(extent.max(1)).ok().map(i32::unsigned_abs)
}
