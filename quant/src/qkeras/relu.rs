//! ReLU in fixed point: `quantized_relu`.

use bitloop_core::qkeras::QuantizedRelu;

use super::element::{Element, Noise};
use super::fitted::{Fitted, Fitter};
use super::groups::Groups;
use super::math::{clip, hard_sigmoid, power_of_two, round_drawn, round_even};
use super::{Arithmetic, FitError};
use crate::kernels::cuda::{Family, Found, Map};

/// ReLU or leaky ReLU, cut off at a bound.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaky {
    pub(super) slope: f32,
    pub(super) bound: f32,
}

impl Leaky {
    #[inline(always)]
    pub(super) fn value(self, x: f32) -> f32 {
        let leaky = if x > 0.0 { x } else { self.slope * x };
        if x <= self.bound { leaky } else { self.bound }
    }

    #[inline(always)]
    pub(super) fn slope(self, x: f32) -> f32 {
        let leaky = if x > 0.0 { 1.0 } else { self.slope };
        if x <= self.bound { leaky } else { 0.0 }
    }
}

/// How codes are rounded.
#[derive(Clone, Copy, Debug)]
enum Rounding {
    Nearest,
    /// At random, to multiples of `1 / steps`.
    Drawn(f32),
}

impl Rounding {
    #[inline(always)]
    fn round(self, x: f32, draw: f32) -> f32 {
        match self {
            Self::Nearest => round_even(x),
            Self::Drawn(steps) => round_drawn(x, steps, draw),
        }
    }
}

/// Which of the branches there are is known to the compiler, so that the plain ones become vectors.
struct Relu<const SIGMOID: bool, const SLOPED: bool> {
    leaky: Leaky,
    codes: f32,
    codes_inverse: f32,
    unit: f32,
    unit_inverse: f32,
    rounding: Rounding,
    noise: Noise,
    /// What quantized values are cut off at.
    most: f32,
}

impl<const SIGMOID: bool, const SLOPED: bool> Relu<SIGMOID, SLOPED> {
    fn new(relu: &QuantizedRelu, rounding: Rounding) -> Self {
        let (bits, integer) = (relu.unsigned_bits() as f32, relu.integer as f32);
        let unit = power_of_two(integer);
        let upper = relu.relu_upper_bound.filter(|_| !relu.is_quantized_clip);
        let upper = upper.map_or(f32::INFINITY, |bound| bound as f32);
        let bound = if relu.is_quantized_clip { unit - power_of_two(integer - bits) } else { upper };
        Self {
            leaky: Leaky { slope: relu.negative_slope as f32, bound },
            codes: power_of_two(bits),
            codes_inverse: power_of_two(-bits),
            unit,
            unit_inverse: power_of_two(-integer),
            rounding,
            noise: Noise::new(relu.qnoise_factor, relu.use_ste),
            most: upper,
        }
    }

    fn fitted(self, fitter: &mut Fitter<'_>) -> Fitted {
        let tensors = match self.rounding {
            Rounding::Nearest => 0,
            Rounding::Drawn(_) => 1 + usize::from(SLOPED),
        };
        let draws = fitter.draws(tensors);
        Fitted::new(self, (Groups::whole(), vec![()]), draws)
    }

    #[inline(always)]
    fn quantized(&self, x: f32, [draw, negative]: [f32; 2]) -> f32 {
        let slope = self.leaky.slope;
        let top = 1.0 - self.codes_inverse;
        let steps = if SIGMOID {
            hard_sigmoid(x * self.unit_inverse) * self.codes
        } else {
            x * self.codes * self.unit_inverse
        };
        let spread = |share: f32| if SIGMOID { 2.0 * share - 1.0 } else { share };
        let positive = spread(self.rounding.round(steps, draw) * self.codes_inverse);
        let mut quantized = self.unit * clip(positive, 0.0, top);
        if SLOPED {
            let share = self.rounding.round(steps * slope, negative) * (self.codes_inverse / slope);
            quantized += (self.unit * slope) * clip(spread(share), -1.0, 0.0);
        }
        if quantized > self.most { self.most } else { quantized }
    }
}

impl<const SIGMOID: bool, const SLOPED: bool> Element for Relu<SIGMOID, SLOPED> {
    type At = ();

    #[inline(always)]
    fn value(&self, (): (), x: f32, draws: [f32; 2]) -> f32 {
        self.noise.mix(self.leaky.value(x), self.quantized(x, draws))
    }

    #[inline(always)]
    fn slope(&self, (): (), x: f32) -> f32 {
        self.noise.slope() * self.leaky.slope(x)
    }

    fn map(&self) -> Map {
        let (drawn, parameter) = match self.rounding {
            Rounding::Nearest => (0, 1.0),
            Rounding::Drawn(steps) => (1, steps),
        };
        self.noise.of(Map {
            family: Family::Relu,
            option: i32::from(SIGMOID),
            drawn,
            codes: self.codes,
            codes_inverse: self.codes_inverse,
            unit: self.unit,
            unit_inverse: self.unit_inverse,
            slope: self.leaky.slope,
            bound: self.leaky.bound,
            most: self.most,
            parameter,
            ..Map::default()
        })
    }

    fn found((): ()) -> Found {
        [0.0; 2]
    }
}

/// Codes of the whole width at their nearest, without the float values they stand for.
struct Fast {
    codes: f32,
    codes_inverse: f32,
    unit: f32,
}

impl Element for Fast {
    type At = ();

    #[inline(always)]
    fn value(&self, (): (), x: f32, _: [f32; 2]) -> f32 {
        let share = round_even(x * self.codes) * self.codes_inverse;
        self.unit * clip(share, 0.0, 1.0 - self.codes_inverse)
    }

    fn slope(&self, (): (), _: f32) -> f32 {
        0.0
    }

    fn map(&self) -> Map {
        let Self { codes, codes_inverse, unit } = *self;
        Map { family: Family::FastRelu, codes, codes_inverse, unit, ..Map::default() }
    }

    fn found((): ()) -> Found {
        [0.0; 2]
    }
}

/// Prepares a ReLU.
pub(super) fn fit(relu: &QuantizedRelu, fitter: &mut Fitter<'_>) -> Result<Fitted, FitError> {
    if relu.enable_fast_inference {
        let (bits, integer) = (relu.bits as f32, relu.integer as f32);
        let fast = Fast {
            codes: power_of_two(bits - integer),
            codes_inverse: power_of_two(-bits),
            unit: power_of_two(integer),
        };
        return Ok(Fitted::new(fast, (Groups::whole(), vec![()]), Vec::new()));
    }
    let rounding = match (relu.use_stochastic_rounding && fitter.is_training(), fitter.fitting.arithmetic) {
        (false, _) => Rounding::Nearest,
        // QKeras forgets to say that its codes are whole, and rounds to halves of them.
        (true, Arithmetic::Qkeras) => Rounding::Drawn(2.0),
        (true, Arithmetic::Corrected) => Rounding::Drawn(1.0),
    };
    Ok(match (relu.use_sigmoid, relu.negative_slope > 0.0) {
        (false, false) => Relu::<false, false>::new(relu, rounding).fitted(fitter),
        (false, true) => Relu::<false, true>::new(relu, rounding).fitted(fitter),
        (true, false) => Relu::<true, false>::new(relu, rounding).fitted(fitter),
        (true, true) => Relu::<true, true>::new(relu, rounding).fitted(fitter),
    })
}
