use serde::Serialize;

use super::{EnergyError, LayerTypes, Memory, Process, TypedNetwork};
use crate::network::Kind;

/// What one layer costs for one image, in picojoules to two decimals.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerEnergy {
    /// The layer's types, and its name.
    pub types: LayerTypes,
    /// Reading what it takes.
    pub inputs: f64,
    /// Writing what it gives.
    pub outputs: f64,
    /// Reading its weights.
    pub parameters: f64,
    /// Its operations.
    pub op_cost: f64,
    /// The parts that count for its class: an activation's outputs, batch normalization's parameters, the operations of
    /// sums and largest values, and inputs, parameters and operations of all others.
    pub total: f64,
}

/// What a network costs for one image, in picojoules.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Profile {
    /// The layers in order, without input layers and dropout.
    pub layers: Vec<LayerEnergy>,
    /// Sum of the layers' totals, cut off to a whole number: what AutoQKeras compares.
    pub energy_sum: u64,
    /// Sum of all four parts of all layers before they are rounded, cut off to a whole number.
    pub total_cost: u64,
}

impl Profile {
    /// Finds a layer by its name.
    pub fn layer(&self, name: &str) -> Option<&LayerEnergy> {
        self.layers.iter().find(|layer| layer.types.name == name)
    }
}

impl TypedNetwork {
    /// Returns what the network costs with its tensors in `memory`.
    ///
    /// Reading and writing: see [`Memory`]. Operations: `operation_count * sum(times * price)` over the operators.
    /// Errors: `NoPrice`, with `qkeras` alone.
    pub fn profile(&self, process: Process, memory: &Memory) -> Result<Profile, EnergyError> {
        let mut layers = Vec::with_capacity(self.layers.len());
        let mut total_cost = 0.0;
        for types in &self.layers {
            let parts = Parts::of(types, process, memory).with_operations(types, process, self.qkeras)?;
            total_cost += parts.inputs + parts.outputs + parts.parameters + parts.op_cost;
            layers.push(parts.rounded(types));
        }
        let energy_sum = layers.iter().map(|layer| layer.total).sum::<f64>() as u64;
        Ok(Profile { layers, energy_sum, total_cost: total_cost as u64 })
    }
}

#[derive(Default)]
struct Parts {
    inputs: f64,
    outputs: f64,
    parameters: f64,
    op_cost: f64,
}

impl Parts {
    fn of(types: &LayerTypes, process: Process, memory: &Memory) -> Self {
        let read = types.inputs.iter().map(|(number, elements)| {
            memory.activation_pj(process, elements.saturating_mul(number.bits), types.is_input)
        });
        let weights = types
            .parameters
            .iter()
            .map(|weight| memory.parameter_pj(process, weight.elements.saturating_mul(weight.number.bits)));
        let written = types.output_elements.saturating_mul(types.output.bits);
        Self {
            // Without a summand a sum is -0.
            inputs: read.sum::<f64>() + 0.0,
            outputs: memory.activation_pj(process, written, types.is_output),
            parameters: weights.sum::<f64>() + 0.0,
            op_cost: 0.0,
        }
    }

    fn with_operations(
        self,
        types: &LayerTypes,
        process: Process,
        qkeras: bool,
    ) -> Result<Self, EnergyError> {
        let mut one = 0.0;
        for operator in types.operators.iter().filter(|operator| operator.times > 0) {
            one += operator.times as f64 * operator.operator.pj(process, qkeras)?;
        }
        Ok(Self { op_cost: types.operation_count as f64 * one, ..self })
    }

    fn rounded(&self, types: &LayerTypes) -> LayerEnergy {
        let [inputs, outputs, parameters, op_cost] =
            [self.inputs, self.outputs, self.parameters, self.op_cost].map(two_decimals);
        let total = match &types.class.kind {
            Kind::Activation | Kind::AdaptiveActivation => outputs,
            Kind::BatchNormalization => parameters,
            Kind::Add | Kind::Subtract | Kind::MaxPooling2D => op_cost,
            Kind::InputLayer
            | Kind::Dense
            | Kind::Conv1D
            | Kind::Conv2D
            | Kind::DepthwiseConv2D
            | Kind::Conv2DTranspose
            | Kind::SeparableConv1D
            | Kind::SeparableConv2D
            | Kind::SimpleRnn
            | Kind::Lstm
            | Kind::Gru
            | Kind::Bidirectional
            | Kind::AveragePooling2D
            | Kind::GlobalAveragePooling2D
            | Kind::Multiply
            | Kind::Maximum
            | Kind::Minimum
            | Kind::Average
            | Kind::Concatenate
            | Kind::Flatten
            | Kind::Reshape
            | Kind::Dropout
            | Kind::ZeroPadding2D
            | Kind::UpSampling2D
            | Kind::Other(_) => inputs + parameters + op_cost,
        };
        LayerEnergy { types: types.clone(), inputs, outputs, parameters, op_cost, total }
    }
}

/// Half to even of the exact decimal expansion, as printing does it.
fn two_decimals(value: f64) -> f64 {
    let text = format!("{value:.2}");
    text.parse().unwrap_or(value)
}
