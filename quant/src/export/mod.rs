//! A prepared network at chosen widths, in the formats of others: ONNX, encodings files, bit configs.
//!
//! Start at [`Exported`]. ONNX files have QuantizeLinear and DequantizeLinear wherever a quantizer acts, and
//! [`crate::onnx::import`] reads them as the same graph. Encodings files name the tensors of those files.

mod bitconfig;
mod codes;
mod encodings;
mod error;
mod onnx;
mod operators;
mod parts;
mod trained;
mod writer;

pub use bitconfig::{bitconfig, choices_of};
pub use codes::CodeTypes;
pub use encodings::{EncodingsVersion, UnknownVersion, encodings};
pub use error::ExportError;
pub use onnx::{onnx, onnx_float, onnx_for_device};
#[cfg(test)]
pub(crate) use trained::grids;
pub use trained::trained_onnx;

use bitloop_core::bits::{BitConfig, Choice, PointIndex};

use crate::prepare::Prepared;
use crate::quantizer::Encoding;

/// A prepared network with what each of its points gets.
#[derive(Clone, Debug)]
pub struct Exported<'a> {
    prepared: &'a Prepared,
    choices: Vec<Choice>,
}

impl<'a> Exported<'a> {
    /// Takes a choice for each point, in the order of the points.
    ///
    /// Errors: `Choices` where they are not as many, `Prepared` naming a point that was not prepared at its width.
    pub fn new(prepared: &'a Prepared, choices: Vec<Choice>) -> Result<Self, ExportError> {
        if choices.len() != prepared.points.len() {
            return Err(ExportError::Choices { given: choices.len(), points: prepared.points.len() });
        }
        for (index, choice) in choices.iter().enumerate() {
            if let Choice::Bits(bits) = choice {
                prepared.encoding(index, *bits)?;
            }
        }
        Ok(Self { prepared, choices })
    }

    /// Takes the choices of a bit config; points that it does not name get the baseline's.
    ///
    /// Errors: as [`Exported::new`].
    pub fn at(prepared: &'a Prepared, config: &BitConfig, baseline: Choice) -> Result<Self, ExportError> {
        // Points are counted in `u32`, as a graph never has more.
        let choices =
            (0_u32..).zip(&prepared.points).map(|(index, _)| config.choice(PointIndex(index), baseline));
        Self::new(prepared, choices.collect())
    }

    /// The prepared network.
    pub fn prepared(&self) -> &'a Prepared {
        self.prepared
    }

    /// What each point gets, in the order of the points.
    pub fn choices(&self) -> &[Choice] {
        &self.choices
    }

    /// The encoding of a point, if it has a quantizer.
    fn encoding(&self, index: usize) -> Result<Option<&'a Encoding>, ExportError> {
        match self.choices[index] {
            Choice::Float => Ok(None),
            Choice::Bits(bits) => Ok(Some(self.prepared.encoding(index, bits)?)),
        }
    }
}
