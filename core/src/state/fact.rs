use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::runs::{self, Written};
use crate::autoqkeras::Asked;
use crate::digest::Digest;
use crate::plan::{ExperimentId, Plan};
use crate::selection::Selection;
use crate::trial::{EvaluateContext, Outcome, TrialKey, TrialSpec};

/// Where a submitting client found its inputs, for messages when one is missing or changed later.
pub type Sources = BTreeMap<String, Digest>;

/// What a stage's searcher wants measured next.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Batch {
    /// What its evaluations share, the first time it is used.
    pub context: Option<EvaluateContext>,
    /// The trials, in canonical order.
    #[serde(rename = "runs", serialize_with = "runs::write")]
    pub trials: Vec<TrialSpec>,
    /// What each of them is for, where a search trains; empty elsewhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<Asked>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(priority: &i32) -> bool {
    *priority == 0
}

/// Something that happened and must not be forgotten. Facts are stored before anyone is told of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// A user submitted an experiment.
    ExperimentSubmitted {
        /// The plan; the experiment's id derives from it.
        plan: Box<Plan>,
        /// Where its inputs were found.
        sources: Sources,
        /// Experiments with a higher one go first.
        #[serde(default, skip_serializing_if = "is_zero")]
        priority: i32,
    },
    /// A user paused an experiment.
    ExperimentPaused {
        /// Which.
        experiment: ExperimentId,
    },
    /// A user resumed a paused, or revived a cancelled, experiment.
    ExperimentResumed {
        /// Which.
        experiment: ExperimentId,
    },
    /// A user cancelled an experiment.
    ExperimentCancelled {
        /// Which.
        experiment: ExperimentId,
    },
    /// A searcher proposed trials.
    StepProposed {
        /// For which experiment.
        experiment: ExperimentId,
        /// For which of its stages.
        stage: u32,
        /// The trials.
        batch: Batch,
    },
    /// A searcher has what it needs.
    StageFinished {
        /// Of which experiment.
        experiment: ExperimentId,
        /// Which stage.
        stage: u32,
        /// What it chose, if it chooses anything.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        selection: Option<Box<Selection>>,
    },
    /// All stages are finished.
    ExperimentFinished {
        /// Which.
        experiment: ExperimentId,
    },
    /// A stage cannot go on.
    ExperimentFailed {
        /// Which.
        experiment: ExperimentId,
        /// Why, for people.
        reason: String,
    },
    /// A trial was measured.
    OutcomeCommitted {
        /// Which.
        key: TrialKey,
        /// What it gave.
        outcome: Outcome,
    },
    /// What came of a trial counts no more; the trial is open again. Its outcome names an artifact that is gone or damaged. Or nobody
    /// could measure it, and an experiment wants it that has not tried: for those that have, that stays so.
    OutcomeLost {
        /// Which.
        key: TrialKey,
    },
    /// A trial whose outcome was lost has one again: it was measured once more, or its artifact came back.
    OutcomeReplaced {
        /// Which.
        key: TrialKey,
        /// What it gave.
        outcome: Outcome,
    },
    /// A trial was measured again with another result; the first one stays.
    ConflictSeen {
        /// Which.
        key: TrialKey,
        /// The later result.
        outcome: Outcome,
    },
    /// A trial was running on each of several workers when they were lost; it is not tried again for whoever
    /// wants it.
    TrialQuarantined {
        /// Which.
        key: TrialKey,
        /// How many workers were lost.
        losses: u32,
    },
}
