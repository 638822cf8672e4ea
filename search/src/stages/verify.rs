//! The last look: what the searches found, on images that nothing was chosen by.

use bitloop_core::bits::BitConfig;
use bitloop_core::plan::Plan;
use bitloop_core::report::uniform_configs;
use bitloop_core::state::{Batch, Proposal, StageHistory};
use bitloop_core::trial::TrialSpec;

use super::{NOT_PREPARED, Shared, prepared};
use crate::measure::{OPEN_TRIALS, STEP_TRIALS};
use crate::{Searcher, Step};

pub(crate) struct Verify {
    top: u64,
    uniform: Vec<BitConfig>,
    searches: u64,
    /// Trials of a config.
    parts: u64,
    /// What is measured, once the searches before are over.
    configs: Vec<BitConfig>,
    shared: Shared,
}

impl Verify {
    pub(crate) fn new(plan: &Plan, top: u64, uniform: bool) -> Self {
        let uniform = if uniform { uniform_configs(plan) } else { Vec::new() };
        let searches = plan.stages.iter().filter(|stage| stage.as_str() == "search").count() as u64;
        let parts = plan.evaluation.references().parts(plan.data.report.images).max(1);
        Self { top, uniform, searches, parts, configs: Vec::new(), shared: Shared::default() }
    }

    /// The float network, the baseline, uniform widths, and the best of each search; each once.
    fn found(&self, history: &StageHistory<'_>) -> Vec<BitConfig> {
        let mut configs = vec![history.plan().float_config(), BitConfig::baseline()];
        configs.extend(self.uniform.iter().cloned());
        for selection in (0..history.stage()).filter_map(|stage| history.selection(stage)) {
            let top = usize::try_from(self.top).unwrap_or(usize::MAX);
            configs.extend(selection.top.iter().take(top).map(|selected| selected.config.clone()));
        }
        let mut seen = std::collections::BTreeSet::new();
        configs.retain(|config| seen.insert(config.clone()));
        configs
    }

    /// Trials in all.
    fn measured(&self) -> u64 {
        self.configs.len() as u64 * self.parts
    }
}

impl Searcher for Verify {
    fn size(&self) -> u64 {
        let found = self.searches.saturating_mul(self.top);
        (2 + self.uniform.len() as u64).saturating_add(found).saturating_mul(self.parts)
    }

    fn propose(&mut self, history: &StageHistory<'_>) -> Step {
        let proposed = history.proposed().len() as u64;
        let open = proposed - history.settled();
        if open >= OPEN_TRIALS {
            return Step::Propose(Proposal::Wait);
        }
        let Some(artifact) = prepared(history) else {
            return Step::Propose(Proposal::Failed(NOT_PREPARED.to_owned()));
        };
        if self.configs.is_empty() {
            self.configs = self.found(history);
        }
        let (context, digest) = self.shared.on(artifact, |artifact| history.plan().report_context(artifact));
        let end = self.measured().min(proposed + STEP_TRIALS);
        let mode = history.plan().evaluation.references();
        let trials: Vec<TrialSpec> = (proposed..end)
            .filter_map(|index| {
                let config = self.configs[(index / self.parts) as usize].clone();
                let part = mode.part(context.images.len, index % self.parts)?;
                Some(TrialSpec::Evaluate { context: digest, config, part })
            })
            .collect();
        Step::Propose(match (trials.is_empty(), open) {
            (false, _) => {
                let context = (proposed == 0).then(|| context.as_ref().clone());
                Proposal::Trials(Batch { context, trials, ..Batch::default() })
            }
            (true, 0) => Proposal::Finished,
            (true, _) => Proposal::Wait,
        })
    }
}
