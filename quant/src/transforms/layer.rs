//! Weights of a layer as plain numbers: what the transforms scale, sum and multiply.

use bitloop_core::graph::Op;
use candle_core::{Device, Tensor};

use super::TransformError;
use crate::model::Model;

/// A convolution's or a linear layer's weights, `(out, in / groups, taps)`; a linear layer has one tap.
pub(super) struct Layer {
    name: String,
    dims: Vec<usize>,
    pub(super) groups: usize,
    weight: Vec<f32>,
    /// `(out,)`; absent if the layer has none.
    pub(super) bias: Option<Vec<f32>>,
}

impl Layer {
    /// Errors: `Weight` if the node is no layer or has no weight.
    pub(super) fn read(model: &Model, name: &str) -> Result<Self, TransformError> {
        let key = format!("{name}.weight");
        let weight = values(model, &key)?;
        let dims = model.weights.get(&key).map(|tensor| tensor.dims().to_vec()).unwrap_or_default();
        let groups = match model.graph.node(name).map(|node| &node.op) {
            Some(Op::Conv2d(conv)) if conv.groups > 0 && dims.len() == 4 => conv.groups,
            Some(Op::Linear(_)) if dims.len() == 2 => 1,
            _ => return Err(TransformError::Weight { name: key }),
        };
        let bias_key = format!("{name}.bias");
        let bias = match model.weights.contains_key(&bias_key) {
            true => Some(values(model, &bias_key)?),
            false => None,
        };
        if weight.is_empty() || bias.as_ref().is_some_and(|bias| bias.len() != dims[0]) {
            return Err(TransformError::Weight { name: bias_key });
        }
        Ok(Self { name: name.to_owned(), dims, groups, weight, bias })
    }

    /// Puts weight and bias back; a bias that was not there before is added to the weights, not to the graph.
    pub(super) fn write(self, model: &mut Model) -> Result<(), TransformError> {
        let weight = Tensor::from_vec(self.weight, self.dims, &Device::Cpu)?;
        model.weights.insert(format!("{}.weight", self.name), weight);
        if let Some(bias) = self.bias {
            set_values(model, &format!("{}.bias", self.name), bias)?;
        }
        Ok(())
    }

    pub(super) fn outputs(&self) -> usize {
        self.dims[0]
    }

    /// Input channels that one output sees.
    pub(super) fn inputs_per_group(&self) -> usize {
        self.dims[1]
    }

    pub(super) fn inputs(&self) -> usize {
        self.dims[1] * self.groups
    }

    fn taps(&self) -> usize {
        self.dims[2..].iter().product()
    }

    /// The bias, zeros if there is none.
    pub(super) fn bias_or_zeros(&self) -> Vec<f32> {
        self.bias.clone().unwrap_or_else(|| vec![0.0; self.outputs()])
    }

    /// Largest absolute weight of every output channel, `(out,)`.
    pub(super) fn output_ranges(&self) -> Vec<f32> {
        self.weight.chunks(self.inputs_per_group() * self.taps()).map(largest).collect()
    }

    /// Largest absolute weight on every input channel of a layer without groups, `(in,)`.
    pub(super) fn input_ranges(&self) -> Vec<f32> {
        let mut ranges = vec![0.0_f32; self.inputs_per_group()];
        for filter in self.weight.chunks(self.inputs_per_group() * self.taps()) {
            for (range, taps) in ranges.iter_mut().zip(filter.chunks(self.taps())) {
                *range = range.max(largest(taps));
            }
        }
        ranges
    }

    /// Multiplies the weights of every output channel; the bias stays.
    pub(super) fn scale_outputs(&mut self, factors: &[f32]) {
        let per_output = self.inputs_per_group() * self.taps();
        for (filter, factor) in self.weight.chunks_mut(per_output).zip(factors) {
            filter.iter_mut().for_each(|weight| *weight *= factor);
        }
    }

    /// Multiplies the bias.
    pub(super) fn scale_bias(&mut self, factors: &[f32]) {
        for (bias, factor) in self.bias.iter_mut().flatten().zip(factors) {
            *bias *= factor;
        }
    }

    /// Multiplies the weights on every input channel of a layer without groups.
    pub(super) fn scale_inputs(&mut self, factors: &[f32]) {
        let (inputs, taps) = (self.inputs_per_group(), self.taps());
        for filter in self.weight.chunks_mut(inputs * taps) {
            for (weights, factor) in filter.chunks_mut(taps).zip(factors) {
                weights.iter_mut().for_each(|weight| *weight *= factor);
            }
        }
    }

    /// What a constant input adds to every output where no padding is seen: `sum_i (sum of W[o, i, ..]) * input[i]`.
    ///
    /// Shapes: `input` `(in,)` -> `(out,)`. Summed in f64.
    pub(super) fn response(&self, input: &[f64]) -> Vec<f64> {
        let (inputs, taps) = (self.inputs_per_group(), self.taps());
        let outputs_per_group = (self.outputs() / self.groups).max(1);
        let filters = self.weight.chunks(inputs * taps).enumerate();
        filters
            .map(|(output, filter)| {
                let start = output / outputs_per_group * inputs;
                let terms = filter.chunks(taps).zip(input.iter().skip(start));
                terms.map(|(taps, x)| taps.iter().map(|w| f64::from(*w)).sum::<f64>() * x).sum()
            })
            .collect()
    }

    /// Subtracts another weight of the same shape; what is left is of use for [`Layer::response`] only.
    pub(super) fn minus(mut self, other: &Tensor) -> Result<Self, TransformError> {
        if other.dims() != self.dims {
            return Err(TransformError::Weight { name: format!("{}.weight", self.name) });
        }
        let other = other.flatten_all()?.to_vec1::<f32>()?;
        self.weight.iter_mut().zip(other).for_each(|(weight, other)| *weight -= other);
        Ok(self)
    }
}

/// Returns a weight's values, row-major.
///
/// Errors: `Weight` if it is missing.
pub(super) fn values(model: &Model, name: &str) -> Result<Vec<f32>, TransformError> {
    let tensor = model.weights.get(name).ok_or_else(|| TransformError::Weight { name: name.to_owned() })?;
    Ok(tensor.flatten_all()?.to_vec1::<f32>()?)
}

/// Replaces a weight by a vector.
pub(super) fn set_values(model: &mut Model, name: &str, values: Vec<f32>) -> Result<(), TransformError> {
    let len = values.len();
    model.weights.insert(name.to_owned(), Tensor::from_vec(values, len, &Device::Cpu)?);
    Ok(())
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |largest, value| value.abs().max(largest))
}
