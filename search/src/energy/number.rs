use bitloop_core::qkeras::Quantizer;
use serde::Serialize;

/// Bits of an exponent at most, so that the widths of shifted numbers times the values of a tensor can be counted.
const EXPONENT_BITS_MAX: u64 = 24;

/// How the values of a tensor are written.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NumberKind {
    /// Fixed point.
    Fixed,
    /// A sign and an exponent of two.
    PowerOfTwo {
        /// Largest magnitude, where the quantizer has one.
        max_value: Option<f64>,
        /// How many different values the tensor has, where they were counted; see [`ValueCounts`](super::ValueCounts).
        values: Option<u64>,
    },
    /// -1, 0, 1.
    Ternary,
    /// -1, 1.
    Binary,
    /// 0, 1.
    ZeroOne,
    /// Floating point.
    Float,
}

/// A tensor's number type, as QTools sees it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct NumberType {
    /// The name by which QTools knows it; some of its rules ask for the name.
    pub name: &'static str,
    /// How values are written.
    pub kind: NumberKind,
    /// Width with the sign.
    pub bits: u64,
    /// Bits before the point, without the sign; -1 where there is no point, the width for powers of two.
    pub int_bits: i64,
    /// Whether there are negative values.
    pub signed: bool,
    /// Whether QTools does not know the quantizer, so that it is priced as fixed point of its width.
    pub assumed: bool,
}

/// Largest exponents of a power of two below and above one, as QTools counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exponents {
    pub(super) low: u64,
    pub(super) high: u64,
}

impl NumberType {
    /// What QTools takes a tensor to be that nothing is said of: `quantized_bits(8,0,1)`.
    pub const DEFAULT: Self = Self::fixed(8, 0, true);
    /// Signed, of 8 bits, none of them before the point.
    pub const INT8: Self = Self::fixed(8, 0, true);
    /// Signed, of 16 bits, 7 before the point.
    pub const INT16: Self = Self::fixed(16, 7, true);
    /// Signed, of 32 bits, 10 before the point.
    pub const INT32: Self = Self::fixed(32, 10, true);
    /// Half precision.
    pub const FP16: Self = Self::float(16);
    /// Single precision.
    pub const FP32: Self = Self::float(32);

    /// Fixed point of a width and bits before the point.
    pub const fn fixed(bits: u64, int_bits: i64, signed: bool) -> Self {
        Self { name: "quantized_bits", kind: NumberKind::Fixed, bits, int_bits, signed, assumed: false }
    }

    /// Floating point of a width.
    pub const fn float(bits: u64) -> Self {
        let kind = NumberKind::Float;
        Self { name: "floating_point", kind, bits, int_bits: -1, signed: true, assumed: false }
    }

    pub(super) const fn power_of_two(bits: u64, signed: bool, max_value: Option<f64>) -> Self {
        let kind = NumberKind::PowerOfTwo { max_value, values: None };
        Self { name: "quantized_po2", kind, bits, int_bits: bits as i64, signed, assumed: false }
    }

    pub(super) const fn ternary(bits: u64) -> Self {
        Self { name: "ternary", kind: NumberKind::Ternary, bits, int_bits: 2, signed: true, assumed: false }
    }

    pub(super) const fn binary() -> Self {
        Self { name: "binary", kind: NumberKind::Binary, bits: 1, int_bits: 1, signed: true, assumed: false }
    }

    pub(super) const fn zero_one() -> Self {
        Self { kind: NumberKind::ZeroOne, signed: false, ..Self::binary() }
    }

