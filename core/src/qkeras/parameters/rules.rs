use super::*;

/// The widest codes: an f32 holds no more digits, and QKeras computes in f32.
const BITS_MAX: u32 = 32;
/// Exponents whose powers, times codes of any width, stay within f32.
const INTEGER_MAX: u32 = 64;
/// Rounds in which a ternary scale is found; it settles within a few.
const UNROLLS_MAX: u32 = 100;
/// The widest exponents without their sign: 2^127 is the largest power in f32.
const EXPONENT_BITS_MAX: u32 = 7;

/// Parameters that can be checked.
pub(super) trait Checked {
    fn check(&self) -> Result<(), Problem>;
}

pub(super) fn symmetric_bits(parameters: QuantizedBits) -> QuantizedBits {
    let symmetric = parameters.symmetric || is_auto(&parameters.alpha);
    QuantizedBits { symmetric, ..parameters }
}

pub(super) fn symmetric_hswish(parameters: QuantizedHswish) -> QuantizedHswish {
    let symmetric = parameters.symmetric || is_auto(&parameters.alpha);
    QuantizedHswish { symmetric, ..parameters }
}

fn is_auto(alpha: &Option<Alpha>) -> bool {
    alpha.as_ref().is_some_and(Alpha::is_auto)
}

fn holds(condition: bool, parameter: &'static str, rule: &'static str) -> Result<(), Problem> {
    if condition { Ok(()) } else { Err(Problem::Invalid { parameter, rule }) }
}

fn width(bits: u32) -> Result<(), Problem> {
    holds((1..=BITS_MAX).contains(&bits), "bits", "is between 1 and 32")
}

fn exponent(integer: i32) -> Result<(), Problem> {
    holds(integer.unsigned_abs() <= INTEGER_MAX, "integer", "is between -64 and 64")
}

/// A slope that a shifter can do: none, or a power of two of at most 1.
fn slope(value: f64) -> Result<(), Problem> {
    let power = value > 0.0 && value <= 1.0 && libm::log2(value).fract() == 0.0;
    holds(value == 0.0 || power, "negative_slope", "is 0 or a power of two of at most 1")
}

/// A scale that is given: not for gradients' sake, but since codes are divided by it, and their sign is the values'.
fn scale(alpha: &Option<Alpha>) -> Result<(), Problem> {
    let is_positive = |value: &f64| *value > 0.0 && value.is_finite();
    let holds_for = match alpha {
        Some(Alpha::Number(number)) => is_positive(number),
        Some(Alpha::List(numbers)) => numbers.iter().all(is_positive),
        None | Some(Alpha::Auto | Alpha::AutoPo2) => true,
    };
    holds(holds_for, "alpha", "is above 0")
}

/// What of the difference to a quantized value is added.
fn noise(factor: f64) -> Result<(), Problem> {
    holds((0.0..=1.0).contains(&factor), "qnoise_factor", "is between 0 and 1")
}

fn unrolls(number: u32) -> Result<(), Problem> {
    holds(number <= UNROLLS_MAX, "number_of_unrolls", "is at most 100; QKeras's own is 5")
}

fn exponents(least: Option<i32>, most: Option<i32>) -> Result<(), Problem> {
    let ordered = least.zip(most).is_none_or(|(least, most)| least <= most);
    holds(ordered, "min_po2_exponent", "is at most max_po2_exponent")
}

fn steepness(temperature: f64) -> Result<(), Problem> {
    holds(temperature > 0.0, "temperature", "is above 0")
}

fn threshold(alpha: &Option<Alpha>, threshold: Option<f64>) -> Result<(), Problem> {
    let none = threshold.is_none() || !is_auto(alpha);
    holds(none, "threshold", "cannot be given where alpha is 'auto' or 'auto_po2', which find it")?;
    holds(threshold.is_none_or(|threshold| threshold >= 0.0), "threshold", "is at least 0")
}

