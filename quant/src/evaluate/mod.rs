//! Evaluation of bit configs on images: fake quantization in f32, paired with the float network and the baseline.
//!
//! Start at [`Evaluator`]. Images go through in fixed blocks, each on one thread, and sums are taken in the order of
//! the blocks; so the same trial gives the same bytes for any number of threads or workers of one device class.

mod error;
mod quantized;
mod score;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use bitloop_core::bits::{BitConfig, Choice, PointIndex};
use bitloop_core::trial::{EvaluateContext, Evaluation, Numerics};
use candle_core::{DType, Device, Tensor};

pub use error::EvaluateError;

use crate::data::Images;
use crate::executor;
use crate::lanes::Lanes;
use crate::model::Model;
use crate::network::{self, Network};
use crate::prepare::Prepared;
use quantized::{QuantizedPass, Quantizers, Source, WeightCache};
use score::Score;

/// Images of a block on a CPU: few enough that a layer's tensors stay near the core, enough to feed the kernels.
const BLOCK_IMAGES: usize = 32;
/// Images of a block on a GPU, where few images leave most of the device idle.
const DEVICE_BLOCK_IMAGES: usize = 500;

/// What evaluations of one sweep are made from; the digests in the context are the caller's to check.
pub struct Materials {
    /// The network with its points and their encodings.
    pub prepared: Arc<Prepared>,
    /// The data artifact.
    pub images: Arc<Images>,
    /// What all evaluations of the sweep share.
    pub context: EvaluateContext,
}

/// Evaluates bit configs of one [`EvaluateContext`], keeping what they share.
///
/// Kept: normalized images, quantized weights by layer and width, the float network's logits and the baseline's
/// scores; the last two are computed with the first evaluation.
pub struct Evaluator {
    network: Network,
    images: Arc<Images>,
    prepared: Arc<Prepared>,
    /// Layers with the position of the activation point that their input is on, where there is one.
    layer_inputs: Vec<(String, Option<usize>)>,
    context: EvaluateContext,
    logits_node: String,
    blocks: Vec<Block>,
    lanes: Lanes,
    cache: WeightCache,
    /// Float logits, `(images in block, classes)` per block.
    float: OnceLock<Vec<Vec<f32>>>,
    baseline: OnceLock<Vec<Vec<Score>>>,
}

/// Images that the two networks get right which every trial is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// The float network.
    pub float_correct: u64,
    /// The network with every point at the baseline's width.
    pub baseline_correct: u64,
}

/// Images that go through the network together.
struct Block {
    positions: Range<usize>,
    input: Tensor,
}

impl Evaluator {
    /// Checks that network, images and context belong together, and normalizes the images.
    ///
    /// On a GPU one thread feeds the device, whatever `threads` says.
    ///
    /// Errors: `Graph`, `Points`, `Data` (range or shape), `Classes`, `Lanes`, `Execute`.
    pub fn new(materials: Materials, threads: usize, device: &Device) -> Result<Self, EvaluateError> {
        let Materials { prepared, images, context } = materials;
        // An exhaustive match, so that a new arithmetic cannot be evaluated as if it were this one.
        match context.numerics {
            Numerics::Float => {}
        }
        let model = &prepared.model;
        check_points(&prepared, &context.points)?;
        check_classes(model, &images)?;
        images.check_shape(&model.graph.input.shape)?;
        let range = images.range(context.images)?;
        let network = Network::new(model, device)?;
        let (threads, block_images) = match device.is_cpu() {
            true => (threads, BLOCK_IMAGES),
            false => (threads.min(1), DEVICE_BLOCK_IMAGES),
        };
        let blocks = network::blocks(range, block_images).into_iter().map(|positions| {
            let input = network.input(&images, positions.clone(), device)?;
            Ok(Block { positions, input })
        });
        let blocks = blocks.collect::<candle_core::Result<Vec<_>>>()?;
        Ok(Self {
            logits_node: model.graph.logits()?.to_owned(),
            layer_inputs: layer_inputs(&prepared)?,
            lanes: Lanes::new(threads)?,
            network,
            images,
            prepared,
            context,
            blocks,
            cache: WeightCache::default(),
            float: OnceLock::new(),
            baseline: OnceLock::new(),
        })
    }

