//! Where a number arose that is none: NaN or infinite.

use std::ops::Range;

use bitloop_core::graph::{Graph, Node, Op};
use candle_core::{DType, Tensor};

use super::composed::Composed;
use super::quantized::QuantizedPass;
use super::{Choices, Computed, EvaluateError, Evaluator};
use crate::executor::{self, Pass, ScaleShift};
use crate::kernels::Kernels;

/// A logit that is no finite number.
#[derive(Clone, Copy, Debug)]
pub(super) struct BadLogit {
    /// Position of the image in the data artifact.
    image: usize,
    class: usize,
    value: f32,
}

/// Looks for a logit `(images, classes)` that is no finite number.
pub(super) fn check_finite(positions: &Range<usize>, logits: &[f32]) -> Result<(), BadLogit> {
    let Some(index) = logits.iter().position(|logit| !logit.is_finite()) else { return Ok(()) };
    let classes = (logits.len() / positions.len()).max(1);
    Err(BadLogit { image: positions.start + index / classes, class: index % classes, value: logits[index] })
}

impl Evaluator {
    /// Says which node gave the first value that is not finite, by computing the image again, node by node.
    pub(super) fn locate(&self, bad: BadLogit, choice: &Choices<'_>) -> EvaluateError {
        let BadLogit { image, class, value } = bad;
        match self.first_not_finite(image, choice) {
            Ok(node) => EvaluateError::NotFinite { image, class, value, node },
            Err(error) => error,
        }
    }

    fn first_not_finite(&self, image: usize, choice: &Choices<'_>) -> Result<String, EvaluateError> {
        let found = match &self.network {
            Computed::Engine(engine) => {
                engine.first_not_finite(choice, self.images.pixels_of(image..image + 1))?
            }
            Computed::Composed(network) => self.first_in_walk(network, image, choice)?,
        };
        // The logits themselves are not finite, whatever is found before them.
        Ok(found.map_or_else(|| self.prepared.model.graph.logits().map(str::to_owned), Ok)?)
    }

    fn first_in_walk(
        &self,
        network: &Composed,
        image: usize,
        choice: &Choices<'_>,
    ) -> Result<Option<String>, EvaluateError> {
        let (graph, quantizers) = (&self.prepared.model.graph, network.quantizers(choice)?);
        let input = network.input(&self.images, image..image + 1)?;
        let mut watch = Watch { pass: QuantizedPass(&quantizers), graph, found: None };
        executor::forward(graph, &input, graph.logits()?, &mut watch)?;
        Ok(watch.found)
    }
}

/// A walk that notes down the first node whose output is not finite.
struct Watch<'a> {
    pass: QuantizedPass<'a>,
    graph: &'a Graph,
    found: Option<String>,
}

impl Watch<'_> {
    /// Whether a node only moves values; what it fills in may be infinite and yet do no harm.
    fn only_moves(&self, node: &str) -> bool {
        self.graph.node(node).is_some_and(|node| {
            matches!(
                node.op,
                Op::Pad { .. }
                    | Op::Slice { .. }
                    | Op::Concat { .. }
                    | Op::Flatten
                    | Op::Reshape { .. }
                    | Op::Transpose { .. }
            )
        })
    }
}

impl Pass for Watch<'_> {
    fn kernels(&self) -> Kernels {
        self.pass.kernels()
    }

    fn weight(&mut self, node: &Node) -> candle_core::Result<Tensor> {
        self.pass.weight(node)
    }

    fn bias(&mut self, node: &Node) -> candle_core::Result<Option<Tensor>> {
        self.pass.bias(node)
    }

    fn parameter(&mut self, node: &Node, part: &str) -> candle_core::Result<Tensor> {
        self.pass.parameter(node, part)
    }

    fn batch_norm(&mut self, node: &Node, eps: f64, x: &Tensor) -> candle_core::Result<Tensor> {
        self.pass.batch_norm(node, eps, x)
    }

    fn folded_batch_norm(&mut self, node: &Node, eps: f64) -> candle_core::Result<Option<ScaleShift>> {
        self.pass.folded_batch_norm(node, eps)
    }

    fn output(&mut self, node: &str, x: Tensor) -> candle_core::Result<Tensor> {
        let x = self.pass.output(node, x)?;
        if self.found.is_none() && !self.only_moves(node) {
            let values = x.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
            if values.iter().any(|value| !value.is_finite()) {
                self.found = Some(node.to_owned());
            }
        }
        Ok(x)
    }
}
