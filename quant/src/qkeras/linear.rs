//! Fixed point that is clipped before it is rounded: `quantized_linear`.

use bitloop_core::qkeras::{LinearGrid, QuantizedLinear};

use super::FitError;
use super::element::Element;
use super::fitted::{Fitted, Fitter};
use super::groups::{Groups, Place};
use super::math::{EPSILON, clip, nearest_power, round_drawn, round_even};
use super::scales::{LeastSquares, given};
use crate::kernels::cuda::{Family, Found, Map};

/// How often a scale that is a power of two is refined at most, if there are more codes than signs.
const REFINEMENTS_MAX: usize = 5;

struct Linear {
    low: f32,
    high: f32,
    shift: f32,
    noise: f32,
    drawn: bool,
}

impl Linear {
    fn new(linear: &QuantizedLinear, grid: LinearGrid, drawn: bool) -> Self {
        let (low, high, shift) = (grid.low as f32, grid.high as f32, grid.shift as f32);
        Self { low, high, shift, noise: linear.qnoise_factor as f32, drawn }
    }

    /// The code of a value for steps of a size.
    #[inline(always)]
    fn code(&self, step: f32, x: f32, draw: f32) -> f32 {
        let steps = clip(x / step, self.low, self.high) - self.shift;
        let code = if self.drawn { round_drawn(steps, 1.0, draw) } else { round_even(steps) };
        code + self.shift
    }
}

impl Element for Linear {
    type At = f32;

    #[inline(always)]
    fn value(&self, step: f32, x: f32, [draw, _]: [f32; 2]) -> f32 {
        x + self.noise * (step * self.code(step, x, draw) - x)
    }

    #[inline(always)]
    fn slope(&self, step: f32, x: f32) -> f32 {
        let steps = x / step;
        let inside = f32::from(u8::from(steps >= self.low && steps <= self.high));
        1.0 + self.noise * (inside - 1.0)
    }

    fn map(&self) -> Map {
        Map {
            family: Family::Linear,
            drawn: i32::from(self.drawn),
            low: self.low,
            high: self.high,
            noise: self.noise,
            parameter: self.shift,
            ..Map::default()
        }
    }

    fn found(step: f32) -> Found {
        [step, 0.0]
    }
}

/// Finds the sizes of steps.
///
/// Errors: axes or scales that do not fit the values.
pub(super) fn fit(linear: &QuantizedLinear, fitter: &mut Fitter<'_>) -> Result<Fitted, FitError> {
    let grid = linear.grid();
    let element = Linear::new(linear, grid, linear.use_stochastic_rounding && fitter.is_training());
    let step = grid.step as f32;
    let (groups, steps) = match LeastSquares::of(linear.alpha.as_ref(), fitter.fitting.arithmetic) {
        Some(rule) => found(linear, &element, (fitter, rule))?,
        None => {
            let (groups, scales) = given(linear.alpha.as_ref(), fitter.values)?;
            (groups, scales.into_iter().map(|scale| scale * step).collect())
        }
    };
    let draws = fitter.draws(usize::from(element.drawn));
    let scales = steps.iter().map(|found| found / step).collect();
    Ok(Fitted::new(element, (groups, steps), draws).with_scale(scales))
}

/// The steps that the largest values ask for, as powers of two refined until nothing changes.
fn found(
    linear: &QuantizedLinear,
    element: &Linear,
    (fitter, rule): (&Fitter<'_>, LeastSquares),
) -> Result<(Groups, Vec<f32>), FitError> {
    let x = fitter.values;
    let groups = Groups::along(x, linear.scale_axis.as_ref(), None)?;
    let codes = element.high - element.low;
    let steps = if linear.keep_negative {
        let largest = groups.largest(x.data, 0.0, f32::abs);
        largest.into_iter().map(|largest| largest * 2.0 / codes).collect::<Vec<_>>()
    } else {
        let largest = groups.largest(x.data, f32::NEG_INFINITY, |x| x);
        largest.into_iter().map(|largest| largest / codes).collect()
    };
    let mut steps: Vec<f32> =
        steps.into_iter().map(|step| if step > EPSILON { step } else { EPSILON }).collect();
    if !rule.power {
        return Ok((groups, steps));
    }
    steps.iter_mut().for_each(|step| *step = nearest_power(*step));
    let settled = Linear { drawn: false, ..*element };
    for _ in 0..if element.shift == 0.0 { REFINEMENTS_MAX } else { 1 } {
        let code = |x, place: Place| settled.code(steps[place.group], x, 0.0);
        let refined = rule.scales(x, &groups, code);
        if refined == steps {
            break;
        }
        steps = refined;
    }
    Ok((groups, steps))
}
