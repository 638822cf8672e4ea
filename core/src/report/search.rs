//! What searches found: rows of lowered points, on selection and report images.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::devices::source_of;
use super::measured::{Evaluations, Measured, RowState};
use super::prices::{Price, Prices};
use super::refusal::Refusals;
use super::so_far::SoFar;
use super::{Interval, Report};
use crate::bits::{BitConfig, Bits, Choice};
use crate::latency::Probed;
use crate::plan::{Metric, Plan, SearchPlan, StagePlan};
use crate::selection::{OnDevice, Proof, Selection, ShadowPrice};
use crate::state::{Experiment, Ledger, StageProgress};
use crate::sweep::Sweep;
use crate::trial::TrialSpec;

/// A config of one or more lowered points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfigRow {
    /// The word of the stage that wanted it.
    pub stage: String,
    /// The points that are not at the baseline's width, with theirs.
    pub changes: BTreeMap<String, Bits>,
    /// What came of it on the selection images.
    pub result: RowState,
    /// Bits of weight storage.
    pub size_bits: u64,
    /// Bit operations per image.
    pub bops: u64,
}

/// A config that a search recommends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopRow {
    /// The config, on the selection images.
    #[serde(flatten)]
    pub row: ConfigRow,
    /// Its loss as the last predictor expects it.
    pub predicted: Option<Interval>,
    /// Its limited costs, by name.
    pub costs: BTreeMap<String, f64>,
    /// Its costs on devices, predicted and measured, in the order of the limits on them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<OnDevice>,
    /// What came of it on the report images; open where that is not measured.
    pub verified: RowState,
    /// Why it is not recommended after all: a device computes something else than was simulated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Why it is passed over though nothing was found against it: a device computes another config otherwise than simulated, and
    /// has not computed this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unconfirmed: Option<String>,
}

impl TopRow {
    /// Why it is not recommended; none if it may be.
    pub fn objection(&self) -> Option<&str> {
        self.refused.as_deref().or(self.unconfirmed.as_deref())
    }
}

/// What a search came to, or has come to so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchReport {
    /// Index of the stage.
    pub stage: u32,
    /// What was asked for.
    pub plan: SearchPlan,
    /// Trials that it took.
    pub trials: u64,
    /// Whether it is over.
    pub is_over: bool,
    /// The best configs, best first; of a search that is not over, the best that it knows of.
    pub top: Vec<TopRow>,
    /// Of the last predictor's optimum, if it was solved for.
    pub proof: Option<Proof>,
    /// What each limit is worth, if that was solved for.
    pub prices: Vec<ShadowPrice>,
    /// What a reader should know, as sentences.
    pub notes: Vec<String>,
}

impl SearchReport {
    /// The best config that nothing speaks against, with its rank from 1; none if there is none.
    ///
    /// Where a device computes any config otherwise than simulated, only those count that it was compared with and computes as
    /// simulated.
    pub fn recommended(&self) -> Option<(usize, &TopRow)> {
        (1..).zip(&self.top).find(|(_, top)| top.objection().is_none())
    }

    /// What is not recommended and why, as sentences: one for each config that is refused, one for all that are passed over for
    /// the same reason.
    pub fn refusals(&self) -> Vec<String> {
        let ranked = || (1_usize..).zip(&self.top);
        let refused = ranked().filter_map(|(rank, top)| Some((rank, top.refused.as_ref()?)));
        let refused = refused.map(|(rank, reason)| format!("rank {rank} is not recommended: {reason}"));
        let mut passed_over: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (rank, top) in ranked().filter(|(_, top)| top.refused.is_none()) {
            if let Some(reason) = &top.unconfirmed {
                passed_over.entry(reason.as_str()).or_default().push(rank);
            }
        }
        let passed_over = passed_over.into_iter().map(|(reason, ranks)| match ranks.as_slice() {
            [rank] => format!("rank {rank} is not recommended: {reason}"),
            ranks => format!("ranks {} are not recommended: {reason}", listed(ranks)),
        });
        refused.chain(passed_over).collect()
    }
}

