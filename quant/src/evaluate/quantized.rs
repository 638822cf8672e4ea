use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bitloop_core::bits::{Bits, Choice};
use bitloop_core::graph::{Node, Point, PointKind};
use candle_core::Tensor;

use super::EvaluateError;
use crate::executor::{Pass, ScaleShift};
use crate::kernels::Kernels;
use crate::network::Network;
use crate::prepare::{LayerBits, Prepared};
use crate::quantizer::{Encoding, fake_quantize_with};

/// Quantized weights by point and width, kept from one trial to the next: at most layers times widths.
#[derive(Default)]
pub(super) struct WeightCache(Mutex<BTreeMap<(usize, Bits), Tensor>>);

/// Weights, biases and encodings of one bit config, ready before the first image.
pub(crate) struct Quantizers<'a> {
    network: &'a Network,
    kernels: Kernels,
    weights: BTreeMap<&'a str, Tensor>,
    /// Those that differ from the network's.
    biases: BTreeMap<&'a str, Tensor>,
    outputs: BTreeMap<&'a str, &'a Encoding>,
}

/// What quantizers are made from.
pub(super) struct Source<'a> {
    pub(super) network: &'a Network,
    pub(super) prepared: &'a Prepared,
    /// Layers with the position of the activation point that their input is on.
    pub(super) layer_inputs: &'a [(String, Option<usize>)],
    pub(super) cache: &'a WeightCache,
    pub(super) kernels: Kernels,
}

impl<'a> Source<'a> {
    /// Makes the quantizers of a bit config; `choice` gives what the point at a position gets.
    pub(super) fn quantizers(
        &self,
        choice: impl Fn(usize) -> Choice,
    ) -> Result<Quantizers<'a>, EvaluateError> {
        let mut quantizers = Quantizers {
            network: self.network,
            kernels: self.kernels,
            weights: BTreeMap::new(),
            biases: BTreeMap::new(),
            outputs: BTreeMap::new(),
        };
        let mut weights: BTreeMap<&str, (usize, Bits)> = BTreeMap::new();
        for (index, point) in self.prepared.points.iter().enumerate() {
            let bits = match choice(index) {
                Choice::Float => continue,
                Choice::Bits(bits) => bits,
            };
            let encoding = self.prepared.encoding(index, bits)?;
            match point.kind {
                PointKind::Weight => {
                    let weight = self.quantized_weight(index, point, (bits, encoding))?;
                    quantizers.weights.insert(point.node.as_str(), weight);
                    weights.insert(point.node.as_str(), (index, bits));
                }
                PointKind::Activation => {
                    let tensors = point.tensors.iter().map(|tensor| (tensor.as_str(), encoding));
                    quantizers.outputs.extend(tensors);
                }
            }
        }
        for (layer, input) in self.layer_inputs {
            let Some(weight) = weights.get(layer.as_str()).copied() else { continue };
            let input = input.and_then(|point| match choice(point) {
                Choice::Float => None,
                Choice::Bits(bits) => Some((point, bits)),
            });
            let bias = self.prepared.bias(LayerBits { name: layer, weight: Some(weight), input })?;
            if let Some(bias) = bias {
                let bias = Tensor::new(bias, self.network.device())?;
                quantizers.biases.insert(layer.as_str(), bias);
            }
        }
        Ok(quantizers)
    }

    fn quantized_weight(
        &self,
        index: usize,
        point: &Point,
        (bits, encoding): (Bits, &Encoding),
    ) -> Result<Tensor, EvaluateError> {
        let key = (index, bits);
        let cached = self.cache.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(cached) = cached {
            return Ok(cached);
        }
        let weight = self.network.weight(&point.node)?;
        let quantized = fake_quantize_with(&weight, encoding, self.kernels)
            .map_err(|source| EvaluateError::Quantizer { point: point.name.clone(), source })?;
        let mut cache = self.cache.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(cache.entry(key).or_insert(quantized).clone())
    }
}

/// A walk with the quantizers in place.
pub(super) struct QuantizedPass<'a>(pub(super) &'a Quantizers<'a>);

impl Pass for QuantizedPass<'_> {
    fn kernels(&self) -> Kernels {
        self.0.kernels
    }

    fn weight(&mut self, node: &Node) -> candle_core::Result<Tensor> {
        match self.0.weights.get(node.name.as_str()) {
            Some(quantized) => Ok(quantized.clone()),
            None => self.0.network.weight(&node.name),
        }
    }

    fn bias(&mut self, node: &Node) -> candle_core::Result<Option<Tensor>> {
        match self.0.biases.get(node.name.as_str()) {
            Some(bias) => Ok(Some(bias.clone())),
            None => Ok(self.0.network.bias(node)),
        }
    }

    fn parameter(&mut self, node: &Node, part: &str) -> candle_core::Result<Tensor> {
        self.0.network.parameter(&node.name, part)
    }

    fn batch_norm(&mut self, node: &Node, _eps: f64, x: &Tensor) -> candle_core::Result<Tensor> {
        self.0.network.batch_norm(node, x, self.kernels())
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
            Some(encoding) => {
                fake_quantize_with(&x, encoding, self.0.kernels).map_err(candle_core::Error::wrap)
            }
        }
    }
}

/// Layers with the position of the activation point that their input is on, where there is one.
pub(super) fn layer_inputs(prepared: &Prepared) -> Result<Vec<(String, Option<usize>)>, EvaluateError> {
    Ok(prepared.layer_inputs()?)
}
