//! Signs: `binary`.

use bitloop_core::qkeras::{Alpha, Binary};

use super::element::{Element, Noise};
use super::fitted::{Fitted, Fitter};
use super::groups::{Groups, Place};
use super::math::{round_drawn, round_even, sign_of};
use super::scales::{LeastSquares, given};
use super::{FitError, Values};
use crate::kernels::cuda::{Family, Found, Map};

/// Parts of twice the largest magnitude that a drawn binary value is rounded to.
const BINARY_STEPS: f32 = 8.0;

/// What values stand for in the gradient.
#[derive(Clone, Copy, Debug)]
pub(super) enum Surrogate {
    Identity,
    Tanh,
}

impl Surrogate {
    /// A tanh where no scale is asked for.
    pub(super) fn of(alpha: Option<&Alpha>) -> Self {
        if alpha.is_none() { Self::Tanh } else { Self::Identity }
    }

    /// What a GPU knows it by.
    pub(super) fn flag(self) -> i32 {
        match self {
            Self::Identity => 0,
            Self::Tanh => 1,
        }
    }

    #[inline(always)]
    pub(super) fn value(self, x: f32) -> f32 {
        match self {
            Self::Identity => x,
            Self::Tanh => libm::tanhf(x),
        }
    }

    #[inline(always)]
    pub(super) fn slope(self, x: f32) -> f32 {
        match self {
            Self::Identity => 1.0,
            Self::Tanh => 1.0 - libm::tanhf(x) * libm::tanhf(x),
        }
    }
}

/// -1 and 1, or 0 and 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Codes {
    pub(super) from_zero: bool,
}

impl Codes {
    #[inline(always)]
    pub(super) fn of(self, sign: f32) -> f32 {
        if self.from_zero { (sign + 1.0) / 2.0 } else { sign }
    }
}

/// A sign's scale, and half the range that a drawn one is rounded in.
#[derive(Clone, Copy, Debug)]
struct SignAt {
    scale: f32,
    range: f32,
}

struct Sign {
    codes: Codes,
    surrogate: Surrogate,
    drawn: bool,
}

impl Sign {
    /// The value put on a coarse grid at random.
    #[inline(always)]
    fn coarse(&self, at: SignAt, x: f32, draw: f32) -> f32 {
        let twice = 2.0 * at.range;
        // A group of zeros has no range, and stays as it is.
        if self.drawn && twice > 0.0 { twice * round_drawn(x / twice, BINARY_STEPS, draw) } else { x }
    }

    #[inline(always)]
    fn code(&self, x: f32, draw: f32) -> f32 {
        let sign = if self.drawn && x == 0.0 { 2.0 * round_even(draw) - 1.0 } else { sign_of(x) };
        self.codes.of(sign)
    }
}

impl Element for Sign {
    type At = SignAt;

    #[inline(always)]
    fn value(&self, at: SignAt, x: f32, [draw, zero]: [f32; 2]) -> f32 {
        let x = self.coarse(at, x, draw);
        Noise::FULL.mix(self.surrogate.value(x), at.scale * self.code(x, zero))
    }

    #[inline(always)]
    fn slope(&self, _: SignAt, x: f32) -> f32 {
        self.surrogate.slope(x)
    }

    fn map(&self) -> Map {
        Map {
            family: Family::Sign,
            option: i32::from(self.codes.from_zero),
            flag: self.surrogate.flag(),
            drawn: i32::from(self.drawn),
            ..Map::default()
        }
    }

    fn found(at: SignAt) -> Found {
        [at.scale, at.range]
    }
}

/// Finds the scales of signs.
///
/// Errors: axes or scales that do not fit the values.
pub(super) fn fit(binary: &Binary, fitter: &mut Fitter<'_>) -> Result<Fitted, FitError> {
    let (x, alpha) = (fitter.values, binary.alpha.as_ref());
    let codes = Codes { from_zero: binary.use_01 };
    let drawn = binary.use_stochastic_rounding && fitter.is_training();
    let element = Sign { codes, surrogate: Surrogate::of(alpha), drawn };
    if drawn {
        return drawn_signs(element, binary, fitter);
    }
    let (groups, scales) = match rule(binary, fitter) {
        None => given(alpha, x)?,
        Some(rule) => {
            let groups = rule.groups(x.shape, &channels(binary, x)?);
            let scales = rule.scales(x, &groups, |x, _| element.code(x, 0.0));
            (groups, scales)
        }
    };
    let found = scales.iter().map(|scale| SignAt { scale: *scale, range: 0.0 }).collect();
    Ok(Fitted::new(element, (groups, found), Vec::new()).with_scale(scales))
}

fn rule(binary: &Binary, fitter: &Fitter<'_>) -> Option<LeastSquares> {
    let rule = LeastSquares::of(binary.alpha.as_ref(), fitter.fitting.arithmetic)?;
    Some(LeastSquares { exponents: [binary.min_po2_exponent, binary.max_po2_exponent], ..rule })
}

fn channels(binary: &Binary, x: Values<'_>) -> Result<Groups, FitError> {
    Groups::along(x, binary.scale_axis.as_ref(), binary.elements_per_scale.as_ref())
}

/// Signs of values that are put on a coarse grid at random before; the scale is found behind it.
fn drawn_signs(element: Sign, binary: &Binary, fitter: &mut Fitter<'_>) -> Result<Fitted, FitError> {
    let x = fitter.values;
    let draws = fitter.draws(2);
    let ranges = channels(binary, x)?;
    let range: Vec<f32> =
        ranges.largest(x.data, 0.0, f32::abs).into_iter().map(|range| range.min(1.0)).collect();
    let at = |place: usize| SignAt { scale: 1.0, range: range[ranges.group(place)] };
    let values = x.data.iter().zip(&draws[0]).enumerate();
    let coarse: Vec<f32> = values.map(|(place, (x, draw))| element.coarse(at(place), *x, *draw)).collect();
    let (groups, scales) = match rule(binary, fitter) {
        None => given(binary.alpha.as_ref(), x)?,
        Some(rule) => {
            let groups = rule.groups(x.shape, &ranges);
            let code = |x, place: Place| element.code(x, draws[1][place.index]);
            let scales = rule.scales(Values { data: &coarse, ..x }, &groups, code);
            (groups, scales)
        }
    };
    // Range and scale may belong to different groups: each value is told both.
    let found = (0..x.data.len()).map(|place| SignAt { scale: scales[groups.group(place)], ..at(place) });
    let found = (Groups::each(x.shape), found.collect());
    Ok(Fitted::new(element, found, draws).with_scale_of(&groups, scales))
}
