//! What stands behind a layer: nothing, a rectifier, or rounding to fixed point; forward, and what gradients pass.

use super::lanes::{Lined, each_line, line};
use crate::kernels::nhwc::Isa;
use crate::kernels::nhwc::simd::Simd;
use crate::kernels::nhwc::taps::check_lengths;

/// A function of one value that is computed where the value is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Activation {
    /// `x`.
    Identity,
    /// `min(max(x, 0), upper)`; NaN stays NaN.
    Rectifier { upper: f32 },
    /// `x` in steps.
    FixedPoint(FixedPoint),
}

/// A surrogate `t = min(x > 0 ? x : slope x, bound)`, replaced by a multiple of a step where nobody looks:
/// `t + factor (q - t)` with `q = step scale clip(round(x codes), low, high)`, halves to even and every operation rounded;
/// gradients pass as if it were `t`.
///
/// This is QKeras's form of `quantized_relu` and of `quantized_bits` with given scales, in which `codes` and `step` are powers
/// of two. A sloped one has codes of its own for negative values, whose sum is taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct FixedPoint {
    /// Codes per unit, and what a code is worth before it is scaled.
    pub(crate) codes: f32,
    pub(crate) step: f32,
    pub(crate) scale: f32,
    /// Lowest and highest code.
    pub(crate) low: f32,
    pub(crate) high: f32,
    /// Of the surrogate.
    pub(crate) slope: f32,
    pub(crate) bound: f32,
    /// What quantized values are cut off at.
    pub(crate) most: f32,
    /// Of a slope with codes: their share of a unit, and the unit times the slope.
    pub(crate) negative: Option<[f32; 2]>,
    /// How far `q` replaces `t`.
    pub(crate) factor: f32,
}

/// An activation on vectors.
pub(super) trait Bend: Copy {
    fn value<S: Simd>(self, simd: S, x: S::F) -> S::F;

    /// What of the gradient `dy` passes to `x`.
    fn passed<S: Simd>(self, simd: S, x: S::F, dy: S::F) -> S::F;
}

/// Code that an activation is a part of.
pub(super) trait Bent {
    fn with(self, bend: impl Bend);
}

impl Activation {
    /// Runs code with the activation known to the compiler.
    pub(super) fn bend(self, bent: impl Bent) {
        match self {
            Self::Identity => bent.with(Clamp { lower: f32::NEG_INFINITY, upper: f32::INFINITY }),
            Self::Rectifier { upper } => bent.with(Clamp { lower: 0.0, upper }),
            Self::FixedPoint(point) => match point.negative {
                None => bent.with(Rounded { point }),
                Some(negative) => bent.with(Sloped { rounded: Rounded { point }, negative }),
            },
        }
    }

    /// Writes the function's values. Panics: the slices have different lengths.
    pub(crate) fn forward(self, isa: Isa, x: &[f32], y: &mut [f32]) {
        check_lengths([x.len(), x.len()], [y.len(), x.len()]);
        self.bend(Forward { isa, x, y });
    }

    /// Replaces the gradient to the function's values by that to `x`. Panics: the slices have different lengths.
    pub(crate) fn backward(self, isa: Isa, x: &[f32], dy: &mut [f32]) {
        check_lengths([x.len(), x.len()], [dy.len(), x.len()]);
        self.bend(Backward { isa, x, dy });
    }
}

#[derive(Clone, Copy)]
struct Clamp {
    lower: f32,
    upper: f32,
}

impl Bend for Clamp {
    #[inline(always)]
    fn value<S: Simd>(self, simd: S, x: S::F) -> S::F {
        simd.smaller(simd.splat(self.upper), simd.greater(simd.splat(self.lower), x))
    }

    #[inline(always)]
    fn passed<S: Simd>(self, simd: S, x: S::F, dy: S::F) -> S::F {
        inside(simd, x, [self.lower, self.upper], dy)
    }
}

/// `dy` where `y` is between the ends, else 0.
#[inline(always)]
pub(super) fn inside<S: Simd>(simd: S, y: S::F, [lower, upper]: [f32; 2], dy: S::F) -> S::F {
    let none = simd.splat(0.0);
    let above = simd.if_negative(simd.sub(simd.splat(lower), y), dy, none);
    simd.if_negative(simd.sub(y, simd.splat(upper)), above, none)
}

#[derive(Clone, Copy)]
struct Rounded {
    point: FixedPoint,
}

