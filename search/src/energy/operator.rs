use serde::Serialize;

use super::Process;
use super::constants::{Circuit, Prices};
use super::number::Exponents;
use super::{EnergyError, NumberKind, NumberType};

/// Price of a gate that chooses a sign, in circuits that choose between two numbers.
const BINARY_GATE: f64 = 0.3;
/// The same with a zero to choose.
const TERNARY_GATE: f64 = 0.6;
/// Price of an and gate.
const AND_GATE: f64 = 0.1;
/// Price of a shift to one place, per place there is.
const SHIFT_GATE: f64 = 0.3;

/// How an operation is done, by QTools's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Implementation {
    /// Product of fixed-point numbers.
    FixedPointMultiplier,
    /// Product of floats.
    FloatingPointMultiplier,
    /// Product with a power of two.
    Shifter,
    /// Product with -1, 0 or 1.
    Mux,
    /// Product of signs.
    XorGate,
    /// Product with 0 or 1.
    AndGate,
    /// Product of powers of two: the sum of their exponents.
    Adder,
    /// Quotient of floats.
    FloatingPointDivider,
    /// Quotient of powers of two: the difference of their exponents.
    Subtractor,
    /// Sum of products in fixed point.
    FixedPointAccumulator,
    /// Sum of products that are powers of two, in fixed point.
    Po2Accumulator,
    /// Sum of products in floats.
    FloatingPointAccumulator,
    /// Sum of two numbers in fixed point.
    FixedPointAdder,
    /// Sum of two numbers in fixed point, of which one was a power of two.
    Po2FixedPointAdder,
    /// Sum of two floats.
    FloatingPointAdder,
}

impl Implementation {
    /// What it is made of.
    pub fn circuit(self) -> Circuit {
        match self {
            Self::FixedPointMultiplier | Self::FloatingPointMultiplier | Self::FloatingPointDivider => {
                Circuit::Mul
            }
            Self::Shifter => Circuit::Shifter,
            Self::Mux => Circuit::Mux,
            Self::XorGate => Circuit::Xor,
            Self::AndGate => Circuit::And,
            Self::Adder
            | Self::Subtractor
            | Self::FixedPointAccumulator
            | Self::Po2Accumulator
            | Self::FloatingPointAccumulator
            | Self::FixedPointAdder
            | Self::Po2FixedPointAdder
            | Self::FloatingPointAdder => Circuit::Add,
        }
    }
}

/// An operation between number types.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Operator {
    /// How it is done.
    pub implementation: Implementation,
    /// Type of the results.
    pub output: NumberType,
    /// What one circuit's price is multiplied by.
    pub gate_factor: f64,
    /// Width that the circuit is priced at.
    pub gate_bits: f64,
}

impl Operator {
    /// One circuit of the width of its results.
    fn plain(implementation: Implementation, output: NumberType) -> Self {
        Self { implementation, output, gate_factor: 1.0, gate_bits: output.bits as f64 }
    }

    /// The same with results of another type, as references have it.
    pub(super) fn giving(self, output: NumberType) -> Self {
        Self { output, ..self }
    }

    /// The same sum with results of another type, whose width it then has.
    pub(super) fn adding_in(self, output: NumberType) -> Self {
        Self { output, gate_bits: output.bits as f64, ..self }
    }

    /// Returns the picojoules of one operation: the factor times the circuit's price.
    ///
    /// Errors: `NoPrice` if `qkeras` is set and results are floats of a circuit that is priced in bits alone.
    pub(super) fn pj(&self, process: Process, qkeras: bool) -> Result<f64, EnergyError> {
        let circuit = self.implementation.circuit();
        let price = process.operation_pj(circuit, self.gate_bits, &self.output, qkeras);
        price.map(|price| self.gate_factor * price).ok_or(EnergyError::NoPrice(self.implementation))
    }

    /// Returns the product of a weight and an input; QTools's rules are not symmetric in them.
    ///
    /// Source: specification of QTools's multiplier factory; the order of the cases is that of its table.
    pub(super) fn product(weight: &NumberType, input: &NumberType) -> Self {
        use NumberKind::{Binary, Fixed, Float, PowerOfTwo, Ternary, ZeroOne};
        match (weight.kind, input.kind) {
            (Float, _) | (_, Float) => floats(Implementation::FloatingPointMultiplier, weight, input),
            (ZeroOne, _) | (_, ZeroOne) => and_gate(weight, input),
            (Fixed, Fixed) => fixed_product(weight, input),
            (PowerOfTwo { .. }, Fixed) => shifter(input, weight),
            (Fixed, PowerOfTwo { .. }) => shifter(weight, input),
            (PowerOfTwo { .. }, PowerOfTwo { .. }) => {
                exponent_sum(Implementation::Adder, weight, input, None)
            }
            (Binary, Binary) => {
                let output = NumberType::binary();
                Self {
                    implementation: Implementation::XorGate,
                    output,
                    gate_factor: BINARY_GATE,
                    gate_bits: 1.0,
                }
            }
            (Ternary | Binary, _) | (_, Ternary | Binary) => mux(weight, input),
        }
    }

