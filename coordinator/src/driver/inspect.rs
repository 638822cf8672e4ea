//! Whether the artifacts are there that facts speak of, looked at when the coordinator starts; and what becomes of those
//! that somebody misses while it works.

use std::collections::{BTreeMap, BTreeSet};

use bitloop_core::digest::Digest;
use bitloop_core::state::{Fact, Input, State, Status, Trial};
use bitloop_core::trial::{TrialKey, TrialSpec};
use tracing::warn;

use super::Driver;
use crate::artifacts::Artifacts;

/// The trials that gave each artifact, also those that have given another one since. Whoever asks for what nobody made has
/// nobody look through a million trials.
#[derive(Default)]
pub(super) struct Origins(BTreeSet<(Digest, TrialKey)>);

impl Origins {
    pub(super) fn note(&mut self, fact: &Fact) {
        if let Fact::OutcomeCommitted { key, outcome } | Fact::OutcomeReplaced { key, outcome } = fact
            && let Some(artifact) = outcome.result.artifact()
        {
            self.0.insert((artifact, *key));
        }
    }

    fn of(&self, artifact: Digest) -> impl Iterator<Item = TrialKey> {
        let first = (artifact, TrialKey(Digest::from_bytes([0; 32])));
        let own = self.0.range(first..).take_while(move |(made, _)| *made == artifact);
        own.map(|(_, key)| *key)
    }
}

impl Driver {
    /// Has made again what readers have found missing or damaged.
    pub(super) fn hear_of_misses(&mut self) {
        let missed = self.misses.take();
        let outcomes = missed.into_iter().flat_map(|artifact| {
            let origins = self.origins.of(artifact);
            origins.map(move |key| (key, artifact))
        });
        let outcomes: BTreeMap<_, _> = outcomes.collect();
        if outcomes.is_empty() {
            return;
        }
        let input = Input::Missed { outcomes };
        if let Err(rejection) = self.step(&input) {
            warn!(%rejection, "what was missed of artifacts was refused");
        }
    }

    /// Takes note of the outcomes whose artifact has gone, or has come back, and warns of inputs that are missing.
    ///
    /// Only the last outcome of each trial is looked at, and its artifact is read whole. But of checkpoints that only finished
    /// experiments made, which may be years of them, it is enough that they are there.
    pub(super) fn inspect(&mut self, artifacts: &Artifacts) {
        let ledger = &self.state.ledger;
        let missing = ledger.artifacts().filter_map(|(key, artifact)| {
            let is_prepared = |trial: &Trial| matches!(trial.spec, TrialSpec::Prepare(_));
            let looked = match ledger.is_in_use(key) || ledger.trial(key).is_some_and(is_prepared) {
                true => artifacts.missing_or_damaged(&[artifact]),
                false => artifacts.missing(&[artifact]),
            };
            let is_missing = match looked {
                Ok(missing) => !missing.is_empty(),
                Err(cause) => {
                    warn!(trial = %key, %artifact, %cause, "whether an outcome's artifact is whole cannot be said");
                    // An error of the disk is neither a loss nor a find.
                    ledger.lost(key).is_some()
                }
            };
            is_missing.then_some(artifact)
        });
        let missing = missing.collect();
        if let Err(rejection) = self.step(&Input::Inspect { missing }) {
            warn!(%rejection, "what was seen of artifacts was refused");
        }
        warn_of_missing_artifacts(&self.state, artifacts);
    }
}

fn warn_of_missing_artifacts(state: &State, artifacts: &Artifacts) {
    let experiments = state.ledger.experiments().iter();
    for experiment in experiments.filter(|experiment| experiment.status == Status::Active) {
        match artifacts.missing(&experiment.plan.artifacts()) {
            Ok(missing) => missing.iter().for_each(|digest| {
                warn!(
                    experiment = %experiment.id, %digest,
                    "an active experiment's artifact is gone; submit the experiment again to restore it"
                );
            }),
            Err(cause) => {
                warn!(experiment = %experiment.id, %cause, "an active experiment's artifacts are in doubt")
            }
        }
    }
}
