//! Curves in fixed point: `quantized_tanh`, `quantized_sigmoid`, `quantized_ulaw` and `quantized_hswish`.

use std::marker::PhantomData;

use bitloop_core::qkeras::{QuantizedHswish, QuantizedSigmoid, QuantizedTanh, QuantizedUlaw};

use super::element::{Element, Pass};
use super::fitted::{Fitted, Fitter};
use super::groups::Groups;
use super::math::{clip, hard_sigmoid, power_of_two, round_drawn, round_even, sigmoid, sign};
use super::{FitError, Values, bits};
use crate::kernels::cuda::{Family, FittedMap, Found, Map};

/// A bounded curve with its derivative.
trait Curve: Send + Sync + 'static {
    /// Its number on a GPU.
    const NUMBER: i32;

    fn value(x: f32) -> f32;
    fn slope(x: f32) -> f32;
}

struct Tanh;
/// `2 hard_sigmoid(x) - 1`.
struct HardTanh;
struct Sigmoid;
struct HardSigmoid;

/// Where a hard sigmoid grows, its ends included.
#[inline(always)]
fn grows(x: f32) -> f32 {
    let line = 0.5 * x + 0.5;
    f32::from(u8::from(line >= 0.0)) * f32::from(u8::from(line <= 1.0))
}

impl Curve for Tanh {
    const NUMBER: i32 = 0;

    fn value(x: f32) -> f32 {
        libm::tanhf(x)
    }

    fn slope(x: f32) -> f32 {
        let value = libm::tanhf(x);
        1.0 - value * value
    }
}

impl Curve for HardTanh {
    const NUMBER: i32 = 1;

    #[inline(always)]
    fn value(x: f32) -> f32 {
        2.0 * hard_sigmoid(x) - 1.0
    }

    #[inline(always)]
    fn slope(x: f32) -> f32 {
        grows(x)
    }
}

impl Curve for Sigmoid {
    const NUMBER: i32 = 2;

    fn value(x: f32) -> f32 {
        sigmoid(x)
    }

    fn slope(x: f32) -> f32 {
        let value = sigmoid(x);
        value * (1.0 - value)
    }
}

impl Curve for HardSigmoid {
    const NUMBER: i32 = 3;

    #[inline(always)]
    fn value(x: f32) -> f32 {
        hard_sigmoid(x)
    }

    #[inline(always)]
    fn slope(x: f32) -> f32 {
        0.5 * grows(x)
    }
}

/// A curve's value rounded, then clipped, with the gradient of both.
struct Rounded<C> {
    curve: PhantomData<C>,
    codes: f32,
    codes_inverse: f32,
    low: f32,
    high: f32,
    drawn: bool,
}

impl<C: Curve> Rounded<C> {
    /// Codes between ends given in codes.
    fn fitted(bits: u32, [low, high]: [f32; 2], drawn: bool, fitter: &mut Fitter<'_>) -> Fitted {
        let (codes, codes_inverse) = (power_of_two(bits as f32), power_of_two(-(bits as f32)));
        let drawn = drawn && fitter.is_training();
        let (low, high) = (low * codes_inverse, high * codes_inverse);
        let element = Self { curve: PhantomData, codes, codes_inverse, low, high, drawn };
        let draws = fitter.draws(usize::from(drawn));
        Fitted::new(element, (Groups::whole(), vec![()]), draws)
    }
}

impl<C: Curve> Element for Rounded<C> {
    type At = ();

    #[inline(always)]
    fn value(&self, (): (), x: f32, [draw, _]: [f32; 2]) -> f32 {
        let steps = C::value(x) * self.codes;
        let code = if self.drawn { round_drawn(steps, 1.0, draw) } else { round_even(steps) };
        clip(code * self.codes_inverse, self.low, self.high)
    }

    #[inline(always)]
    fn slope(&self, (): (), x: f32) -> f32 {
        let rounded = round_even(C::value(x) * self.codes) * self.codes_inverse;
        let above = f32::from(u8::from(rounded >= self.low));
        C::slope(x) * above * f32::from(u8::from(rounded <= self.high))
    }

    fn map(&self) -> Map {
        Map {
            family: Family::Curve,
            option: C::NUMBER,
            drawn: i32::from(self.drawn),
            codes: self.codes,
            codes_inverse: self.codes_inverse,
            low: self.low,
            high: self.high,
            ..Map::default()
        }
    }

    fn found((): ()) -> Found {
        [0.0; 2]
    }
}

/// Prepares a hyperbolic tangent.
pub(super) fn fit_tanh(tanh: &QuantizedTanh, fitter: &mut Fitter<'_>) -> Fitted {
    let bits = tanh.bits - 1;
    let codes = power_of_two(bits as f32);
    let ends = [f32::from(u8::from(tanh.symmetric)) - codes, codes - 1.0];
    let fit = if tanh.use_real_tanh { Rounded::<Tanh>::fitted } else { Rounded::<HardTanh>::fitted };
    fit(bits, ends, tanh.use_stochastic_rounding, fitter)
}

/// Prepares a sigmoid.
pub(super) fn fit_sigmoid(parameters: &QuantizedSigmoid, fitter: &mut Fitter<'_>) -> Fitted {
    let bits = parameters.bits;
    let ends = [f32::from(u8::from(parameters.symmetric)), power_of_two(bits as f32) - 1.0];
    let real = parameters.use_real_sigmoid;
    let fit = if real { Rounded::<Sigmoid>::fitted } else { Rounded::<HardSigmoid>::fitted };
    fit(bits, ends, parameters.use_stochastic_rounding, fitter)
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

    fn map(&self) -> Map {
        Map {
            family: Family::Ulaw,
            codes: self.codes,
            unit: self.unit,
            unit_inverse: self.unit_inverse,
            low: self.low,
            high: self.high,
            parameter: self.u,
            ..Map::default()
        }
    }

    fn found((): ()) -> Found {
        [0.0; 2]
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

    fn map(&self) -> FittedMap<'_> {
        let behind = self.quantizer.map();
        let HardSwish { shift, bound } = self.swish;
        FittedMap { map: Map { swish_shift: shift, swish_bound: bound, ..behind.map }, ..behind }
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
