//! Tiles of sums that stay in registers while their products are added.

#![expect(unsafe_code, reason = "registers and pointers")]

use super::depth::Depth;
use super::finish::{self, Columns, Target};
use super::vector::{Floats, Product};

/// The positions of a block, to be computed for one panel.
pub(super) struct Sweep<'a, P: Product> {
    pub(super) depth: Depth,
    /// Per run and position, where the run's values begin: `(runs, stride)`.
    pub(super) rows: &'a [*const P::Value],
    /// Positions between those of one run and of the next.
    pub(super) stride: usize,
    /// Positions to compute.
    pub(super) positions: usize,
    /// Value of a row that the group's first channel is.
    pub(super) offset: usize,
    /// Weights of the panel, and their sums.
    pub(super) weights: *const P::Weight,
    pub(super) sums: *const i32,
    /// The value that stands for 0.
    pub(super) zero: P::Value,
    /// The panel's channels.
    pub(super) columns: Columns<'a>,
    /// Where the first of them goes at the first position.
    pub(super) target: Target,
}

/// Computes a block for a panel of `V` registers in tiles of `M` positions, or of fewer if there are not so many. The last
/// tile may overlap the one before: the same sums are stored twice.
///
/// Safety: the sweep's pointers are valid, as [`super::drive`] makes them, and the CPU has the instruction set.
#[inline(always)]
pub(super) unsafe fn sweep<P: Product, const M: usize, const V: usize>(sweep: &Sweep<'_, P>) {
    // SAFETY: the caller's; no more positions are asked for than there are.
    unsafe {
        match sweep.positions {
            0 => {}
            1..4 => tiles::<P, 1, V>(sweep),
            few if few < M => tiles::<P, 4, V>(sweep),
            _ => tiles::<P, M, V>(sweep),
        }
    }
}

#[inline(always)]
unsafe fn tiles<P: Product, const M: usize, const V: usize>(sweep: &Sweep<'_, P>) {
    for start in (0..sweep.positions).step_by(M) {
        let start = start.min(sweep.positions - M);
        // SAFETY: positions `start..start + M` exist.
        unsafe {
            let sums = sums::<P, M, V>(sweep, start);
            let mut floats = [[P::Floats::splat(0.0); V]; M];
            for m in 0..M {
                for v in 0..V {
                    floats[m][v] = P::floats(sums[m][v]);
                }
            }
            finish::store(floats, &sweep.columns, sweep.target.add(start * sweep.columns.stride));
        }
    }
}

/// The sums of positions `start..start + M`.
#[inline(always)]
unsafe fn sums<P: Product, const M: usize, const V: usize>(
    sweep: &Sweep<'_, P>,
    start: usize,
) -> [[P::Sum; V]; M] {
    let width = P::Floats::LANES * P::STEP;
    let full = sweep.depth.full_steps();
    let overlapping = sweep.depth.overlapping_step();
    // SAFETY: a run has a pointer per position, all of its steps lie within what may be read there, and the panel has
    // weights for each step of each run.
    unsafe {
        let mut first = [P::start(sweep.sums, sweep.zero); V];
        for (v, sum) in first.iter_mut().enumerate().skip(1) {
            *sum = P::start(sweep.sums.add(v * P::Floats::LANES), sweep.zero);
        }
        let mut sums = [first; M];
        let mut weights = sweep.weights;
        let mut rows = sweep.rows.as_ptr().add(start);
        for _ in 0..sweep.depth.runs {
            let mut from = [std::ptr::null(); M];
            for (m, from) in from.iter_mut().enumerate() {
                *from = (*rows.add(m)).add(sweep.offset);
            }
            for step in 0..full {
                add::<P, M, V>(&mut sums, &from, step * P::STEP, weights);
                weights = weights.add(V * width);
            }
            if let Some(last) = overlapping {
                add::<P, M, V>(&mut sums, &from, last, weights);
                weights = weights.add(V * width);
            }
            rows = rows.wrapping_add(sweep.stride);
        }
        sums
    }
}

/// Adds the products of one step.
#[inline(always)]
unsafe fn add<P: Product, const M: usize, const V: usize>(
    sums: &mut [[P::Sum; V]; M],
    from: &[*const P::Value; M],
    value: usize,
    weights: *const P::Weight,
) {
    // SAFETY: the caller's.
    unsafe {
        let mut factors = [P::weights(weights); V];
        for (v, factor) in factors.iter_mut().enumerate().skip(1) {
            *factor = P::weights(weights.add(v * P::Floats::LANES * P::STEP));
        }
        for m in 0..M {
            let x = P::spread(from[m].add(value));
            for v in 0..V {
                sums[m][v] = P::add(sums[m][v], x, factors[v]);
            }
        }
    }
}
