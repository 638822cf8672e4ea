//! A training under way: the network's parameters, one step, one epoch, one validation.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use bitloop_core::graph::{Graph, Input};
use bitloop_core::spec::{Dataset, TrainSpec};
use bitloop_core::trial::NodeQuantizers;
use candle_core::{Device, Tensor};

use super::TrainError;
use super::course::Course;
use super::draws::{Stream, augmented, stream_seed};
use super::optimizer::{Moments, Update, clip_norm};
use super::tape::{Parameter, Pass, Tape, Targets, cross_entropy, judge};
use crate::data::Images;
use crate::executor::pixel_values;
use crate::kernels::Kernels;
use crate::kernels::nhwc::{Isa, Tables, pixels};
use crate::model::Model;
use crate::qkeras::{Fitting, Phase, Seeded};
use crate::rng::rng;
use crate::zoo;

pub(super) struct Session<'a> {
    pub(super) course: Course<'a>,
    pub(super) graph: Graph,
    classes: usize,
    tape: Tape,
    isa: Isa,
    /// What the optimizer changes.
    pub(super) parameters: BTreeMap<String, Parameter>,
    /// Running statistics of the batch norms.
    pub(super) running: BTreeMap<String, Vec<f32>>,
    pub(super) moments: Moments,
    /// The largest magnitude of parameters that have one.
    limits: BTreeMap<String, f32>,
}

/// Gives the quantizers of a graph by node.
pub(super) type QuantizersOf<'a> = &'a dyn Fn(&Graph) -> BTreeMap<String, NodeQuantizers>;

/// How well the held-back images are recognized.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Validation {
    pub(super) correct: u64,
    pub(super) images: u64,
    /// Of the cross-entropies, without label smoothing.
    pub(super) loss_sum: f64,
}

impl Validation {
    pub(super) fn accuracy(&self) -> f64 {
        self.correct as f64 / self.images.max(1) as f64
    }

    /// Mean cross-entropy.
    pub(super) fn loss(&self) -> f64 {
        self.loss_sum / self.images.max(1) as f64
    }

    /// More images right, or as many with a lower loss.
    pub(super) fn is_better_than(&self, other: &Self) -> bool {
        self.correct > other.correct || (self.correct == other.correct && self.loss_sum < other.loss_sum)
    }
}

impl<'a> Session<'a> {
    /// Starts the training of a file, with the quantizers that are wanted for its graph.
    ///
    /// Errors: as [`super::train`], before its first step.
    pub(super) fn of_spec(
        spec: &'a TrainSpec,
        images: &'a Images,
        quantizers: QuantizersOf<'_>,
    ) -> Result<Self, TrainError> {
        let course = Course::of_spec(spec, images)?;
        let input = input_of(spec.data.dataset, images)?;
        let graph = zoo::build(&spec.architecture, &spec.name, input, images.classes as usize)?;
        let seed = stream_seed(spec.seed, Stream::Weights);
        let weights = zoo::initial_weights(&graph, zoo::initializer(&spec.architecture), seed)?;
        let quantizers = quantizers(&graph);
        Self::new(course, graph, weights, &quantizers)
    }

    /// Plans the network.
    ///
    /// Errors: `Classes`, `Operator`, `Unquantizable`, `Graph`, `Kernels`, `Data`.
    pub(super) fn new(
        course: Course<'a>,
        graph: Graph,
        weights: BTreeMap<String, Tensor>,
        quantizers: &BTreeMap<String, NodeQuantizers>,
    ) -> Result<Self, TrainError> {
        let logits = graph.logits()?.to_owned();
        let tape = Tape::new(&graph, &logits, quantizers)?;
        let classes = tape.classes();
        let mut judged = vec![course.judged];
        judged.extend((!course.training.is_empty()).then_some(course.images));
        for images in judged {
            images.check_shape(&graph.input.shape)?;
            if images.classes as usize > classes {
                return Err(TrainError::Classes { logits: classes, classes: images.classes });
            }
        }
        let mut parameters = BTreeMap::new();
        let mut running = BTreeMap::new();
        for (name, tensor) in weights {
            let values = tensor.flatten_all()?.to_vec1()?;
            match name.ends_with(".running_mean") || name.ends_with(".running_var") {
                true => drop(running.insert(name, values)),
                false => {
                    drop(parameters.insert(name, Parameter { shape: tensor.dims().to_vec(), values }));
                }
            }
        }
        Ok(Self {
            course,
            classes,
            tape,
            isa: isa()?,
            graph,
            parameters,
            running,
            moments: Moments::default(),
            limits: limits(quantizers),
        })
    }

