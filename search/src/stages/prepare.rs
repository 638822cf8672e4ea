//! The prepare stage: one trial that makes the model ready.

use bitloop_core::state::{Batch, Proposal, StageHistory};
use bitloop_core::trial::{TrialResult, TrialSpec};

use crate::{Searcher, Step};

pub(crate) struct Prepare;

impl Searcher for Prepare {
    fn size(&self) -> u64 {
        1
    }

    fn propose(&mut self, history: &StageHistory<'_>) -> Step {
        Step::Propose(next(history))
    }
}

fn next(history: &StageHistory<'_>) -> Proposal {
    let Some(key) = history.proposed().first() else {
        let trial = TrialSpec::Prepare(Box::new(history.plan().prepare()));
        return Proposal::Trials(Batch { context: None, trials: vec![trial], ..Batch::default() });
    };
    match history.outcome(key).map(|outcome| &outcome.result) {
        Some(TrialResult::Prepared { .. }) => Proposal::Finished,
        Some(TrialResult::Failed { reason }) => {
            Proposal::Failed(format!("the model cannot be prepared: {reason}"))
        }
        Some(TrialResult::Evaluated(_) | TrialResult::Trained(_) | TrialResult::Measured(_)) => {
            Proposal::Failed("preparing gave no artifact; its worker has another version".to_owned())
        }
        None if history.settled() > 0 => {
            Proposal::Failed("preparing was quarantined: every worker that ran it was lost".to_owned())
        }
        None => Proposal::Wait,
    }
}
