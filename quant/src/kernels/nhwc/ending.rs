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

/// How a value is stored. NaN stays NaN in floats. No code stands for it: it becomes the lowest one, so that who wants to
/// know of it looks where values are floats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Ending {
    /// As f32: clamped to `lo..=hi` (which may be infinite), then put on the grid if there is one.
    Float { lo: f32, hi: f32, grid: Option<Grid> },
    /// As a code: the value counts steps from `zero`. It is rounded, halves to even, and then put on `zero`, within `lo..=hi`.
    ///
    /// In this order, as an odd `zero` would send halves the other way than the quantizers of floats do.
    Codes { lo: u8, hi: u8, zero: u8 },
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

/// The codes of an [`Ending`] as steps from zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct CodeSteps {
    /// Lowest and highest.
    pub(super) lo: f32,
    pub(super) hi: f32,
    /// The code of no steps.
    pub(super) zero: u8,
}

impl CodeSteps {
    pub(super) fn new([lo, hi]: [u8; 2], zero: u8) -> Self {
        let steps = |code: u8| f32::from(code) - f32::from(zero);
        Self { lo: steps(lo), hi: steps(hi), zero }
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
