//! Evaluation of bit configs on images, paired with the float network and the baseline.
//!
//! Start at [`Evaluator`]. Images go through in fixed blocks, each on one thread, and sums are taken in the order of
//! the blocks; so the same trial gives the same bytes for any number of threads or workers. Configs that are evaluated
//! together share what they agree in, which changes no byte either.

pub(crate) mod composed;
mod error;
mod finite;
#[cfg(test)]
mod kernels_tests;
mod quantized;
mod score;
#[cfg(test)]
pub(crate) mod tests;

use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bitloop_core::bits::{BitConfig, Choice, PointIndex};
use bitloop_core::evaluation::PART_STEP_IMAGES;
use bitloop_core::trial::{EvaluateContext, Evaluation, ImageRange, Numerics, Work};
use candle_core::{Device, Tensor};

use composed::Composed;
pub use error::EvaluateError;
use finite::{BadLogit, check_finite};

use crate::data::Images;
use crate::engine::{Engine, Workspace};
use crate::executor;
use crate::kernels::Kernels;
use crate::lanes::Lanes;
use crate::model::Model;
use crate::network::{self, Network};
use crate::prepare::Prepared;
use quantized::{QuantizedPass, Source, WeightCache, layer_inputs};
use score::{Reference, Score};

/// Images of a block on a CPU: few enough that a layer's tensors stay near the core, enough to feed the kernels.
pub(crate) const BLOCK_IMAGES: usize = PART_STEP_IMAGES as usize;
/// Bytes per thread that tensors which configs share may take.
const SHARED_BYTES: usize = 128 << 20;

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
/// Kept: packed weights by layer and width, and of every block of images that an evaluation saw the float network's
/// logits and the baseline's scores.
pub struct Evaluator {
    prepared: Arc<Prepared>,
    images: Arc<Images>,
    context: EvaluateContext,
    blocks: Vec<Range<usize>>,
    lanes: Lanes,
    network: Computed,
    workspaces: Mutex<Vec<Workspace>>,
    /// By block, as far as they were needed.
    references: Vec<OnceLock<BlockReferences>>,
}

/// Who computes logits.
enum Computed {
    Engine(Engine),
    Composed(Composed),
}

/// What every config is compared with, for a block of images.
struct BlockReferences {
    /// `(images, classes)`.
    float: Vec<f32>,
    /// What normalizes the probabilities of each image.
    float_norms: Vec<f64>,
    baseline: Vec<Score>,
}

/// Images of a block that are wanted: the block, and their positions in the data artifact.
type Piece = (usize, Range<usize>);

/// What was made of the logits, by piece and config, and the work that it took.
type Made<T> = (Vec<Vec<T>>, Work);

/// What a config's points get, by their positions.
type Choices<'a> = dyn Fn(usize) -> Choice + Sync + 'a;

/// Sums over all images, or why there are none for this config.
pub type Evaluated = Result<Evaluation, EvaluateError>;

/// Images that the two networks get right which every trial is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// The float network.
    pub float_correct: u64,
    /// The network with every point at the baseline's width.
    pub baseline_correct: u64,
}

impl Evaluator {
    /// Checks that network, images and context belong together.
    ///
    /// The kernels are those of [`Kernels::chosen_for`] the device; a GPU's know no exact arithmetic. On a GPU one thread
    /// feeds the device, whatever `threads` says.
    ///
    /// Errors: `Graph`, `Points`, `Data` (range or shape), `Classes`, `Lanes`, `Execute`, `Kernels`, `Exact`.
    pub fn new(materials: Materials, threads: usize, device: &Device) -> Result<Self, EvaluateError> {
        Self::with_kernels(materials, threads, device, Kernels::chosen_for(device)?)
    }

