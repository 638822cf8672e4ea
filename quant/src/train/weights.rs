//! What kernels and biases are once they are quantized.

use std::collections::BTreeMap;

use bitloop_core::graph::Op;
use bitloop_core::qkeras::Quantizer;
use bitloop_core::trial::NodeQuantizers;

use super::TrainError;
use super::tape::kernel_channel;
use crate::model::Model;
use crate::qkeras::{Arithmetic, Channel, FitError, Fitting, Scale, Seeded, Values, fit};

/// A parameter in the form in which a layer uses it.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedWeight {
    /// In the parameter's order.
    pub values: Vec<f32>,
    /// The quantizer's scale, if it has one, as [`crate::qkeras::Fitted::scale`] gives it.
    pub scale: Option<Scale>,
}

/// Returns the values that kernels and biases with a quantizer have when the network is used, by the parameter's name.
///
/// Errors: `Unquantizable` for a quantizer without a parameter; `Quantizer`; `Compute`.
pub fn quantized_weights(
    model: &Model,
    quantizers: &BTreeMap<String, NodeQuantizers>,
    arithmetic: Arithmetic,
) -> Result<BTreeMap<String, QuantizedWeight>, TrainError> {
    let mut quantized = BTreeMap::new();
    for (node, NodeQuantizers { kernel, bias, activation: _ }) in quantizers {
        for (part, quantizer) in [("weight", kernel), ("bias", bias)] {
            let Some(quantizer) = quantizer else { continue };
            let name = format!("{node}.{part}");
            let missing =
                || TrainError::Unquantizable { node: node.clone(), reason: "it has no such parameter" };
            let tensor = model.weights.get(&name).ok_or_else(missing)?;
            let (data, shape) = (tensor.flatten_all()?.to_vec1::<f32>()?, tensor.dims());
            let channel = match (part, model.graph.node(node).map(|node| &node.op)) {
                ("weight", Some(op)) => channel_of(op, shape),
                _ => Channel::Last,
            };
            let weight = quantized_values(quantizer, Values { data: &data, shape, channel }, arithmetic);
            let error = |source| TrainError::Quantizer { node: node.clone(), part, source };
            quantized.insert(name, weight.map_err(error)?);
        }
    }
    Ok(quantized)
}

/// Where the scales of a layer's kernel `(out, in / groups, ...)` are.
pub(super) fn channel_of(op: &Op, shape: &[usize]) -> Channel {
    match (op, shape) {
        (Op::Conv2d(conv), [outputs, inputs, ..]) => kernel_channel(conv.groups, *outputs, *inputs),
        _ => Channel::First,
    }
}

/// What values are when the network is used.
pub(super) fn quantized_values(
    quantizer: &Quantizer,
    values: Values<'_>,
    arithmetic: Arithmetic,
) -> Result<QuantizedWeight, FitError> {
    // Only `bernoulli` draws when a network is used.
    let fitting = Fitting { arithmetic, ..Fitting::default() };
    let fitted = fit(quantizer, values, fitting, &mut Seeded::new(0, 0))?;
    let mut quantized = vec![0.0; values.data.len()];
    fitted.forward(values.data, &mut quantized);
    Ok(QuantizedWeight { values: quantized, scale: fitted.scale().cloned() })
}
