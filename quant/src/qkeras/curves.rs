//! Curves in fixed point: `quantized_tanh`, `quantized_sigmoid`, `quantized_ulaw` and `quantized_hswish`.

use bitloop_core::qkeras::{QuantizedHswish, QuantizedSigmoid, QuantizedTanh, QuantizedUlaw};

use super::element::{Element, Pass};
use super::fitted::{Fitted, Fitter};
use super::groups::Groups;
use super::math::{clip, hard_sigmoid, power_of_two, round_drawn, round_even, sigmoid, sign};
use super::{FitError, Values, bits};

/// A bounded curve with its derivative.
#[derive(Clone, Copy, Debug)]
enum Curve {
    Tanh,
    /// `2 hard_sigmoid(x) - 1`.
    HardTanh,
    Sigmoid,
    HardSigmoid,
}

/// Where a hard sigmoid grows, its ends included.
#[inline(always)]
fn grows(x: f32) -> f32 {
    let line = 0.5 * x + 0.5;
    f32::from(u8::from((0.0..=1.0).contains(&line)))
}

impl Curve {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        match self {
            Self::Tanh => libm::tanhf(x),
            Self::HardTanh => 2.0 * hard_sigmoid(x) - 1.0,
            Self::Sigmoid => sigmoid(x),
            Self::HardSigmoid => hard_sigmoid(x),
        }
    }

    #[inline(always)]
    fn slope(self, x: f32) -> f32 {
        match self {
            Self::Tanh => 1.0 - libm::tanhf(x) * libm::tanhf(x),
            Self::HardTanh => grows(x),
            Self::Sigmoid => sigmoid(x) * (1.0 - sigmoid(x)),
            Self::HardSigmoid => 0.5 * grows(x),
        }
    }
}

/// A curve's value rounded, then clipped, with the gradient of both.
struct Rounded {
    curve: Curve,
    codes: f32,
    low: f32,
    high: f32,
    drawn: bool,
}

impl Rounded {
    #[inline(always)]
    fn code(&self, x: f32, draw: f32) -> f32 {
        let steps = self.curve.value(x) * self.codes;
        let code = if self.drawn { round_drawn(steps, 1.0, draw) } else { round_even(steps) };
        code / self.codes
    }
}

impl Element for Rounded {
    type At = ();

    #[inline(always)]
    fn value(&self, (): (), x: f32, [draw, _]: [f32; 2]) -> f32 {
        clip(self.code(x, draw), self.low, self.high)
    }

    #[inline(always)]
    fn slope(&self, (): (), x: f32) -> f32 {
        let code = round_even(self.curve.value(x) * self.codes) / self.codes;
        self.curve.slope(x) * f32::from(u8::from(code >= self.low && code <= self.high))
    }
}

/// Prepares a hyperbolic tangent.
pub(super) fn fit_tanh(tanh: &QuantizedTanh, fitter: &mut Fitter<'_>) -> Result<Fitted, FitError> {
    let codes = power_of_two(tanh.bits as f32 - 1.0);
    let element = Rounded {
        curve: if tanh.use_real_tanh { Curve::Tanh } else { Curve::HardTanh },
        codes,
        low: f32::from(u8::from(tanh.symmetric)) / codes - 1.0,
        high: 1.0 - 1.0 / codes,
        drawn: tanh.use_stochastic_rounding && fitter.is_training(),
    };
    Ok(rounded(element, fitter))
}

/// Prepares a sigmoid.
pub(super) fn fit_sigmoid(
    parameters: &QuantizedSigmoid,
    fitter: &mut Fitter<'_>,
) -> Result<Fitted, FitError> {
    let codes = power_of_two(parameters.bits as f32);
    let element = Rounded {
        curve: if parameters.use_real_sigmoid { Curve::Sigmoid } else { Curve::HardSigmoid },
        codes,
        low: f32::from(u8::from(parameters.symmetric)) / codes,
        high: 1.0 - 1.0 / codes,
        drawn: parameters.use_stochastic_rounding && fitter.is_training(),
    };
    Ok(rounded(element, fitter))
}

