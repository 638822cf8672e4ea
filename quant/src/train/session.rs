//! A training under way: the network's parameters, one step, one validation.

use std::collections::BTreeMap;

use bitloop_core::graph::{Graph, Input};
use bitloop_core::spec::{Dataset, TrainSpec};
use candle_core::{Device, Tensor};

use super::TrainError;
use super::draws::{Stream, augmented, hold_back, order, stream_seed};
use super::optimizer::{Moments, Schedule, Update};
use super::tape::{Parameter, Pass, Tape, Targets, cross_entropy};
use crate::data::Images;
use crate::executor::{FloatPass, forward, normalize, pixel_values};
use crate::kernels::Kernels;
use crate::kernels::nhwc::{Isa, Tables, pixels};
use crate::model::Model;
use crate::rng::rng;
use crate::zoo;

/// Images that validation computes at once; only memory depends on it.
const VALIDATION_BATCH: usize = 250;

pub(super) struct Session<'a> {
    spec: &'a TrainSpec,
    images: &'a Images,
    training: Vec<usize>,
    held_back: Vec<usize>,
    pub(super) graph: Graph,
    logits: String,
    tape: Tape,
    isa: Isa,
    /// What the optimizer changes.
    pub(super) parameters: BTreeMap<String, Parameter>,
    /// Running statistics of the batch norms.
    pub(super) running: BTreeMap<String, Vec<f32>>,
    pub(super) moments: Moments,
}

/// How well the held-back images are recognized.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Validation {
    pub(super) correct: usize,
    pub(super) images: usize,
    /// Mean cross-entropy, without label smoothing.
    pub(super) loss: f64,
}

impl Validation {
    pub(super) fn accuracy(&self) -> f64 {
        self.correct as f64 / self.images.max(1) as f64
    }

    /// More images right, or as many with a lower loss.
    pub(super) fn is_better_than(&self, other: &Self) -> bool {
        self.correct > other.correct || (self.correct == other.correct && self.loss < other.loss)
    }
}

impl<'a> Session<'a> {
    pub(super) fn new(spec: &'a TrainSpec, images: &'a Images) -> Result<Self, TrainError> {
        check(spec, images)?;
        let input = input_of(spec.data.dataset, images)?;
        let graph = zoo::build(&spec.architecture, &spec.name, input, images.classes as usize)?;
        let seed = stream_seed(spec.seed, Stream::Weights);
        let weights = zoo::initial_weights(&graph, zoo::initializer(&spec.architecture), seed)?;
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
        let (training, held_back) = hold_back(images.len(), spec.data.validation, spec.seed);
        let logits = graph.logits()?.to_owned();
        Ok(Self {
            spec,
            images,
            training,
            held_back,
            tape: Tape::new(&graph, &logits)?,
            // Where candle's operators are forced, this is still the only way to train.
            isa: Kernels::chosen()?.isa().unwrap_or(Isa::best()),
            logits,
            graph,
            parameters,
            running,
            moments: Moments::default(),
        })
    }

    /// Steps per epoch; images that do not fill a last batch wait for the next epoch's order.
    pub(super) fn steps(&self) -> usize {
        self.training.len() / self.spec.batch
    }

    /// The batches of an epoch, counted from 0.
    pub(super) fn order(&self, epoch: usize) -> Vec<usize> {
        order(&self.training, self.spec.seed, epoch)
    }

