//! How a tensor is stored: as floats, or as codes of 8 bits.

use crate::kernels::nhwc::Grid as FloatGrid;
use crate::quantizer::Encoding;

/// What the bytes of a tensor mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Repr {
    /// Values.
    Float,
    /// Codes on a grid.
    Codes(Codes),
}

/// A grid of at most 256 values: `(code - zero) * scale` for the codes `0..=last`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Codes {
    pub(super) scale: f32,
    /// The code of the value 0.
    pub(super) zero: u8,
    pub(super) last: u8,
}

impl Codes {
    /// Returns the grid of an encoding, if it has one scale and its codes fit 8 bits with zero among them.
    pub(super) fn of(encoding: &Encoding) -> Option<Self> {
        let grid = encoding.grid();
        let ([scale], [offset]) = (encoding.scale(), encoding.offset()) else { return None };
        let zero = u8::try_from(-(grid.qmin() + offset)).ok()?;
        let last = u8::try_from(grid.qmax() - grid.qmin()).ok()?;
        (zero <= last).then_some(Self { scale: *scale, zero, last })
    }

    /// Returns the code nearest to a value, halves to even.
    pub(super) fn code(self, value: f32) -> u8 {
        let steps = (value / self.scale).round_ties_even() + f32::from(self.zero);
        // A saturating conversion; NaN, which callers rule out, would become 0.
        steps.clamp(0.0, f32::from(self.last)) as u8
    }

    /// Returns the value of a code.
    pub(super) fn value(self, code: u8) -> f32 {
        (f32::from(code) - f32::from(self.zero)) * self.scale
    }

    /// Returns the codes that values from `lo` to `hi` have: rounding keeps their order.
    pub(super) fn between(self, [lo, hi]: [f32; 2]) -> [u8; 2] {
        [self.code(lo), self.code(hi)]
    }
}

/// Returns an activation's encoding as a grid of floats; none if it has several scales.
pub(super) fn float_grid(encoding: &Encoding) -> Option<FloatGrid> {
    let grid = encoding.grid();
    let ([scale], [offset]) = (encoding.scale(), encoding.offset()) else { return None };
    Some(FloatGrid { scale: *scale, lo: (grid.qmin() + offset) as f32, hi: (grid.qmax() + offset) as f32 })
}
