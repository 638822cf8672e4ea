use std::collections::BTreeMap;

use super::{Graph, GraphError, INPUT, Op, Point, Shape};

/// What one layer with weights costs per image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerCost {
    /// The layer.
    pub node: String,
    /// The activation point on whose grid the layer's input is; none if the input is float.
    pub input_point: Option<String>,
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
    /// Units: bits squared per image. Source: Yao et al., "HAWQ-V3: Dyadic Neural Network Quantization",
    /// ICML 2021 (BOPS).
    pub fn bops(&self, weight_bits: u32, activation_bits: u32) -> u64 {
        self.macs.saturating_mul(u64::from(weight_bits) * u64::from(activation_bits))
    }
}

impl Graph {
    /// Returns the price of every convolution and linear layer, in topological order, with the default rules' points.
    ///
    /// Errors: those of [`Graph::shapes`].
    pub fn layer_costs(&self) -> Result<Vec<LayerCost>, GraphError> {
        self.layer_costs_with(&self.points()?)
    }

    /// The same with these points, which some placement gave for this graph.
    ///
    /// Errors: those of [`Graph::shapes`].
    pub fn layer_costs_with(&self, points: &[Point]) -> Result<Vec<LayerCost>, GraphError> {
        let covered = points.iter().flat_map(|point| {
            point.tensors.iter().chain(&point.passed_on).map(|tensor| (tensor.as_str(), &point.name))
        });
        let covered: BTreeMap<&str, &String> = covered.collect();
        let inputs = self.nodes.iter().map(|node| (&node.name, node.inputs.first()));
        let inputs: BTreeMap<&String, Option<&String>> = inputs.collect();
        let mut costs = self.bare_layer_costs()?;
        for cost in &mut costs {
            let input = inputs[&cost.node].and_then(|input| covered.get(input.as_str()));
            cost.input_point = input.map(|name| (*name).clone());
        }
        Ok(costs)
    }

    /// The prices without points.
    pub(crate) fn bare_layer_costs(&self) -> Result<Vec<LayerCost>, GraphError> {
        let shapes = self.shapes()?;
        let mut shape_of: BTreeMap<&str, &Shape> = BTreeMap::from([(INPUT, &self.input.shape)]);
        shape_of.extend(self.nodes.iter().map(|node| node.name.as_str()).zip(&shapes));
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
                input_point: None,
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
        let layers: usize = self.bare_layer_costs()?.iter().map(|layer| layer.weights + layer.biases).sum();
        let others = self.nodes.iter().zip(&shapes).map(|(node, shape)| match &node.op {
            Op::BatchNorm { .. } => 2 * shape.channels(),
            Op::PRelu => shape.channels(),
            _ => 0,
        });
        Ok(layers + others.sum::<usize>())
    }
}
