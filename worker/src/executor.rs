//! What a worker does with a trial, behind a trait: the real thing, or an empty one to measure the rest of the system.

use std::sync::atomic::{AtomicBool, Ordering};

use bitloop_core::digest::Digest;
use bitloop_core::trial::{EvaluateContext, Evaluation, Outcome, Provenance, TrialResult, TrialSpec};

use crate::artifacts::{ArtifactError, Artifacts};

/// Why a trial was not done although it may be possible; the lease is given back.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// An input is missing or the result cannot be left anywhere.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// An evaluation came without what it shares with others.
    #[error("the shard names no context for its evaluations")]
    NoContext,
    /// The device cannot be used right now.
    #[error("the device cannot be used: {reason}")]
    Device {
        /// Why.
        reason: String,
    },
}

/// Measures trials, one after another, on one thread.
pub trait Executor: Send {
    /// Class of the device, such as the CPU's model.
    fn device(&self) -> String;

    /// Measures a trial; `None` if `stop` became true. A trial that cannot be done anywhere is an outcome.
    fn run(
        &mut self,
        trial: &TrialSpec,
        context: Option<&EvaluateContext>,
        artifacts: &dyn Artifacts,
        stop: &AtomicBool,
    ) -> Result<Option<Outcome>, ExecuteError>;

    /// Forgets what it keeps between trials; called after it panicked.
    fn reset(&mut self) {}

    /// With what it measures.
    fn provenance(&self) -> Provenance {
        Provenance {
            engine: format!("bitloop {}", env!("CARGO_PKG_VERSION")),
            device: self.device(),
            kernels: "f32".to_owned(),
        }
    }
}

/// Measures nothing: outcomes follow from the trials' keys. For benchmarks and tests of everything else.
#[derive(Clone, Copy, Debug, Default)]
pub struct EmptyExecutor;

/// Images that an empty evaluation claims.
const EMPTY_IMAGES: u64 = 10_000;

impl Executor for EmptyExecutor {
    fn device(&self) -> String {
        "empty".to_owned()
    }

    fn run(
        &mut self,
        trial: &TrialSpec,
        _context: Option<&EvaluateContext>,
        artifacts: &dyn Artifacts,
        stop: &AtomicBool,
    ) -> Result<Option<Outcome>, ExecuteError> {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let key = trial.key().0;
        let result = match trial {
            TrialSpec::Prepare(_) => {
                let artifact = artifacts.store(format!("nothing prepared for {key}").into_bytes())?;
                TrialResult::Prepared { artifact, steps: Vec::new() }
            }
            TrialSpec::Evaluate { .. } => TrialResult::Evaluated(empty_evaluation(&key)),
        };
        Ok(Some(Outcome { result, provenance: self.provenance() }))
    }
}

fn empty_evaluation(key: &Digest) -> Evaluation {
    let draw = u64::from(key.as_bytes()[0]);
    Evaluation {
        n: EMPTY_IMAGES,
        correct: EMPTY_IMAGES - draw,
        correct_top5: EMPTY_IMAGES,
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