    /// The same with certain kernels; a GPU takes those of a CPU for [`Kernels::CUDA`].
    ///
    /// Errors: as [`Evaluator::new`].
    pub fn with_kernels(
        materials: Materials,
        threads: usize,
        device: &Device,
        kernels: Kernels,
    ) -> Result<Self, EvaluateError> {
        let Materials { prepared, images, context } = materials;
        let model = &prepared.model;
        check_points(&prepared, &context.points)?;
        check_classes(model, &images)?;
        images.check_shape(&model.graph.input.shape)?;
        let range = images.range(context.images)?;
        let (threads, block_images) = match device.is_cpu() {
            true => (threads, BLOCK_IMAGES),
            false => (threads.min(1), composed::block_images(&model.graph)?),
        };
        let blocks = network::blocks(range, block_images);
        let references = blocks.iter().map(|_| OnceLock::new()).collect();
        let logits = model.graph.logits()?.to_owned();
        let kernels = kernels.on(device);
        let network = match (kernels.isa(), context.numerics) {
            (Some(isa), numerics) => {
                Computed::Engine(Engine::new(Arc::clone(&prepared), &logits, numerics, isa)?)
            }
            (None, Numerics::Float) => {
                Computed::Composed(Composed::new(Arc::clone(&prepared), logits, (device, kernels))?)
            }
            (None, Numerics::Exact) => return Err(EvaluateError::Exact),
        };
        Ok(Self {
            lanes: Lanes::new(threads)?,
            prepared,
            images,
            context,
            blocks,
            network,
            workspaces: Mutex::default(),
            references,
        })
    }

    /// The context that the evaluator was made for.
    pub fn context(&self) -> &EvaluateContext {
        &self.context
    }

    /// Evaluates a bit config on a part of the context's images; `None` if `stop` became true, which is seen between
    /// blocks.
    ///
    /// The part counts from the context's first image; what it has beyond the last one is left out. Sums of parts that
    /// end where blocks end add up to those of their union.
    ///
    /// Errors: `UnknownPoint`, `NotFinite` naming the image, `Quantizer`, `Execute`. All but the last depend on the
    /// trial alone, so trying elsewhere does not help.
    pub fn evaluate(
        &self,
        config: &BitConfig,
        part: ImageRange,
        stop: &AtomicBool,
    ) -> Result<Option<Evaluation>, EvaluateError> {
        let evaluated = self.evaluate_all(&[config], part, stop)?;
        evaluated.and_then(|(mut evaluated, _)| evaluated.pop()).transpose()
    }

    /// Evaluates bit configs together, which takes less time than one by one and gives the same bytes.
    ///
    /// The work is that of the configs, without the references. Candle's operators do not count theirs.
    ///
    /// The outer error is of all of them, an inner one of a config alone.
    ///
    /// Errors: as [`Evaluator::evaluate`].
    pub fn evaluate_all(
        &self,
        configs: &[&BitConfig],
        part: ImageRange,
        stop: &AtomicBool,
    ) -> Result<Option<(Vec<Evaluated>, Work)>, EvaluateError> {
        let pieces = self.pieces(part);
        if !self.find_references(&pieces, stop)? {
            return Ok(None);
        }
        let checked: Vec<Result<(), EvaluateError>> =
            configs.iter().map(|config| self.check_config(config)).collect();
        let good = configs.iter().zip(&checked).filter(|(_, checked)| checked.is_ok());
        let choices = good.map(|(config, _)| {
            let baseline = self.context.baseline;
            Box::new(move |index| config.choice(point_index(index), baseline)) as Box<Choices<'_>>
        });
        let choices: Vec<Box<Choices<'_>>> = choices.collect();
        let sums = self.each_piece(&choices, &pieces, stop, |piece, logits| self.sums(piece, logits))?;
        let Some((blocks, work)) = sums else { return Ok(None) };
        let mut totals: Vec<Result<Evaluation, BadLogit>> =
            choices.iter().map(|_| Ok(Evaluation::default())).collect();
        for parts in blocks {
            for (total, part) in totals.iter_mut().zip(parts) {
                match (&mut *total, part) {
                    (Ok(total), Ok(part)) => total.add(&part),
                    (Ok(_), Err(bad)) => *total = Err(bad),
                    (Err(_), _) => {}
                }
            }
        }
        let totals = totals.into_iter().zip(&choices);
        let mut totals = totals.map(|(total, choice)| total.map_err(|bad| self.locate(bad, choice)));
        let all = checked.into_iter().map(|checked| match checked {
            Ok(()) => totals.next().expect("every config without a mistake has a total"),
            Err(error) => Err(error),
        });
        Ok(Some((all.collect(), work)))
    }

