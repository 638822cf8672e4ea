//! What is stored instead of a tile of sums.

#![expect(unsafe_code, reason = "registers and pointers")]

use super::vector::Floats;
use crate::kernels::nhwc::{Ending, Grid, Out, Tail};

/// Where and how results are stored: an [`Ending`] with its [`Out`].
#[derive(Clone, Copy)]
pub(super) enum Target {
    Floats { to: *mut f32, lo: f32, hi: f32 },
    Grid { to: *mut f32, lo: f32, hi: f32, grid: Grid },
    Codes { to: *mut u8, lo: f32, hi: f32 },
}

impl Target {
    /// Panics: `out` has not `len` values, or is not of the kind of the ending.
    pub(super) fn new(ending: Ending, out: Out<'_>, len: usize) -> Self {
        match (ending, out) {
            (Ending::Float { lo, hi, grid }, Out::Floats(out)) => {
                assert_eq!(out.len(), len, "values of the output");
                let to = out.as_mut_ptr();
                grid.map_or(Self::Floats { to, lo, hi }, |grid| Self::Grid { to, lo, hi, grid })
            }
            (Ending::Codes { lo, hi }, Out::Codes(out)) => {
                assert_eq!(out.len(), len, "codes of the output");
                Self::Codes { to: out.as_mut_ptr(), lo: f32::from(lo), hi: f32::from(hi) }
            }
            (Ending::Float { .. }, Out::Codes(_)) | (Ending::Codes { .. }, Out::Floats(_)) => {
                panic!("a float ending stores floats, and a code ending codes")
            }
        }
    }

    /// The same, `values` further on.
    ///
    /// Safety: that is within the output or at its end.
    #[inline(always)]
    pub(super) unsafe fn add(self, values: usize) -> Self {
        // SAFETY: the caller's.
        unsafe {
            match self {
                Self::Floats { to, lo, hi } => Self::Floats { to: to.add(values), lo, hi },
                Self::Grid { to, lo, hi, grid } => Self::Grid { to: to.add(values), lo, hi, grid },
                Self::Codes { to, lo, hi } => Self::Codes { to: to.add(values), lo, hi },
            }
        }
    }
}

/// Some neighbouring channels of an output.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a> {
    /// Scale and shift, `(live,)`.
    pub(super) scale: &'a [f32],
    pub(super) shift: &'a [f32],
    /// How many channels an output pixel has.
    pub(super) stride: usize,
}

impl<'a> Columns<'a> {
    pub(super) fn new(tail: &Tail<'a>, channel: usize, live: usize, stride: usize) -> Self {
        Self { scale: &tail.scale[channel..][..live], shift: &tail.shift[channel..][..live], stride }
    }
}

/// Stores `M` output pixels of `columns`, the first at `target`.
///
/// Safety: all of them lie in the output, and the CPU has the instruction set.
#[inline(always)]
pub(super) unsafe fn store<F: Floats, const M: usize, const V: usize>(
    mut sums: [[F; V]; M],
    columns: &Columns<'_>,
    target: Target,
) {
    let live = |v: usize| columns.scale.len().saturating_sub(v * F::LANES).min(F::LANES);
    // SAFETY: `live` lanes of scale and shift exist; the caller's for the output.
    unsafe {
        for v in 0..V {
            let start = (v * F::LANES).min(columns.scale.len());
            let scale = F::load(columns.scale.as_ptr().add(start), live(v));
            let shift = F::load(columns.shift.as_ptr().add(start), live(v));
            for row in &mut sums {
                row[v] = row[v].mul_add(scale, shift);
            }
        }
        match target {
            Target::Floats { to, lo, hi } => {
                let (lo, hi) = (F::splat(lo), F::splat(hi));
                each(&sums, |m, v, sum| {
                    sum.clamp(lo, hi).store(to.add(m * columns.stride + v * F::LANES), live(v));
                });
            }
            Target::Grid { to, lo, hi, grid } => {
                let (lo, hi, scale) = (F::splat(lo), F::splat(hi), F::splat(grid.scale));
                let (first, last) = (F::splat(grid.lo), F::splat(grid.hi));
                each(&sums, |m, v, sum| {
                    let steps = sum.clamp(lo, hi).div(scale).clamp(first, last).round();
                    steps.mul(scale).store(to.add(m * columns.stride + v * F::LANES), live(v));
                });
            }
            Target::Codes { to, lo, hi } => {
                let (lo, hi) = (F::splat(lo), F::splat(hi));
                each(&sums, |m, v, sum| {
                    sum.store_codes(lo, hi, to.add(m * columns.stride + v * F::LANES), live(v));
                });
            }
        }
    }
}

#[inline(always)]
fn each<F: Copy, const M: usize, const V: usize>(sums: &[[F; V]; M], store: impl Fn(usize, usize, F)) {
    for (m, row) in sums.iter().enumerate() {
        for (v, sum) in row.iter().enumerate() {
            store(m, v, *sum);
        }
    }
}
