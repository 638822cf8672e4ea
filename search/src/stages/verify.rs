//! The last look: what the searches found, on images that nothing was chosen by, and by the devices that it is for.

use std::collections::BTreeSet;

use bitloop_core::bits::{BitConfig, Choice};
use bitloop_core::digest::Digest;
use bitloop_core::latency::Readings;
use bitloop_core::plan::{Plan, StagePlan};
use bitloop_core::report::uniform_configs;
use bitloop_core::state::{Batch, Proposal, StageHistory};
use bitloop_core::trial::{ImageRange, ProbeSpec, ProbeSubject, TrialSpec};

use super::{NOT_PREPARED, Shared, prepared};
use crate::measure::{OPEN_TRIALS, STEP_TRIALS};
use crate::{Searcher, Step};

/// Images that a device computes of each config: an accuracy is known to within a few tenths of a point by then.
const FIDELITY_IMAGES_MAX: u64 = 2_000;

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
        let mut seen = BTreeSet::new();
        configs.retain(|config| seen.insert(config.clone()));
        configs
    }

    /// Evaluations in all.
    fn measured(&self) -> u64 {
        self.configs.len() as u64 * self.parts
    }

    /// Whether the plan's devices compute the baseline and what the searches found as the simulation does.
    fn on_devices(&self, history: &StageHistory<'_>, prepared: Digest) -> Vec<TrialSpec> {
        let plan = history.plan();
        let report = plan.data.report;
        let images = ImageRange { start: 0, len: report.images.min(FIDELITY_IMAGES_MAX) };
        let found: BTreeSet<&BitConfig> = (0..history.stage())
            .filter_map(|stage| history.selection(stage))
            .flat_map(|selection| &selection.top)
            .map(|selected| &selected.config)
            .collect();
        let baseline = BitConfig::baseline();
        let is_compared = |config: &&BitConfig| **config == baseline || found.contains(config);
        let compared: Vec<&BitConfig> = self.configs.iter().filter(is_compared).collect();
        let probes = plan.stages.iter().filter_map(|stage| match stage {
            StagePlan::Probe(probe) => Some(probe),
            StagePlan::Prepare
            | StagePlan::Sensitivity { .. }
            | StagePlan::Search(_)
            | StagePlan::AutoQKeras(_)
            | StagePlan::Verify { .. } => None,
        });
        let mut trials = Vec::new();
        for probe in probes.filter(|probe| probe.fidelity > 0 && images.len > 0) {
            let Some(class) = Readings::of(&history.probed(&probe.target)).class else { continue };
            let of = |config: &&BitConfig| {
                TrialSpec::Probe(Box::new(ProbeSpec {
                    target: probe.target.of_class(&class),
                    prepared,
                    baseline: Choice::Bits(plan.candidates.baseline),
                    config: (*config).clone(),
                    setting: probe.setting,
                    subject: ProbeSubject::Fidelity { data: report.digest, images },
                    repetition: 0,
                    asked_by: None,
                }))
            };
            trials.extend(compared.iter().map(of));
        }
        trials
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
        let trials = match proposed == self.measured() {
            true => self.on_devices(history, artifact),
            false => trials,
        };
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
