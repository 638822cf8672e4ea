#[cfg(any(feature = "cuda", test))]
use super::{BLOCK_THREADS, Launch};

/// Blocks of a pass over a tensor: many times what a GPU runs at a time, each with several values per thread.
#[cfg(any(feature = "cuda", test))]
const PASS_BLOCKS: usize = 4096;

/// What a value is turned into; the kernel knows it by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// The nearest value on the grid.
    Nearest = 0,
    /// The code.
    Code = 1,
    /// 1 where the value's code is on the grid without clamping, else 0: the straight-through gradient's mask.
    Mask = 2,
}

/// The grid of one channel: its step, its ends with the offset added, and the offset, all but the step in steps.
///
/// The kernel takes it as it lies in memory.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Channel {
    pub(crate) scale: f32,
    pub(crate) low: f32,
    pub(crate) high: f32,
    pub(crate) offset: f32,
}

/// A pass over a tensor of so many values, each of which takes several threads of a GPU in turn.
#[cfg(any(feature = "cuda", test))]
pub(super) fn launch(values: usize) -> Launch {
    let blocks = values.div_ceil(BLOCK_THREADS).clamp(1, PASS_BLOCKS);
    Launch { grid: [blocks as u32, 1], block: [BLOCK_THREADS as u32, 1] }
}
