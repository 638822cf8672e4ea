use bitloop_core::bits::Bits;
use bitloop_core::trial::Granularity;
use candle_core::{DType, Device, Tensor};

use super::QuantError;

/// No scale is smaller: f32's machine epsilon. An all-zero tensor gets it.
///
/// Source: AIMET's minimum scale, `/design/methods/aimet_and_demotion.md` section 2.1.
const SCALE_MIN: f32 = f32::EPSILON;
/// Codes up to here are added and rounded exactly in f32 (`quantizer::kernel` needs `|code| < 2^22`).
const CODE_MAX: i32 = 1 << 16;

/// The integers that a quantizer may give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    qmin: i32,
    qmax: i32,
    symmetric: bool,
}

impl Grid {
    /// Makes a grid from its ends; `symmetric` fixes the zero point in the middle.
    ///
    /// Errors: `Grid` for fewer than two codes, or more than 16 bits hold.
    pub fn new(qmin: i32, qmax: i32, symmetric: bool) -> Result<Self, QuantError> {
        let inside = qmin >= -CODE_MAX && qmax <= CODE_MAX;
        if !inside || qmax <= qmin || qmax - qmin >= CODE_MAX {
            return Err(QuantError::Grid { qmin, qmax });
        }
        Ok(Self { qmin, qmax, symmetric })
    }

    /// The grid of weights: `-2^(b-1)..=2^(b-1) - 1` around zero.
    pub fn symmetric(bits: Bits) -> Self {
        let half = 1 << (bits.get() - 1);
        Self { qmin: -half, qmax: half - 1, symmetric: true }
    }

    /// The grid of activations: `0..=2^b - 1` with a zero point.
    pub fn asymmetric(bits: Bits) -> Self {
        Self { qmin: 0, qmax: (1 << bits.get()) - 1, symmetric: false }
    }

    /// Smallest code.
    pub fn qmin(self) -> i32 {
        self.qmin
    }

    /// Largest code.
    pub fn qmax(self) -> i32 {
        self.qmax
    }

    /// Number of steps between the ends.
    fn steps(self) -> i32 {
        self.qmax - self.qmin
    }

    /// Widens an observed range to one that the grid can cover with zero on a code.
    ///
    /// Zero is included; a range below the smallest scale is widened; a symmetric grid takes
    /// `max(hi / floor(n/2), -lo / ceil(n/2))` as its step, where with 2 bits the positive end is clipped
    /// (`hi / (floor(n/2) + 1)`) rather than a code wasted.
    ///
    /// Source: AIMET's min-max calibrator, `/design/methods/aimet_and_demotion.md` section 2.3; golden data.
    fn widened(self, (observed_min, observed_max): (f32, f32)) -> (f32, f32) {
        let n = self.steps();
        let (below, above) = ((n + 1) / 2, n / 2);
        // Adding 0.0 makes -0.0 a plain zero, so that both give the same encoding.
        let (mut lo, mut hi) = (observed_min.min(0.0) + 0.0, observed_max.max(0.0) + 0.0);
        if (hi - lo) / (n as f32) < SCALE_MIN {
            if self.symmetric {
                hi += above as f32 * SCALE_MIN;
                lo -= below as f32 * SCALE_MIN;
            } else {
                hi += n as f32 * SCALE_MIN;
            }
        }
        if !self.symmetric {
            return (lo, hi);
        }
        let positive_steps = if n == 3 { above + 1 } else { above };
        let step = (hi / positive_steps as f32).max(-lo / below as f32);
        (-(below as f32) * step, above as f32 * step)
    }
}

/// Grid, scale and offset of a quantizer: `x ~ (code + offset) * scale`.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoding {
    grid: Grid,
    scale: Vec<f32>,
    offset: Vec<i32>,
}

impl Encoding {
    /// Returns the encoding for an observed range, with the grid of a weight (symmetric) or of an activation.
    ///
    /// Errors: `NotFinite`.
    pub fn from_range(min: f32, max: f32, bits: Bits, symmetric: bool) -> Result<Self, QuantError> {
        let grid = if symmetric { Grid::symmetric(bits) } else { Grid::asymmetric(bits) };
        Self::from_observed(&[(min, max)], grid)
    }

