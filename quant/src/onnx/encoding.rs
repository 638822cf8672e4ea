use std::collections::BTreeMap;

use bitloop_core::graph::Op;

use super::tensor::ElementType;
use crate::model::Model;
use crate::quantizer::{Encoding, Grid, QuantError};

/// The grid of a QuantizeLinear or DequantizeLinear: `value = (code - zero_point) * scale`.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportedEncoding {
    /// Step, one or one per channel; positive.
    pub scale: Vec<f32>,
    /// Code of the value 0, as many as scales.
    pub zero_point: Vec<i32>,
    /// The axis of the channels: of a weight as our model stores it, or of one image; `None` for a single scale.
    pub axis: Option<usize>,
    /// Type of the codes; its range is the grid's, unless codes are clipped.
    pub element: ElementType,
    /// Smallest and largest code that a Clip behind the QuantizeLinear leaves.
    pub codes: Option<[i32; 2]>,
}

/// Why a grid of a file is no encoding of the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoEncoding {
    /// It is a bias's.
    #[error("biases have no point; `biases: int32` rounds them to the scales of weight and input")]
    Bias,
    /// It is of something else without a point.
    #[error("only weights of layers and outputs of nodes have points")]
    NoPoint,
    /// Codes of this width cannot be simulated.
    #[error("its codes have {0} bits, and quantizers at most 16")]
    Width(u32),
    /// Several scales where one is possible.
    #[error("activations have one scale, and weights one or one per output channel")]
    Axis,
    /// Scale or zero point are out of range.
    #[error("{0}")]
    Values(String),
}

/// Sorts the grids of a file into encodings that the model can have, and reasons why not.
pub(super) fn usable_encodings(
    model: &Model,
    imported: &BTreeMap<String, ImportedEncoding>,
) -> (BTreeMap<String, Encoding>, BTreeMap<String, NoEncoding>) {
    let (mut usable, mut left_out) = (BTreeMap::new(), BTreeMap::new());
    for (point, encoding) in imported {
        match encoding.usable(model, point) {
            Ok(encoding) => {
                usable.insert(point.clone(), encoding);
            }
            Err(reason) => {
                left_out.insert(point.clone(), reason);
            }
        }
    }
    (usable, left_out)
}

impl ImportedEncoding {
    /// Returns the encoding of a point of a model.
    ///
    /// A signed grid whose zero points are all 0 is symmetric, every other one is not.
    fn usable(&self, model: &Model, point: &str) -> Result<Encoding, NoEncoding> {
        let (node, part) = point.rsplit_once('.').ok_or(NoEncoding::NoPoint)?;
        let is_constant = model.graph.node(node).is_some_and(|node| matches!(node.op, Op::Constant { .. }));
        let channels = match part {
            "weight" => model.weights.get(point).and_then(|weight| weight.dims().first().copied()),
            "output" if !is_constant => Some(1),
            "bias" => return Err(NoEncoding::Bias),
            _ => None,
        };
        let channels = channels.ok_or(NoEncoding::NoPoint)?;
        let scales = self.scale.len();
        let is_along_outputs = part == "weight" && self.axis == Some(0) && scales == channels;
        if scales != 1 && !is_along_outputs {
            return Err(NoEncoding::Axis);
        }
        let encoding = Encoding::given(self.grid()?, self.scale.clone(), self.offsets());
        encoding.map_err(|error| NoEncoding::Values(error.to_string()))
    }

    fn grid(&self) -> Result<Grid, NoEncoding> {
        let bits = self.element.bits();
        if bits > 16 || self.element.is_float() {
            return Err(NoEncoding::Width(bits));
        }
        let codes = 1_i32 << bits;
        let [low, high] = self.codes.unwrap_or(match self.element.is_signed() {
            true => [-codes / 2, codes / 2 - 1],
            false => [0, codes - 1],
        });
        let is_symmetric = self.element.is_signed() && self.zero_point.iter().all(|zero| *zero == 0);
        let grid = Grid::new(low, high, is_symmetric);
        grid.map_err(|error: QuantError| NoEncoding::Values(error.to_string()))
    }

    fn offsets(&self) -> Vec<i32> {
        self.zero_point.iter().map(|zero| zero.saturating_neg()).collect()
    }
}