    /// Returns the quotient, as batch normalization divides gamma by the standard deviation; none where QTools has none.
    ///
    /// Powers of two subtract exponents, a fixed-point numerator is shifted by them; any other denominator is a float
    /// divider of single precision, or of the width of the floats that take part. With `qkeras` there is no quotient by
    /// binary or ternary numbers; without, they go to the float divider too. Source: as [`Operator::product`]; the shift
    /// is not covered by reference data.
    pub(super) fn quotient(numerator: &NumberType, denominator: &NumberType, qkeras: bool) -> Option<Self> {
        use NumberKind::{Binary, Fixed, Float, PowerOfTwo, Ternary, ZeroOne};
        let divider = || floats(Implementation::FloatingPointDivider, numerator, denominator);
        match (numerator.kind, denominator.kind) {
            (PowerOfTwo { values: above, .. }, PowerOfTwo { values: below, .. }) => {
                let values = above.zip(below).map(|(above, below)| above * below);
                Some(exponent_sum(Implementation::Subtractor, numerator, denominator, values))
            }
            (Fixed, PowerOfTwo { .. }) => Some(shifter(numerator, denominator)),
            (_, Ternary | Binary | ZeroOne) if qkeras => None,
            (_, Fixed | Float | Ternary | Binary | ZeroOne)
            | (Float | Ternary | Binary | ZeroOne, PowerOfTwo { .. }) => Some(divider()),
        }
    }

    /// Returns the sum of `count` products: `ceil(log2 count)` more bits, all before the point.
    pub(super) fn accumulator(product: &NumberType, count: u64) -> Self {
        let implementation = match product.kind {
            NumberKind::Float => return Self::plain(Implementation::FloatingPointAccumulator, *product),
            NumberKind::PowerOfTwo { .. } => Implementation::Po2Accumulator,
            NumberKind::Fixed | NumberKind::Ternary | NumberKind::Binary | NumberKind::ZeroOne => {
                Implementation::FixedPointAccumulator
            }
        };
        let more = u64::from(count.max(1).next_power_of_two().trailing_zeros());
        let fixed = product.as_fixed();
        let output = NumberType::fixed(fixed.bits + more, fixed.int_bits + more as i64, fixed.signed);
        Self::plain(implementation, output)
    }

    /// Returns the sum of two numbers: one bit more before the point than the larger, as many behind it as the finer.
    pub(super) fn sum(left: &NumberType, right: &NumberType) -> Self {
        if left.is_float() || right.is_float() {
            return floats(Implementation::FloatingPointAdder, left, right);
        }
        let is_power = left.exponents().is_some() || right.exponents().is_some();
        let (left, right) = (left.as_fixed(), right.as_fixed());
        let int_bits = left.int_bits.max(right.int_bits) + 1;
        let fraction = left.fraction_bits().max(right.fraction_bits());
        let signed = left.signed || right.signed;
        let bits = int_bits + i64::from(signed) + fraction;
        let output = NumberType::fixed(bits.max(0) as u64, int_bits, signed);
        match is_power {
            true => Self::plain(Implementation::Po2FixedPointAdder, output),
            false => Self::plain(Implementation::FixedPointAdder, output),
        }
    }

    /// Returns the sum of all inputs of a merge layer with how often it is done, or none of fewer than two.
    ///
    /// One bit more before the point than the widest, however many are added. A difference is signed.
    pub(super) fn merged_sum(inputs: &[NumberType], is_difference: bool) -> Option<(Self, u64)> {
        let times = inputs.len().checked_sub(1).filter(|times| *times > 0)?;
        if inputs.iter().any(NumberType::is_float) {
            let widest =
                inputs.iter().max_by_key(|number| if number.is_float() { number.bits } else { 0 })?;
            return Some((floats(Implementation::FloatingPointAdder, widest, widest), times as u64));
        }
        let fixed = || inputs.iter().map(NumberType::as_fixed);
        let bits = fixed().map(|number| number.bits).max()? + 1;
        let int_bits = fixed().map(|number| number.int_bits).max()? + 1;
        let signed = is_difference || fixed().any(|number| number.signed);
        let output = NumberType::fixed(bits, int_bits, signed);
        Some((Self::plain(Implementation::FixedPointAdder, output), times as u64))
    }
}

/// Floats as wide as the widest of the two that is one, else single precision.
fn floats(implementation: Implementation, left: &NumberType, right: &NumberType) -> Operator {
    let width = |number: &NumberType| if number.is_float() { number.bits } else { 0 };
    let bits = match width(left).max(width(right)) {
        0 => 32,
        bits => bits,
    };
    Operator::plain(implementation, NumberType::float(bits))
}