/// Ascending ranks, those that follow one another as a range: `3, 5 to 9`.
fn listed(ranks: &[usize]) -> String {
    let ranges = ranks.chunk_by(|a, b| a + 1 == *b).map(|range| match range {
        [first, .., last] => format!("{first} to {last}"),
        single => single.iter().map(usize::to_string).collect(),
    });
    ranges.collect::<Vec<_>>().join(", ")
}

/// What was measured on the report images beside the searches' configs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verified {
    /// Report images.
    pub images: u64,
    /// The float network.
    pub float: RowState,
    /// The baseline.
    pub baseline: RowState,
    /// The first configs of every search that is over, as many as the stage verifies, each once; neither the baseline
    /// nor, where they are verified too, uniform ones.
    pub found: Vec<ConfigRow>,
    /// All points at one width, for every width that weights and activations share.
    pub uniform: Vec<ConfigRow>,
}

/// All searchable points at one width, for every width below the baseline's that weights and activations share.
///
/// The points are those of the plan's sweep, or all that are not fixed where there is none.
pub fn uniform_configs(plan: &Plan) -> Vec<BitConfig> {
    let baseline = Choice::Bits(plan.candidates.baseline);
    let searched = plan.searchable();
    let shared =
        plan.candidates.weight_bits.iter().filter(|bits| plan.candidates.activation_bits.contains(bits));
    let uniform =
        |bits: &Bits| searched.iter().map(|point| (*point, Choice::Bits(*bits))).collect::<Vec<_>>();
    shared.map(|bits| BitConfig::against(baseline, uniform(bits))).collect()
}

impl Measured {
    /// The loss by which searches judge, with its interval; percentage points for a drop of top-1.
    pub fn loss_by(&self, metric: Metric) -> Interval {
        match metric {
            Metric::Top1Drop => {
                let Interval { value, low, high } = self.top1_drop;
                Interval { value: value * 100.0, low: low * 100.0, high: high * 100.0 }
            }
            Metric::LossIncrease => self.loss_increase,
        }
    }
}

/// Makes the rows of configs, from whichever stage measured them.
pub(super) struct Configs<'a> {
    ledger: &'a Ledger,
    experiment: &'a Experiment,
    prices: &'a Prices,
    on_selection: Evaluations<'a>,
}

impl<'a> Configs<'a> {
    pub(super) fn new(ledger: &'a Ledger, experiment: &'a Experiment, prices: &'a Prices) -> Self {
        let plan = &experiment.plan;
        let stages = plan.stages.iter().zip(&experiment.stages);
        let measuring = stages.filter(|(stage, _)| !matches!(stage, StagePlan::Verify { .. }));
        let keys: Vec<_> = measuring.flat_map(|(_, progress)| &progress.trials).copied().collect();
        let on_selection =
            Evaluations::new((ledger, experiment), &keys, plan.evaluation, plan.data.selection.images);
        Self { ledger, experiment, prices, on_selection }
    }