fn rounded(element: Rounded, fitter: &mut Fitter<'_>) -> Fitted {
    let draws = fitter.draws(usize::from(element.drawn));
    Fitted::new(element, (Groups::whole(), vec![()]), draws)
}

/// Companding by a logarithm.
struct Ulaw {
    unit: f32,
    unit_inverse: f32,
    codes: f32,
    u: f32,
    low: f32,
    high: f32,
}

impl Ulaw {
    #[inline(always)]
    fn share(&self, x: f32) -> f32 {
        let steps = hard_sigmoid(x * self.unit_inverse) * self.codes;
        2.0 * (round_even(steps) / self.codes) - 1.0
    }

    #[inline(always)]
    fn companded(&self, share: f32) -> f32 {
        sign(share) * libm::logf(1.0 + self.u * share.abs()) / libm::logf(1.0 + self.u)
    }
}

impl Element for Ulaw {
    type At = ();

    #[inline(always)]
    fn value(&self, (): (), x: f32, _: [f32; 2]) -> f32 {
        self.unit * clip(self.companded(self.share(x)), self.low, self.high)
    }

    #[inline(always)]
    fn slope(&self, (): (), x: f32) -> f32 {
        let share = self.share(x);
        let companded = self.companded(share);
        let inside = f32::from(u8::from(companded >= self.low && companded <= self.high));
        // At 0 the derivative of a magnitude counts as 0, and so does that of its sign.
        let steep = self.u / (1.0 + self.u * share.abs()) / libm::logf(1.0 + self.u);
        inside * steep * sign(share).abs() * grows(x * self.unit_inverse)
    }
}

/// Prepares companding.
pub(super) fn fit_ulaw(ulaw: &QuantizedUlaw) -> Fitted {
    let codes = power_of_two(ulaw.bits as f32 - 1.0);
    let element = Ulaw {
        unit: power_of_two(ulaw.integer as f32),
        unit_inverse: power_of_two(-ulaw.integer as f32),
        codes,
        u: ulaw.u as f32,
        low: f32::from(u8::from(ulaw.symmetric)) / codes - 1.0,
        high: 1.0 - 1.0 / codes,
    };
    Fitted::new(element, (Groups::whole(), vec![()]), Vec::new())
}

/// `x min(relu(x + shift), bound) / bound`.
#[derive(Clone, Copy, Debug)]
struct HardSwish {
    shift: f32,
    bound: f32,
}

impl HardSwish {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        x * clip(x + self.shift, 0.0, self.bound) / self.bound
    }

    #[inline(always)]
    fn slope(self, x: f32) -> f32 {
        let gate = x + self.shift;
        let grows = f32::from(u8::from(gate > 0.0 && gate < self.bound));
        clip(gate, 0.0, self.bound) / self.bound + x * grows / self.bound
    }

    fn values(self, x: &[f32]) -> Vec<f32> {
        x.iter().map(|x| self.value(*x)).collect()
    }
}

/// A hard swish before a quantizer.
struct Through {
    swish: HardSwish,
    quantizer: Box<dyn Pass>,
}

impl Pass for Through {
    fn forward(&self, x: &[f32], y: &mut [f32]) {
        self.quantizer.forward(&self.swish.values(x), y);
    }

    fn backward(&self, x: &[f32], gradient: &[f32], passed: &mut [f32]) {
        self.quantizer.backward(&self.swish.values(x), gradient, passed);
        passed.iter_mut().zip(x).for_each(|(passed, x)| *passed *= self.swish.slope(*x));
    }
}

/// Finds the scales of a hard swish.
///
/// Errors: those of fixed point.
pub(super) fn fit_hswish(parameters: &QuantizedHswish, fitter: &mut Fitter<'_>) -> Result<Fitted, FitError> {
    let swish = HardSwish { shift: parameters.relu_shift as f32, bound: parameters.relu_upper_bound as f32 };
    let values = swish.values(fitter.values.data);
    let mut behind = fitter.with(Values { data: &values, ..fitter.values });
    let fitted = bits::fit(&parameters.fixed_point(), &mut behind)?;
    Ok(fitted.behind(|quantizer| Box::new(Through { swish, quantizer })))
}
