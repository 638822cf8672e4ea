//! -1, 0 and 1: `ternary`.

use bitloop_core::qkeras::{Alpha, Ternary};

use super::FitError;
use super::element::{Element, Noise};
use super::fitted::{Fitted, Fitter};
use super::groups::{Groups, Place};
use super::math::{nearest_power, round_drawn, round_even, sign};
use super::scales::{LeastSquares, given};
use super::signs::Surrogate;
use crate::kernels::cuda::{Family, Found, Map};

/// Magnitude below which values are 0 if nothing else is said.
const THRESHOLD: f64 = 0.33;
/// Parts of a scale that a drawn value is rounded to.
const DRAWN_STEPS: f32 = 3.0;

/// Values that are 0 below a threshold.
struct Threshold {
    threshold: f32,
    surrogate: Surrogate,
}

impl Element for Threshold {
    type At = f32;

    #[inline(always)]
    fn value(&self, scale: f32, x: f32, _: [f32; 2]) -> f32 {
        let code = f32::from(u8::from(x.abs() >= self.threshold)) * sign(x);
        Noise::FULL.mix(self.surrogate.value(x), scale * code)
    }

    #[inline(always)]
    fn slope(&self, _: f32, x: f32) -> f32 {
        self.surrogate.slope(x)
    }

    fn map(&self) -> Map {
        let (flag, parameter) = (self.surrogate.flag(), self.threshold);
        Map { family: Family::Threshold, flag, parameter, ..Map::default() }
    }

    fn found(scale: f32) -> Found {
        [scale, 0.0]
    }
}

/// A scale, and that of the refinement before, which decides what is 0.
#[derive(Clone, Copy, Debug)]
struct At {
    scale: f32,
    before: f32,
}

/// Values that are 0 below half of a scale that was found.
struct Refined {
    drawn: bool,
}

impl Refined {
    #[inline(always)]
    fn code(&self, scale: f32, x: f32, draw: f32) -> f32 {
        let steps = x / scale;
        let steps = if self.drawn { round_drawn(steps, DRAWN_STEPS, draw) } else { round_even(steps) };
        // Of a group of zeros steps are NaN, and codes 0.
        f32::from(u8::from((scale * steps).abs() >= scale / 2.0)) * sign(x)
    }
}

impl Element for Refined {
    type At = At;

    #[inline(always)]
    fn value(&self, at: At, x: f32, [draw, _]: [f32; 2]) -> f32 {
        Noise::FULL.mix(x, at.scale * self.code(at.before, x, draw))
    }

    #[inline(always)]
    fn slope(&self, _: At, _: f32) -> f32 {
        1.0
    }

    fn map(&self) -> Map {
        Map { family: Family::Refined, drawn: i32::from(self.drawn), ..Map::default() }
    }

    fn found(at: At) -> Found {
        [at.scale, at.before]
    }
}

/// Finds the scales of ternary values.
///
/// Errors: scales that do not fit the values.
pub(super) fn fit(ternary: &Ternary, fitter: &mut Fitter<'_>) -> Result<Fitted, FitError> {
    let alpha = ternary.alpha.as_ref();
    let Some(rule) = LeastSquares::of(alpha, fitter.fitting.arithmetic) else {
        return fit_threshold(alpha, ternary.threshold, fitter);
    };
    let x = fitter.values;
    let element = Refined { drawn: ternary.use_stochastic_rounding && fitter.is_training() };
    let (groups, mut scales) = first_scales(rule, fitter);
    let mut before = scales.clone();
    let mut draws = Vec::new();
    for _ in 0..ternary.number_of_unrolls {
        draws = fitter.draws(usize::from(element.drawn));
        before = scales;
        let code = |x, place: Place| {
            let draw = draws.first().map_or(0.0, |draws| draws[place.index]);
            element.code(before[place.group], x, draw)
        };
        scales = rule.scales(x, &groups, code);
    }
    let found = scales.iter().zip(before).map(|(scale, before)| At { scale: *scale, before });
    Ok(Fitted::new(element, (groups, found.collect()), draws).with_scale(scales))
}

/// Two thirds of the largest magnitude of each group.
pub(super) fn first_scales(rule: LeastSquares, fitter: &Fitter<'_>) -> (Groups, Vec<f32>) {
    let x = fitter.values;
    let channels = Groups::channels(x);
    let largest = channels.largest(x.data, 0.0, f32::abs);
    let scales = largest.into_iter().map(|largest| 2.0 * largest / 3.0);
    let scales: Vec<f32> =
        scales.map(|scale| if rule.power { nearest_power(scale) } else { scale }).collect();
    let groups = rule.groups(x.shape, &channels);
    // All values share the first scale where afterwards each has its own.
    let scales = if scales.len() == groups.count { scales } else { vec![scales[0]; groups.count] };
    (groups, scales)
}

/// Prepares ternary values with given scales.
///
/// Errors: scales that do not fit the values.
pub(super) fn fit_threshold(
    alpha: Option<&Alpha>,
    threshold: Option<f64>,
    fitter: &Fitter<'_>,
) -> Result<Fitted, FitError> {
    let (groups, scales) = given(alpha, fitter.values)?;
    let threshold = threshold.unwrap_or(THRESHOLD) as f32;
    let element = Threshold { threshold, surrogate: Surrogate::of(alpha) };
    Ok(Fitted::new(element, (groups, scales.clone()), Vec::new()).with_scale(scales))
}
