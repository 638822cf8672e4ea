use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bitloop_core::bits::{Bits, Choice};
use bitloop_core::graph::{Node, Point, PointKind};
use bitloop_core::trial::Granularity;
use candle_core::Tensor;

use super::EvaluateError;
use crate::calibration::Statistics;
use crate::executor::{Pass, ScaleShift};
use crate::network::Network;
use crate::quantizer::{Encoding, fake_quantize};

/// Quantized weights by point and width, kept from one trial to the next: at most layers times widths.
#[derive(Default)]
pub(super) struct WeightCache(Mutex<BTreeMap<(usize, Bits), Tensor>>);

/// Weights and encodings of one bit config, ready before the first image.
pub(super) struct Quantizers<'a> {
    network: &'a Network,
    weights: BTreeMap<&'a str, Tensor>,
    outputs: BTreeMap<&'a str, Encoding>,
}

/// What quantizers are made from.
pub(super) struct Source<'a> {
    pub(super) network: &'a Network,
    pub(super) points: &'a [Point],
    pub(super) statistics: &'a Statistics,
    pub(super) granularity: Granularity,
    pub(super) cache: &'a WeightCache,
}

impl<'a> Source<'a> {
    /// Makes the quantizers of a bit config; `choice` gives what the point at a position gets.
    pub(super) fn quantizers(
        &self,
        choice: impl Fn(usize) -> Choice,
    ) -> Result<Quantizers<'a>, EvaluateError> {
        let mut weights = BTreeMap::new();
        let mut outputs = BTreeMap::new();
        for (index, point) in self.points.iter().enumerate() {
            let bits = match choice(index) {
                Choice::Float => continue,
                Choice::Bits(bits) => bits,
            };
            match point.kind {
                PointKind::Weight => {
                    weights.insert(point.node.as_str(), self.quantized_weight(index, point, bits)?);
                }
                PointKind::Activation => {
                    outputs.insert(point.node.as_str(), self.statistics.encoding(&point.name, bits)?);
                }
            }
        }
        Ok(Quantizers { network: self.network, weights, outputs })
    }

    fn quantized_weight(&self, index: usize, point: &Point, bits: Bits) -> Result<Tensor, EvaluateError> {
        let key = (index, bits);
        let cached = self.cache.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(cached) = cached {
            return Ok(cached);
        }
        let weight = self.network.weight(&point.node)?;
        let quantized = Encoding::of_weight(&weight, bits, self.granularity)
            .and_then(|encoding| fake_quantize(&weight, &encoding))
            .map_err(|source| EvaluateError::Quantizer { point: point.name.clone(), source })?;
        let mut cache = self.cache.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(cache.entry(key).or_insert(quantized).clone())
    }
}

/// A walk with the quantizers in place.
pub(super) struct QuantizedPass<'a>(pub(super) &'a Quantizers<'a>);

impl Pass for QuantizedPass<'_> {
    fn weight(&mut self, node: &Node) -> candle_core::Result<Tensor> {
        match self.0.weights.get(node.name.as_str()) {
            Some(quantized) => Ok(quantized.clone()),
            None => self.0.network.weight(&node.name),
        }
    }

    fn bias(&mut self, node: &Node) -> candle_core::Result<Option<Tensor>> {
        Ok(self.0.network.bias(node))
    }

    fn parameter(&mut self, node: &Node, part: &str) -> candle_core::Result<Tensor> {
        self.0.network.parameter(&node.name, part)
    }

    fn batch_norm(&mut self, node: &Node, _eps: f64, x: &Tensor) -> candle_core::Result<Tensor> {
        self.0.network.batch_norm(node, x)
    }

    fn folded_batch_norm(&mut self, node: &Node, _eps: f64) -> candle_core::Result<Option<ScaleShift>> {
        self.0.network.folded_batch_norm(node).cloned().map(Some)
    }

    fn sees(&self, node: &str) -> bool {
        self.0.outputs.contains_key(node)
    }

    fn output(&mut self, node: &str, x: Tensor) -> candle_core::Result<Tensor> {
        match self.0.outputs.get(node) {
            None => Ok(x),
            Some(encoding) => fake_quantize(&x, encoding).map_err(candle_core::Error::wrap),
        }
    }
}
