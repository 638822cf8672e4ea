//! The search for the range with the least quantization noise over a histogram.
//!
//! Source: AIMET's SQNR calibrator, `/design/methods/aimet_and_demotion.md` section 2.3; golden data.

use super::grid::{Grid, SCALE_MIN};
use super::histogram::Histogram;
use super::kernel::ROUNDING;

/// Steps that a symmetric grid is tried with: `k / 100` of the one that covers the range, `k` up to 101.
const SYMMETRIC_STEPS: u16 = 101;
/// Steps that an asymmetric grid is tried with: `k / 16` of the one that covers the range, `k` up to 17.
const ASYMMETRIC_STEPS: u16 = 17;
/// Offsets that an asymmetric grid is tried with at most, but for that of the covered range.
const OFFSETS: i32 = 21;
/// Bins that the inner loop takes together, so that it works on whole vectors.
const LANES: usize = 8;
/// Bins between two looks at whether a candidate has lost already.
const STRETCH: usize = 8 * LANES;
/// One in so many candidates is tried before the rest: one of them is near the best, and the others lose early against it.
const STRIDE: usize = 8;

/// A step and the code-like offset of the lowest code: the grid covers `offset * delta..=(offset + n) * delta`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Candidate {
    delta: f32,
    offset: f32,
}

/// Returns the range with the least squared error over a histogram, where clipped values count `clipped_weight` times.
///
/// The error of a bin is that of its middle. Of equal candidates the first one wins, by step and then by offset.
/// `range` is what candidates are spread over: that of the values, as far as the histogram grew with them.
pub(super) fn least_noise(
    histogram: &Histogram,
    (lo, hi): (f32, f32),
    grid: Grid,
    clipped_weight: f32,
) -> (f32, f32) {
    let n = grid.steps() as f32;
    let (lo, hi) = (lo.min(0.0) + 0.0, hi.max(0.0) + 0.0);
    let hi = hi.max(lo + n * SCALE_MIN);
    let candidates = match grid.is_symmetric() {
        true => symmetric_candidates((lo, hi), n),
        false => asymmetric_candidates((lo, hi), n),
    };
    let noise = Noise { n, clipped_weight, bins: Bins::of(histogram) };
    match noise.least(&candidates) {
        Some(Candidate { delta, offset }) => (offset * delta, offset * delta + n * delta),
        // Errors beyond what f32 holds tell nothing apart.
        None => grid.covering((lo, hi)),
    }
}

fn symmetric_candidates((lo, hi): (f32, f32), n: f32) -> Vec<Candidate> {
    let covering = 2.0 * hi.max(-lo) / n;
    let offset = (-n / 2.0).floor();
    let delta = |k: u16| (covering * f32::from(k) / f32::from(SYMMETRIC_STEPS - 1)).max(SCALE_MIN);
    (1..=SYMMETRIC_STEPS).map(|k| Candidate { delta: delta(k), offset }).collect()
}

fn asymmetric_candidates((lo, hi): (f32, f32), n: f32) -> Vec<Candidate> {
    let covering = (hi - lo) / n;
    let own_offset = (lo / covering).round_ties_even();
    let (lowest, highest) = (covering * own_offset, covering * own_offset + n * covering);
    let count = (n as i32 + 2).min(OFFSETS);
    let between = f64::from(n) / f64::from(count - 2);
    let spread = (0..count - 1).map(|j| (f64::from(j) * between - f64::from(n)).round_ties_even() as f32);
    let offsets: Vec<f32> = spread.chain([own_offset]).collect();
    let mut candidates = Vec::with_capacity(offsets.len() * usize::from(ASYMMETRIC_STEPS));
    for k in 1..=ASYMMETRIC_STEPS {
        let delta = covering * f32::from(k) / f32::from(ASYMMETRIC_STEPS - 1);
        candidates.extend(offsets.iter().map(|offset| {
            // No candidate reaches beyond the covered range.
            let start = lowest.max(delta * offset);
            let end = highest.min(delta * offset + n * delta);
            let delta = ((end - start) / n).max(SCALE_MIN);
            Candidate { delta, offset: (start / delta).round_ties_even() }
        }));
    }
    candidates
}

