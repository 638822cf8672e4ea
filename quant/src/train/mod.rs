//! Training a float checkpoint from scratch on the CPU, resumable after every epoch.
//!
//! Start at [`train`]. The same spec, seed and images give the same checkpoint on one machine, for any number of
//! threads and however often the training was stopped and resumed.

mod clock;
mod draws;
mod error;
mod optimizer;
mod session;
mod state;
mod steps;
mod tape;
#[cfg(test)]
mod tests;

use std::path::Path;

use bitloop_core::spec::TrainSpec;

use crate::data::Images;
use clock::Stopwatch;
use session::Session;
use state::Standing;

pub use error::TrainError;
pub use steps::Steps;

/// What a training tells while it goes on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Progress {
    /// An earlier, stopped training is continued.
    Resumed {
        /// Epochs that it had finished.
        epochs: usize,
    },
    /// A batch has been learned.
    Step {
        /// Counted from 1.
        epoch: usize,
        /// Epochs in total.
        epochs: usize,
        /// Counted from 1 within the epoch.
        step: usize,
        /// Steps per epoch.
        steps: usize,
        /// Of this batch, with label smoothing.
        loss: f64,
        /// Mean since the start, validation included.
        images_per_s: f64,
        /// Expected time to the end.
        remaining_s: f64,
    },
    /// An epoch has been validated.
    Epoch {
        /// Counted from 1.
        epoch: usize,
        /// Mean over the epoch's batches, with label smoothing.
        training_loss: f64,
        /// Share of the held-back images recognized.
        validation_accuracy: f64,
        /// Mean cross-entropy of the held-back images.
        validation_loss: f64,
        /// Whether it is the best so far, and is now the checkpoint.
        is_best: bool,
    },
}

/// What a training gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// The epoch whose weights are the checkpoint, counted from 1.
    pub best_epoch: usize,
    /// Share of the held-back images that it recognizes.
    pub validation_accuracy: f64,
    /// Mean cross-entropy of the held-back images.
    pub validation_loss: f64,
    /// Number of trained values.
    pub parameters: usize,
}

/// Trains a network and writes the epoch with the highest validation accuracy (then the lowest loss) to `out`.
///
/// After every epoch the whole state is written to `<out>.training`; a second call goes on from there, and the file
/// is removed when the training ends.
///
/// Errors: [`TrainError`]; a state left by other settings or images is refused (`Changed`), never overwritten.
pub fn train(
    spec: &TrainSpec,
    images: &Images,
    out: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, TrainError> {
    let mut session = Session::new(spec, images)?;
    let identity = state::identity(spec, images);
    let state_path = state::path_beside(out);
    let mut standing = Standing { epochs: 0, best: None };
    if let Some(earlier) = state::resume(&mut session, identity, &state_path)? {
        standing = earlier;
        progress(Progress::Resumed { epochs: standing.epochs });
    }
    let mut pace = Pace {
        watch: Stopwatch::start(),
        steps_done: 0,
        steps_left: (spec.epochs - standing.epochs.min(spec.epochs)) * session.steps(),
    };
    while standing.epochs < spec.epochs {
        let training_loss = epoch(&mut session, spec, standing.epochs, &mut pace, progress)?;
        standing.epochs += 1;
        let validation = session.validate()?;
        let is_best = standing.best.is_none_or(|(_, best)| validation.is_better_than(&best));
        if is_best {
            session.model()?.save(out)?;
            standing.best = Some((standing.epochs, validation));
        }
        state::save(&session, &standing, identity, &state_path)?;
        progress(Progress::Epoch {
            epoch: standing.epochs,
            training_loss,
            validation_accuracy: validation.accuracy(),
            validation_loss: validation.loss,
            is_best,
        });
    }
    state::remove(&state_path)?;
    let (best_epoch, best) = standing.best.expect("at least one epoch was validated");
    Ok(Report {
        best_epoch,
        validation_accuracy: best.accuracy(),
        validation_loss: best.loss,
        parameters: session.graph.parameters()?,
    })
}

struct Pace {
    watch: Stopwatch,
    steps_done: usize,
    steps_left: usize,
}

/// Runs one epoch, counted from 0, and returns its mean loss.
fn epoch(
    session: &mut Session<'_>,
    spec: &TrainSpec,
    epoch: usize,
    pace: &mut Pace,
    progress: &mut dyn FnMut(Progress),
) -> Result<f64, TrainError> {
    let steps = session.steps();
    let mut loss_sum = 0.0;
    for (index, batch) in session.order(epoch).chunks_exact(spec.batch).enumerate() {
        let loss = session.step(batch, epoch * steps + index)?;
        if !loss.is_finite() {
            return Err(TrainError::Diverged { epoch: epoch + 1, step: index + 1, loss });
        }
        loss_sum += loss;
        pace.steps_done += 1;
        pace.steps_left -= 1;
        let seconds = pace.watch.seconds();
        progress(Progress::Step {
            epoch: epoch + 1,
            epochs: spec.epochs,
            step: index + 1,
            steps,
            loss,
            images_per_s: (pace.steps_done * spec.batch) as f64 / seconds,
            remaining_s: seconds / pace.steps_done as f64 * pace.steps_left as f64,
        });
    }
    Ok(loss_sum / steps as f64)
}
