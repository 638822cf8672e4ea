//! Biases as evaluation uses them: corrected for the width of their layer's weight, and rounded if the experiment says so.

use bitloop_core::bits::Bits;
use bitloop_core::graph::GraphError;
use bitloop_core::trial::Biases;
use candle_core::Tensor;

use super::{PrepareError, Prepared};

/// A layer, and the points and widths that its weight and its input are on; none where that side is float.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayerBits<'a> {
    pub(crate) name: &'a str,
    pub(crate) weight: Option<(usize, Bits)>,
    pub(crate) input: Option<(usize, Bits)>,
}

impl Prepared {
    /// Returns the layers with the position of the activation point that their input is on, where there is one.
    ///
    /// Errors: those of the graph's shapes.
    pub(crate) fn layer_inputs(&self) -> Result<Vec<(String, Option<usize>)>, GraphError> {
        let layers = self.model.graph.layer_costs_with(&self.points)?;
        let position = |name: String| self.points.iter().position(|point| point.name == name);
        Ok(layers.into_iter().map(|layer| (layer.node, layer.input_point.and_then(position))).collect())
    }

    /// Returns the bias `(out,)` that a layer has at some widths; none if it has no bias.
    ///
    /// With [`Biases::Int32`] and both sides quantized, it is the nearest multiple of `input scale * weight scale`, one
    /// per output channel if the weight has several, whose factor fits 32 bits.
    ///
    /// Errors: `MissingWidth`; `NotPrepared` if the bias is no vector of f32.
    pub(crate) fn bias(&self, layer: LayerBits<'_>) -> Result<Option<Vec<f32>>, PrepareError> {
        let corrected = layer.weight.and_then(|(_, bits)| self.corrected_bias(layer.name, bits));
        let own = || self.model.weights.get(&format!("{}.bias", layer.name));
        let Some(bias) = corrected.or_else(own) else { return Ok(None) };
        let bias = values_of(layer.name, bias)?;
        let (Biases::Int32, Some(weight), Some(input)) = (self.biases, layer.weight, layer.input) else {
            return Ok(Some(bias));
        };
        let [weight, input] = [weight, input].map(|(point, bits)| self.encoding(point, bits));
        let (weight, input) = (weight?, input?.scale()[0]);
        let steps = weight.scale().iter().cycle();
        let rounded = bias.iter().zip(steps).map(|(bias, step)| round_to_int32(*bias, input * step));
        Ok(Some(rounded.collect()))
    }
}

fn values_of(layer: &str, bias: &Tensor) -> Result<Vec<f32>, PrepareError> {
    bias.to_vec1::<f32>().map_err(|error| PrepareError::NotPrepared {
        reason: format!("the bias of `{layer}`: {}", crate::error::one_line(&error)),
    })
}

/// The nearest multiple of `step` whose factor fits 32 bits.
fn round_to_int32(value: f32, step: f32) -> f32 {
    let code = (f64::from(value) / f64::from(step)).round_ties_even();
    (code.clamp(f64::from(i32::MIN), f64::from(i32::MAX)) * f64::from(step)) as f32
}
