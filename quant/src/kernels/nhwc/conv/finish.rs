//! What is stored instead of a tile of sums.

#![expect(unsafe_code, reason = "registers and pointers")]

use super::vector::Floats;
use crate::kernels::nhwc::ending::CodeSteps;
use crate::kernels::nhwc::{Ending, Grid, Out, Tail};

/// Where and how results are stored: an [`Ending`] with its [`Out`].
#[derive(Clone, Copy)]
pub(super) enum Target {
    Floats { to: *mut f32, lo: f32, hi: f32 },
    Grid { to: *mut f32, lo: f32, hi: f32, grid: Grid },
    Codes { to: *mut u8, steps: CodeSteps },
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
            (Ending::Codes { lo, hi, zero }, Out::Codes(out)) => {
                assert_eq!(out.len(), len, "codes of the output");
                Self::Codes { to: out.as_mut_ptr(), steps: CodeSteps::new([lo, hi], zero) }
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
                Self::Codes { to, steps } => Self::Codes { to: to.add(values), steps },
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

    /// Columns of register `v`.
    #[inline(always)]
    fn live<F: Floats>(&self, v: usize) -> usize {
        self.scale.len().saturating_sub(v * F::LANES).min(F::LANES)
    }
}

/// Stores `M` output pixels of `columns`, the first at `target`.
///
/// Safety: all of them lie in the output, and the CPU has the instruction set.
#[inline(always)]
pub(super) unsafe fn store<F: Floats, const M: usize, const V: usize>(
    mut tile: [[F; V]; M],
    columns: &Columns<'_>,
    target: Target,
) {
    // SAFETY: the caller's.
    unsafe {
        scale(&mut tile, columns);
        match target {
            Target::Floats { to, lo, hi } => {
                clamp(&mut tile, lo, hi);
                store_floats(&tile, columns, to);
            }
            Target::Grid { to, lo, hi, grid } => {
                clamp(&mut tile, lo, hi);
                snap(&mut tile, grid);
                store_floats(&tile, columns, to);
            }
            Target::Codes { to, steps } => {
                for (m, row) in tile.iter().enumerate() {
                    F::store_codes(*row, steps, to.add(m * columns.stride), columns.scale.len());
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn scale<F: Floats, const M: usize, const V: usize>(tile: &mut [[F; V]; M], columns: &Columns<'_>) {
    for v in 0..V {
        let (start, live) = (v * F::LANES, columns.live::<F>(v));
        // SAFETY: as many scales and shifts are there as columns live.
        unsafe {
            let scale = F::load(columns.scale.as_ptr().wrapping_add(start), live);
            let shift = F::load(columns.shift.as_ptr().wrapping_add(start), live);
            for row in &mut *tile {
                row[v] = row[v].mul_add(scale, shift);
            }
        }
    }
}

#[inline(always)]
unsafe fn clamp<F: Floats, const M: usize, const V: usize>(tile: &mut [[F; V]; M], lo: f32, hi: f32) {
    // SAFETY: the caller's.
    unsafe {
        let (lo, hi) = (F::splat(lo), F::splat(hi));
        for row in tile {
            for value in row {
                *value = value.clamp(lo, hi);
            }
        }
    }
}

#[inline(always)]
unsafe fn snap<F: Floats, const M: usize, const V: usize>(tile: &mut [[F; V]; M], grid: Grid) {
    // SAFETY: the caller's.
    unsafe {
        let (scale, lo, hi) = (F::splat(grid.scale), F::splat(grid.lo), F::splat(grid.hi));
        for row in tile {
            for value in row {
                *value = value.div(scale).clamp(lo, hi).round().mul(scale);
            }
        }
    }
}

#[inline(always)]
unsafe fn store_floats<F: Floats, const M: usize, const V: usize>(
    tile: &[[F; V]; M],
    columns: &Columns<'_>,
    to: *mut f32,
) {
    for (m, row) in tile.iter().enumerate() {
        for (v, value) in row.iter().enumerate() {
            // SAFETY: the caller's.
            unsafe { value.store(to.add(m * columns.stride + v * F::LANES), columns.live::<F>(v)) }
        }
    }
}