    /// Returns the type of a quantizer's results, or none where QTools knows no such quantizer and `qkeras` is set.
    ///
    /// Sigmoid, linear and hard swish are unknown to QTools; they are taken for fixed point of their width. With
    /// `qkeras`, `quantized_tanh` has -1 bits before the point, which QTools never sets; without, it has none.
    pub fn of_quantizer(quantizer: &Quantizer, qkeras: bool) -> Option<Self> {
        let named = |number: Self| Self { name: quantizer.name(), ..number };
        let assumed = |number: Self| (!qkeras).then(|| Self { assumed: true, ..named(number) });
        let fixed = |bits: u32, int_bits: i32, signed: bool| {
            Self::fixed(u64::from(bits), i64::from(int_bits), signed)
        };
        let power = |bits: u32, signed: bool, max_value: Option<f64>| {
            Self::power_of_two(u64::from(bits), signed, max_value)
        };
        Some(named(match quantizer {
            Quantizer::Bits(bits) => fixed(bits.bits, bits.integer, bits.keep_negative),
            Quantizer::Relu(relu) if relu.bits == 1 && relu.integer == 1 => Self::zero_one(),
            Quantizer::Relu(relu) => fixed(relu.bits, relu.integer, relu.negative_slope != 0.0),
            Quantizer::Po2(po2) => power(po2.bits, true, po2.max_value),
            Quantizer::ReluPo2(po2) => power(po2.bits, po2.negative_slope != 0.0, po2.max_value),
            Quantizer::Binary(binary) if binary.use_01 => Self::zero_one(),
            Quantizer::Binary(_) | Quantizer::StochasticBinary(_) => Self::binary(),
            Quantizer::Bernoulli(_) => Self::zero_one(),
            Quantizer::Ternary(_) | Quantizer::StochasticTernary(_) => Self::ternary(2),
            Quantizer::Tanh(tanh) => fixed(tanh.bits, if qkeras { -1 } else { 0 }, true),
            Quantizer::Ulaw(ulaw) => fixed(ulaw.bits, ulaw.integer, true),
            Quantizer::Sigmoid(sigmoid) => return assumed(fixed(sigmoid.bits, 0, false)),
            Quantizer::Linear(linear) => {
                return assumed(fixed(linear.bits, linear.integer, linear.keep_negative));
            }
            Quantizer::Hswish(hswish) => return assumed(fixed(hswish.bits, hswish.integer, true)),
        }))
    }

    /// The type that holds the values of both: itself if they are the same, else fixed point or floats.
    pub(super) fn union(&self, other: &Self) -> Self {
        if self == other {
            return *self;
        }
        match (self.is_float(), other.is_float()) {
            (true, true) => Self::float(self.bits.max(other.bits)),
            (true, false) => *self,
            (false, true) => *other,
            (false, false) => {
                let (left, right) = (self.as_fixed(), other.as_fixed());
                let int_bits = left.int_bits.max(right.int_bits);
                let signed = left.signed || right.signed;
                let fraction = left.fraction_bits().max(right.fraction_bits());
                let bits = int_bits + fraction + i64::from(signed);
                let assumed = left.assumed || right.assumed;
                Self { assumed, ..Self::fixed(bits.max(0) as u64, int_bits, signed) }
            }
        }
    }

    /// The type with the number of different values written into it, if it is a power of two.
    pub(super) fn with_values(self, counted: Option<u64>) -> Self {
        match self.kind {
            NumberKind::PowerOfTwo { max_value, .. } => {
                Self { kind: NumberKind::PowerOfTwo { max_value, values: counted }, ..self }
            }
            NumberKind::Fixed
            | NumberKind::Ternary
            | NumberKind::Binary
            | NumberKind::ZeroOne
            | NumberKind::Float => self,
        }
    }

    /// Whether it is floating point.
    pub fn is_float(&self) -> bool {
        self.kind == NumberKind::Float
    }

    /// Bits behind the point; negative where the lowest step is more than one.
    pub(super) fn fraction_bits(&self) -> i64 {
        self.bits as i64 - i64::from(self.signed) - self.int_bits
    }

    /// The exponents of a power of two, none for other numbers. One bit is always the exponents' sign.
    pub(super) fn exponents(&self) -> Option<Exponents> {
        let NumberKind::PowerOfTwo { max_value, .. } = self.kind else { return None };
        let without_sign = self.bits - u64::from(self.signed).min(self.bits);
        let low = 1_u64 << without_sign.saturating_sub(1).min(EXPONENT_BITS_MAX);
        let high = match max_value {
            // QTools takes 0 for none.
            None | Some(0.0) => low - 1,
            Some(max) if max <= 1.0 => 0,
            Some(max) => (low - 1).min(libm::log2(max).ceil() as u64),
        };
        Some(Exponents { low, high })
    }

    /// The fixed point that holds all values of a power of two; other numbers as they are.
    pub(super) fn as_fixed(&self) -> Self {
        match self.exponents() {
            None => *self,
            Some(Exponents { low, high }) => {
                Self::fixed(u64::from(self.signed) + low + high, high as i64, self.signed)
            }
        }
    }
}
