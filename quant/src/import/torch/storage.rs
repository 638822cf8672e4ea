//! Types of numbers, and how they become f32.

/// The type of a storage's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    F16,
    Bf16,
    F32,
    F64,
    /// Integers and booleans: counters, never weights.
    Integer {
        bytes: usize,
    },
    /// Bytes whose type each tensor says itself.
    Untyped,
    /// Complex and quantized numbers and eighths of a word.
    Other {
        name: &'static str,
        bytes: usize,
    },
}

/// Name of the storage class (`""`: none), of the type, and the type.
const ELEMENTS: [(&str, &str, Element); 26] = [
    ("HalfStorage", "float16", Element::F16),
    ("BFloat16Storage", "bfloat16", Element::Bf16),
    ("FloatStorage", "float32", Element::F32),
    ("DoubleStorage", "float64", Element::F64),
    ("LongStorage", "int64", Element::Integer { bytes: 8 }),
    ("IntStorage", "int32", Element::Integer { bytes: 4 }),
    ("ShortStorage", "int16", Element::Integer { bytes: 2 }),
    ("CharStorage", "int8", Element::Integer { bytes: 1 }),
    ("ByteStorage", "uint8", Element::Integer { bytes: 1 }),
    ("BoolStorage", "bool", Element::Integer { bytes: 1 }),
    ("", "uint16", Element::Integer { bytes: 2 }),
    ("", "uint32", Element::Integer { bytes: 4 }),
    ("", "uint64", Element::Integer { bytes: 8 }),
    ("UntypedStorage", "", Element::Untyped),
    ("ComplexFloatStorage", "complex64", Element::Other { name: "complex64", bytes: 8 }),
    ("ComplexDoubleStorage", "complex128", Element::Other { name: "complex128", bytes: 16 }),
    ("QInt8Storage", "qint8", Element::Other { name: "qint8", bytes: 1 }),
    ("QUInt8Storage", "quint8", Element::Other { name: "quint8", bytes: 1 }),
    ("QInt32Storage", "qint32", Element::Other { name: "qint32", bytes: 4 }),
    ("QUInt4x2Storage", "quint4x2", Element::Other { name: "quint4x2", bytes: 1 }),
    ("QUInt2x4Storage", "quint2x4", Element::Other { name: "quint2x4", bytes: 1 }),
    ("", "float8_e4m3fn", Element::Other { name: "float8_e4m3fn", bytes: 1 }),
    ("", "float8_e5m2", Element::Other { name: "float8_e5m2", bytes: 1 }),
    ("", "float8_e4m3fnuz", Element::Other { name: "float8_e4m3fnuz", bytes: 1 }),
    ("", "float8_e5m2fnuz", Element::Other { name: "float8_e5m2fnuz", bytes: 1 }),
    ("", "complex32", Element::Other { name: "complex32", bytes: 4 }),
];

impl Element {
    /// Returns the type of a storage class of PyTorch, by its name.
    pub(super) fn of_storage(class: &str) -> Option<Self> {
        ELEMENTS.iter().find(|entry| !entry.0.is_empty() && entry.0 == class).map(|entry| entry.2)
    }

    /// Returns the type that PyTorch calls so.
    pub(super) fn of_type(name: &str) -> Option<Self> {
        ELEMENTS.iter().find(|entry| !entry.1.is_empty() && entry.1 == name).map(|entry| entry.2)
    }

    /// Bytes of one element.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
            Self::Untyped => 1,
            Self::Integer { bytes } | Self::Other { bytes, .. } => bytes,
        }
    }

    /// Returns the number in an element's bytes, rounded to f32 to nearest; `None` for types that are no weights'.
    pub(super) fn reader(self) -> Option<fn(&[u8]) -> f32> {
        match self {
            Self::F16 => Some(|bytes| f16(u16::from_le_bytes(fixed(bytes)))),
            Self::Bf16 => Some(|bytes| f32::from_bits(u32::from(u16::from_le_bytes(fixed(bytes))) << 16)),
            Self::F32 => Some(|bytes| f32::from_le_bytes(fixed(bytes))),
            Self::F64 => Some(|bytes| f64::from_le_bytes(fixed(bytes)) as f32),
            Self::Integer { .. } | Self::Untyped | Self::Other { .. } => None,
        }
    }
}

/// The first `N` bytes, with zeros where there are fewer; callers give whole elements.
fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.first_chunk().copied().unwrap_or([0; N])
}

/// The value of IEEE 754's binary16: sign, five bits of exponent with bias 15, ten of fraction.
fn f16(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let exponent = u32::from(bits >> 10 & 0x1f);
    let fraction = u32::from(bits & 0x3ff);
    let magnitude = match exponent {
        // Subnormal: the fraction counts steps of 2^-24, which f32 has as normal numbers.
        0 => (fraction as f32 * 2f32.powi(-24)).to_bits(),
        0x1f => 0xff << 23 | fraction << 13,
        _ => (exponent + 127 - 15) << 23 | fraction << 13,
    };
    f32::from_bits(sign | magnitude)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_is_exact() {
        // Bits and values from the format's definition.
        let cases = [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0400, 2f32.powi(-14)),
            (0x03ff, 1023.0 * 2f32.powi(-24)),
            (0x0001, 2f32.powi(-24)),
            (0x3555, 1365.0 / 4096.0),
            (0x7c00, f32::INFINITY),
            (0xfc00, f32::NEG_INFINITY),
        ];
        for (bits, value) in cases {
            assert_eq!(f16(bits), value, "{bits:#06x}");
        }
        assert_eq!(f16(0x8000).to_bits(), (-0.0f32).to_bits());
        assert!(f16(0x7e00).is_nan());
    }

    #[test]
    fn half_precision_grows_with_its_bits() {
        assert!((0..0x7c00u16).all(|bits| f16(bits) < f16(bits + 1)));
    }
}
