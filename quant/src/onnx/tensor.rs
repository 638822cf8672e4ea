//! Constants: a file's tensors as f32 or i64 values, decoded from whatever type and place they are stored in.

use std::path::Path;
use std::sync::Arc;

use super::encoding::ImportedEncoding;
use super::error::TensorError;
use super::external;
use super::schema::TensorProto;
use super::schema::tensor_proto::{DataLocation, DataType};

/// Values in a tensor at most, as in a graph.
const ELEMENTS_MAX: usize = 1 << 31;

/// What a tensor's elements are in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the format")]
pub enum ElementType {
    Float,
    Double,
    Float16,
    Bfloat16,
    Bool,
    Int64,
    Int32,
    Int16,
    Int8,
    Int4,
    Uint64,
    Uint32,
    Uint16,
    Uint8,
    Uint4,
}

impl ElementType {
    pub(super) fn from_number(number: i32) -> Result<Self, TensorError> {
        let known = match DataType::try_from(number) {
            Ok(DataType::Float) => Self::Float,
            Ok(DataType::Double) => Self::Double,
            Ok(DataType::Float16) => Self::Float16,
            Ok(DataType::Bfloat16) => Self::Bfloat16,
            Ok(DataType::Bool) => Self::Bool,
            Ok(DataType::Int64) => Self::Int64,
            Ok(DataType::Int32) => Self::Int32,
            Ok(DataType::Int16) => Self::Int16,
            Ok(DataType::Int8) => Self::Int8,
            Ok(DataType::Int4) => Self::Int4,
            Ok(DataType::Uint64) => Self::Uint64,
            Ok(DataType::Uint32) => Self::Uint32,
            Ok(DataType::Uint16) => Self::Uint16,
            Ok(DataType::Uint8) => Self::Uint8,
            Ok(DataType::Uint4) => Self::Uint4,
            _ => return Err(TensorError::Type { found: number }),
        };
        Ok(known)
    }

    /// Bits of one element in the file.
    pub fn bits(self) -> u32 {
        match self {
            Self::Double | Self::Int64 | Self::Uint64 => 64,
            Self::Float | Self::Int32 | Self::Uint32 => 32,
            Self::Float16 | Self::Bfloat16 | Self::Int16 | Self::Uint16 => 16,
            Self::Bool | Self::Int8 | Self::Uint8 => 8,
            Self::Int4 | Self::Uint4 => 4,
        }
    }

    /// Whether it is a floating point number.
    pub fn is_float(self) -> bool {
        matches!(self, Self::Float | Self::Double | Self::Float16 | Self::Bfloat16)
    }

    /// Whether it can be negative.
    pub fn is_signed(self) -> bool {
        match self {
            Self::Bool | Self::Uint64 | Self::Uint32 | Self::Uint16 | Self::Uint8 | Self::Uint4 => false,
            Self::Float | Self::Double | Self::Float16 | Self::Bfloat16 => true,
            Self::Int64 | Self::Int32 | Self::Int16 | Self::Int8 | Self::Int4 => true,
        }
    }
}

/// Values of a constant, row-major.
#[derive(Clone, Debug)]
pub(super) enum Values {
    Floats(Arc<Vec<f32>>),
    Integers(Arc<Vec<i64>>),
}

impl Values {
    pub(super) fn floats(values: Vec<f32>) -> Self {
        Self::Floats(Arc::new(values))
    }

    pub(super) fn integers(values: Vec<i64>) -> Self {
        Self::Integers(Arc::new(values))
    }

    /// The values at these positions, in this order.
    pub(super) fn select(&self, positions: &[usize]) -> Self {
        match self {
            Self::Floats(values) => Self::floats(positions.iter().map(|at| values[*at]).collect()),
            Self::Integers(values) => Self::integers(positions.iter().map(|at| values[*at]).collect()),
        }
    }
}

/// A tensor that does not depend on the image.
#[derive(Clone, Debug)]
pub(super) struct Constant {
    /// The tensor's name in the file; what is computed from one weight alone keeps the weight's.
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) element: ElementType,
    pub(super) values: Values,
    /// The grid that a quantizer in the file puts the values on.
    pub(super) encoding: Option<ImportedEncoding>,
}

