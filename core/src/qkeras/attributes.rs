use super::*;

/// The exponents of a power-of-two quantizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Po2Exponents {
    /// The smallest.
    pub min: i32,
    /// The largest.
    pub max: i32,
}

impl Po2Exponents {
    /// Returns what `bits` without a sign hold: `-2^e ..= 2^e - 1` where `e` is without the exponents' sign, which is
    /// saved if no value is above 1.
    ///
    /// Quadratic approximation halves the largest before it is doubled again, rounding down.
    fn new(bits: u32, max_value: Option<f64>, quadratic: bool) -> Self {
        let sign = u32::from(max_value.is_none_or(|max| max > 1.0));
        let count = 1 << bits.saturating_sub(sign).min(30);
        let max: i32 = count - 1;
        Self { min: -count, max: if quadratic { 2 * max.div_euclid(2) } else { max } }
    }

    fn largest(self, max_value: Option<f64>) -> f64 {
        max_value.map_or_else(|| power(self.max), |max| max.max(1.0))
    }
}

/// The grid of [`QuantizedLinear`] in steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearGrid {
    /// Lowest code.
    pub low: f64,
    /// Highest code.
    pub high: f64,
    /// How far codes are from whole numbers: a half for a sign alone.
    pub shift: f64,
    /// Size of a step where alpha is 1.
    pub step: f64,
}

impl QuantizedBits {
    /// Bits without the sign.
    pub fn unsigned_bits(&self) -> u32 {
        self.bits - u32::from(self.keep_negative)
    }
}

impl QuantizedRelu {
    /// Bits without the sign that a slope takes.
    pub fn unsigned_bits(&self) -> u32 {
        self.bits - u32::from(self.negative_slope != 0.0)
    }
}

impl QuantizedPo2 {
    /// The exponents it gives.
    pub fn exponents(&self) -> Po2Exponents {
        Po2Exponents::new(self.bits.saturating_sub(1), self.max_value, self.quadratic_approximation)
    }
}

impl QuantizedReluPo2 {
    /// The exponents it gives.
    pub fn exponents(&self) -> Po2Exponents {
        Po2Exponents::new(self.bits, self.max_value, self.quadratic_approximation)
    }
}

impl QuantizedLinear {
    /// The grid in steps.
    pub fn grid(&self) -> LinearGrid {
        let sign = u32::from(self.keep_negative);
        let step = power(self.integer - self.bits as i32 + sign as i32);
        if self.keep_negative && self.bits == 1 {
            return LinearGrid { low: -0.5, high: 0.5, shift: 0.5, step };
        }
        let codes = power((self.bits - sign) as i32);
        let low = f64::from(sign) * (f64::from(u8::from(self.symmetric)) - codes);
        LinearGrid { low, high: codes - 1.0, shift: 0.0, step }
    }
}

impl QuantizedHswish {
    /// The fixed point that results are put in.
    pub fn fixed_point(&self) -> QuantizedBits {
        QuantizedBits {
            bits: self.bits,
            integer: self.integer,
            symmetric: self.symmetric,
            alpha: self.alpha.clone(),
            use_stochastic_rounding: self.use_stochastic_rounding,
            scale_axis: self.scale_axis.clone(),
            qnoise_factor: self.qnoise_factor,
            ..QuantizedBits::default()
        }
    }
}

impl Quantizer {
    /// Width of a value, with its sign.
    pub fn bits(&self) -> u32 {
        match self {
            Self::Bits(parameters) => parameters.bits,
            Self::Relu(parameters) => parameters.bits,
            Self::Po2(parameters) => parameters.bits,
            Self::ReluPo2(parameters) => parameters.bits,
            Self::Tanh(parameters) => parameters.bits,
            Self::Sigmoid(parameters) => parameters.bits,
            Self::Linear(parameters) => parameters.bits,
            Self::Ulaw(parameters) => parameters.bits,
            Self::Hswish(parameters) => parameters.bits,
            Self::Binary(_) | Self::StochasticBinary(_) | Self::Bernoulli(_) => 1,
            Self::Ternary(_) | Self::StochasticTernary(_) => 2,
        }
    }

    /// Bits before the point without the sign, of those that have a point.
    pub fn integer(&self) -> Option<i32> {
        match self {
            Self::Bits(parameters) => Some(parameters.integer),
            Self::Relu(parameters) => Some(parameters.integer),
            Self::Linear(parameters) => Some(parameters.integer),
            Self::Ulaw(parameters) => Some(parameters.integer),
            Self::Hswish(parameters) => Some(parameters.integer),
            Self::Po2(_) | Self::ReluPo2(_) | Self::Tanh(_) | Self::Sigmoid(_) => None,
            Self::Binary(_) | Self::StochasticBinary(_) | Self::Bernoulli(_) => None,
            Self::Ternary(_) | Self::StochasticTernary(_) => None,
        }
    }

    /// Says whether there are negative values.
    pub fn is_signed(&self) -> bool {
        match self {
            Self::Bits(parameters) => parameters.keep_negative,
            Self::Linear(parameters) => parameters.keep_negative,
            Self::Relu(parameters) => parameters.negative_slope != 0.0,
            Self::ReluPo2(parameters) => parameters.negative_slope != 0.0,
            Self::Binary(parameters) => !parameters.use_01,
            Self::Bernoulli(_) | Self::Sigmoid(_) => false,
            Self::Po2(_) | Self::Tanh(_) | Self::Ulaw(_) | Self::Hswish(_) => true,
            Self::Ternary(_) | Self::StochasticTernary(_) | Self::StochasticBinary(_) => true,
        }
    }

