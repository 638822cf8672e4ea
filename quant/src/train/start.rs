//! The weights that a training with quantizers starts from.

use std::collections::BTreeMap;

use bitloop_core::graph::Graph;
use bitloop_core::qkeras::{Alpha, Quantizer};
use bitloop_core::spec::Initializer;
use bitloop_core::trial::{Start, Training};
use candle_core::{Device, Tensor};

use super::TrainError;
use super::draws::{Stream, stream_seed};
use super::weights::{channel_of, quantized_values};
use crate::model::Model;
use crate::qkeras::{Arithmetic, FitError, Values};
use crate::zoo;

/// What layers are drawn from where there is nothing to start at; that of AutoQKeras's networks.
const INITIALIZER: Initializer = Initializer::HeNormal;

/// Returns the model's weights, and drawn ones where the graph has other shapes or all are to be drawn.
///
/// A drawn kernel is spread as QKeras's layers do for its quantizer.
///
/// Errors: `Architecture`, `Compute`, `Quantizer`.
pub(super) fn first_weights(
    graph: &Graph,
    model: &Model,
    spec: &Training,
) -> Result<BTreeMap<String, Tensor>, TrainError> {
    let seed = stream_seed(spec.recipe.seed, Stream::Weights);
    let mut weights = zoo::initial_weights(graph, INITIALIZER, seed)?;
    for (name, drawn) in &mut weights {
        let (node, part) = name.rsplit_once('.').unwrap_or((name, ""));
        // Nothing draws constants: they belong to the graph.
        let is_kept = spec.start == Start::Model || part == "value";
        let kept = model.weights.get(name).filter(|kept| is_kept && kept.dims() == drawn.dims());
        let quantizers = spec.quantizers.get(node).filter(|_| part == "weight");
        let quantizer = quantizers.and_then(|quantizers| quantizers.kernel.as_ref());
        match (kept, quantizer, graph.node(node)) {
            (Some(kept), _, _) => *drawn = kept.clone(),
            (None, Some(quantizer), Some(layer)) => {
                let (mut data, shape) = (drawn.flatten_all()?.to_vec1::<f32>()?, drawn.dims());
                let channel = channel_of(&layer.op, shape);
                let spread = spread(quantizer, Values { data: &data, shape, channel }, spec.compat.into());
                let error = |source| TrainError::Quantizer { node: node.to_owned(), part: "weight", source };
                if let Some(spread) = spread.map_err(error)? {
                    let limit = quantizer.max() as f32;
                    data.iter_mut().for_each(|value| *value = (*value * spread).clamp(-limit, limit));
                    *drawn = Tensor::from_vec(data, shape, &Device::Cpu)?;
                }
            }
            (None, _, _) => {}
        }
    }
    Ok(weights)
}

/// What drawn values are multiplied by, before they are clipped to the quantizer's `max()`: more than 1 where its finest step
/// `d = max() 2^-bits` is coarser than their standard deviation. None where scales are found from values, which spread by
/// themselves.
///
/// With `q` the quantized values the variance grows by `f = sum(q^2) / sum(q x)`, or by `max() / rms(x)` if all `q` are 0, but
/// never shrinks. QKeras draws again from the wider distribution; drawing scales with the deviation, so that this is a
/// multiplication by `sqrt(f)`.
///
/// Source: QKeras 0.9.0, initializers of layers.
fn spread(quantizer: &Quantizer, x: Values<'_>, arithmetic: Arithmetic) -> Result<Option<f32>, FitError> {
    if matches!(quantizer.alpha(), Some(Alpha::Auto | Alpha::AutoPo2)) {
        return Ok(None);
    }
    let count = x.data.len().max(1) as f64;
    let sum = |of: &dyn Fn(usize, f64) -> f64| -> f64 {
        x.data.iter().enumerate().map(|(index, x)| of(index, f64::from(*x))).sum()
    };
    let mean = sum(&|_, x| x) / count;
    let deviation = (sum(&|_, x| (x - mean) * (x - mean)) / count).sqrt();
    if quantizer.max() * libm::exp2(-f64::from(quantizer.bits())) <= deviation {
        return Ok(Some(1.0));
    }
    let quantized = quantized_values(quantizer, x, arithmetic)?.values;
    let squares = sum(&|index, _| f64::from(quantized[index]) * f64::from(quantized[index]));
    let factor = match squares > 0.0 {
        true => squares / sum(&|index, x| f64::from(quantized[index]) * x),
        false => quantizer.max() / (sum(&|_, x| x * x) / count).sqrt(),
    };
    // One filter's kernel may be a single zero.
    Ok(Some(if factor.is_finite() { factor.max(1.0).sqrt() as f32 } else { 1.0 }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qkeras::Channel;

    fn spread_of(text: &str, data: &[f32]) -> Option<f32> {
        let shape = [1, data.len()];
        let quantizer: Quantizer = text.parse().unwrap();
        let values = Values { data, shape: &shape, channel: Channel::First };
        spread(&quantizer, values, Arithmetic::Corrected).unwrap()
    }

    #[test]
    fn only_values_finer_than_a_step_are_spread() {
        // d = 1/16 is below the deviation of 1/2.
        assert_eq!(spread_of("quantized_bits(4,0,1,alpha=1.0)", &[0.5, -0.5]), Some(1.0));
        // Half to even sends 0.07 (0.56 steps of 1/8) to 1/8: f = 0.125^2 / (0.125 * 0.07).
        let found = spread_of("quantized_bits(4,0,1,alpha=1.0)", &[0.07, 0.07]).unwrap();
        assert!((f64::from(found) - (0.125_f64 / 0.07).sqrt()).abs() < 1e-6, "{found}");
        // All are 0: f = 1 / 0.01.
        let found = spread_of("quantized_bits(4,0,1,alpha=1.0)", &[0.01, -0.01]).unwrap();
        assert!((found - 10.0).abs() < 1e-5, "{found}");
        assert_eq!(spread_of("quantized_bits(4,0,1,alpha='auto_po2')", &[0.01, -0.01]), None);
    }
}
