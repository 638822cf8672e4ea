//! What becomes of a sum before it is stored.

/// A grid of values: `round(clamp(x / scale, lo, hi)) * scale`, halves to even.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Grid {
    /// Step, positive.
    pub(crate) scale: f32,
    /// Lowest and highest value in steps: integers.
    pub(crate) lo: f32,
    pub(crate) hi: f32,
}

/// How a value is stored. NaN stays NaN in floats; no code stands for it, so callers look for it in floats before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Ending {
    /// As f32: clamped to `lo..=hi` (which may be infinite), then put on the grid if there is one.
    Float { lo: f32, hi: f32, grid: Option<Grid> },
    /// As a code: clamped to `lo..=hi`, then rounded, halves to even.
    Codes { lo: u8, hi: u8 },
}

impl Grid {
    /// The nearest value; NaN stays NaN.
    pub(crate) fn nearest(&self, value: f32) -> f32 {
        let steps = value / self.scale;
        let steps = if steps < self.lo { self.lo } else { steps };
        let steps = if steps > self.hi { self.hi } else { steps };
        steps.round_ties_even() * self.scale
    }
}

impl Ending {
    /// Values are stored as they are.
    pub(crate) const FLOAT: Self = Self::Float { lo: f32::NEG_INFINITY, hi: f32::INFINITY, grid: None };
}

/// `sum * scale + shift` per output channel, in one rounding, and how that is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tail<'a> {
    /// `(out_channels,)`.
    pub(crate) scale: &'a [f32],
    /// `(out_channels,)`.
    pub(crate) shift: &'a [f32],
    /// What is stored.
    pub(crate) ending: Ending,
}

/// Where values are stored; its kind is that of the [`Ending`].
#[derive(Debug)]
pub(crate) enum Out<'a> {
    /// For [`Ending::Float`].
    Floats(&'a mut [f32]),
    /// For [`Ending::Codes`].
    Codes(&'a mut [u8]),
}

impl Out<'_> {
    /// Values that it holds.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Floats(out) => out.len(),
            Self::Codes(out) => out.len(),
        }
    }
}