    /// The context that the evaluator was made for.
    pub fn context(&self) -> &EvaluateContext {
        &self.context
    }

    /// Evaluates a bit config on all images of the context; `None` if `stop` became true, which is seen between blocks.
    ///
    /// Errors: `UnknownPoint`, `NotFinite` naming the image, `Quantizer`, `Execute`. All but the last depend on the
    /// trial alone, so trying elsewhere does not help.
    pub fn evaluate(
        &self,
        config: &BitConfig,
        stop: &AtomicBool,
    ) -> Result<Option<Evaluation>, EvaluateError> {
        self.check_config(config)?;
        let Some(float) = self.float_logits(stop)? else {
            return Ok(None);
        };
        let Some(baseline) = self.baseline_scores(stop)? else {
            return Ok(None);
        };
        let baseline_choice = self.context.baseline;
        let quantizers =
            self.source().quantizers(|index| config.choice(point_index(index), baseline_choice))?;
        let parts = self.lanes.map(self.blocks.len(), stop, |index| {
            let block = &self.blocks[index];
            let logits = self.logits(block, &quantizers)?;
            let mut sums = Evaluation::default();
            for (image, (logits, label)) in self.per_image(block, &logits).enumerate() {
                let float = row(&float[index], image, logits.len());
                let part = score::evaluation(logits, label, float, &baseline[index][image]);
                score::add(&mut sums, &part);
            }
            Ok::<_, EvaluateError>(sums)
        })?;
        Ok(parts.map(|parts| {
            let mut total = Evaluation::default();
            for part in &parts {
                score::add(&mut total, part);
            }
            total
        }))
    }

    /// Returns how many images the float network and the baseline get right; `None` if `stop` became true.
    ///
    /// Errors: as [`Evaluator::evaluate`].
    pub fn references(&self, stop: &AtomicBool) -> Result<Option<References>, EvaluateError> {
        let Some(float) = self.float_logits(stop)? else { return Ok(None) };
        let Some(baseline) = self.baseline_scores(stop)? else { return Ok(None) };
        let mut references = References::default();
        for (block, logits) in self.blocks.iter().zip(float) {
            let right =
                self.per_image(block, logits).filter(|(logits, label)| score::score(logits, *label).correct);
            references.float_correct += right.count() as u64;
        }
        let right = baseline.iter().flatten().filter(|score| score.correct);
        references.baseline_correct = right.count() as u64;
        Ok(Some(references))
    }

    fn check_config(&self, config: &BitConfig) -> Result<(), EvaluateError> {
        let points = self.prepared.points.len();
        match config.changes().find(|(point, _)| point.0 as usize >= points) {
            None => Ok(()),
            Some((point, _)) => Err(EvaluateError::UnknownPoint { index: point.0, points }),
        }
    }

    fn source(&self) -> Source<'_> {
        Source {
            network: &self.network,
            prepared: &self.prepared,
            layer_inputs: &self.layer_inputs,
            cache: &self.cache,
        }
    }

    fn float_logits(&self, stop: &AtomicBool) -> Result<Option<&Vec<Vec<f32>>>, EvaluateError> {
        if self.float.get().is_none() {
            let quantizers = self.source().quantizers(|_| Choice::Float)?;
            let logits = self
                .lanes
                .map(self.blocks.len(), stop, |index| self.logits(&self.blocks[index], &quantizers))?;
            let Some(logits) = logits else { return Ok(None) };
            // If another thread was first, its numbers are the same.
            let _ = self.float.set(logits);
        }
        Ok(self.float.get())
    }

    fn baseline_scores(&self, stop: &AtomicBool) -> Result<Option<&Vec<Vec<Score>>>, EvaluateError> {
        if self.baseline.get().is_none() {
            let quantizers = self.source().quantizers(|_| self.context.baseline)?;
            let scores = self.lanes.map(self.blocks.len(), stop, |index| {
                let block = &self.blocks[index];
                let logits = self.logits(block, &quantizers)?;
                let scores =
                    self.per_image(block, &logits).map(|(logits, label)| score::score(logits, label));
                Ok::<_, EvaluateError>(scores.collect::<Vec<_>>())
            })?;
            let Some(scores) = scores else { return Ok(None) };
            let _ = self.baseline.set(scores);
        }
        Ok(self.baseline.get())
    }

    /// Returns the logits of a block, `(images, classes)` row-major.
    fn logits(&self, block: &Block, quantizers: &Quantizers<'_>) -> Result<Vec<f32>, EvaluateError> {
        let graph = &self.network.graph;
        let mut pass = QuantizedPass(quantizers);
        let logits = executor::forward(graph, &block.input, &self.logits_node, &mut pass)?;
        let logits = logits.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        match logits.iter().position(|logit| !logit.is_finite()) {
            None => Ok(logits),
            Some(index) => {
                let classes = (logits.len() / block.positions.len()).max(1);
                Err(EvaluateError::NotFinite {
                    image: block.positions.start + index / classes,
                    class: index % classes,
                    value: logits[index],
                })
            }
        }
    }

    /// Pairs every image's logits with its label.
    fn per_image<'b>(&'b self, block: &Block, logits: &'b [f32]) -> impl Iterator<Item = (&'b [f32], usize)> {
        let classes = (logits.len() / block.positions.len()).max(1);
        let labels = self.images.labels[block.positions.clone()].iter();
        logits.chunks_exact(classes).zip(labels.map(|label| *label as usize))
    }
}