    /// Returns the min-max encoding for observed ranges: one for all values, or one per channel.
    ///
    /// Errors: `NotFinite` naming the first such channel.
    pub fn from_observed(ranges: &[(f32, f32)], grid: Grid) -> Result<Self, QuantError> {
        check_ranges(ranges)?;
        let widened: Vec<_> = ranges.iter().map(|range| grid.widened(*range)).collect();
        Self::from_stored(&widened, grid)
    }

    /// Returns the encoding whose ends are as near to the stored ranges as a zero point on a code allows.
    ///
    /// `scale = max((max - min) / n, 2^-23)`; `offset = clamp(rne(min / scale) - qmin, -qmax, -qmin)`, or for a
    /// symmetric grid `-rne((qmin + qmax) / 2)`; all in f32.
    ///
    /// Errors: `NotFinite` naming the first such channel.
    /// Source: `/design/methods/aimet_and_demotion.md` section 2.1.
    pub fn from_stored(ranges: &[(f32, f32)], grid: Grid) -> Result<Self, QuantError> {
        check_ranges(ranges)?;
        let n = grid.steps() as f32;
        let mut scale = Vec::with_capacity(ranges.len());
        let mut offset = Vec::with_capacity(ranges.len());
        for &(min, max) in ranges {
            let step = ((max - min).abs() / n).max(SCALE_MIN);
            scale.push(step);
            offset.push(if grid.symmetric {
                -(((grid.qmin + grid.qmax) as f32 / 2.0).round_ties_even() as i32)
            } else {
                let nearest = (min / step).round_ties_even() as i32;
                nearest.saturating_sub(grid.qmin).clamp(-grid.qmax, -grid.qmin)
            });
        }
        Ok(Self { grid, scale, offset })
    }

    /// Returns the symmetric encoding of a weight.
    ///
    /// Shapes: `weight` `(out, ...)` f32 -> one scale, or `(out,)` scales.
    /// Errors: `NotFinite` naming the first such channel, `Tensor`.
    pub fn of_weight(weight: &Tensor, bits: Bits, granularity: Granularity) -> Result<Self, QuantError> {
        let values = weight.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
        let values = values.flatten_all()?.to_vec1::<f32>()?;
        let channels = match granularity {
            Granularity::PerTensor => 1,
            Granularity::PerChannel => weight.dims().first().copied().unwrap_or(1).max(1),
        };
        let per_channel = values.len().div_ceil(channels).max(1);
        let ranges: Vec<_> = values.chunks(per_channel).map(observed_range).collect();
        Self::from_observed(&ranges, Grid::symmetric(bits))
    }

    /// The grid.
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// Step per code, one or one per channel.
    pub fn scale(&self) -> &[f32] {
        &self.scale
    }

    /// What is added to a code before it is scaled (minus the zero point), one or one per channel.
    pub fn offset(&self) -> &[i32] {
        &self.offset
    }
}

/// Returns smallest and largest value; NaN if there is one, and infinities upside down if there is no value.
pub(crate) fn observed_range(values: &[f32]) -> (f32, f32) {
    let mut range = (f32::INFINITY, f32::NEG_INFINITY);
    let mut nan = false;
    // Comparisons, as `f32::min` would drop a NaN.
    for &value in values {
        range.0 = if value < range.0 { value } else { range.0 };
        range.1 = if value > range.1 { value } else { range.1 };
        nan |= value.is_nan();
    }
    if nan { (f32::NAN, f32::NAN) } else { range }
}

fn check_ranges(ranges: &[(f32, f32)]) -> Result<(), QuantError> {
    for (channel, &(min, max)) in ranges.iter().enumerate() {
        if !min.is_finite() || !max.is_finite() || max < min || !(max - min).is_finite() {
            return Err(QuantError::NotFinite { channel, min, max });
        }
    }
    Ok(())
}
