//! A searcher per kind of stage.

mod autoqkeras;
mod prepare;
mod search;
mod sensitivity;
mod sets;
mod uncertain;
mod verify;

use bitloop_core::digest::Digest;
use bitloop_core::plan::StagePlan;
use bitloop_core::state::StageHistory;
use bitloop_core::trial::TrialResult;

pub(crate) use autoqkeras::AutoQKeras;
pub(crate) use prepare::Prepare;
pub(crate) use search::Search;
pub(crate) use sensitivity::Sensitivity;
pub(crate) use sets::Sets;
pub(crate) use verify::Verify;

/// Why a stage that measures cannot start.
const NOT_PREPARED: &str = "no earlier stage prepared the model";

/// The artifact that the prepare stage gave.
fn prepared(history: &StageHistory<'_>) -> Option<Digest> {
    let stages = history.plan().stages.iter().take(history.stage() as usize);
    let prepare = stages.enumerate().find(|(_, stage)| matches!(stage, StagePlan::Prepare))?.0;
    let key = history.earlier(prepare as u32).first()?;
    match &history.outcome(key)?.result {
        TrialResult::Prepared { artifact, .. } => Some(*artifact),
        TrialResult::Evaluated(_) | TrialResult::Trained(_) | TrialResult::Failed { .. } => None,
    }
}
