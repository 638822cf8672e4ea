//! One experiment's share of the ledger, copied a page at a time, so that nobody waits for a report or a results file but
//! whoever makes it.
//!
//! An outcome that is there stays as it is, or the experiment counts a restart, behind which no page of the outline is given. So what is
//! put together from pages is what the ledger said at the outline's time, with some of the outcomes that came while it was copied.

use std::sync::Arc;

use bitloop_core::autoqkeras::Asked;
use bitloop_core::plan::{ExperimentId, Plan};
use bitloop_core::report::{Effort, Report};
use bitloop_core::selection::Selection;
use bitloop_core::state::{Batch, Experiment, Fact, Ledger, Rejection, Sources, State, Status, TrialState};
use bitloop_core::trial::{EvaluateContext, TrialKey, TrialSpec};

use super::command::RequestError;
use super::view::View;

/// Trials on a page: about a tenth of a millisecond of the driver's time. Tests have small sweeps, which are to fill several.
const PAGE_TRIALS: usize = if cfg!(test) { 3 } else { 512 };

/// What an experiment has beside trials.
pub(super) struct Outline {
    plan: Arc<Plan>,
    sources: Arc<Sources>,
    status: Status,
    stages: Vec<StageOutline>,
    restarts: u32,
}

struct StageOutline {
    trials: usize,
    is_finished: bool,
    selection: Option<Box<Selection>>,
}

/// An experiment, and a ledger of it alone. Outcomes are shared with the ledger that it was copied from; conflicts are left out.
pub(super) struct Excerpt {
    pub(super) ledger: Ledger,
    pub(super) experiment: Experiment,
}

/// Some trials of a stage.
pub(super) struct Page {
    contexts: Vec<EvaluateContext>,
    specs: Vec<TrialSpec>,
    asked: Vec<Asked>,
    states: Vec<(TrialKey, TrialState)>,
}

/// Where a page begins.
#[derive(Clone, Copy)]
pub(super) struct PageStart {
    pub(super) stage: u32,
    pub(super) trial: usize,
    /// The experiment's when the outline was made.
    restarts: u32,
}

impl Outline {
    /// The pages that there are to ask for.
    pub(super) fn pages(&self) -> Vec<PageStart> {
        let stages = (0..).zip(&self.stages);
        let pages = stages.flat_map(|(stage, outline)| {
            let starts = (0..outline.trials).step_by(PAGE_TRIALS);
            starts.map(move |trial| PageStart { stage, trial, restarts: self.restarts })
        });
        pages.collect()
    }

    /// Puts the pages together and makes the report.
    pub(super) fn report(self, pages: Vec<(PageStart, Page)>) -> Result<(Report, Effort), RequestError> {
        let Excerpt { ledger, experiment } = self.excerpt(pages.into_iter().map(Ok))?;
        Ok((Report::new(&ledger, &experiment)?, Effort::new(&ledger, &experiment)))
    }

    /// Puts the pages together, each when it comes.
    ///
    /// Errors: why one did not come.
    pub(super) fn excerpt(
        self,
        pages: impl Iterator<Item = Result<(PageStart, Page), RequestError>>,
    ) -> Result<Excerpt, RequestError> {
        let status = self.status.clone();
        let ledger = self.replayed(pages)?.ledger;
        let mut experiment = ledger.experiments()[0].clone();
        experiment.status = status;
        Ok(Excerpt { ledger, experiment })
    }

    /// The experiment alone, paused, as if nothing else had ever been submitted.
    fn replayed(
        self,
        pages: impl Iterator<Item = Result<(PageStart, Page), RequestError>>,
    ) -> Result<State, RequestError> {
        let experiment = self.plan.id();
        let mut state = State::default();
        let mut apply = |fact: Fact| state.apply(&fact.into());
        let plan = Box::new(Plan::clone(&self.plan));
        apply(Fact::ExperimentSubmitted { plan, sources: Sources::clone(&self.sources), priority: 0 });
        // Nothing is handed out from here, so nothing need be queued.
        apply(Fact::ExperimentPaused { experiment: experiment.clone() });
        let mut settled = Vec::new();
        for page in pages {
            let (start, page) = page?;
            let room = self.stages[start.stage as usize].trials - start.trial;
            let mut propose = |batch| {
                let (experiment, stage) = (experiment.clone(), start.stage);
                apply(Fact::StepProposed { experiment, stage, batch });
            };
            for context in page.contexts {
                propose(Batch { context: Some(context), ..Batch::default() });
            }
            let (mut trials, mut asked) = (page.specs, page.asked);
            trials.truncate(room);
            asked.truncate(room);
            propose(Batch { context: None, trials, asked });
            settled.extend(page.states.into_iter().take(room));
        }
        for (stage, outline) in (0..).zip(self.stages).filter(|(_, outline)| outline.is_finished) {
            let (experiment, selection) = (experiment.clone(), outline.selection);
            apply(Fact::StageFinished { experiment, stage, selection });
        }
        for (key, trial) in settled.into_iter().filter(|(_, trial)| *trial != TrialState::Open) {
            // No fact: of a million outcomes there need be no copies.
            state.ledger.settle(&key, trial);
        }
        Ok(state)
    }
}

impl View<'_> {
    pub(super) fn outline(&self, id: &ExperimentId) -> Result<Outline, RequestError> {
        let experiment = self.experiment(id)?;
        let stages = experiment.stages.iter().map(|stage| StageOutline {
            trials: stage.trials.len(),
            is_finished: stage.finished,
            selection: stage.selection.clone(),
        });
        Ok(Outline {
            plan: experiment.plan.clone(),
            sources: experiment.sources.clone(),
            status: experiment.status.clone(),
            stages: stages.collect(),
            restarts: experiment.restarts,
        })
    }

    /// Copies a page.
    ///
    /// Errors: `Changed`, once what stands on it may be of another kind than what was copied before.
    pub(super) fn page(&self, id: &ExperimentId, start: PageStart) -> Result<Page, RequestError> {
        let ledger = &self.state.ledger;
        let experiment = self.experiment(id)?;
        let mut page =
            Page { contexts: Vec::new(), specs: Vec::new(), asked: Vec::new(), states: Vec::new() };
        if experiment.restarts != start.restarts {
            return Err(RequestError::Changed(id.clone()));
        }
        let stage = &experiment.stages[start.stage as usize];
        let keys = stage.trials.iter().skip(start.trial).take(PAGE_TRIALS);
        page.asked.extend(stage.asked.iter().skip(start.trial).take(PAGE_TRIALS).cloned());
        let mut digests = Vec::new();
        for trial in keys.filter_map(|key| ledger.trial(key)) {
            if let TrialSpec::Evaluate { context, .. } = &trial.spec
                && !digests.contains(context)
            {
                digests.push(*context);
                page.contexts.extend(ledger.context(context).cloned());
            }
            page.specs.push(trial.spec.clone());
            page.states.push((trial.key, experiment.came_of(trial).clone()));
        }
        Ok(page)
    }

    fn experiment(&self, id: &ExperimentId) -> Result<&Experiment, RequestError> {
        let known = self.state.ledger.experiment(id);
        known.ok_or_else(|| Rejection::UnknownExperiment(id.clone()).into())
    }
}
