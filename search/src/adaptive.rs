//! Single-point sensitivity with as many images per config as its decision needs.
//!
//! Every config is a fold of its own over its parts in order: the next part is proposed when the one before has come
//! and left it undecided. So neither the order in which outcomes arrive nor the number of workers decides anything.

use std::collections::HashSet;

use bitloop_core::digest::Digest;
use bitloop_core::evaluation::{Judge, Progress};
use bitloop_core::plan::Plan;
use bitloop_core::state::{Batch, Proposal, StageHistory};
use bitloop_core::sweep::{REFERENCES, Sweep};
use bitloop_core::trial::{ImageRange, TrialKey, TrialResult, TrialSpec};

use crate::Searcher;
use crate::sensitivity::{NOT_PREPARED, context};

/// Configs that are measured side by side: enough for many workers, few enough to be looked through after every trial.
const ACTIVE_CONFIGS: usize = 1024;

/// Measures every config until it is decided; the float network and the baseline on all images.
pub(crate) struct Adaptive {
    sweep: Sweep,
    judge: Judge,
    whole: ImageRange,
    /// What follows from the history so far, so that it is not gone through again after every trial. It holds nothing
    /// that a new searcher would not find again.
    folded: Folded,
}

#[derive(Default)]
struct Folded {
    /// What has been proposed, as far as looked at.
    proposed: HashSet<TrialKey>,
    looked_at: usize,
    /// The configs that are not over, ascending.
    active: Vec<Config>,
    /// The first config that has not been active yet.
    next: u64,
}

struct Config {
    index: u64,
    progress: Progress,
    /// The trial of its next part.
    trial: TrialSpec,
    key: TrialKey,
}

impl Adaptive {
    pub(crate) fn new(plan: &Plan, sweep: Sweep) -> Self {
        let images = plan.data.selection.images;
        let judge = Judge::new(plan.evaluation, images);
        let folded = Folded { next: REFERENCES, ..Folded::default() };
        Self { sweep, judge, whole: ImageRange { start: 0, len: images }, folded }
    }

    /// The trial of a config's next part; none if it is decided.
    fn next(&self, context: Digest, index: u64, progress: &Progress) -> Option<TrialSpec> {
        let part = self.judge.next_part(progress)?;
        Some(TrialSpec::Evaluate { context, config: self.sweep.config(index), part })
    }

    fn start(&self, context: Digest, index: u64) -> Option<Config> {
        let progress = self.judge.start();
        let trial = self.next(context, index, &progress)?;
        Some(Config { index, progress, key: trial.key(), trial })
    }

    /// Takes all parts that have come, until as many configs wait for theirs as may be active.
    fn fold(&self, digest: Digest, folded: &mut Folded, history: &StageHistory<'_>) {
        let seen = Seen { history, proposed: &folded.proposed };
        loop {
            folded.active.retain_mut(|config| self.advance(digest, config, &seen));
            let is_stuck = |config: &&Config| history.is_settled(&config.key);
            let waiting = folded.active.len() - folded.active.iter().filter(is_stuck).count();
            let room = ACTIVE_CONFIGS.saturating_sub(waiting) as u64;
            let end = self.sweep.size().min(folded.next + room);
            if end == folded.next {
                return;
            }
            let started = (folded.next..end).filter_map(|index| self.start(digest, index));
            folded.active.extend(
                started.filter_map(|mut config| self.advance(digest, &mut config, &seen).then_some(config)),
            );
            folded.next = end;
        }
    }

    /// Takes the parts that have come; `false` when the config is over.
    ///
    /// A part that another experiment had measured waits for its proposal all the same, so that the experiment's own
    /// trials tell the whole story; it is settled as soon as it is proposed. A part that was quarantined has no outcome;
    /// its config goes on if one comes after all.
    fn advance(&self, digest: Digest, config: &mut Config, seen: &Seen<'_>) -> bool {
        while seen.proposed.contains(&config.key) {
            let Some(outcome) = seen.history.outcome(&config.key) else { return true };
            let TrialResult::Evaluated(sums) = &outcome.result else { return false };
            if self.judge.add(&mut config.progress, sums).is_err() {
                return false;
            }
            match self.next(digest, config.index, &config.progress) {
                Some(trial) => (config.key, config.trial) = (trial.key(), trial),
                None => return false,
            }
        }
        true
    }
}

/// What a config's fold looks at.
struct Seen<'a> {
    history: &'a StageHistory<'a>,
    proposed: &'a HashSet<TrialKey>,
}

impl Folded {
    fn look(&mut self, history: &StageHistory<'_>) {
        let new = history.proposed().get(self.looked_at..).unwrap_or_default();
        self.proposed.extend(new);
        self.looked_at += new.len();
    }
}

impl Searcher for Adaptive {
    /// Every config has a part at least; how many more is not known before.
    fn size(&self) -> u64 {
        self.sweep.size()
    }

    fn propose(&mut self, history: &StageHistory<'_>) -> Proposal {
        let Some(context) = context(history) else {
            return Proposal::Failed(NOT_PREPARED.to_owned());
        };
        let digest = context.digest();
        let mut folded = std::mem::take(&mut self.folded);
        folded.look(history);
        let mut trials = Vec::new();
        if folded.looked_at == 0 {
            let (context, part) = (digest, self.whole);
            let reference = |index| TrialSpec::Evaluate { context, config: self.sweep.config(index), part };
            trials.extend((0..REFERENCES).map(reference));
        }
        self.fold(digest, &mut folded, history);
        let missing = folded.active.iter().filter(|config| !folded.proposed.contains(&config.key));
        trials.extend(missing.map(|config| config.trial.clone()));
        self.folded = folded;
        let open = history.proposed().len() as u64 - history.settled();
        match (trials.is_empty(), open) {
            (true, 0) => Proposal::Finished,
            (true, _) => Proposal::Wait,
            (false, _) => {
                let is_first = history.proposed().is_empty();
                Proposal::Trials(Batch { context: is_first.then_some(context), trials })
            }
        }
    }
}
