use serde::{Deserialize, Serialize};

use super::{Graph, GraphError, INPUT, Node, Op};

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

/// A tensor that can carry a quantizer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// `<node>.weight` or `<node>.output`; `input.output` is the network's input.
    pub name: String,
    /// What it is.
    pub kind: PointKind,
    /// The node whose weight or output it is, or [`INPUT`].
    pub node: String,
    /// Number of values (for one image, if an activation).
    pub elements: usize,
}

impl Graph {
    /// Returns every quantizer point in topological order: the input, then per node its weight and its output.
    ///
    /// An output carries no quantizer of its own where a fused successor takes it (layer + batch norm +
    /// rectifier), where the operator passes its input's grid on (max pooling, flatten, ...), and at a softmax.
    ///
    /// Errors: those of [`Graph::shapes`].
    pub fn points(&self) -> Result<Vec<Point>, GraphError> {
        let shapes = self.shapes()?;
        let consumers = self.consumers();
        let mut points = vec![Point {
            name: format!("{INPUT}.output"),
            kind: PointKind::Activation,
            node: INPUT.to_owned(),
            elements: self.input.shape.elements(),
        }];
        let mut inputs_of_layers = self.layer_costs()?.into_iter().peekable();
        for (node, shape) in self.nodes.iter().zip(&shapes) {
            if let Some(layer) = inputs_of_layers.next_if(|layer| layer.node == node.name) {
                points.push(Point {
                    name: format!("{}.weight", node.name),
                    kind: PointKind::Weight,
                    node: node.name.clone(),
                    elements: layer.weights,
                });
            }
            if self.carries_output_point(node, consumers.get(node.name.as_str()).map_or(&[], Vec::as_slice)) {
                points.push(Point {
                    name: format!("{}.output", node.name),
                    kind: PointKind::Activation,
                    node: node.name.clone(),
                    elements: shape.elements(),
                });
            }
        }
        Ok(points)
    }

    fn carries_output_point(&self, node: &Node, consumers: &[&Node]) -> bool {
        if node.op.preserves_grid() || matches!(node.op, Op::Softmax { .. } | Op::Constant { .. }) {
            return false;
        }
        match consumers {
            [only] => !node.op.fuses_with(&only.op),
            _ => true,
        }
    }
}