    /// Returns the logits of a config, `(images, classes)` row-major, to compare them with other programs'; `None` if `stop`
    /// became true.
    ///
    /// Errors: as [`Evaluator::evaluate`], but values that are not finite are returned as they are.
    pub fn logits(
        &self,
        config: &BitConfig,
        part: ImageRange,
        stop: &AtomicBool,
    ) -> Result<Option<Vec<f32>>, EvaluateError> {
        self.check_config(config)?;
        let baseline = self.context.baseline;
        let choice: Box<Choices<'_>> = Box::new(move |index| config.choice(point_index(index), baseline));
        let made = self.each_piece(&[choice], &self.pieces(part), stop, |_, logits| logits.to_vec())?;
        Ok(made.map(|(pieces, _)| pieces.into_iter().flatten().flatten().collect()))
    }

    /// Returns how many images the float network and the baseline get right; `None` if `stop` became true.
    ///
    /// Errors: as [`Evaluator::evaluate`].
    pub fn references(&self, stop: &AtomicBool) -> Result<Option<References>, EvaluateError> {
        let pieces: Vec<Piece> = self.blocks.iter().cloned().enumerate().collect();
        if !self.find_references(&pieces, stop)? {
            return Ok(None);
        }
        let mut references = References::default();
        for (block, positions) in &pieces {
            let known = self.known(*block);
            let images = self.per_image(positions, &known.float);
            let right = images.filter(|(logits, label)| score::is_correct(logits, *label));
            references.float_correct += right.count() as u64;
            let right = known.baseline.iter().filter(|score| score.correct);
            references.baseline_correct += right.count() as u64;
        }
        Ok(Some(references))
    }

    /// Bytes of the weights that are packed.
    pub fn packed_bytes(&self) -> usize {
        match &self.network {
            Computed::Engine(engine) => engine.packed_bytes(),
            Computed::Composed(_) => 0,
        }
    }

    /// Looks for mistakes in a config that need no image to be found.
    fn check_config(&self, config: &BitConfig) -> Result<(), EvaluateError> {
        let points = self.prepared.points.len();
        if let Some((point, _)) = config.changes().find(|(point, _)| point.0 as usize >= points) {
            return Err(EvaluateError::UnknownPoint { index: point.0, points });
        }
        for index in 0..points {
            if let Choice::Bits(bits) = config.choice(point_index(index), self.context.baseline) {
                self.prepared.encoding(index, bits)?;
            }
        }
        Ok(())
    }

    /// Cuts the blocks where a part begins and ends.
    fn pieces(&self, part: ImageRange) -> Vec<Piece> {
        let origin = self.blocks.first().map_or(0, |block| block.start);
        // More images than fit are more than there are.
        let position = |image: u64| origin.saturating_add(usize::try_from(image).unwrap_or(usize::MAX));
        let (first, end) = (position(part.start), position(part.start.saturating_add(part.len)));
        let cut = |block: &Range<usize>| block.start.max(first)..block.end.min(end);
        let pieces = self.blocks.iter().map(cut).enumerate();
        pieces.filter(|(_, positions)| !positions.is_empty()).collect()
    }

    /// Sums over the images of a piece.
    fn sums(&self, (block, positions): &Piece, logits: &[f32]) -> Result<Evaluation, BadLogit> {
        check_finite(positions, logits)?;
        let known = self.known(*block);
        let first = positions.start - self.blocks[*block].start;
        let mut sums = Evaluation::default();
        for (image, (logits, label)) in (first..).zip(self.per_image(positions, logits)) {
            let reference = Reference {
                float: row(&known.float, image, logits.len()),
                float_norm: known.float_norms[image],
                baseline: &known.baseline[image],
            };
            sums.add(&score::evaluation(logits, label, reference));
        }
        Ok(sums)
    }

    /// What was found for a block.
    fn known(&self, block: usize) -> &BlockReferences {
        self.references[block].get().expect("references are found before they are compared with")
    }