fn fixed_product(weight: &NumberType, input: &NumberType) -> Operator {
    let int_bits = weight.int_bits + input.int_bits;
    let signed = weight.signed || input.signed;
    let bits = int_bits + weight.fraction_bits() + input.fraction_bits() + i64::from(signed);
    Operator {
        implementation: Implementation::FixedPointMultiplier,
        output: NumberType::fixed(bits.max(0) as u64, int_bits, signed),
        gate_factor: 1.0,
        gate_bits: ((input.bits * weight.bits) as f64).sqrt(),
    }
}

/// A fixed-point number shifted by a power of two. Shifts to few places, where values were counted, are wires and gates.
fn shifter(fixed: &NumberType, power: &NumberType) -> Operator {
    let Exponents { low, high } = power.exponents().unwrap_or(Exponents { low: 0, high: 0 });
    let sign = u64::from(power.signed && !fixed.signed);
    let output = NumberType::fixed(
        fixed.bits + high + low + sign,
        fixed.int_bits + high as i64,
        fixed.signed || power.signed,
    );
    let values = match power.kind {
        NumberKind::PowerOfTwo { values, .. } => values.filter(|values| *values > 0),
        NumberKind::Fixed
        | NumberKind::Ternary
        | NumberKind::Binary
        | NumberKind::ZeroOne
        | NumberKind::Float => None,
    };
    let (gate_factor, gate_bits) = match values {
        Some(values) => (SHIFT_GATE * values as f64, fixed.bits as f64),
        None => {
            let places = (libm::exp2(power.bits as f64) * fixed.bits as f64).sqrt();
            (1.0, places * libm::log10(places))
        }
    };
    Operator { implementation: Implementation::Shifter, output, gate_factor, gate_bits }
}

/// A product or quotient of powers of two.
fn exponent_sum(
    implementation: Implementation,
    left: &NumberType,
    right: &NumberType,
    values: Option<u64>,
) -> Operator {
    let largest = |number: &NumberType| match number.kind {
        NumberKind::PowerOfTwo { max_value, .. } => max_value,
        NumberKind::Fixed
        | NumberKind::Ternary
        | NumberKind::Binary
        | NumberKind::ZeroOne
        | NumberKind::Float => None,
    };
    // The difference of exponents can be negative where neither was.
    let signed = left.signed || right.signed || implementation == Implementation::Subtractor;
    let max_value = largest(left).zip(largest(right)).map(|(left, right)| left * right);
    let output = NumberType::power_of_two(left.bits.max(right.bits) + 1, signed, max_value);
    Operator::plain(implementation, output.with_values(values))
}

/// What a product with -1, 0 and 1 (or 0 and 1) is kept in: the other side's kind.
fn container(weight: &NumberType, input: &NumberType) -> NumberType {
    use NumberKind::{Binary, Fixed, Float, PowerOfTwo, Ternary, ZeroOne};
    let signed = weight.signed || input.signed;
    match (weight.kind, input.kind) {
        (Fixed, _) | (_, Fixed) => NumberType::fixed(0, 0, signed),
        (PowerOfTwo { max_value, .. }, _) | (_, PowerOfTwo { max_value, .. }) => {
            NumberType::power_of_two(0, signed, max_value)
        }
        (ZeroOne, ZeroOne) => NumberType::zero_one(),
        (Ternary | Binary | ZeroOne | Float, Ternary | Binary | ZeroOne | Float) => NumberType::ternary(2),
    }
}

fn mux(weight: &NumberType, input: &NumberType) -> Operator {
    let gate = |name: &str| if name.contains("binary") { BINARY_GATE } else { TERNARY_GATE };
    let weight_chooses = weight.name.contains("binary") || weight.name.contains("ternary");
    let (chosen, chooser, gate_factor) = match weight_chooses {
        true => (input, weight, gate(weight.name)),
        // Only the plain binary quantizer has the cheap gate on this side.
        false => (weight, input, if input.name == "binary" { BINARY_GATE } else { TERNARY_GATE }),
    };
    let bits = chosen.bits + u64::from(chooser.signed && !chosen.signed);
    let mut output = NumberType { bits, int_bits: chosen.int_bits, ..container(weight, input) };
    if output.exponents().is_some() {
        output.int_bits = bits as i64;
    }
    Operator { implementation: Implementation::Mux, output, gate_factor, gate_bits: chosen.bits as f64 }
}

fn and_gate(weight: &NumberType, input: &NumberType) -> Operator {
    let mut output = container(weight, input);
    if output.kind != NumberKind::Ternary {
        output.bits = weight.bits.max(input.bits);
        let weight_is_gate = weight.kind == NumberKind::ZeroOne && weight.name == "binary";
        output.int_bits = if weight_is_gate { input.int_bits } else { weight.int_bits };
    }
    if output.exponents().is_some() {
        output.int_bits = output.bits as i64;
    }
    Operator {
        implementation: Implementation::AndGate,
        output,
        gate_factor: AND_GATE,
        gate_bits: output.bits as f64,
    }
}
