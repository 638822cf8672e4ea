//! What readers ask. Everything that is a matter of counts comes from the latest overview; the driver is asked for what no
//! overview holds, a little at a time.

use std::ops::Range;
use std::sync::Arc;

use bitloop_core::plan::ExperimentId;
use bitloop_core::report::{Effort, Report};
use bitloop_core::state::{Elsewhere, Explanation, Rejection, TrialState, UnixMillis};
use bitloop_core::trial::TrialKey;

use super::command::RequestError;
use super::excerpt::{Outline, Page, PageStart};
use super::handle::Handle;
use super::view::{Overview, Shown, Summary, View, WorkerSummary};
use crate::metrics::Counts;

/// Fewest digits of a trial's key that someone may mean it by.
const KEY_DIGITS_MIN: usize = 6;

/// How often results are copied that change meanwhile: what they rest on is seldom measured anew.
const COPIES_MAX: usize = 3;

/// Trials that are looked through at once for those with some digits: less than a millisecond of the driver's time. Tests
/// have small sweeps, which are to take several looks.
const KEYS_PER_LOOK: usize = if cfg!(test) { 4 } else { 65_536 };

/// Trials that are looked at at once for whom they wait for: some milliseconds of the driver's time.
const TRIALS_PER_LOOK: usize = if cfg!(test) { 4 } else { 16_384 };

/// Everything that a person watches, as of one moment.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) overview: Arc<Overview>,
    pub(crate) counts: Counts,
    pub(crate) epoch: u64,
    /// Now, on the coordinator's clock.
    pub(crate) now: UnixMillis,
    /// Since the coordinator's start.
    pub(crate) uptime_ms: u64,
}

impl Observed {
    /// Milliseconds that have passed since a moment.
    pub(crate) fn since(&self, moment: UnixMillis) -> u64 {
        self.now.0.saturating_sub(moment.0)
    }
}

impl Handle {
    /// The latest overview.
    ///
    /// Errors: when the driver has stopped, and nobody takes overviews any more.
    fn seen(&self) -> Result<Arc<Overview>, RequestError> {
        match self.source.overview.has_changed() {
            Ok(_) => Ok(self.source.overview.borrow().clone()),
            Err(_) => Err(RequestError::Stopped),
        }
    }

    /// The latest overview, and how the coordinator itself is.
    pub(crate) fn observe(&self) -> Result<Observed, RequestError> {
        let overview = self.seen()?;
        let now = self.source.clock.now();
        let uptime_ms = now.0.saturating_sub(self.source.opened.0);
        Ok(Observed { overview, counts: self.metrics().counts(), epoch: self.epoch(), now, uptime_ms })
    }

    /// Finds the experiment that a user means by an id, a name or the start of an id.
    pub fn resolve(&self, text: &str) -> Result<ExperimentId, RequestError> {
        self.seen()?.resolve(text)
    }

    /// All experiments, in order of submission.
    pub fn experiments(&self) -> Result<Vec<Summary>, RequestError> {
        Ok(self.seen()?.experiments.clone())
    }

    /// All workers, by name.
    pub fn workers(&self) -> Result<Vec<WorkerSummary>, RequestError> {
        let observed = self.observe()?;
        let age_ms = observed.since(observed.overview.taken);
        let mut workers = observed.overview.workers.clone();
        for worker in &mut workers {
            worker.silent_ms += age_ms;
        }
        Ok(workers)
    }

    /// How far an experiment is.
    pub fn summary(&self, id: &ExperimentId) -> Result<Summary, RequestError> {
        let summary = self.seen()?.experiment(id).cloned();
        summary.ok_or_else(|| unknown(id))
    }

    /// An experiment with its plan.
    pub async fn show(&self, id: &ExperimentId) -> Result<Shown, RequestError> {
        let seen = self.seen()?;
        let (summary, submission) = seen.submission(id).ok_or_else(|| unknown(id))?;
        let (summary, submission) = (summary.clone(), submission.clone());
        self.at_leisure(move || Shown {
            summary,
            plan: submission.plan.to_document(),
            sources: submission.sources.as_ref().clone(),
        })
        .await
    }

    /// The results so far, and what they took. The driver copies a page of trials at a time, between other things.
    pub async fn report(&self, id: &ExperimentId) -> Result<(Report, Effort), RequestError> {
        let gathering = Arc::clone(&self.reports).acquire_owned().await.map_err(|_| RequestError::Stopped)?;
        let mut copied = self.copied(id).await;
        for _ in 1..COPIES_MAX {
            if !matches!(copied, Err(RequestError::Changed(_))) {
                break;
            }
            copied = self.copied(id).await;
        }
        let (outline, pages) = copied?;
        // What is begun goes on when nobody waits for it any more, and counts until it is over.
        let made = tokio::task::spawn_blocking(move || {
            let made = outline.report(pages);
            drop(gathering);
            made
        })
        .await;
        made.map_err(|_| RequestError::Stopped)?
    }