impl Constant {
    pub(super) fn floats(name: &str, shape: Vec<usize>, values: Vec<f32>) -> Self {
        let values = Values::floats(values);
        Self { name: name.to_owned(), shape, element: ElementType::Float, values, encoding: None }
    }

    pub(super) fn integers(name: &str, shape: Vec<usize>, values: Vec<i64>) -> Self {
        let values = Values::integers(values);
        Self { name: name.to_owned(), shape, element: ElementType::Int64, values, encoding: None }
    }

    pub(super) fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Returns the product of extents, if there can be a tensor of them.
///
/// Extents of 0 do not excuse the others, so that no product of some of them overflows either.
pub(super) fn elements(shape: &[usize]) -> Option<usize> {
    let product = shape.iter().try_fold(1_usize, |product, extent| product.checked_mul((*extent).max(1)))?;
    (product <= ELEMENTS_MAX).then(|| shape.iter().product())
}

/// Decodes a tensor; `folder` is where data outside of the file is looked up.
///
/// Errors: [`TensorError`]; nothing is allocated before the extents are compared with the data there is.
pub(super) fn decode(proto: &TensorProto, folder: Option<&Path>) -> Result<Constant, TensorError> {
    let element = ElementType::from_number(proto.data_type)?;
    let too_large = || TensorError::TooLarge { dims: proto.dims.clone() };
    let shape = proto
        .dims
        .iter()
        .map(|extent| usize::try_from(*extent).map_err(|_| TensorError::NegativeExtent { extent: *extent }))
        .collect::<Result<Vec<_>, _>>()?;
    let count = elements(&shape).ok_or_else(too_large)?;
    let bytes = (count as u64 * u64::from(element.bits())).div_ceil(8);
    let values = if proto.data_location == DataLocation::External as i32 {
        raw_values(&external::read(proto, bytes, folder)?, element, count)?
    } else if !proto.raw_data.is_empty() || count == 0 {
        check_length(proto, bytes, proto.raw_data.len(), "bytes")?;
        raw_values(&proto.raw_data, element, count)?
    } else {
        typed_values(proto, element, count)?
    };
    Ok(Constant { name: proto.name.clone(), shape, element, values, encoding: None })
}

fn check_length(
    proto: &TensorProto,
    expected: u64,
    found: usize,
    unit: &'static str,
) -> Result<(), TensorError> {
    let found = found as u64;
    if found == expected {
        return Ok(());
    }
    Err(TensorError::Length { dims: proto.dims.clone(), expected, found, unit })
}

/// Decodes exactly as many bytes as `count` elements take.
fn raw_values(bytes: &[u8], element: ElementType, count: usize) -> Result<Values, TensorError> {
    fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
        bytes.as_chunks::<N>().0.iter().copied()
    }
    fn integers<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> i64) -> Values {
        Values::integers(words::<N>(bytes).map(read).collect())
    }
    let values = match element {
        ElementType::Float => Values::floats(words(bytes).map(f32::from_le_bytes).collect()),
        ElementType::Double => Values::floats(words(bytes).map(|b| f64::from_le_bytes(b) as f32).collect()),
        ElementType::Float16 => {
            Values::floats(words(bytes).map(|b| half_value(u16::from_le_bytes(b))).collect())
        }
        ElementType::Bfloat16 => {
            Values::floats(words(bytes).map(|b| brain_value(u16::from_le_bytes(b))).collect())
        }
        ElementType::Int64 => integers(bytes, i64::from_le_bytes),
        ElementType::Int32 => integers(bytes, |b| i64::from(i32::from_le_bytes(b))),
        ElementType::Int16 => integers(bytes, |b| i64::from(i16::from_le_bytes(b))),
        ElementType::Int8 => integers(bytes, |b| i64::from(i8::from_le_bytes(b))),
        ElementType::Uint32 => integers(bytes, |b| i64::from(u32::from_le_bytes(b))),
        ElementType::Uint16 => integers(bytes, |b| i64::from(u16::from_le_bytes(b))),
        ElementType::Uint8 | ElementType::Bool => integers(bytes, |[b]: [u8; 1]| i64::from(b)),
        ElementType::Uint64 => {
            let values = words(bytes).map(|b| signed(u64::from_le_bytes(b)));
            Values::integers(values.collect::<Result<_, _>>()?)
        }
        ElementType::Int4 | ElementType::Uint4 => Values::integers(nibbles(bytes, element, count)),
    };
    Ok(values)
}

