//! Activation functions of f32, computed by our own formulas so that every CPU gives the same bits.

use super::math::exp;
use super::simd::{Ended, Finish, Simd, dispatch_ended};
use super::taps::check_lengths;
use super::{Ending, Isa, Out};

/// A function of one value; rectifiers and clipping are the [`Ending`] of the identity. NaN stays NaN.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Curve<'a> {
    /// `x`.
    Identity,
    /// `x` where it is not negative, else `slope * x`.
    LeakyRelu { slope: f32 },
    /// The same with a slope per channel, `(channels,)`.
    PRelu { slopes: &'a [f32] },
    /// `x * clamp(x / 6 + 1 / 2, 0, 1)`, every operation rounded.
    HardSwish,
    /// `clamp(alpha * x + beta, 0, 1)`, product and sum rounded once.
    HardSigmoid { alpha: f32, beta: f32 },
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
}

impl Curve<'_> {
    /// Applies the function, then the ending.
    ///
    /// Shapes: any, `(pixels, channels)` for slopes per channel.
    ///
    /// Panics: a slice has another length, or the ending and the output are of different kinds.
    pub(crate) fn apply(self, isa: Isa, x: &[f32], ending: Ending, out: Out<'_>) {
        let width = match self {
            Self::PRelu { slopes } => slopes.len(),
            Self::Identity | Self::LeakyRelu { .. } => x.len(),
            Self::HardSwish | Self::HardSigmoid { .. } | Self::Sigmoid => x.len(),
        };
        check_lengths([x.len() % width.max(1), out.len()], [0, x.len()]);
        dispatch_ended(isa, width, Curved { curve: self, width, x }, (ending, out));
    }
}

struct Curved<'a> {
    curve: Curve<'a>,
    /// Values of a row.
    width: usize,
    x: &'a [f32],
}

/// A function of a vector, at a place of a row.
trait Map: Copy {
    fn of<S: Simd>(self, simd: S, x: S::F, at: usize) -> S::F;
}

impl Ended for Curved<'_> {
    #[inline(always)]
    fn run<S: Simd, E: Finish<S>>(self, simd: S, finish: E, out: &mut [E::Item]) {
        match self.curve {
            Curve::Identity => self.rows(simd, finish, Identity, out),
            Curve::LeakyRelu { slope } => self.rows(simd, finish, Leaky { slope }, out),
            Curve::PRelu { slopes } => self.rows(simd, finish, PerChannel { slopes }, out),
            Curve::HardSwish => self.rows(simd, finish, HardSwish, out),
            Curve::HardSigmoid { alpha, beta } => self.rows(simd, finish, HardSigmoid { alpha, beta }, out),
            Curve::Sigmoid => self.rows(simd, finish, Sigmoid, out),
        }
    }
}

impl Curved<'_> {
    #[inline(always)]
    fn rows<S: Simd, E: Finish<S>>(&self, simd: S, finish: E, map: impl Map, out: &mut [E::Item]) {
        let width = self.width.max(1);
        for (x, out) in self.x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            for block in 0..width.div_ceil(S::LANES) {
                let at = (block * S::LANES).min(width - S::LANES);
                finish.put(simd, (out, at), map.of(simd, simd.floats(x, at), at));
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Identity;

impl Map for Identity {
    #[inline(always)]
    fn of<S: Simd>(self, _simd: S, x: S::F, _at: usize) -> S::F {
        x
    }
}

#[derive(Clone, Copy)]
struct Leaky {
    slope: f32,
}

impl Map for Leaky {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, x: S::F, _at: usize) -> S::F {
        simd.if_negative(x, simd.mul(simd.splat(self.slope), x), x)
    }
}

#[derive(Clone, Copy)]
struct PerChannel<'a> {
    slopes: &'a [f32],
}

impl Map for PerChannel<'_> {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, x: S::F, at: usize) -> S::F {
        simd.if_negative(x, simd.mul(simd.floats(self.slopes, at), x), x)
    }
}

#[derive(Clone, Copy)]
struct HardSwish;

impl Map for HardSwish {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, x: S::F, _at: usize) -> S::F {
        let gate = simd.add(simd.div(x, simd.splat(6.0)), simd.splat(0.5));
        simd.mul(x, unit(simd, gate))
    }
}

#[derive(Clone, Copy)]
struct HardSigmoid {
    alpha: f32,
    beta: f32,
}

impl Map for HardSigmoid {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, x: S::F, _at: usize) -> S::F {
        unit(simd, simd.fma(simd.splat(self.alpha), x, simd.splat(self.beta)))
    }
}

#[derive(Clone, Copy)]
struct Sigmoid;

impl Map for Sigmoid {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, x: S::F, _at: usize) -> S::F {
        let one = simd.splat(1.0);
        simd.div(one, simd.add(one, exp(simd, simd.sub(simd.splat(-0.0), x))))
    }
}

/// Clamps to 0..=1, NaN to itself.
#[inline(always)]
fn unit<S: Simd>(simd: S, x: S::F) -> S::F {
    simd.smaller(simd.splat(1.0), simd.greater(simd.splat(0.0), x))
}