    async fn copied(&self, id: &ExperimentId) -> Result<(Outline, Vec<(PageStart, Page)>), RequestError> {
        let outlined = id.clone();
        let outline = self.ask(move |view| view.outline(&outlined)).await??;
        let mut pages = Vec::new();
        for start in outline.pages() {
            let id = id.clone();
            pages.push((start, self.ask(move |view| view.page(&id, start)).await??));
        }
        Ok((outline, pages))
    }

    /// Why an experiment, or a trial by the first digits of its key, is measured or not. The driver is asked: the reasons
    /// are in its queue and leases. What that takes at once grows with workers, leases and stages, not with trials.
    pub async fn explain(&self, subject: &str) -> Result<Explanation, RequestError> {
        match self.resolve(subject) {
            Ok(id) => {
                let (elsewhere, asked) = (self.waiting_elsewhere(&id).await?, id.clone());
                let explained = self.ask(move |view| view.explain_experiment(&asked, &elsewhere)).await?;
                explained.ok_or_else(|| unknown(&id))
            }
            Err(error @ RequestError::Rejected(Rejection::UnknownExperiment(_))) => {
                let key = self.trial_called(subject, error).await?;
                let explained = self.ask(move |view| view.explain_trial(&key)).await?;
                explained.ok_or_else(|| RequestError::UnknownSubject(subject.to_owned()))
            }
            Err(error) => Err(error),
        }
    }

    /// The trials of an experiment that wait in another one's name. The driver looks at some at a time, between other things.
    async fn waiting_elsewhere(&self, id: &ExperimentId) -> Result<Elsewhere, RequestError> {
        let mut elsewhere = Elsewhere::default();
        while !elsewhere.is_done() {
            let id = id.clone();
            let look = move |view: &View<'_>| {
                view.state.look_elsewhere(&id, &mut elsewhere, TRIALS_PER_LOOK);
                elsewhere
            };
            elsewhere = self.ask(look).await?;
        }
        Ok(elsewhere)
    }

    /// Where a trial stands, by the first digits of its key: its key and a word.
    pub(crate) async fn standing(&self, digits: &str) -> Result<(TrialKey, String), RequestError> {
        let key = self.trial_called(digits, RequestError::NoTrial(digits.to_owned())).await?;
        let explained = self.ask(move |view| view.explain_trial(&key)).await?;
        Ok((key, explained.ok_or(Rejection::UnknownTrial(key))?.standing))
    }

    /// Whether a trial is settled, or wanted by no experiment that may still go on.
    pub(crate) async fn is_settled(&self, key: TrialKey) -> Result<bool, RequestError> {
        self.ask(move |view| {
            let ledger = &view.state.ledger;
            let Some(trial) = ledger.trial(&key) else { return true };
            trial.state != TrialState::Open
                || ledger.experiments_of(trial).all(|experiment| experiment.status.is_over())
        })
        .await
    }

    /// Finds the trial whose key begins with some digits; `unknown` if these are no digits of a key. The driver looks
    /// through some trials at a time, between other things.
    async fn trial_called(&self, digits: &str, unknown: RequestError) -> Result<TrialKey, RequestError> {
        let Some(digits) = key_digits(digits) else { return Err(unknown) };
        let (mut found, mut from) = (Vec::new(), 0);
        loop {
            let (asked, places) = (digits.clone(), from..from + KEYS_PER_LOOK);
            let (keys, proposed) = self.ask(move |view| view.trials_called(&asked, places)).await?;
            found.extend(keys);
            from += KEYS_PER_LOOK;
            match found.as_slice() {
                [_, _, ..] => return Err(RequestError::AmbiguousTrial(digits)),
                [key] if from >= proposed => return Ok(*key),
                [] if from >= proposed => return Err(RequestError::UnknownSubject(digits)),
                [_] | [] => {}
            }
        }
    }
}

impl View<'_> {
    /// Of the trials proposed at these places, two whose keys begin so; and how many were proposed in all.
    fn trials_called(&self, digits: &str, places: Range<usize>) -> (Vec<TrialKey>, usize) {
        let ledger = &self.state.ledger;
        let called = ledger.trials_called(digits, places).take(2);
        (called.map(|trial| trial.key).collect(), ledger.proposed())
    }
}

/// The digits by which someone means a trial, as its key is written; none if they are too few or none.
pub(crate) fn key_digits(text: &str) -> Option<String> {
    let is_meant = text.len() >= KEY_DIGITS_MIN && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_meant.then(|| text.to_ascii_lowercase())
}

fn unknown(id: &ExperimentId) -> RequestError {
    Rejection::UnknownExperiment(id.clone()).into()
}
