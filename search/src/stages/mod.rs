//! A searcher per kind of stage.

mod autoqkeras;
mod prepare;
mod probe;
mod search;
mod sensitivity;
mod sets;
mod uncertain;
mod verify;

use std::sync::Arc;

use bitloop_core::digest::Digest;
use bitloop_core::plan::StagePlan;
use bitloop_core::state::StageHistory;
use bitloop_core::trial::{EvaluateContext, TrialResult};

pub(crate) use autoqkeras::AutoQKeras;
pub(crate) use prepare::Prepare;
pub(crate) use probe::Probe;
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
        TrialResult::Evaluated(_)
        | TrialResult::Trained(_)
        | TrialResult::Measured(_)
        | TrialResult::Failed { .. } => None,
    }
}

/// What the evaluations of a stage share, and its digest.
///
/// Made once for a prepared model: it names every point, and searchers are asked after every commit.
#[derive(Default)]
struct Shared(Option<(Arc<EvaluateContext>, Digest)>);

impl Shared {
    /// The context on a prepared model; `make` says what it is.
    fn on(
        &mut self,
        prepared: Digest,
        make: impl FnOnce(Digest) -> EvaluateContext,
    ) -> (Arc<EvaluateContext>, Digest) {
        if let Some(known) = self.0.as_ref().filter(|(context, _)| context.prepared == prepared) {
            return known.clone();
        }
        let context = make(prepared);
        let digest = context.digest();
        self.0.insert((Arc::new(context), digest)).clone()
    }
}

#[cfg(test)]
mod tests {
    use bitloop_core::bits::Choice;
    use bitloop_core::trial::{ImageRange, Numerics};

    use super::*;

    #[test]
    fn a_context_is_made_once_for_each_prepared_model() {
        let [one, other] = ["one", "other"].map(|text| Digest::of(text.as_bytes()));
        let (mut shared, mut made) = (Shared::default(), 0);

        for prepared in [one, one, other, one] {
            let (context, digest) = shared.on(prepared, |prepared| {
                made += 1;
                EvaluateContext {
                    prepared,
                    data: Digest::of(b"data"),
                    images: ImageRange { start: 0, len: 1 },
                    numerics: Numerics::Float,
                    baseline: Choice::Float,
                    points: vec!["conv.weight".to_owned()],
                }
            });
            assert_eq!((context.prepared, context.digest()), (prepared, digest));
        }

        assert_eq!(made, 3);
    }
}
