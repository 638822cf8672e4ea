//! Encodings that a model carries: which tensor each is of, and how they stand in the model file's metadata.

use std::collections::BTreeMap;

use bitloop_core::graph::{INPUT, Point, PointKind};
use serde::{Deserialize, Serialize};

use super::{Model, ModelError};
use crate::quantizer::{Encoding, Grid};

/// An encoding as the file has it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileEncoding {
    qmin: i32,
    qmax: i32,
    symmetric: bool,
    scale: Vec<f32>,
    offset: Vec<i32>,
}

impl Model {
    /// Returns the encoding that came with the network for a point: of its weight, or of those of its tensors that have
    /// one, as long as these agree.
    pub fn encoding(&self, point: &Point) -> Option<&Encoding> {
        match point.kind {
            PointKind::Weight => self.encodings.get(&format!("{}.weight", point.node)),
            PointKind::Activation => {
                let tensors = point.tensors.iter();
                let mut known = tensors.filter_map(|tensor| self.encodings.get(&format!("{tensor}.output")));
                let first = known.next()?;
                known.all(|other| other == first).then_some(first)
            }
        }
    }

    pub(super) fn check_encoding(&self, point: &str, encoding: &Encoding) -> Result<(), ModelError> {
        let unknown = || ModelError::UnknownEncoding { point: point.to_owned() };
        let is_there = |node: &str| node == INPUT || self.graph.node(node).is_some();
        let channels = match point.rsplit_once('.') {
            Some((_, "weight")) => self.weights.get(point).and_then(|weight| weight.dims().first().copied()),
            Some((node, "output")) if is_there(node) => Some(1),
            _ => None,
        };
        let channels = channels.ok_or_else(unknown)?;
        let scales = encoding.scale().len();
        if scales == 1 || scales == channels {
            return Ok(());
        }
        Err(ModelError::EncodingChannels { point: point.to_owned(), scales, channels })
    }
}

/// Returns encodings as the text that stands in the file.
pub(super) fn to_text(encodings: &BTreeMap<String, Encoding>) -> String {
    let table: BTreeMap<&str, FileEncoding> = encodings
        .iter()
        .map(|(point, encoding)| {
            let grid = encoding.grid();
            let entry = FileEncoding {
                qmin: grid.qmin(),
                qmax: grid.qmax(),
                symmetric: grid.is_symmetric(),
                scale: encoding.scale().to_vec(),
                offset: encoding.offset().to_vec(),
            };
            (point.as_str(), entry)
        })
        .collect();
    serde_json::to_string(&table).expect("a table of text and finite numbers has a JSON form")
}

/// Reads the text that stands in the file.
///
/// Errors: `EncodingText`, `Encoding` naming the point.
pub(super) fn from_text(text: &str) -> Result<BTreeMap<String, Encoding>, ModelError> {
    let table: BTreeMap<String, FileEncoding> =
        serde_json::from_str(text).map_err(|error| ModelError::EncodingText { reason: error.to_string() })?;
    let encodings =
        table.into_iter().map(|(point, FileEncoding { qmin, qmax, symmetric, scale, offset })| {
            let encoding =
                Grid::new(qmin, qmax, symmetric).and_then(|grid| Encoding::given(grid, scale, offset));
            match encoding {
                Ok(encoding) => Ok((point, encoding)),
                Err(source) => Err(ModelError::Encoding { point, source }),
            }
        });
    encodings.collect()
}