impl Rounded {
    #[inline(always)]
    fn quantized<S: Simd>(self, simd: S, steps: S::F) -> S::F {
        let FixedPoint { step, scale, low, high, .. } = self.point;
        let code = simd.greater(simd.splat(low), simd.round(steps));
        let code = simd.smaller(simd.splat(high), code);
        simd.mul(simd.splat(scale), simd.mul(code, simd.splat(step)))
    }

    /// `t + factor (q - t)`.
    #[inline(always)]
    fn mixed<S: Simd>(self, simd: S, x: S::F, quantized: S::F) -> S::F {
        let FixedPoint { slope, bound, most, factor, .. } = self.point;
        let quantized = simd.smaller(simd.splat(most), quantized);
        let below = simd.sub(simd.splat(0.0), x);
        let surrogate = simd.if_negative(below, x, simd.mul(simd.splat(slope), x));
        let beyond = simd.sub(simd.splat(bound), x);
        let surrogate = simd.if_negative(beyond, simd.splat(bound), surrogate);
        let distance = simd.sub(quantized, surrogate);
        simd.add(surrogate, simd.mul(simd.splat(factor), distance))
    }
}

impl Bend for Rounded {
    #[inline(always)]
    fn value<S: Simd>(self, simd: S, x: S::F) -> S::F {
        let steps = simd.mul(x, simd.splat(self.point.codes));
        self.mixed(simd, x, self.quantized(simd, steps))
    }

    #[inline(always)]
    fn passed<S: Simd>(self, simd: S, x: S::F, dy: S::F) -> S::F {
        let FixedPoint { slope, bound, .. } = self.point;
        let below = simd.sub(simd.splat(0.0), x);
        let steepness = simd.if_negative(below, simd.splat(1.0), simd.splat(slope));
        let beyond = simd.sub(simd.splat(bound), x);
        simd.mul(dy, simd.if_negative(beyond, simd.splat(0.0), steepness))
    }
}

#[derive(Clone, Copy)]
struct Sloped {
    rounded: Rounded,
    negative: [f32; 2],
}

impl Bend for Sloped {
    #[inline(always)]
    fn value<S: Simd>(self, simd: S, x: S::F) -> S::F {
        let FixedPoint { codes, slope, .. } = self.rounded.point;
        let [share, unit] = self.negative;
        let steps = simd.mul(x, simd.splat(codes));
        let down = simd.mul(simd.round(simd.mul(steps, simd.splat(slope))), simd.splat(share));
        let down = simd.smaller(simd.splat(0.0), simd.greater(simd.splat(-1.0), down));
        let quantized = self.rounded.quantized(simd, steps);
        self.rounded.mixed(simd, x, simd.add(quantized, simd.mul(simd.splat(unit), down)))
    }

    #[inline(always)]
    fn passed<S: Simd>(self, simd: S, x: S::F, dy: S::F) -> S::F {
        self.rounded.passed(simd, x, dy)
    }
}

struct Forward<'a> {
    isa: Isa,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Bent for Forward<'_> {
    fn with(self, bend: impl Bend) {
        let len = self.x.len();
        each_line(self.isa, (len, line(1)), &mut Values { x: self.x, y: self.y, bend });
    }
}

struct Values<'a, B> {
    x: &'a [f32],
    y: &'a mut [f32],
    bend: B,
}

impl<B: Bend> Lined for Values<'_, B> {
    #[inline(always)]
    fn line<S: Simd>(&mut self, simd: S, start: usize, len: usize) {
        let mut at = start;
        while at < start + len {
            let y = self.bend.value(simd, simd.floats(self.x, at));
            simd.put(self.y, at, y);
            at += S::LANES;
        }
    }
}

struct Backward<'a> {
    isa: Isa,
    x: &'a [f32],
    dy: &'a mut [f32],
}

impl Bent for Backward<'_> {
    fn with(self, bend: impl Bend) {
        let len = self.x.len();
        each_line(self.isa, (len, line(1)), &mut Gradients { x: self.x, dy: self.dy, bend });
    }
}

struct Gradients<'a, B> {
    x: &'a [f32],
    dy: &'a mut [f32],
    bend: B,
}

impl<B: Bend> Lined for Gradients<'_, B> {
    #[inline(always)]
    fn line<S: Simd>(&mut self, simd: S, start: usize, len: usize) {
        let mut at = start;
        while at < start + len {
            let dx = self.bend.passed(simd, simd.floats(self.x, at), simd.floats(self.dy, at));
            simd.put(self.dy, at, dx);
            at += S::LANES;
        }
    }
}
