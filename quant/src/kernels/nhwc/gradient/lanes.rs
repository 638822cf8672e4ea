//! Pixels of few channels seen as lines of many values, so that vectors are full whatever the number of channels.

use crate::kernels::nhwc::Isa;
use crate::kernels::nhwc::simd::{Kernel, One, Simd, dispatch};

/// The widest vector.
const WIDEST: usize = 16;
/// Sums that are added to in turn, so that none waits for the addition before.
const SUMS: usize = 64;

/// Returns the length of a line: whole pixels and whole vectors of every instruction set.
pub(super) fn line(channels: usize) -> usize {
    let channels = channels.max(1);
    let shared = 1 << channels.trailing_zeros().min(WIDEST.trailing_zeros());
    let line = channels / shared * WIDEST;
    line * SUMS.div_ceil(line)
}

/// Repeats a value per channel over a line.
pub(super) fn repeated(values: &[f32]) -> Vec<f32> {
    values.iter().copied().cycle().take(if values.is_empty() { 0 } else { line(values.len()) }).collect()
}

/// Adds up a line's sums per channel, in order.
pub(super) fn folded(sums: &[f32], channels: usize) -> Vec<f64> {
    let mut folded = vec![0.0; channels];
    for pixel in sums.chunks_exact(channels.max(1)) {
        folded.iter_mut().zip(pixel).for_each(|(folded, sum)| *folded += f64::from(*sum));
    }
    folded
}

/// Code over lines.
pub(super) trait Lined {
    /// Takes the values from `start` on, at most a line; `#[inline(always)]`, like all it calls.
    fn line<S: Simd>(&mut self, simd: S, start: usize, len: usize);
}

/// Runs over `len` values line by line; the last, shorter one goes value by value.
pub(super) fn each_line(isa: Isa, (len, line): (usize, usize), lined: &mut impl Lined) {
    dispatch(isa, WIDEST, Lines { len, line: line.max(1), lined });
}

struct Lines<'a, L> {
    len: usize,
    line: usize,
    lined: &'a mut L,
}

impl<L: Lined> Kernel for Lines<'_, L> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut start = 0;
        while start + self.line <= self.len {
            self.lined.line(simd, start, self.line);
            start += self.line;
        }
        self.lined.line(One, start, self.len - start);
    }
}