/// Returns what the network's last node gives with quantizers in place, for images that are normalized already.
///
/// `choice` says what the point at a position gets. For many images or bit configs an [`Evaluator`] keeps what they
/// share.
///
/// Shapes: `input` `(n, ...)` f32 -> `(n, ...)`. Errors: `Prepared` if a point was not prepared at its width,
/// `Quantizer`, `Execute`.
pub fn output(
    prepared: &Prepared,
    choice: impl Fn(usize) -> Choice,
    input: &Tensor,
) -> Result<Tensor, EvaluateError> {
    let graph = &prepared.model.graph;
    let network = Network::new(&prepared.model, input.device())?;
    let (layer_inputs, cache) = (layer_inputs(prepared)?, WeightCache::default());
    let source = Source { network: &network, prepared, layer_inputs: &layer_inputs, cache: &cache };
    let quantizers = source.quantizers(choice)?;
    Ok(executor::forward(graph, input, &graph.output()?.name, &mut QuantizedPass(&quantizers))?)
}

fn row(values: &[f32], image: usize, classes: usize) -> &[f32] {
    &values[image * classes..(image + 1) * classes]
}

/// Points are counted in `u32`, as a graph never has more.
fn point_index(index: usize) -> PointIndex {
    PointIndex(u32::try_from(index).expect("a graph has fewer than 2^32 points"))
}

fn check_points(prepared: &Prepared, context: &[String]) -> Result<(), EvaluateError> {
    for index in 0..prepared.points.len().max(context.len()) {
        let in_graph = prepared.points.get(index).map_or("", |point| &point.name);
        let in_context = context.get(index).map_or("", String::as_str);
        if in_graph != in_context {
            return Err(EvaluateError::Points {
                index,
                graph: in_graph.to_owned(),
                context: in_context.to_owned(),
            });
        }
    }
    Ok(())
}

fn layer_inputs(prepared: &Prepared) -> Result<Vec<(String, Option<usize>)>, EvaluateError> {
    let layers = prepared.model.graph.layer_costs_with(&prepared.points)?;
    let position = |name: String| prepared.points.iter().position(|point| point.name == name);
    Ok(layers.into_iter().map(|layer| (layer.node, layer.input_point.and_then(position))).collect())
}

fn check_classes(model: &Model, images: &Images) -> Result<(), EvaluateError> {
    let logits_node = model.graph.logits()?;
    let shapes = model.graph.shapes()?;
    let mut nodes = model.graph.nodes.iter().zip(&shapes);
    let logits = nodes.find(|(node, _)| node.name == logits_node);
    let logits = logits.map_or(model.graph.input.shape.elements(), |(_, shape)| shape.elements());
    let largest = images.labels.iter().max().map_or(0, |label| *label as usize + 1);
    if logits < (images.classes as usize).max(largest) {
        return Err(EvaluateError::Classes { logits, classes: images.classes });
    }
    Ok(())
}