    /// Learns from all batches of an epoch, counted from 0, and returns its mean loss; `each` is told every step, counted from
    /// 1, with its loss. None if `stop` became true.
    ///
    /// Errors: `Diverged`, and those of [`Session::step`].
    pub(super) fn epoch(
        &mut self,
        epoch: usize,
        stop: &AtomicBool,
        each: &mut dyn FnMut(usize, f64),
    ) -> Result<Option<f64>, TrainError> {
        let (steps, mut loss_sum) = (self.course.steps(), 0.0);
        let order = self.course.order(epoch);
        for (index, batch) in order.chunks_exact(self.course.batch).enumerate() {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let loss = self.step(batch, epoch * steps + index)?;
            if !loss.is_finite() && epoch == 0 && index == 0 {
                return Err(TrainError::NoNumbers { loss });
            }
            if !loss.is_finite() {
                return Err(TrainError::Diverged { epoch: epoch + 1, step: index + 1, loss });
            }
            loss_sum += loss;
            each(index + 1, loss);
        }
        Ok(Some(loss_sum / steps as f64))
    }

    /// Learns from one batch and returns its loss; `step` counts from 0 over all epochs.
    ///
    /// Errors: `Compute`, `Quantizer`.
    pub(super) fn step(&mut self, batch: &[usize], step: usize) -> Result<f64, TrainError> {
        let factor = self.course.schedule().factor(step);
        self.step_at(batch, step, factor)
    }

    /// Learns from one batch at a share of the highest learning rate.
    ///
    /// Errors: `Compute`, `Quantizer`.
    pub(super) fn step_at(&mut self, batch: &[usize], step: usize, factor: f64) -> Result<f64, TrainError> {
        let (loss, mut gradients) = self.gradients(batch, step)?;
        let course = &self.course;
        if let Some(norm) = course.clip_norm {
            clip_norm(&mut gradients, norm);
        }
        for (name, parameter) in &mut self.parameters {
            let Some(gradient) = gradients.get(name) else { continue };
            let node = name.rsplit_once('.').map_or(name.as_str(), |(node, _)| node);
            let factor = factor * course.slower.get(node).unwrap_or(&1.0);
            let update = Update { optimizer: &course.optimizer, step, factor };
            update.apply(&mut self.moments, name, &mut parameter.values, gradient);
            if let Some(limit) = self.limits.get(name) {
                parameter.values.iter_mut().for_each(|value| *value = value.clamp(-limit, *limit));
            }
        }
        Ok(loss)
    }

    /// The loss of a batch and its gradients, by the name of the parameter.
    fn gradients(
        &mut self,
        batch: &[usize],
        step: usize,
    ) -> Result<(f64, BTreeMap<String, Vec<f32>>), TrainError> {
        let course = &self.course;
        let seed = |stream| stream_seed(course.seed, stream);
        let mut changes = rng(seed(Stream::Augmentation), course.draw(step));
        let pixels = augmented(course.images, batch, course.augmentation, &mut changes);
        let x = input(&self.graph.input, &pixels)?;
        let labels = labels(course.images, batch);
        let targets = Targets { labels: &labels, classes: self.classes, smoothing: course.smoothing };
        let mut gradients = BTreeMap::new();
        let mut pass = Pass {
            isa: self.isa,
            images: batch.len(),
            parameters: &self.parameters,
            running: &mut self.running,
            gradients: &mut gradients,
            fitting: Fitting { phase: Phase::Training, arithmetic: course.arithmetic, ..Fitting::default() },
            dropout: rng(seed(Stream::Dropout), course.draw(step)),
            draws: Seeded::new(seed(Stream::Quantizers), course.draw(step)),
        };
        let (loss, to_logits) = cross_entropy(self.tape.forward(&mut pass, x)?, &targets);
        self.tape.backward(&mut pass, to_logits);
        Ok((loss, gradients))
    }