    /// Everything that sweeps and searches measured.
    pub(super) fn on_selection(&self) -> &Evaluations<'a> {
        &self.on_selection
    }

    pub(super) fn experiment(&self) -> &'a Experiment {
        self.experiment
    }

    pub(super) fn prices(&self) -> &'a Prices {
        self.prices
    }

    fn plan(&self) -> &'a Plan {
        &self.experiment.plan
    }

    fn stages(&self) -> impl Iterator<Item = (u32, &'a StagePlan, &'a StageProgress)> {
        let stages = self.plan().stages.iter().zip(&self.experiment.stages).enumerate();
        stages.map(|(index, (plan, progress))| (index as u32, plan, progress))
    }

    fn evaluations(&self, progress: &StageProgress) -> Evaluations<'a> {
        let plan = self.plan();
        self.evaluated(progress, plan.data.selection.images)
    }

    fn row(&self, stage: &str, config: &BitConfig, result: RowState) -> ConfigRow {
        let names = &self.plan().points;
        let changes = config.changes().filter_map(|(point, choice)| match choice {
            Choice::Bits(bits) => Some((names.get(point.0 as usize)?.name.clone(), bits)),
            Choice::Float => None,
        });
        let Price { size_bits, bops } = self.prices.of(config);
        ConfigRow { stage: stage.to_owned(), changes: changes.collect(), result, size_bits, bops }
    }

    /// The configs that sweeps and searches proposed, each once, but for those that the sweep lowers alone.
    ///
    /// One at a time, as there may be a million of them.
    pub(super) fn rows(&self, sweep: &Sweep) -> impl Iterator<Item = ConfigRow> + '_ {
        // The references and the points lowered alone have rows of their own.
        let mut seen: BTreeSet<BitConfig> = (0..sweep.size()).map(|index| sweep.config(index)).collect();
        seen.insert(BitConfig::baseline());
        let measuring = |stage: &StagePlan| !matches!(stage, StagePlan::Prepare | StagePlan::Verify { .. });
        let stages = self.stages().filter(move |(_, stage, _)| measuring(stage));
        let trials = stages.flat_map(move |(_, stage, progress)| {
            progress.trials.iter().filter_map(move |key| Some((stage, self.ledger.trial(key)?)))
        });
        trials.filter_map(move |(stage, trial)| match &trial.spec {
            TrialSpec::Evaluate { config, .. } if is_quantized(config) && seen.insert(config.clone()) => {
                Some(self.row(stage.as_str(), config, self.on_selection.result(config)))
            }
            TrialSpec::Evaluate { .. }
            | TrialSpec::Prepare(_)
            | TrialSpec::Train(_)
            | TrialSpec::Probe(_) => None,
        })
    }

    /// What the searches came to.
    pub(super) fn searches(&self) -> Vec<SearchReport> {
        let verified = self.verify_stage().map(|progress| self.on_report(progress));
        let searches = self.stages().filter_map(|(index, stage, progress)| match stage {
            StagePlan::Search(plan) => Some(self.search(index, plan, progress, verified.as_ref())),
            StagePlan::Prepare
            | StagePlan::Sensitivity { .. }
            | StagePlan::Probe(_)
            | StagePlan::AutoQKeras(_)
            | StagePlan::Verify { .. } => None,
        });
        searches.collect()
    }

    fn search(
        &self,
        stage: u32,
        plan: &SearchPlan,
        progress: &StageProgress,
        verified: Option<&Evaluations<'_>>,
    ) -> SearchReport {
        let selection = match &progress.selection {
            Some(selection) => (**selection).clone(),
            None => Selection { top: self.so_far(plan, progress).best(), ..Selection::default() },
        };
        let refusals = self.refusals();
        let sources = self.energy_sources(stage, &selection);
        let top = selection.top.iter().map(|selected| TopRow {
            // It may have been measured by an earlier stage.
            row: self.row("search", &selected.config, self.on_selection.result(&selected.config)),
            predicted: selected.predicted,
            costs: selected.costs.clone(),
            devices: with_sources(&selected.devices, &sources),
            verified: verified.map_or(RowState::Open, |verified| verified.reference(&selected.config)),
            refused: refusals.as_ref().and_then(|refusals| refusals.of(&selected.config)),
            unconfirmed: refusals.as_ref().and_then(|refusals| refusals.unconfirmed(&selected.config)),
        });
        SearchReport {
            stage,
            plan: plan.clone(),
            trials: progress.trials.len() as u64,
            is_over: progress.finished,
            top: top.collect(),
            proof: selection.proof,
            prices: selection.prices,
            notes: selection.notes,
        }
    }

    /// What says the energies among a selection's costs on devices, in their order, which is that of the limits.
    fn energy_sources(&self, stage: u32, selection: &Selection) -> Vec<Option<String>> {
        let devices = selection.top.first().map(|selected| selected.devices.as_slice()).unwrap_or_default();
        let source = |device: &OnDevice| {
            let trials = Probed::all(self.ledger, self.experiment, &device.target);
            source_of(&device.cost, &trials, stage)
        };
        devices.iter().map(source).collect()
    }

    fn so_far<'b>(&'b self, search: &'b SearchPlan, progress: &StageProgress) -> SoFar<'b> {
        let own = self.evaluations(progress);
        SoFar { plan: self.plan(), search, prices: self.prices, own, all: &self.on_selection }
    }

    /// What a verify stage measured, or will; none without such a stage.
    pub(super) fn verified(&self) -> Option<Verified> {
        let (top, uniform) = self.plan().stages.iter().find_map(|stage| match stage {
            StagePlan::Verify { top, uniform, difference_max_ppm: _ } => Some((*top, *uniform)),
            StagePlan::Prepare
            | StagePlan::Sensitivity { .. }
            | StagePlan::Search(_)
            | StagePlan::Probe(_)
            | StagePlan::AutoQKeras(_) => None,
        })?;
        let evaluations = self.on_report(self.verify_stage()?);
        let plan = self.plan();
        let uniform = if uniform { uniform_configs(plan) } else { Vec::new() };
        let mut seen: BTreeSet<BitConfig> = uniform.iter().cloned().collect();
        seen.insert(BitConfig::baseline());
        let top = usize::try_from(top).unwrap_or(usize::MAX);
        let selections = self.experiment.stages.iter().filter_map(|progress| progress.selection.as_ref());
        let found = selections.flat_map(|selection| selection.top.iter().take(top));
        let found = found.map(|selected| &selected.config).filter(|config| seen.insert((*config).clone()));
        let row = |config: &BitConfig| self.row("verify", config, evaluations.reference(config));
        Some(Verified {
            images: plan.data.report.images,
            float: evaluations.reference(&plan.float_config()),
            baseline: evaluations.reference(&BitConfig::baseline()),
            found: found.map(row).collect(),
            uniform: uniform.iter().map(row).collect(),
        })
    }

    /// What devices computed of what is verified; none without such a stage.
    fn refusals(&self) -> Option<Refusals<'a>> {
        self.stages().find_map(|(_, stage, progress)| match stage {
            StagePlan::Verify { difference_max_ppm, .. } => {
                Some(Refusals::new((self.ledger, self.experiment), progress, *difference_max_ppm))
            }
            StagePlan::Prepare
            | StagePlan::Sensitivity { .. }
            | StagePlan::Search(_)
            | StagePlan::Probe(_)
            | StagePlan::AutoQKeras(_) => None,
        })
    }

    fn verify_stage(&self) -> Option<&'a StageProgress> {
        self.stages()
            .find_map(|(_, stage, progress)| matches!(stage, StagePlan::Verify { .. }).then_some(progress))
    }

    fn on_report(&self, progress: &StageProgress) -> Evaluations<'a> {
        let images = self.plan().data.report.images;
        self.evaluated(progress, images)
    }

    fn evaluated(&self, progress: &StageProgress, images: u64) -> Evaluations<'a> {
        let of = (self.ledger, self.experiment);
        Evaluations::new(of, &progress.trials, self.plan().evaluation, images)
    }
}

/// Costs on devices with what says them, where that is energy.
fn with_sources(devices: &[OnDevice], sources: &[Option<String>]) -> Vec<OnDevice> {
    let source = |place: usize| sources.get(place).cloned().flatten();
    let devices = devices.iter().enumerate();
    devices.map(|(place, device)| OnDevice { energy_source: source(place), ..device.clone() }).collect()
}

fn is_quantized(config: &BitConfig) -> bool {
    config.changes().all(|(_, choice)| matches!(choice, Choice::Bits(_)))
}

impl Report {
    /// The search of a stage, if it is one.
    pub fn search(&self, stage: u32) -> Option<&SearchReport> {
        self.searches.iter().find(|search| search.stage == stage)
    }
}
