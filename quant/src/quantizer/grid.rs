use bitloop_core::bits::Bits;
use bitloop_core::trial::Scheme;

use super::QuantError;

/// No scale is smaller: f32's machine epsilon. An all-zero tensor gets it.
///
/// Source: AIMET's minimum scale, `/design/methods/aimet_and_demotion.md` section 2.1.
pub(super) const SCALE_MIN: f32 = f32::EPSILON;
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

    /// The grid of a scheme.
    pub fn of(scheme: Scheme, bits: Bits) -> Self {
        match scheme {
            Scheme::Symmetric => Self::symmetric(bits),
            Scheme::StrictSymmetric => {
                let largest = (1 << (bits.get() - 1)) - 1;
                Self { qmin: -largest, qmax: largest, symmetric: true }
            }
            Scheme::Asymmetric => Self::asymmetric(bits),
        }
    }

    /// `-2^(b-1)..=2^(b-1) - 1` around zero.
    pub fn symmetric(bits: Bits) -> Self {
        let half = 1 << (bits.get() - 1);
        Self { qmin: -half, qmax: half - 1, symmetric: true }
    }

    /// `0..=2^b - 1` with a zero point.
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

    /// Whether the zero point lies in the middle, whatever the values are.
    pub fn is_symmetric(self) -> bool {
        self.symmetric
    }

    /// The width that holds every code; none where that is no width of a quantizer.
    pub fn bits(self) -> Option<Bits> {
        let bits = u32::BITS - self.steps().cast_unsigned().leading_zeros();
        u8::try_from(bits).ok().and_then(|bits| Bits::new(bits).ok())
    }

    /// Number of steps between the ends.
    pub(super) fn steps(self) -> i32 {
        self.qmax - self.qmin
    }

    /// The offset of a symmetric grid: 0 around zero, `-2^(b-1)` if the codes are stored without sign.
    pub(super) fn middle(self) -> i32 {
        -(((self.qmin + self.qmax) as f32 / 2.0).round_ties_even() as i32)
    }

    /// Widens the smallest and largest value seen to a range that the grid can cover with zero on a code.
    ///
    /// As [`Grid::covering`], where with 2 bits a symmetric grid clips the positive end (`hi / (floor(n/2) + 1)`)
    /// rather than waste a code.
    ///
    /// Source: AIMET's min-max calibrator, `/design/methods/aimet_and_demotion.md` section 2.3; golden data.
    pub(super) fn widened(self, observed: (f32, f32)) -> (f32, f32) {
        let above = self.steps() / 2;
        self.covered(observed, if self.steps() == 3 { above + 1 } else { above })
    }

    /// Widens a range to one that the grid can cover with zero on a code.
    ///
    /// Zero is included; a range below the smallest scale is widened; a symmetric grid takes
    /// `max(hi / floor(n/2), -lo / ceil(n/2))` as its step.
    ///
    /// Source: `/design/methods/aimet_and_demotion.md` section 2.3; golden data.
    pub(super) fn covering(self, range: (f32, f32)) -> (f32, f32) {
        self.covered(range, self.steps() / 2)
    }

    fn covered(self, (min, max): (f32, f32), positive_steps: i32) -> (f32, f32) {
        let n = self.steps();
        let (below, above) = ((n + 1) / 2, n / 2);
        // Adding 0.0 makes -0.0 a plain zero, so that both give the same encoding.
        let (mut lo, mut hi) = (min.min(0.0) + 0.0, max.max(0.0) + 0.0);
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
        let step = (hi / positive_steps as f32).max(-lo / below as f32);
        (-(below as f32) * step, above as f32 * step)
    }
}
