use bitloop_core::qkeras::{Activation, FloatActivation, Grammar, Quantizer};
use serde::Serialize;

use super::{BitsGoal, GoalError, Part, Size};
use crate::network::{Kind, Layer, Network};
use bitloop_core::autoqkeras::DEFAULT;

/// What QKeras counts for the variance of a quantized batch normalization, whatever its quantizer.
const VARIANCE_BITS: u64 = 6;
/// The same for beta.
const BETA_BITS: u64 = 5;

/// The bits of one layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LayerBits {
    /// The layer.
    pub name: String,
    /// Bits of its weights, whether they are counted or not.
    pub parameters: u64,
    /// Bits of its output, whether they are counted or not.
    pub activations: u64,
    /// Bits of the parts that are counted.
    pub total: u64,
}

/// Returns the bits of each layer that is counted in part or whole; `qkeras` reads quantizers as leniently as QKeras.
///
/// Weights: dense layers, convolutions and depthwise ones have `ref_bits` per value or, quantized, what the quantizer
/// says; batch normalization `ref_bits` for the variance and as much for a beta, quantized 6 and 5 whatever the
/// quantizers; gamma, mean and all other layers nothing.
/// Outputs: the network's input `input_bits` per value; dense layers, convolutions and activation layers `ref_bits` or
/// what the quantizer says, or nothing if linear; a softmax, of activation layers a sigmoid too, `output_bits`, but
/// not within a plain dense layer or convolution; all others nothing.
/// Source: specification of AutoQKeras's bits goal. Errors: `Quantizer`.
pub fn layers(goal: &BitsGoal, network: &Network, qkeras: bool) -> Result<Vec<LayerBits>, GoalError> {
    let grammar = if qkeras { Grammar::Qkeras } else { Grammar::Strict };
    let mut layers = Vec::with_capacity(network.layers.len());
    for layer in &network.layers {
        let counted = goal.config.get(&layer.class.to_string()).or_else(|| goal.config.get(DEFAULT));
        let Some(counted) = counted.filter(|counted| !counted.is_empty()) else { continue };
        let parameters = parameters(goal, layer, grammar)?;
        let activations = activation_width(goal, layer, grammar)? * layer.output_elements() as u64;
        let bits = |part: Part, bits: u64| if counted.contains(&part) { bits } else { 0 };
        let total = bits(Part::Parameters, parameters) + bits(Part::Activations, activations);
        layers.push(LayerBits { name: layer.name.clone(), parameters, activations, total });
    }
    Ok(layers)
}

pub(super) fn size(goal: &BitsGoal, network: &Network, qkeras: bool) -> Result<Size, GoalError> {
    let layers = layers(goal, network, qkeras)?;
    let total: u64 = layers.iter().map(|layer| layer.total).sum();
    let layers = layers.into_iter().map(|layer| (layer.total as f64, layer.name));
    Ok(Size { total: total as f64, layers: layers.map(|(bits, name)| (name, bits)).collect() })
}

fn parameters(goal: &BitsGoal, layer: &Layer, grammar: Grammar) -> Result<u64, GoalError> {
    let channels = || layer.output_shape.last().map_or(0, |extent| *extent as u64);
    match &layer.class.kind {
        Kind::Dense | Kind::Conv1D | Kind::Conv2D | Kind::DepthwiseConv2D => {
            let weights = layer.weights.iter().enumerate().map(|(index, weight)| {
                Ok(weight_width(goal, (layer, index), grammar)? * weight.elements() as u64)
            });
            weights.sum()
        }
        Kind::BatchNormalization => {
            let (variance, beta) = match layer.class.quantized {
                true => (VARIANCE_BITS, BETA_BITS),
                false => (goal.ref_bits, goal.ref_bits),
            };
            Ok(channels() * (variance + if layer.center { beta } else { 0 }))
        }
        _ => Ok(0),
    }
}

fn weight_width(
    goal: &BitsGoal,
    (layer, index): (&Layer, usize),
    grammar: Grammar,
) -> Result<u64, GoalError> {
    let Some(text) = layer.quantizer(index).filter(|_| layer.class.quantized) else {
        return Ok(goal.ref_bits);
    };
    match Quantizer::parse(text, grammar) {
        Ok(quantizer) => Ok(u64::from(quantizer.bits())),
        Err(error) => Err(GoalError::Quantizer { layer: layer.name.clone(), error }),
    }
}

fn activation_width(goal: &BitsGoal, layer: &Layer, grammar: Grammar) -> Result<u64, GoalError> {
    let is_activation = match &layer.class.kind {
        Kind::InputLayer => return Ok(goal.input_bits),
        Kind::Activation => true,
        Kind::Dense | Kind::Conv1D | Kind::Conv2D | Kind::DepthwiseConv2D => false,
        _ => return Ok(0),
    };
    let Some(text) = layer.activation().filter(|text| *text != FloatActivation::Linear.name()) else {
        return Ok(0);
    };
    let is_output = match FloatActivation::named(text) {
        Some(FloatActivation::Softmax) => is_activation || layer.class.quantized,
        Some(FloatActivation::Sigmoid) => is_activation,
        _ => false,
    };
    if is_output {
        return Ok(goal.output_bits);
    }
    // A plain layer's activation may be one that no quantizer is named after.
    match Activation::parse(text, grammar) {
        Ok(activation) => {
            Ok(activation.quantizer().map_or(goal.ref_bits, |quantizer| u64::from(quantizer.bits())))
        }
        Err(_) if !layer.class.quantized => Ok(goal.ref_bits),
        Err(error) => Err(GoalError::Quantizer { layer: layer.name.clone(), error }),
    }
}