    /// The scale's rule, of those that have one; none within is 1.
    pub fn alpha(&self) -> Option<&Alpha> {
        match self {
            Self::Bits(parameters) => parameters.alpha.as_ref(),
            Self::Linear(parameters) => parameters.alpha.as_ref(),
            Self::Hswish(parameters) => parameters.alpha.as_ref(),
            Self::Binary(parameters) => parameters.alpha.as_ref(),
            Self::Ternary(parameters) => parameters.alpha.as_ref(),
            Self::StochasticTernary(parameters) => parameters.alpha.as_ref(),
            Self::StochasticBinary(parameters) => parameters.alpha.as_ref(),
            Self::Bernoulli(parameters) => parameters.alpha.as_ref(),
            Self::Relu(_) | Self::Po2(_) | Self::ReluPo2(_) => None,
            Self::Tanh(_) | Self::Sigmoid(_) | Self::Ulaw(_) => None,
        }
    }

    /// Returns QKeras's `max()`, which is not always the grid's largest value: at least 1 for most, and without scales
    /// that are found from values.
    pub fn max(&self) -> f64 {
        match self {
            Self::Bits(parameters) if parameters.unsigned_bits() == 0 => 1.0,
            Self::Hswish(parameters) if parameters.bits == 1 => 1.0,
            Self::Bits(QuantizedBits { integer, .. })
            | Self::Relu(QuantizedRelu { integer, .. })
            | Self::Hswish(QuantizedHswish { integer, .. })
            | Self::Ulaw(QuantizedUlaw { integer, .. }) => power(*integer).max(1.0),
            Self::Po2(parameters) => parameters.exponents().largest(parameters.max_value),
            Self::ReluPo2(parameters) => parameters.exponents().largest(parameters.max_value),
            Self::Binary(_) | Self::StochasticBinary(_) | Self::Bernoulli(_) => self.scale().max(1.0),
            Self::Ternary(_) | Self::StochasticTernary(_) => self.scale().max(1.0),
            Self::Tanh(parameters) => 1.0 - power(1 - parameters.bits as i32),
            Self::Sigmoid(parameters) => 1.0 - power(-(parameters.bits as i32)),
            Self::Linear(parameters) => {
                let grid = parameters.grid();
                self.scale() * grid.step * grid.high
            }
        }
    }

    /// Returns QKeras's `min()`, the counterpart of [`Quantizer::max`].
    ///
    /// Of a hard swish, where QKeras raises an error, it is the smallest float value.
    pub fn min(&self) -> f64 {
        match self {
            Self::Bits(_) | Self::Bernoulli(_) if !self.is_signed() => 0.0,
            Self::Binary(parameters) if parameters.use_01 => 0.0,
            Self::Bits(_) | Self::Po2(_) | Self::Ulaw(_) | Self::Bernoulli(_) | Self::Binary(_) => {
                -self.max()
            }
            Self::StochasticBinary(_) | Self::Ternary(_) | Self::StochasticTernary(_) => -self.max(),
            Self::Relu(parameters) if parameters.negative_slope == 0.0 => 0.0,
            Self::Relu(parameters) => -parameters.negative_slope * power(parameters.integer),
            Self::ReluPo2(parameters) if parameters.negative_slope == 0.0 => {
                power(parameters.exponents().min)
            }
            // Known from one reference value alone (4 bits, slope 1/4, at most 4: -2).
            Self::ReluPo2(parameters) => -parameters.negative_slope * power(parameters.bits as i32 - 1),
            Self::Tanh(parameters) if !parameters.symmetric => -1.0,
            Self::Tanh(_) => -self.max(),
            Self::Sigmoid(parameters) if !parameters.symmetric => 0.0,
            Self::Sigmoid(parameters) => power(-(parameters.bits as i32)),
            Self::Linear(parameters) => {
                let grid = parameters.grid();
                self.scale() * grid.step * grid.low
            }
            Self::Hswish(parameters) => {
                let (shift, bound) =
                    (f64::from(parameters.relu_shift), f64::from(parameters.relu_upper_bound));
                -shift * shift / (4.0 * bound)
            }
        }
    }

    /// Returns all values of a fixed-point grid in the order of their codes read as unsigned numbers, so that negative
    /// values come last.
    ///
    /// `None` for other quantizers, and where the grid is symmetric, scaled or has a sigmoid or a slope.
    /// Units: at most 2^16 values.
    pub fn range(&self) -> Option<Vec<f64>> {
        let (bits, signed, integer) = match self {
            Self::Bits(parameters)
                if !parameters.symmetric && parameters.keep_negative && self.scale_is_one() =>
            {
                (parameters.bits, true, parameters.integer)
            }
            Self::Relu(parameters) if parameters.negative_slope == 0.0 && !parameters.use_sigmoid => {
                (parameters.bits, false, parameters.integer)
            }
            _ => return None,
        };
        let step = power(integer - bits as i32 + i32::from(signed));
        let codes = 1_i64 << if bits <= 16 { bits } else { return None };
        let value = |code: i64| if signed && code >= codes / 2 { code - codes } else { code };
        Some((0..codes).map(|code| value(code) as f64 * step).collect())
    }

    fn scale_is_one(&self) -> bool {
        self.alpha().is_none_or(|alpha| *alpha == Alpha::Number(1.0))
    }

    /// The scale, as far as it is one given number.
    fn scale(&self) -> f64 {
        match self.alpha() {
            Some(Alpha::Number(scale)) => *scale,
            None | Some(Alpha::Auto | Alpha::AutoPo2 | Alpha::List(_)) => 1.0,
        }
    }
}

/// `2^exponent`.
fn power(exponent: i32) -> f64 {
    2.0_f64.powi(exponent)
}