/// Two values a byte, the first one in the low half.
fn nibbles(bytes: &[u8], element: ElementType, count: usize) -> Vec<i64> {
    let halves = bytes.iter().flat_map(|byte| [byte & 15, byte >> 4]).take(count);
    let value = |half: u8| match element.is_signed() && half > 7 {
        true => i64::from(half) - 16,
        false => i64::from(half),
    };
    halves.map(value).collect()
}

fn typed_values(proto: &TensorProto, element: ElementType, count: usize) -> Result<Values, TensorError> {
    let needed = match element {
        ElementType::Int4 | ElementType::Uint4 => count.div_ceil(2),
        _ => count,
    } as u64;
    let check = |found| check_length(proto, needed, found, "values");
    let values = match element {
        ElementType::Float => {
            check(proto.float_data.len())?;
            Values::floats(proto.float_data.clone())
        }
        ElementType::Double => {
            check(proto.double_data.len())?;
            Values::floats(proto.double_data.iter().map(|value| *value as f32).collect())
        }
        ElementType::Int64 => {
            check(proto.int64_data.len())?;
            Values::integers(proto.int64_data.clone())
        }
        ElementType::Uint64 | ElementType::Uint32 => {
            check(proto.uint64_data.len())?;
            let values = proto.uint64_data.iter().copied().map(signed);
            Values::integers(values.collect::<Result<_, _>>()?)
        }
        ElementType::Float16 | ElementType::Bfloat16 => {
            check(proto.int32_data.len())?;
            let read = if element == ElementType::Float16 { half_value } else { brain_value };
            Values::floats(proto.int32_data.iter().map(|bits| read(*bits as u16)).collect())
        }
        ElementType::Int4 | ElementType::Uint4 => {
            check(proto.int32_data.len())?;
            let bytes: Vec<u8> = proto.int32_data.iter().map(|pair| *pair as u8).collect();
            Values::integers(nibbles(&bytes, element, count))
        }
        ElementType::Bool
        | ElementType::Int32
        | ElementType::Int16
        | ElementType::Int8
        | ElementType::Uint16
        | ElementType::Uint8 => {
            check(proto.int32_data.len())?;
            Values::integers(proto.int32_data.iter().map(|value| i64::from(*value)).collect())
        }
    };
    Ok(values)
}

fn signed(value: u64) -> Result<i64, TensorError> {
    i64::try_from(value).map_err(|_| TensorError::Value { value })
}

/// Source: IEEE 754 binary16: 1 sign bit, 5 exponent bits (bias 15), 10 fraction bits.
fn half_value(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    match exponent {
        0 => sign * fraction * 2_f32.powi(-24),
        31 if bits & 1023 == 0 => sign * f32::INFINITY,
        31 => f32::NAN,
        _ => sign * (1.0 + fraction / 1024.0) * 2_f32.powi(exponent - 15),
    }
}

/// The high half of an f32.
fn brain_value(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_numbers_have_their_values() {
        let cases = [
            (0x0000, 0.0),
            (0x8000, -0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0400, 6.103_515_6e-5),
            (0x0001, 5.960_464_5e-8),
            (0x3555, 0.333_251_95),
            (0x7c00, f32::INFINITY),
        ];
        for (bits, value) in cases {
            assert_eq!(half_value(bits).to_bits(), f32::to_bits(value), "{bits:x}");
        }
        assert!(half_value(0x7e00).is_nan());
        assert_eq!(brain_value(0xc040), -3.0);
    }
}
