//! Model files: a graph and its weights in one safetensors file, checked completely on reading.
//!
//! Start at [`Model::load`]. The file is an ordinary safetensors file whose metadata holds the graph as JSON, so other
//! programs can read the tensors.

mod encodings;
mod error;
mod file;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;

use bitloop_core::graph::{Graph, GraphError, INPUT, Op, Shape};
use candle_core::{DType, Tensor};

pub use error::ModelError;

use crate::quantizer::Encoding;

/// A network with its float weights.
#[derive(Clone, Debug)]
pub struct Model {
    /// The operators.
    pub graph: Graph,
    /// f32 tensors on the CPU: `<node>.weight`, `<node>.bias`, and for a batch norm `<node>.gamma`, `.beta`,
    /// `.running_mean`, `.running_var`; for a `PRelu` `<node>.slope`, for a constant `<node>.value`.
    pub weights: BTreeMap<String, Tensor>,
    /// Encodings that came with the network, by point: `<node>.weight`, `<node>.output`, `input.output`.
    ///
    /// They are of this network: [`crate::transforms::apply`] drops them where it changes it, and training does.
    pub encodings: BTreeMap<String, Encoding>,
}

impl Model {
    /// Checks that graph and weights fit each other, and that every weight is a number.
    ///
    /// Errors: the first [`ModelError`], naming the tensor.
    pub fn new(graph: Graph, weights: BTreeMap<String, Tensor>) -> Result<Self, ModelError> {
        let model = Self { graph, weights, encodings: BTreeMap::new() };
        model.check()?;
        Ok(model)
    }

    /// Returns the model with these encodings instead of those it has.
    ///
    /// Errors: `UnknownEncoding`, `EncodingChannels`, naming the first that fits no tensor.
    pub fn with_encodings(self, encodings: BTreeMap<String, Encoding>) -> Result<Self, ModelError> {
        for (point, encoding) in &encodings {
            self.check_encoding(point, encoding)?;
        }
        Ok(Self { encodings, ..self })
    }

    pub(crate) fn check(&self) -> Result<(), ModelError> {
        let expected: BTreeMap<String, Vec<usize>> = expected_tensors(&self.graph)?.into_iter().collect();
        check_normalization(&self.graph)?;
        for (name, shape) in &expected {
            match self.weights.get(name) {
                Some(tensor) => check_tensor(name, shape, tensor)?,
                None => {
                    return Err(ModelError::MissingTensor {
                        name: name.clone(),
                        shape: Shape(shape.clone()),
                    });
                }
            }
        }
        if let Some(name) = self.weights.keys().find(|name| !expected.contains_key(*name)) {
            return Err(ModelError::UnexpectedTensor { name: name.clone() });
        }
        self.encodings.iter().try_for_each(|(point, encoding)| self.check_encoding(point, encoding))?;
        self.check_variances()
    }

    fn check_variances(&self) -> Result<(), ModelError> {
        for node in &self.graph.nodes {
            let Op::BatchNorm { eps } = node.op else { continue };
            let name = format!("{}.running_var", node.name);
            let Some(tensor) = self.weights.get(&name) else { continue };
            let values = values_of(&name, tensor)?;
            // The sum is taken in f32, as the network takes it.
            if let Some(index) = values.iter().position(|value| value + eps as f32 <= 0.0) {
                let value = values[index];
                return Err(ModelError::Variance { name, index, value, eps });
            }
        }
        Ok(())
    }
}

/// Returns name and shape of every weight that the graph needs, in the order of the nodes.
///
/// Errors: those of [`Graph::shapes`].
pub fn expected_tensors(graph: &Graph) -> Result<Vec<(String, Vec<usize>)>, GraphError> {
    let mut known: BTreeMap<&str, &Shape> = BTreeMap::from([(INPUT, &graph.input.shape)]);
    let shapes = graph.shapes()?;
    let mut tensors = Vec::new();
    for (node, shape) in graph.nodes.iter().zip(&shapes) {
        let channels = node.inputs.first().and_then(|input| known.get(input.as_str()));
        let channels = channels.map_or(0, |input| input.channels());
        let mut expect =
            |part: &str, shape: Vec<usize>| tensors.push((format!("{}.{part}", node.name), shape));
        match &node.op {
            Op::Conv2d(conv) => {
                let [height, width] = conv.kernel;
                expect("weight", vec![conv.out_channels, channels / conv.groups, height, width]);
                if conv.bias {
                    expect("bias", vec![conv.out_channels]);
                }
            }
            Op::Linear(linear) => {
                expect("weight", vec![linear.out_features, channels]);
                if linear.bias {
                    expect("bias", vec![linear.out_features]);
                }
            }
            Op::BatchNorm { .. } => {
                for part in ["gamma", "beta", "running_mean", "running_var"] {
                    expect(part, vec![channels]);
                }
            }
            Op::PRelu => expect("slope", vec![channels]),
            Op::Constant { shape } => expect("value", shape.clone()),
            Op::Relu
            | Op::Relu6
            | Op::LeakyRelu { .. }
            | Op::HardSwish
            | Op::HardSigmoid { .. }
            | Op::Sigmoid
            | Op::Clip { .. }
            | Op::Add
            | Op::Mul
            | Op::MaxPool(_)
            | Op::AveragePool(_)
            | Op::GlobalAveragePool
            | Op::Mean { .. }
            | Op::Concat { .. }
            | Op::Flatten
            | Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Slice { .. }
            | Op::Pad { .. }
            | Op::Softmax { .. }
            | Op::Lrn { .. }
            | Op::Identity
            | Op::Dropout { .. } => {}
        }
        known.insert(&node.name, shape);
    }
    Ok(tensors)
}

fn check_normalization(graph: &Graph) -> Result<(), ModelError> {
    for (channel, (mean, std)) in graph.input.mean.iter().zip(&graph.input.std).enumerate() {
        if !mean.is_finite() || !std.is_normal() || *std < 0.0 {
            return Err(ModelError::Normalization { channel, mean: *mean, std: *std });
        }
    }
    Ok(())
}

fn check_tensor(name: &str, expected: &[usize], tensor: &Tensor) -> Result<(), ModelError> {
    if tensor.dtype() != DType::F32 {
        return Err(ModelError::Type { name: name.to_owned(), found: tensor.dtype().as_str().to_owned() });
    }
    if tensor.dims() != expected {
        return Err(ModelError::Shape {
            name: name.to_owned(),
            expected: Shape(expected.to_vec()),
            found: Shape(tensor.dims().to_vec()),
        });
    }
    let values = values_of(name, tensor)?;
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(index) => Err(ModelError::NotFinite { name: name.to_owned(), index, value: values[index] }),
    }
}

fn values_of(name: &str, tensor: &Tensor) -> Result<Vec<f32>, ModelError> {
    let values = tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>());
    values.map_err(|source| ModelError::Tensor { name: name.to_owned(), source })
}