    /// Learns from one batch and returns its loss; `step` counts from 0 over all epochs.
    pub(super) fn step(&mut self, batch: &[usize], step: usize) -> Result<f64, TrainError> {
        let seed = |stream| stream_seed(self.spec.seed, stream);
        let mut changes = rng(seed(Stream::Augmentation), step as u64);
        let pixels = augmented(self.images, batch, &self.spec.augmentation, &mut changes);
        let x = self.input(&pixels)?;
        let mut gradients = BTreeMap::new();
        let mut pass = Pass {
            isa: self.isa,
            images: batch.len(),
            parameters: &self.parameters,
            running: &mut self.running,
            gradients: &mut gradients,
            dropout: rng(seed(Stream::Dropout), step as u64),
        };
        let labels: Vec<usize> = batch.iter().map(|index| self.images.labels[*index] as usize).collect();
        let targets = Targets {
            labels: &labels,
            classes: self.images.classes as usize,
            smoothing: self.spec.label_smoothing,
        };
        let (loss, to_logits) = cross_entropy(self.tape.forward(&mut pass, x), &targets);
        self.tape.backward(&mut pass, to_logits);
        let schedule = Schedule {
            warmup_steps: self.spec.warmup_epochs * self.steps() as f64,
            steps: self.spec.epochs * self.steps(),
        };
        let update = Update { optimizer: &self.spec.optimizer, step, factor: schedule.factor(step) };
        for (name, parameter) in &mut self.parameters {
            if let Some(gradient) = gradients.get(name) {
                update.apply(&mut self.moments, name, &mut parameter.values, gradient);
            }
        }
        Ok(loss)
    }

    /// Pixels `(images, channels, height, width)` as the network's input, with channels last.
    fn input(&self, changed: &[u8]) -> Result<Vec<f32>, TrainError> {
        let tables = pixel_values(&self.graph.input)?;
        let plane = self.images.shape.elements() / tables.len().max(1);
        let mut x = vec![0.0; changed.len()];
        pixels(changed, plane, Tables::Floats(&tables, &mut x));
        Ok(x)
    }

    /// Returns accuracy and loss over the held-back images, with the running statistics.
    pub(super) fn validate(&self) -> Result<Validation, TrainError> {
        let weights = self.weights()?;
        let mut sum = Validation { correct: 0, images: self.held_back.len(), loss: 0.0 };
        let image = self.images.shape.elements();
        for batch in self.held_back.chunks(VALIDATION_BATCH) {
            let pixels: Vec<u8> = batch
                .iter()
                .flat_map(|index| &self.images.pixels[index * image..(index + 1) * image])
                .copied()
                .collect();
            let x = normalize(&self.graph.input, &pixels, batch.len(), &Device::Cpu)?;
            let logits = forward(&self.graph, &x, &self.logits, &mut FloatPass { weights: &weights })?;
            let log_probabilities =
                candle_nn::ops::log_softmax(&logits.flatten_from(1)?, 1)?.to_vec2::<f32>()?;
            for (index, row) in batch.iter().zip(log_probabilities) {
                let label = self.images.labels[*index] as usize;
                let first_largest = (0..row.len()).rev().max_by(|a, b| row[*a].total_cmp(&row[*b]));
                sum.correct += usize::from(first_largest == Some(label));
                sum.loss -= f64::from(row[label]);
            }
        }
        sum.loss /= sum.images.max(1) as f64;
        Ok(sum)
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

fn check(spec: &TrainSpec, images: &Images) -> Result<(), TrainError> {
    let setting = |field, value, expected, holds: bool| match holds {
        true => Ok(()),
        false => Err(TrainError::Setting { field, value, expected }),
    };
    setting("batch", spec.batch as f64, "at least 2", spec.batch >= 2)?;
    setting("epochs", spec.epochs as f64, "at least 1", spec.epochs >= 1)?;
    let smoothing = spec.label_smoothing;
    setting("label_smoothing", smoothing, "in 0..1", (0.0..1.0).contains(&smoothing))?;
    let warmup = spec.warmup_epochs;
    let in_time = warmup >= 0.0 && warmup <= spec.epochs as f64;
    setting("warmup_epochs", warmup, "between 0 and `epochs`", in_time)?;
    let validation = spec.data.validation;
    if validation == 0 || images.len() < validation + spec.batch {
        return Err(TrainError::TooFewImages { images: images.len(), validation, batch: spec.batch });
    }
    Ok(())
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
