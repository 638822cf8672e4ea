//! Training on the CPU: a float checkpoint from scratch, resumable after every epoch, and networks with quantizers in place.
//!
//! Start at [`train`] and [`fit_quantized`]; both are a `Session` of steps, epochs and validations. The same spec, seed and
//! images give the same checkpoint on every x86 CPU, for any number of threads and however often the training was stopped
//! and resumed.

mod clock;
mod course;
mod draws;
mod error;
mod finder;
mod optimizer;
mod quantized;
#[cfg(test)]
mod quantized_tests;
mod session;
mod start;
mod state;
mod steps;
mod tape;
#[cfg(test)]
mod tests;
mod weights;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use bitloop_core::graph::Graph;
use bitloop_core::spec::TrainSpec;

use crate::data::Images;
use crate::kernels::nhwc::Isa;
use clock::Stopwatch;
use session::Session;
use state::Standing;
use tape::Tape;

pub use error::TrainError;
pub use quantized::{Materials, fit_quantized};
pub use steps::Steps;
pub(crate) use tape::is_activation;
pub use weights::{QuantizedWeight, quantized_weights};

/// The instruction set that trainings use, by the name that `BITLOOP_KERNELS` takes.
pub fn kernels() -> &'static str {
    session::isa().unwrap_or(Isa::best()).as_str()
}

/// Says whether a float network can be trained here.
///
/// Errors: `Operator` naming the first node that has no gradients here; `Graph`.
pub fn check(graph: &Graph) -> Result<(), TrainError> {
    Tape::new(graph, graph.logits()?, &BTreeMap::new()).map(drop)
}

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
    let mut session = Session::of_spec(spec, images, &|_| BTreeMap::new())?;
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
        steps_left: (spec.epochs - standing.epochs.min(spec.epochs)) * session.course.steps(),
    };
    let never = AtomicBool::new(false);
    while standing.epochs < spec.epochs {
        let (epoch, steps) = (standing.epochs, session.course.steps());
        let mut each = |step, loss| progress(pace.step(spec, [epoch + 1, step, steps], loss));
        let training_loss = session.epoch(epoch, &never, &mut each)?.expect("nobody stops it");
        standing.epochs += 1;
        let validation = session.validate(&never)?.expect("nobody stops it");
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
            validation_loss: validation.loss(),
            is_best,
        });
    }
    state::remove(&state_path)?;
    let (best_epoch, best) = standing.best.expect("at least one epoch was validated");
    Ok(Report {
        best_epoch,
        validation_accuracy: best.accuracy(),
        validation_loss: best.loss(),
        parameters: session.graph.parameters()?,
    })
}

struct Pace {
    watch: Stopwatch,
    steps_done: usize,
    steps_left: usize,
}

impl Pace {
    /// Counts a step of an epoch.
    fn step(&mut self, spec: &TrainSpec, [epoch, step, steps]: [usize; 3], loss: f64) -> Progress {
        self.steps_done += 1;
        self.steps_left -= 1;
        let seconds = self.watch.seconds();
        Progress::Step {
            epoch,
            epochs: spec.epochs,
            step,
            steps,
            loss,
            images_per_s: (self.steps_done * spec.batch) as f64 / seconds,
            remaining_s: seconds / self.steps_done as f64 * self.steps_left as f64,
        }
    }
}