    /// Computes the references of the pieces' blocks as far as they are not known; `false` if `stop` became true.
    fn find_references(&self, pieces: &[Piece], stop: &AtomicBool) -> Result<bool, EvaluateError> {
        let missing = pieces.iter().filter(|(block, _)| self.references[*block].get().is_none());
        let missing: Vec<Piece> = missing.map(|(block, _)| (*block, self.blocks[*block].clone())).collect();
        if missing.is_empty() {
            return Ok(true);
        }
        let baseline = self.context.baseline;
        let choices: [Box<Choices<'_>>; 2] = [Box::new(|_| Choice::Float), Box::new(move |_| baseline)];
        let logits = self.each_piece(&choices, &missing, stop, |(_, positions), logits| {
            check_finite(positions, logits).map(|()| logits.to_vec())
        })?;
        let Some((logits, _)) = logits else { return Ok(false) };
        for ((block, positions), logits) in missing.iter().zip(logits) {
            let [float, baseline] = <[_; 2]>::try_from(logits).expect("two networks were asked for");
            let float = float.map_err(|bad| self.locate(bad, &choices[0]))?;
            let baseline = baseline.map_err(|bad| self.locate(bad, &choices[1]))?;
            let norms = self.per_image(positions, &float).map(|(logits, _)| score::log_sum_exp(logits));
            let float_norms = norms.collect();
            let scores = self.per_image(positions, &baseline);
            let baseline = scores.map(|(logits, label)| score::score(logits, label)).collect();
            // If another thread was first, its numbers are the same.
            let _ = self.references[*block].set(BlockReferences { float, float_norms, baseline });
        }
        Ok(true)
    }

    /// Makes something of every config's logits, `(images, classes)`, for every piece; `None` if `stop` became true.
    fn each_piece<T: Send>(
        &self,
        configs: &[Box<Choices<'_>>],
        pieces: &[Piece],
        stop: &AtomicBool,
        make: impl Fn(&Piece, &[f32]) -> T + Sync,
    ) -> Result<Option<Made<T>>, EvaluateError> {
        let configs: Vec<&Choices<'_>> = configs.iter().map(AsRef::as_ref).collect();
        match &self.network {
            Computed::Engine(engine) => {
                let plan = engine.plan(&configs, SHARED_BYTES / BLOCK_IMAGES)?;
                self.workspaces().iter_mut().for_each(|workspace| plan.trim(workspace, BLOCK_IMAGES));
                let made = self.lanes.map(pieces.len(), stop, |index| {
                    let (_, positions) = &pieces[index];
                    let pixels = self.images.pixels_of(positions.clone());
                    let mut made: Vec<Option<T>> = configs.iter().map(|_| None).collect();
                    let mut workspace = self.workspaces().pop().unwrap_or_default();
                    plan.run((positions.len(), pixels), &mut workspace, |config, logits| {
                        made[config] = Some(make(&pieces[index], logits));
                    });
                    self.workspaces().push(workspace);
                    let made = made.into_iter().map(|made| made.expect("a plan delivers every config"));
                    Ok::<_, EvaluateError>(made.collect::<Vec<T>>())
                })?;
                let images = pieces.iter().map(|(_, positions)| positions.len() as u64).sum::<u64>();
                let (macs, macs_alone) = plan.macs();
                let work = Work { macs: macs * images, macs_alone: macs_alone * images };
                Ok(made.map(|made| (made, work)))
            }
            Computed::Composed(network) => {
                let quantizers = configs.iter().map(|choice| network.quantizers(choice));
                let quantizers = quantizers.collect::<Result<Vec<_>, _>>()?;
                let made = self.lanes.map(pieces.len(), stop, |index| {
                    let input = network.input(&self.images, pieces[index].1.clone())?;
                    let made = quantizers.iter().map(|quantizers| {
                        Ok::<_, EvaluateError>(make(&pieces[index], &network.logits(&input, quantizers)?))
                    });
                    made.collect::<Result<Vec<T>, _>>()
                })?;
                Ok(made.map(|made| (made, Work::default())))
            }
        }
    }

    fn workspaces(&self) -> std::sync::MutexGuard<'_, Vec<Workspace>> {
        self.workspaces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pairs every image's logits with its label.
    fn per_image<'b>(
        &'b self,
        positions: &Range<usize>,
        logits: &'b [f32],
    ) -> impl Iterator<Item = (&'b [f32], usize)> {
        let classes = (logits.len() / positions.len()).max(1);
        let labels = self.images.labels[positions.clone()].iter();
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
    let kernels = Kernels::default();
    let source = Source { network: &network, prepared, layer_inputs: &layer_inputs, cache: &cache, kernels };
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