/// Middles and counts of the bins that hold a value, filled up with empty ones to whole vectors.
struct Bins {
    middles: Vec<[f32; LANES]>,
    counts: Vec<[f32; LANES]>,
}

impl Bins {
    fn of(histogram: &Histogram) -> Self {
        // The middles follow the width of the first bin as f32 has it. With 16 bits a middle that is exact to another
        // unit in the last place lies elsewhere between two codes, and another candidate would be the reference's.
        let first = histogram.edge(0);
        let width = histogram.edge(1) - first;
        let middle = |bin: usize| first + width / 2.0 + bin as f32 * width;
        let held = histogram.counts().iter().enumerate().filter(|(_, count)| **count > 0);
        let held: Vec<(f32, f32)> = held.map(|(bin, count)| (middle(bin), *count as f32)).collect();
        let chunk = |part: fn(&(f32, f32)) -> f32| {
            let chunks = held.chunks(LANES);
            chunks.map(|bins| std::array::from_fn(|lane| bins.get(lane).map_or(0.0, part))).collect()
        };
        Self { middles: chunk(|bin| bin.0), counts: chunk(|bin| bin.1) }
    }
}

/// The noise of candidates over one histogram.
struct Noise {
    /// Number of steps of the grid.
    n: f32,
    clipped_weight: f32,
    bins: Bins,
}

impl Noise {
    /// Returns the first of the candidates with the least noise; `None` if all of it is beyond f32.
    fn least(&self, candidates: &[Candidate]) -> Option<Candidate> {
        let mut best = (f64::INFINITY, usize::MAX);
        let coarse = (0..candidates.len()).step_by(STRIDE);
        let others = (0..candidates.len()).filter(|index| index % STRIDE != 0);
        for index in coarse.chain(others) {
            let Some(noise) = self.of(candidates[index], best.0) else { continue };
            if noise < best.0 || (noise == best.0 && index < best.1) {
                best = (noise, index);
            }
        }
        best.0.is_finite().then(|| candidates[best.1])
    }

    /// Returns the noise of a candidate, or `None` as soon as it is above `bound`.
    fn of(&self, candidate: Candidate, bound: f64) -> Option<f64> {
        let mut total = 0.0;
        let stretches = self.bins.middles.chunks(STRETCH / LANES);
        for (middles, counts) in stretches.zip(self.bins.counts.chunks(STRETCH / LANES)) {
            let sums = self.stretch(candidate, middles, counts);
            total += f64::from(sums.iter().sum::<f32>());
            if total > bound {
                return None;
            }
        }
        Some(total)
    }

    /// The inner loop: lane by lane, so that the order of the additions is fixed and no vector unit is needed for it.
    #[inline(always)]
    fn stretch(
        &self,
        candidate: Candidate,
        middles: &[[f32; LANES]],
        counts: &[[f32; LANES]],
    ) -> [f32; LANES] {
        let Candidate { delta, offset } = candidate;
        let (n, beyond, weight) = (self.n, self.n + 1.0, self.clipped_weight);
        let mut sums = [0.0; LANES];
        for (middles, counts) in middles.iter().zip(counts) {
            for lane in 0..LANES {
                let middle = middles[lane];
                let steps = middle / delta - offset;
                // One step beyond the ends is enough to tell clipped values from rounded ones.
                let steps = if steps < -1.0 { -1.0 } else { steps };
                let steps = if steps > beyond { beyond } else { steps };
                let code = (steps + ROUNDING) - ROUNDING;
                let kept = if code < 0.0 { 0.0 } else { code };
                let kept = if kept > n { n } else { kept };
                let error = (kept + offset) * delta - middle;
                let count = if kept == code { counts[lane] } else { counts[lane] * weight };
                sums[lane] += error * error * count;
            }
        }
        sums
    }
}
