//! As many images per config as its decision needs.
//!
//! Every config is a fold of its own over its parts in order: the next part is proposed when the one before has come
//! and left it undecided. So neither the order in which outcomes arrive nor the number of workers decides anything.

use std::collections::HashSet;

use bitloop_core::digest::Digest;
use bitloop_core::evaluation::{EvaluationMode, Judge, Progress};
use bitloop_core::state::StageHistory;
use bitloop_core::trial::{ImageRange, TrialKey, TrialResult, TrialSpec};

use super::{List, Measure, Next};

/// Configs that are measured side by side: enough for many workers, few enough to be looked through after every trial.
const ACTIVE_CONFIGS: usize = 1024;

/// Measures every config until it is decided; the references on all images.
pub(super) struct Adaptive {
    list: List,
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
    pub(super) fn new(mode: EvaluationMode, images: u64, list: List) -> Self {
        let judge = Judge::new(mode, images);
        let folded = Folded { next: list.references, ..Folded::default() };
        Self { list, judge, whole: ImageRange { start: 0, len: images }, folded }
    }

    /// The trials of the references.
    fn references(&self, context: Digest) -> impl Iterator<Item = TrialSpec> {
        let part = self.whole;
        (0..self.list.references).map(move |index| TrialSpec::Evaluate {
            context,
            config: self.list.configs.config(index),
            part,
        })
    }

    /// The trial of a config's next part; none if it is decided.
    fn next(&self, context: Digest, index: u64, progress: &Progress) -> Option<TrialSpec> {
        let part = self.judge.next_part(progress)?;
        Some(TrialSpec::Evaluate { context, config: self.list.configs.config(index), part })
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
            let end = self.list.configs.size().min(folded.next + room);
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

impl Measure for Adaptive {
    /// Every config has a part at least; how many more is not known before.
    fn size(&self) -> u64 {
        self.list.configs.size()
    }

    fn next(&mut self, context: Digest, history: &StageHistory<'_>) -> Next {
        let mut folded = std::mem::take(&mut self.folded);
        folded.look(history);
        let mut trials = Vec::new();
        let mut are_settled = true;
        for reference in self.references(context) {
            let key = reference.key();
            are_settled &= history.is_settled(&key);
            if !folded.proposed.contains(&key) {
                trials.push(reference);
            }
        }
        self.fold(context, &mut folded, history);
        let missing = folded.active.iter().filter(|config| !folded.proposed.contains(&config.key));
        trials.extend(missing.map(|config| config.trial.clone()));
        // A config whose part was quarantined stays active; nothing more comes of it.
        are_settled &= folded.active.iter().all(|config| history.is_settled(&config.key));
        self.folded = folded;
        match (trials.is_empty(), are_settled) {
            (false, _) => Next::Trials(trials),
            (true, false) => Next::Wait,
            (true, true) => Next::Done,
        }
    }
}