fn powers(bits: u32, signed: bool, max_value: Option<f64>) -> Result<(), Problem> {
    holds(max_value.is_none_or(|max| max >= 0.0), "max_value", "is None or at least 0")?;
    let need = u32::from(signed) + u32::from(max_value.is_none_or(|max| max > 1.0));
    holds(bits >= need.max(1), "bits", "has to hold the sign and, for values above 1, the exponents' sign")?;
    holds(
        bits - need <= EXPONENT_BITS_MAX,
        "bits",
        "leaves at most 7 for exponents: f32 has no larger powers",
    )
}

impl Checked for QuantizedBits {
    fn check(&self) -> Result<(), Problem> {
        scale(&self.alpha)?;
        noise(self.qnoise_factor)?;
        width(self.bits)?;
        exponent(self.integer)?;
        exponents(self.min_po2_exponent, self.max_po2_exponent)
    }
}

impl Checked for QuantizedRelu {
    fn check(&self) -> Result<(), Problem> {
        noise(self.qnoise_factor)?;
        holds(self.relu_upper_bound.is_none_or(|bound| bound > 0.0), "relu_upper_bound", "is above 0")?;
        width(self.bits)?;
        exponent(self.integer)?;
        slope(self.negative_slope)?;
        holds(self.bits > 1 || self.negative_slope == 0.0, "bits", "is at least 2 with a negative slope")
    }
}

impl Checked for QuantizedPo2 {
    fn check(&self) -> Result<(), Problem> {
        noise(self.qnoise_factor)?;
        powers(self.bits, true, self.max_value)
    }
}

impl Checked for QuantizedReluPo2 {
    fn check(&self) -> Result<(), Problem> {
        noise(self.qnoise_factor)?;
        powers(self.bits, false, self.max_value)?;
        slope(self.negative_slope)
    }
}

impl Checked for Binary {
    fn check(&self) -> Result<(), Problem> {
        scale(&self.alpha)?;
        exponents(self.min_po2_exponent, self.max_po2_exponent)
    }
}

impl Checked for Ternary {
    fn check(&self) -> Result<(), Problem> {
        scale(&self.alpha)?;
        unrolls(self.number_of_unrolls)?;
        threshold(&self.alpha, self.threshold)
    }
}

impl Checked for StochasticTernary {
    fn check(&self) -> Result<(), Problem> {
        scale(&self.alpha)?;
        unrolls(self.number_of_unrolls)?;
        threshold(&self.alpha, self.threshold)?;
        steepness(self.temperature)
    }
}

impl Checked for StochasticBinary {
    fn check(&self) -> Result<(), Problem> {
        scale(&self.alpha)?;
        steepness(self.temperature)
    }
}

impl Checked for Bernoulli {
    fn check(&self) -> Result<(), Problem> {
        scale(&self.alpha)?;
        steepness(self.temperature)
    }
}

impl Checked for QuantizedTanh {
    fn check(&self) -> Result<(), Problem> {
        width(self.bits)
    }
}

impl Checked for QuantizedSigmoid {
    fn check(&self) -> Result<(), Problem> {
        width(self.bits)
    }
}

impl Checked for QuantizedLinear {
    fn check(&self) -> Result<(), Problem> {
        scale(&self.alpha)?;
        noise(self.qnoise_factor)?;
        width(self.bits)?;
        exponent(self.integer)
    }
}

impl Checked for QuantizedUlaw {
    fn check(&self) -> Result<(), Problem> {
        width(self.bits)?;
        exponent(self.integer)?;
        holds(self.u > 0.0, "u", "is above 0")
    }
}

impl Checked for QuantizedHswish {
    fn check(&self) -> Result<(), Problem> {
        scale(&self.alpha)?;
        width(self.bits)?;
        exponent(self.integer)?;
        holds(self.relu_upper_bound > 0, "relu_upper_bound", "is above 0")
    }
}
