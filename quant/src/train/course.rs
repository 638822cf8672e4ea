//! What a network learns from and how: what a training file and a trial's recipe say alike.

use std::collections::BTreeMap;

use bitloop_core::spec::{Augmentation, Optimizer, TrainSpec};
use bitloop_core::trial::{RateSchedule, Recipe, Training};

use super::draws::{hold_back, order};
use super::optimizer::Schedule;
use super::{Materials, TrainError};
use crate::data::Images;
use crate::qkeras::Arithmetic;

/// A training's images, in steps and epochs, and what happens in a step.
pub(super) struct Course<'a> {
    pub(super) images: &'a Images,
    /// Positions of those to learn from.
    pub(super) training: Vec<usize>,
    pub(super) judged: &'a Images,
    /// Positions of those that an epoch is judged by.
    pub(super) validation: Vec<usize>,
    pub(super) epochs: usize,
    /// Epochs before the first one.
    first_epoch: usize,
    pub(super) batch: usize,
    /// Its learning rate is the highest.
    pub(super) optimizer: Optimizer,
    warmup_epochs: f64,
    schedule: RateSchedule,
    /// What the learning rate of a node's parameters is multiplied by, where it is not 1.
    pub(super) slower: BTreeMap<String, f64>,
    pub(super) clip_norm: Option<f64>,
    pub(super) smoothing: f64,
    pub(super) augmentation: &'a Augmentation,
    pub(super) seed: u64,
    /// Of quantizers.
    pub(super) arithmetic: Arithmetic,
}

impl<'a> Course<'a> {
    /// The course of a training file; images are held back for validation.
    ///
    /// Errors: `Setting`, `TooFewImages`.
    pub(super) fn of_spec(spec: &'a TrainSpec, images: &'a Images) -> Result<Self, TrainError> {
        setting("batch", spec.batch as f64, "at least 2", spec.batch >= 2)?;
        setting("epochs", spec.epochs as f64, "at least 1", spec.epochs >= 1)?;
        check_smoothing(spec.label_smoothing)?;
        let warmup = spec.warmup_epochs;
        let in_time = warmup >= 0.0 && warmup <= spec.epochs as f64;
        setting("warmup_epochs", warmup, "between 0 and `epochs`", in_time)?;
        let validation = spec.data.validation;
        if validation == 0 || images.len() < validation + spec.batch {
            return Err(TrainError::TooFewImages { images: images.len(), validation, batch: spec.batch });
        }
        let (training, validation) = hold_back(images.len(), validation, spec.seed);
        Ok(Self {
            images,
            training,
            judged: images,
            validation,
            epochs: spec.epochs,
            first_epoch: 0,
            batch: spec.batch,
            optimizer: spec.optimizer.clone(),
            warmup_epochs: warmup,
            schedule: RateSchedule::Cosine,
            slower: BTreeMap::new(),
            clip_norm: None,
            smoothing: spec.label_smoothing,
            augmentation: &spec.augmentation,
            seed: spec.seed,
            arithmetic: Arithmetic::default(),
        })
    }

    /// The course of a trial.
    ///
    /// Errors: `Setting`, `TooFewTraining`, `Data` for ranges behind the last image.
    pub(super) fn of_training(materials: &Materials<'a>) -> Result<Self, TrainError> {
        let Training { training, validation, recipe, compat, .. } = materials.spec;
        check_recipe(recipe)?;
        let trains = recipe.epochs > 0;
        let positions = match trains {
            true => materials.training.range(training.images)?.collect(),
            false => Vec::new(),
        };
        let (batch, images) = (recipe.batch as usize, positions.len());
        if trains && images < batch {
            return Err(TrainError::TooFewTraining { images, batch });
        }
        Ok(Self {
            images: materials.training,
            training: positions,
            judged: materials.validation,
            validation: materials.validation.range(validation.images)?.collect(),
            epochs: recipe.epochs as usize,
            first_epoch: recipe.first_epoch as usize,
            batch,
            optimizer: recipe.optimizer.clone(),
            warmup_epochs: 0.0,
            schedule: recipe.schedule,
            slower: recipe.slower.clone(),
            clip_norm: recipe.clip_norm,
            smoothing: recipe.label_smoothing,
            augmentation: &recipe.augmentation,
            seed: recipe.seed,
            arithmetic: Arithmetic::from(*compat),
        })
    }

    /// Steps per epoch; images that do not fill a last batch wait for the next epoch's order.
    pub(super) fn steps(&self) -> usize {
        self.training.len() / self.batch
    }

    /// The images of an epoch, counted from 0, in the order of its batches.
    pub(super) fn order(&self, epoch: usize) -> Vec<usize> {
        order(&self.training, self.seed, self.first_epoch + epoch)
    }

    /// The number of a step among all random draws, those of earlier trainings included; steps count from 0.
    pub(super) fn draw(&self, step: usize) -> u64 {
        (self.first_epoch * self.steps() + step) as u64
    }

    pub(super) fn schedule(&self) -> Schedule {
        Schedule {
            warmup_steps: self.warmup_epochs * self.steps() as f64,
            steps: self.epochs * self.steps(),
            fall: self.schedule,
        }
    }
}

fn check_recipe(recipe: &Recipe) -> Result<(), TrainError> {
    setting("batch", f64::from(recipe.batch), "at least 2", recipe.batch >= 2)?;
    check_smoothing(recipe.label_smoothing)?;
    let is_positive = |value: f64| value > 0.0 && value.is_finite();
    let learning_rate = recipe.optimizer.learning_rate();
    setting("learning_rate", learning_rate, "above 0", is_positive(learning_rate))?;
    if let Some(norm) = recipe.clip_norm {
        setting("clip_norm", norm, "above 0", is_positive(norm))?;
    }
    recipe.slower.values().try_for_each(|factor| {
        setting("slower", *factor, "at least 0 and finite", *factor >= 0.0 && factor.is_finite())
    })
}

fn check_smoothing(smoothing: f64) -> Result<(), TrainError> {
    setting("label_smoothing", smoothing, "in 0..1", (0.0..1.0).contains(&smoothing))
}

fn setting(field: &'static str, value: f64, expected: &'static str, holds: bool) -> Result<(), TrainError> {
    if holds { Ok(()) } else { Err(TrainError::Setting { field, value, expected }) }
}
