//! Values that are drawn: `stochastic_binary`, `stochastic_ternary` and `bernoulli`.

use bitloop_core::qkeras::{Alpha, Bernoulli, Binary, StochasticBinary, StochasticTernary, Ternary};

use super::element::{Element, Noise};
use super::fitted::{Fitted, Fitter};
use super::groups::{Groups, Place};
use super::math::{EPSILON, hard_sigmoid, sigmoid, sign, sign_of};
use super::scales::{LeastSquares, deviations, given};
use super::signs::{self, Codes};
use super::ternary::{self, first_scales};
use super::{Arithmetic, FitError};
use crate::kernels::cuda::{Family, Found, Map};

/// The probability of the upper value.
#[derive(Clone, Copy, Debug)]
struct Chance {
    temperature: f32,
    real: bool,
}

impl Chance {
    #[inline(always)]
    fn of(self, x: f32) -> f32 {
        let steep = self.temperature * x;
        if self.real { sigmoid(steep) } else { hard_sigmoid(steep) }
    }

    /// The same for a GPU.
    fn within(self, map: Map) -> Map {
        Map { flag: i32::from(self.real), parameter: self.temperature, ..map }
    }
}

/// A scale, and the deviation that values are divided by.
#[derive(Clone, Copy, Debug)]
struct At {
    scale: f32,
    deviation: f32,
}

struct TwoValued {
    codes: Codes,
    chance: Chance,
}

impl Element for TwoValued {
    type At = At;

    #[inline(always)]
    fn value(&self, at: At, x: f32, [draw, _]: [f32; 2]) -> f32 {
        let chance = self.chance.of(x / at.deviation);
        Noise::FULL.mix(x, at.scale * self.codes.of(sign_of(chance - draw)))
    }

    #[inline(always)]
    fn slope(&self, _: At, _: f32) -> f32 {
        1.0
    }

    fn map(&self) -> Map {
        let option = i32::from(self.codes.from_zero);
        self.chance.within(Map { family: Family::TwoValued, option, ..Map::default() })
    }

    fn found(at: At) -> Found {
        [at.scale, at.deviation]
    }
}

struct ThreeValued {
    chance: Chance,
}

impl Element for ThreeValued {
    type At = At;

    #[inline(always)]
    fn value(&self, at: At, x: f32, [below, above]: [f32; 2]) -> f32 {
        let (x_norm, threshold) = (x / at.deviation, at.scale / (2.0 * at.deviation));
        let low = sign_of(self.chance.of(x_norm - threshold) - below);
        let high = sign_of(self.chance.of(x_norm + threshold) - above);
        Noise::FULL.mix(x, at.scale * ((low + high) / 2.0))
    }

    #[inline(always)]
    fn slope(&self, _: At, _: f32) -> f32 {
        1.0
    }

    fn map(&self) -> Map {
        self.chance.within(Map { family: Family::ThreeValued, ..Map::default() })
    }

    fn found(at: At) -> Found {
        [at.scale, at.deviation]
    }
}

/// Finds the scales of signs, and draws them in training; in inference they are those of `binary`.
///
/// Errors: scales that do not fit the values.
pub(super) fn fit_binary(binary: &StochasticBinary, fitter: &mut Fitter<'_>) -> Result<Fitted, FitError> {
    if !fitter.is_training() {
        return signs::fit(&Binary { alpha: binary.alpha.clone(), ..Binary::default() }, fitter);
    }
    let chance = Chance { temperature: binary.temperature as f32, real: binary.use_real_sigmoid };
    two_valued(TwoValued { codes: Codes { from_zero: false }, chance }, binary.alpha.as_ref(), fitter)
}

/// Finds the scales of 0 and 1, and draws them.
///
/// Errors: scales that do not fit the values.
pub(super) fn fit_bernoulli(bernoulli: &Bernoulli, fitter: &mut Fitter<'_>) -> Result<Fitted, FitError> {
    let chance = Chance { temperature: bernoulli.temperature as f32, real: bernoulli.use_real_sigmoid };
    two_valued(TwoValued { codes: Codes { from_zero: true }, chance }, bernoulli.alpha.as_ref(), fitter)
}

fn two_valued(
    element: TwoValued,
    alpha: Option<&Alpha>,
    fitter: &mut Fitter<'_>,
) -> Result<Fitted, FitError> {
    let x = fitter.values;
    let draws = fitter.draws(1);
    let Some(rule) = LeastSquares::of(alpha, fitter.fitting.arithmetic) else {
        let (groups, scales) = given(alpha, x)?;
        let found = scales.iter().map(|scale| At { scale: *scale, deviation: 1.0 }).collect();
        return Ok(Fitted::new(element, (groups, found), draws).with_scale(scales));
    };
    // What is drawn has no part in the scale.
    let code = |x, _: Place| element.codes.of(sign_of(x));
    let channels = Groups::channels(x);
    let groups = rule.groups(x.shape, &channels);
    let scales = rule.scales(x, &groups, code);
    let found = with_deviations(&scales, &groups, fitter);
    Ok(Fitted::new(element, (groups, found), draws).with_scale(scales))
}

/// Puts the deviation of its channel beside every scale.
fn with_deviations(scales: &[f32], groups: &Groups, fitter: &Fitter<'_>) -> Vec<At> {
    let channels = Groups::channels(fitter.values);
    let deviations = deviations(fitter.values, &channels);
    let shared = groups.count != channels.count;
    let at = |(group, scale): (usize, &f32)| {
        let deviation = deviations[if shared { channels.group(group) } else { group }];
        At { scale: *scale, deviation: deviation + EPSILON }
    };
    scales.iter().enumerate().map(at).collect()
}

/// Finds the scales of ternary values, and draws them in training; in inference they are those of `ternary`.
///
/// Errors: `DrawnTernary`, scales that do not fit the values.
pub(super) fn fit_ternary(
    parameters: &StochasticTernary,
    fitter: &mut Fitter<'_>,
) -> Result<Fitted, FitError> {
    let alpha = parameters.alpha.as_ref();
    let rule = LeastSquares::of(alpha, fitter.fitting.arithmetic);
    if !fitter.is_training() {
        let settled = Ternary {
            alpha: parameters.alpha.clone(),
            threshold: parameters.threshold,
            number_of_unrolls: parameters.number_of_unrolls,
            ..Ternary::default()
        };
        return ternary::fit(&settled, fitter);
    }
    let x = fitter.values;
    let (groups, scales) = match (rule, fitter.fitting.arithmetic) {
        (None, Arithmetic::Qkeras) => return Err(FitError::DrawnTernary),
        (None, Arithmetic::Corrected) => given(alpha, x)?,
        (Some(rule), _) => {
            let (groups, mut scales) = first_scales(rule, fitter);
            for _ in 0..parameters.number_of_unrolls {
                let code = |x: f32, place: Place| {
                    f32::from(u8::from(x.abs() >= scales[place.group] / 2.0)) * sign(x)
                };
                scales = rule.scales(x, &groups, code);
            }
            (groups, scales)
        }
    };
    let found = match rule {
        Some(_) => with_deviations(&scales, &groups, fitter),
        // A given scale says what is large.
        None => scales.iter().map(|scale| At { scale: *scale, deviation: 1.0 }).collect(),
    };
    let chance = Chance { temperature: parameters.temperature as f32, real: parameters.use_real_sigmoid };
    let draws = fitter.draws(2);
    Ok(Fitted::new(ThreeValued { chance }, (groups, found), draws).with_scale(scales))
}
