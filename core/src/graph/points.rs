use serde::{Deserialize, Serialize};

use super::op::is_false;
use super::{Graph, GraphError};
use crate::placement::Placement;

/// Whether a point is a layer's weight or an activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PointKind {
    /// A weight: known before any image is seen.
    Weight,
    /// A tensor that depends on the image.
    Activation,
}

impl PointKind {
    /// The kind as written in results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Activation => "activation",
        }
    }
}

/// A tensor that can carry a quantizer, or several that share one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// `<node>.weight` or `<node>.output`; `input.output` is the network's input.
    pub name: String,
    /// What it is.
    pub kind: PointKind,
    /// The node whose weight or output it is, or [`INPUT`](super::INPUT).
    pub node: String,
    /// Number of values (for one image, if an activation) at `node`.
    pub elements: usize,
    /// Nodes (or [`INPUT`](super::INPUT)) on whose output the quantizer acts, in topological order; none for a weight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tensors: Vec<String>,
    /// Nodes whose output is on the same grid without a quantizer, since they only move values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed_on: Vec<String>,
    /// Whether it stays at the baseline's width, so that no search tries others.
    #[serde(default, skip_serializing_if = "is_false")]
    pub fixed: bool,
}

impl Point {
    /// Whether the output of `node` (or the input, if [`INPUT`](super::INPUT)) is on this point's grid.
    pub fn covers(&self, node: &str) -> bool {
        self.tensors.iter().chain(&self.passed_on).any(|tensor| tensor == node)
    }
}

impl Graph {
    /// Returns the quantizer points that the default rules give; see [`Placement::points`].
    ///
    /// Errors: those of [`Graph::shapes`].
    pub fn points(&self) -> Result<Vec<Point>, GraphError> {
        Placement::standard().points(self)
    }
}