    /// Judges the network by the validation images, with the running statistics; none if `stop` became true.
    ///
    /// Images go through in batches of the training's size, to which quantizers that look at values are fitted.
    ///
    /// Errors: `Compute`, `Quantizer`.
    pub(super) fn validate(&mut self, stop: &AtomicBool) -> Result<Option<Validation>, TrainError> {
        let course = &self.course;
        let mut sum = Validation { correct: 0, images: course.validation.len() as u64, loss_sum: 0.0 };
        let image = course.judged.shape.elements();
        let mut gradients = BTreeMap::new();
        for (index, batch) in course.validation.chunks(course.batch).enumerate() {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let pixels: Vec<u8> = batch
                .iter()
                .flat_map(|index| &course.judged.pixels[index * image..(index + 1) * image])
                .copied()
                .collect();
            let labels = labels(course.judged, batch);
            let targets = Targets { labels: &labels, classes: self.classes, smoothing: 0.0 };
            let mut pass = Pass {
                isa: self.isa,
                images: batch.len(),
                parameters: &self.parameters,
                running: &mut self.running,
                gradients: &mut gradients,
                fitting: Fitting { arithmetic: course.arithmetic, ..Fitting::default() },
                dropout: rng(0, 0),
                draws: Seeded::new(stream_seed(course.seed, Stream::Judging), index as u64),
            };
            let x = input(&self.graph.input, &pixels)?;
            let (correct, loss_sum) = judge(self.tape.forward(&mut pass, x)?, &targets);
            sum.correct += correct;
            sum.loss_sum += loss_sum;
        }
        Ok(Some(sum))
    }

    /// The network as it is now.
    pub(super) fn model(&self) -> Result<Model, TrainError> {
        Ok(Model::new(self.graph.clone(), self.weights()?)?)
    }

    /// A copy of all weights; batch norms' statistics among them.
    pub(super) fn weights(&self) -> Result<BTreeMap<String, Tensor>, TrainError> {
        let mut weights = BTreeMap::new();
        for (name, Parameter { shape, values }) in &self.parameters {
            weights.insert(name.clone(), Tensor::from_slice(values, shape.as_slice(), &Device::Cpu)?);
        }
        for (name, values) in &self.running {
            weights.insert(name.clone(), Tensor::new(values.as_slice(), &Device::Cpu)?);
        }
        Ok(weights)
    }
}

/// The instructions that trainings use. Where candle's operators are forced, these are still the only way to train.
///
/// Errors: `Kernels`.
pub(super) fn isa() -> Result<Isa, TrainError> {
    Ok(Kernels::chosen()?.isa().unwrap_or(Isa::best()))
}

/// Pixels `(images, channels, height, width)` as the network's input, with channels last.
fn input(input: &Input, changed: &[u8]) -> Result<Vec<f32>, TrainError> {
    let tables = pixel_values(input)?;
    let plane = input.shape.elements() / tables.len().max(1);
    let mut x = vec![0.0; changed.len()];
    pixels(changed, plane, Tables::Floats(&tables, &mut x));
    Ok(x)
}

fn labels(images: &Images, batch: &[usize]) -> Vec<usize> {
    batch.iter().map(|index| images.labels[*index] as usize).collect()
}

/// QKeras's layers keep a parameter within `max(1, quantizer.max())`.
fn limits(quantizers: &BTreeMap<String, NodeQuantizers>) -> BTreeMap<String, f32> {
    let of = |node: &String, part: &str, quantizer: &Option<_>| {
        let limit = quantizer.as_ref().map(|quantizer: &bitloop_core::qkeras::Quantizer| quantizer.max());
        limit.map(|limit| (format!("{node}.{part}"), limit.max(1.0) as f32))
    };
    let each = quantizers.iter().flat_map(|(node, NodeQuantizers { kernel, bias, activation: _ })| {
        [of(node, "weight", kernel), of(node, "bias", bias)]
    });
    each.flatten().collect()
}

fn input_of(dataset: Dataset, images: &Images) -> Result<Input, TrainError> {
    let (mean, std) = match dataset {
        // Mean and deviation of the 60,000 training images' pixels in 0..1.
        Dataset::FashionMnist => (vec![0.2860], vec![0.3530]),
        Dataset::Mnist | Dataset::Kmnist | Dataset::Cifar10 | Dataset::Cifar100 | Dataset::Cifar100Coarse => {
            images.mean_and_deviation()
        }
    };
    if images.shape.channels() != mean.len() {
        return Err(TrainError::Images(images.shape.clone()));
    }
    Ok(Input { shape: images.shape.clone(), mean, std })
}
