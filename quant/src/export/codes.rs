//! In which integers of ONNX the codes of a grid lie.

use bitloop_core::graph::Op;
use serde::{Deserialize, Serialize};

use super::encodings::width;
use crate::onnx::schema::tensor_proto::DataType;
use crate::quantizer::Encoding;

/// Limits of ReLU6.
pub(super) const RELU6: [f32; 2] = [0.0, 6.0];

/// Why there is a type for every grid that is written.
pub(super) const REFUSED: &str = "widths without a type are refused before anything is written";

/// The integers that a file for a device has for codes, whatever their width.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodeTypes {
    /// Those of a code's own width where ONNX has them, elsewhere the next wider ones.
    #[default]
    Native,
    /// At least 8 bits: for devices without kernels for fewer.
    Int8,
}

/// A grid as a file has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored<'a> {
    /// What its tensors and nodes are named after.
    pub(super) name: &'a str,
    pub(super) encoding: &'a Encoding,
    pub(super) element: DataType,
    /// Smallest and largest code where the type has more.
    pub(super) codes: Option<[i32; 2]>,
}

impl<'a> Stored<'a> {
    /// The grid of a weight, which is there before the file is written; codes beyond it need a clip of the values.
    ///
    /// None where there is no type, which without a choice of types is that of the width itself.
    pub(super) fn weight(name: &'a str, encoding: &'a Encoding, types: Option<CodeTypes>) -> Option<Self> {
        let bits = match (types, width(encoding)) {
            (None, bits) => bits,
            (Some(CodeTypes::Native), ..=4) => 4,
            (Some(_), ..=8) => 8,
            (Some(_), _) => 16,
        };
        Self::new(name, encoding, bits)
    }

    /// The grid of what is computed, likewise. Where the type has more codes, they are clipped; ONNX clips no codes of 4 bits, so
    /// narrower ones lie in 8.
    pub(super) fn activation(
        name: &'a str,
        encoding: &'a Encoding,
        types: Option<CodeTypes>,
    ) -> Option<Self> {
        let bits = match (types, width(encoding)) {
            (None, bits) => bits,
            (Some(CodeTypes::Native), 4) => 4,
            (Some(_), ..=8) => 8,
            (Some(_), _) => 16,
        };
        let stored = Self::new(name, encoding, bits)?;
        Some(Self { codes: stored.codes.filter(|_| types.is_some() && bits > 4), ..stored })
    }

    fn new(name: &'a str, encoding: &'a Encoding, bits: u32) -> Option<Self> {
        let codes = [encoding.grid().qmin(), encoding.grid().qmax()];
        let is_signed = codes[0] < 0;
        let element = element(bits, is_signed)?;
        Some(Self { name, encoding, element, codes: (codes != ends(bits, is_signed)).then_some(codes) })
    }

    /// Narrows the codes to those of values within limits; none where all codes of the type stay.
    ///
    /// Rounding keeps the order, so that this gives what clipping the values before gives.
    pub(super) fn within(mut self, [min, max]: [f32; 2]) -> Option<Self> {
        let [low, high] = self.codes?;
        let (scale, zero_point) = (self.encoding.scale()[0], -self.encoding.offset()[0]);
        let code = |value: f32| {
            // The cast saturates, as limits may be the largest numbers.
            let steps = (value / scale).round_ties_even() as i32;
            steps.saturating_add(zero_point).clamp(low, high)
        };
        self.codes = Some([code(min), code(max)]);
        Some(self)
    }
}

/// The limits of an operator that does nothing but clip.
pub(super) fn limits(op: &Op) -> Option<[f32; 2]> {
    if let Op::Clip { min, max } = op {
        return Some([*min, *max]);
    }
    let known = [(Op::Relu, [0.0, f32::MAX]), (Op::Relu6, RELU6)];
    known.into_iter().find(|(known, _)| known == op).map(|(_, limits)| limits)
}

fn ends(bits: u32, is_signed: bool) -> [i32; 2] {
    let codes = 1 << bits;
    if is_signed { [-codes / 2, codes / 2 - 1] } else { [0, codes - 1] }
}

/// The type of so many bits; none for widths that ONNX does not have.
fn element(bits: u32, is_signed: bool) -> Option<DataType> {
    match (bits, is_signed) {
        (4, true) => Some(DataType::Int4),
        (4, false) => Some(DataType::Uint4),
        (8, true) => Some(DataType::Int8),
        (8, false) => Some(DataType::Uint8),
        (16, true) => Some(DataType::Int16),
        (16, false) => Some(DataType::Uint16),
        _ => None,
    }
}

/// Codes as they lie in a file; two of 4 bits share a byte, the first one in the low half.
pub(super) fn code_bytes(codes: &[i32], element: DataType) -> Vec<u8> {
    let low = |code: &i32| code.to_le_bytes()[0];
    match element {
        DataType::Int4 | DataType::Uint4 => {
            codes.chunks(2).map(|pair| (low(&pair[0]) & 15) | (pair.get(1).map_or(0, low) << 4)).collect()
        }
        DataType::Int16 | DataType::Uint16 => {
            codes.iter().flat_map(|code| [code.to_le_bytes()[0], code.to_le_bytes()[1]]).collect()
        }
        _ => codes.iter().map(low).collect(),
    }
}
