use std::collections::BTreeMap;

use super::{Graph, GraphError, INPUT, Node, Op, Shape};

/// What one layer with weights costs per image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerCost {
    /// The layer.
    pub node: String,
    /// The activation point whose quantizer the layer's input carries.
    pub input_point: String,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Number of weights, without the bias.
    pub weights: usize,
    /// Number of bias values.
    pub biases: usize,
}

impl LayerCost {
    /// Bit operations: multiply-accumulates times both operands' widths.
    ///
    /// Units: bits squared per image. Source: the BOPs of the mixed-precision literature (for example HAWQ-V3).
    pub fn bops(&self, weight_bits: u32, activation_bits: u32) -> u64 {
        self.macs.saturating_mul(u64::from(weight_bits) * u64::from(activation_bits))
    }
}

impl Graph {
    /// Returns the price of every convolution and linear layer, in topological order.
    ///
    /// Errors: those of [`Graph::shapes`].
    pub fn layer_costs(&self) -> Result<Vec<LayerCost>, GraphError> {
        let shapes = self.shapes()?;
        let mut shape_of: BTreeMap<&str, &Shape> = BTreeMap::from([(INPUT, &self.input.shape)]);
        shape_of.extend(self.nodes.iter().map(|node| node.name.as_str()).zip(&shapes));
        let named: BTreeMap<&str, &Node> = self.nodes.iter().map(|node| (node.name.as_str(), node)).collect();
        let mut costs = Vec::new();
        for (node, shape) in self.nodes.iter().zip(&shapes) {
            let Some(input) = node.inputs.first().map(|input| shape_of[input.as_str()]) else { continue };
            let (weights, positions, biases) = match &node.op {
                Op::Conv2d(conv) => {
                    let per_output = input.channels() / conv.groups * conv.kernel[0] * conv.kernel[1];
                    let positions = shape.elements() / conv.out_channels;
                    (conv.out_channels * per_output, positions, if conv.bias { conv.out_channels } else { 0 })
                }
                Op::Linear(linear) => {
                    let weights = linear.out_features * input.elements();
                    (weights, 1, if linear.bias { linear.out_features } else { 0 })
                }
                _ => continue,
            };
            costs.push(LayerCost {
                node: node.name.clone(),
                input_point: input_point(&named, &node.inputs[0]),
                macs: (weights as u64).saturating_mul(positions as u64),
                weights,
                biases,
            });
        }
        Ok(costs)
    }

    /// Number of trainable values: weights, biases, gamma and beta of batch norms, and slopes.
    ///
    /// Errors: those of [`Graph::shapes`].
    pub fn parameters(&self) -> Result<usize, GraphError> {
        let shapes = self.shapes()?;
        let layers: usize = self.layer_costs()?.iter().map(|layer| layer.weights + layer.biases).sum();
        let others = self.nodes.iter().zip(&shapes).map(|(node, shape)| match &node.op {
            Op::BatchNorm { .. } => 2 * shape.channels(),
            Op::PRelu => shape.channels(),
            _ => 0,
        });
        Ok(layers + others.sum::<usize>())
    }
}

/// Names the activation point whose grid the output of `source` has.
///
/// Batch norm and rectifier behind a layer are reached from the consumer's side, so only operators that
/// pass their input's grid on are looked through.
fn input_point(named: &BTreeMap<&str, &Node>, source: &str) -> String {
    let mut name = source;
    while let Some(node) = named.get(name).filter(|node| node.op.preserves_grid()) {
        name = &node.inputs[0];
    }
    format!("{name}.output")
}
