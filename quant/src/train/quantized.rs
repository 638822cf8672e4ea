//! Training with quantizers in place, from a model to its best epoch.

use std::sync::atomic::AtomicBool;

use bitloop_core::trial::{Trained, Training};

use super::TrainError;
use super::course::Course;
use super::finder::find;
use super::session::{Session, Validation};
use super::start::first_weights;
use crate::data::Images;
use crate::lanes::pool;
use crate::model::Model;

/// What a training needs beside its description.
#[derive(Clone, Copy, Debug)]
pub struct Materials<'a> {
    /// The graph, and the weights to start from.
    pub model: &'a Model,
    /// The artifact of `spec.training`; not looked at without epochs.
    pub training: &'a Images,
    /// The artifact of `spec.validation`.
    pub validation: &'a Images,
    /// What is asked for.
    pub spec: &'a Training,
}

/// Trains a network with its quantizers in place; without epochs it is only judged.
///
/// Kernels and biases are kept as floats and quantized anew in every step; gradients pass as QKeras's do; `spec.compat`
/// says whether its mistakes are made too ([`crate::qkeras::Arithmetic`]). Behind each step, parameters with a quantizer are clipped
/// to `max(1, max())` of it. Axes that a quantizer names are those of bitloop's weights. After an epoch the validation images are
/// judged with the running statistics; the epoch with the most of them right, then with the lowest loss, is the result.
/// It ends early after `patience` epochs without a lower loss, as Keras does.
///
/// Returns what it came to, with no artifact yet, and the model as of the best epoch (none if nothing was trained); nothing if
/// `stop` became true. The same for any number of threads.
///
/// Errors: [`TrainError`]; `NoNumbers`, `Diverged` and `DivergedBehind` once a loss is not finite.
pub fn fit_quantized(
    materials: &Materials<'_>,
    threads: usize,
    stop: &AtomicBool,
) -> Result<Option<(Trained, Option<Model>)>, TrainError> {
    pool(threads)?.install(|| fit(materials, stop))
}

/// The best epoch so far, counted from 1.
struct Best {
    epoch: u32,
    validation: Validation,
    model: Model,
}

fn fit(materials: &Materials<'_>, stop: &AtomicBool) -> Result<Option<(Trained, Option<Model>)>, TrainError> {
    let mut session = started(materials)?;
    let recipe = &materials.spec.recipe;
    if recipe.epochs == 0 {
        let validation = judged(&mut session, 0, stop)?;
        return Ok(validation.map(|validation| (trained(&session, 0, (0, validation)), None)));
    }
    if recipe.finds_rate {
        let Some(rate) = find(&mut session, stop)? else { return Ok(None) };
        session.course.optimizer = session.course.optimizer.with_learning_rate(rate);
    }
    let mut best: Option<Best> = None;
    let mut patience = Patience::new(recipe.patience);
    let mut epochs = 0;
    while epochs < recipe.epochs && !patience.is_over() {
        let loss = session.epoch(epochs as usize, stop, &mut |_, _| {})?;
        epochs += 1;
        let validation = match loss {
            Some(_) => judged(&mut session, epochs, stop)?,
            None => None,
        };
        let Some(validation) = validation else { return Ok(None) };
        patience.look(validation.loss());
        if best.as_ref().is_none_or(|best| validation.is_better_than(&best.validation)) {
            best = Some(Best { epoch: epochs, validation, model: session.model()? });
        }
    }
    let Best { epoch, validation, model } = best.expect("an epoch was judged");
    Ok(Some((trained(&session, epochs, (epoch, validation)), Some(model))))
}

/// The training before its first step.
pub(super) fn started<'a>(materials: &Materials<'a>) -> Result<Session<'a>, TrainError> {
    let Materials { model, spec, .. } = *materials;
    let course = Course::of_training(materials)?;
    let graph = model.graph.with_outputs(&spec.outputs)?;
    let weights = first_weights(&graph, model, spec)?;
    Session::new(course, graph, weights, &spec.quantizers)
}

/// Errors: `DivergedBehind`, and those of the validation.
fn judged(
    session: &mut Session<'_>,
    epoch: u32,
    stop: &AtomicBool,
) -> Result<Option<Validation>, TrainError> {
    let validation = session.validate(stop)?;
    match validation.filter(|validation| !validation.loss_sum.is_finite()) {
        Some(validation) if epoch == 0 => Err(TrainError::NoNumbers { loss: validation.loss() }),
        Some(validation) => {
            Err(TrainError::DivergedBehind { epoch: epoch as usize, loss: validation.loss() })
        }
        None => Ok(validation),
    }
}

fn trained(session: &Session<'_>, epochs: u32, (best_epoch, best): (u32, Validation)) -> Trained {
    Trained {
        artifact: None,
        epochs,
        best_epoch,
        n: best.images,
        correct: best.correct,
        loss_sum: best.loss_sum,
        learning_rate: session.course.optimizer.learning_rate(),
    }
}

/// Epochs that are waited for a lower loss.
struct Patience {
    epochs: Option<u32>,
    lowest: f64,
    waited: u32,
}

impl Patience {
    fn new(epochs: Option<u32>) -> Self {
        Self { epochs, lowest: f64::INFINITY, waited: 0 }
    }

    fn look(&mut self, loss: f64) {
        if loss < self.lowest {
            (self.lowest, self.waited) = (loss, 0);
        } else {
            self.waited += 1;
        }
    }

    /// As in Keras, no patience at all is that of one epoch.
    fn is_over(&self) -> bool {
        self.epochs.is_some_and(|epochs| self.waited >= epochs.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends_with_as_many_epochs_without_a_lower_loss() {
        let ends = |epochs| {
            let mut patience = Patience::new(epochs);
            let losses = [1.0, 0.9, 0.9, 0.8, 0.9, 0.85, 0.8, 0.7];
            let looked = losses.iter().take_while(|loss| {
                let goes_on = !patience.is_over();
                patience.look(**loss);
                goes_on
            });
            looked.count()
        };

        assert_eq!([Some(0), Some(1), Some(2), Some(3), Some(4), None].map(ends), [3, 3, 6, 7, 8, 8]);
    }
}
