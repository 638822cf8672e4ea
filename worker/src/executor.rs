//! What a worker does with a trial, behind a trait: the real thing, or an empty one to measure the rest of the system.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bitloop_core::device::{Device, ProbeOffer};
use bitloop_core::digest::Digest;
use bitloop_core::state::ObstacleKind;
use bitloop_core::trial::{
    EvaluateContext, Evaluation, Measured, Outcome, Provenance, Trained, Training, TrialResult, TrialSpec,
    Work,
};

use crate::artifacts::{ArtifactError, Artifacts};
use crate::probe::Probe;

/// Why a trial was not done although it may be possible; the lease is given back.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// An input is missing or the result cannot be left anywhere.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// An evaluation came without what it shares with others.
    #[error("the shard names no context for its evaluations")]
    NoContext,
    /// What measures on another device is not there: no trial's fault.
    #[error("{reason}")]
    Probe {
        /// Why.
        reason: String,
    },
    /// The device cannot be used right now.
    #[error("the device cannot be used: {reason}")]
    Device {
        /// Why.
        reason: String,
    },
}

impl ExecuteError {
    /// What follows from it for the trials.
    pub fn obstacle(&self) -> ObstacleKind {
        match self {
            Self::Artifact(_) | Self::NoContext | Self::Probe { .. } => ObstacleKind::Supply,
            Self::Device { .. } => ObstacleKind::Device,
        }
    }
}

/// Why a trial gave nothing: for good, or just here and now.
pub(crate) enum Obstacle {
    Failed(String),
    Here(ExecuteError),
}

impl<E: Into<ExecuteError>> From<E> for Obstacle {
    fn from(error: E) -> Self {
        Self::Here(error.into())
    }
}

/// What trials that are measured together have in common.
pub struct Setting<'a> {
    /// What their evaluations share.
    pub context: Option<&'a EvaluateContext>,
    /// Where inputs come from and results are left.
    pub artifacts: &'a dyn Artifacts,
    /// Becomes true when the work is not wanted any more.
    pub stop: &'a AtomicBool,
}

/// Measures trials on one thread.
pub trait Executor: Send {
    /// What it measures on.
    fn device(&self) -> Device;

    /// Whether it cannot measure with exact arithmetic.
    fn float_only(&self) -> bool {
        false
    }

    /// What it can measure devices with.
    fn probes(&self) -> Vec<ProbeOffer> {
        Vec::new()
    }

    /// Measures trials that go together ([`TrialSpec::goes_with`]; a preparation goes alone) and gives their outcomes in
    /// order, the same as if each were measured alone; fewer if `stop` became true. A trial that cannot be done anywhere
    /// has an outcome that says so.
    ///
    /// Errors: why the next trial was not done although it may be possible.
    fn run(
        &mut self,
        trials: &[&TrialSpec],
        setting: &Setting<'_>,
        give: &mut dyn FnMut(Outcome),
    ) -> Result<(), ExecuteError>;

    /// Takes over what it may measure devices with; what it has no use for ends at once.
    fn take_probes(&mut self, probes: Vec<Probe>) {
        drop(probes);
    }

    /// Forgets what it keeps between trials; called after it panicked.
    fn reset(&mut self) {}

    /// With what it measures.
    fn provenance(&self) -> Provenance {
        Provenance {
            engine: format!("bitloop {}", env!("CARGO_PKG_VERSION")),
            device: self.device().class,
            kernels: "f32".to_owned(),
        }
    }
}

/// Measures nothing: outcomes follow from the trials' keys. For benchmarks and tests of everything else.
#[derive(Clone, Copy, Debug, Default)]
pub struct EmptyExecutor;

impl Executor for EmptyExecutor {
    fn device(&self) -> Device {
        Device { id: "empty".to_owned(), class: "empty".to_owned(), ..Device::default() }
    }

    fn run(
        &mut self,
        trials: &[&TrialSpec],
        setting: &Setting<'_>,
        give: &mut dyn FnMut(Outcome),
    ) -> Result<(), ExecuteError> {
        for trial in trials {
            if setting.stop.load(Ordering::Relaxed) {
                break;
            }
            let key = trial.key().0;
            let result = match trial {
                TrialSpec::Prepare(_) => {
                    let nothing = format!("nothing prepared for {key}").into_bytes();
                    TrialResult::Prepared { artifact: setting.artifacts.store(nothing)?, steps: Vec::new() }
                }
                TrialSpec::Evaluate { part, .. } => TrialResult::Evaluated(empty_evaluation(&key, part.len)),
                TrialSpec::Train(training) => empty_training(&key, training, setting.artifacts)?,
                TrialSpec::Probe(probe) => {
                    let nanoseconds = 1e6 + f64::from(key.as_bytes()[0]);
                    TrialResult::Measured(Box::new(Measured::made_up(&probe.subject, nanoseconds)))
                }
            };
            give(Outcome { result, provenance: self.provenance(), work: Work::default() });
        }
        Ok(())
    }
}

/// Does something first and then measures nothing, as [`EmptyExecutor`]. For benchmarks and tests.
pub struct Beforehand<F>(F);

impl<F> Beforehand<F>
where
    F: FnMut(&[&TrialSpec], &Setting<'_>) -> Result<(), ExecuteError> + Send,
{
    /// Makes one that does this with trials that are measured together.
    pub fn new(first: F) -> Self {
        Self(first)
    }
}

impl<F> Executor for Beforehand<F>
where
    F: FnMut(&[&TrialSpec], &Setting<'_>) -> Result<(), ExecuteError> + Send,
{
    fn device(&self) -> Device {
        EmptyExecutor.device()
    }

    fn run(
        &mut self,
        trials: &[&TrialSpec],
        setting: &Setting<'_>,
        give: &mut dyn FnMut(Outcome),
    ) -> Result<(), ExecuteError> {
        (self.0)(trials, setting)?;
        EmptyExecutor.run(trials, setting, give)
    }
}

/// Measures nothing and takes its time: a worker of a benchmark that is as slow as wanted and costs no processor time.
///
/// Trials that go together sleep one after another and give their outcomes together behind the last one, as an evaluation
/// does behind its last block of images.
pub fn sleeping(trial_time: Duration) -> impl Executor {
    Beforehand::new(move |trials, setting| {
        for _ in trials.iter().take_while(|_| !setting.stop.load(Ordering::Relaxed)) {
            thread::sleep(trial_time);
        }
        Ok(())
    })
}

fn empty_training(
    key: &Digest,
    training: &Training,
    artifacts: &dyn Artifacts,
) -> Result<TrialResult, ArtifactError> {
    let Training { recipe, validation, .. } = training;
    let empty = empty_evaluation(key, validation.images.len);
    let nothing = || format!("nothing trained for {key}").into_bytes();
    Ok(TrialResult::Trained(Trained {
        artifact: (recipe.epochs > 0).then(|| artifacts.store(nothing())).transpose()?,
        epochs: recipe.epochs,
        best_epoch: recipe.epochs,
        n: empty.n,
        correct: empty.correct,
        loss_sum: empty.loss_sum,
        learning_rate: recipe.optimizer.learning_rate(),
    }))
}

fn empty_evaluation(key: &Digest, images: u64) -> Evaluation {
    let draw = u64::from(key.as_bytes()[0]).min(images);
    Evaluation {
        n: images,
        correct: images - draw,
        correct_top5: images,
        lost: draw,
        gained: 0,
        loss_sum: draw as f64,
        loss_difference_sum: draw as f64,
        loss_difference_squares: draw as f64,
        kl_sum: draw as f64,
        signal_sum: 1.0,
        noise_sum: draw as f64,
    }
}
