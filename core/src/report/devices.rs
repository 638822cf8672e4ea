//! What was measured on devices, and what is made of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::network_names::{BASELINE, FLOAT, Named, NetworkNames};
use super::refusal::refusal;
use super::{EnvironmentSummary, Interval};
use crate::bits::{BitConfig, Bits, Choice};
use crate::evaluation::PPM_PER_POINT;
use crate::latency::{
    Additivity, Correction, LayerTable, Model, Probed, Quantity, Readings, Usual, energy_source, is_quantized,
};
use crate::plan::{Amount, DIFFERENCE_MAX_PPM, Limit, Plan, ProbePlan, StagePlan};
use crate::probe::{Estimate, Session, Unsteady};
use crate::selection::cost_title;
use crate::state::{Experiment, Ledger, StageProgress};
use crate::trial::{
    Fidelity, Outcome, ProbeSetting, ProbeSpec, ProbeSubject, ProbeTarget, Reading, TrialKey, TrialResult,
};

/// What one network took on a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkRow {
    /// `float`, `baseline`, `uniform`, `mixed`, or `search` if a search had it measured: where it comes from.
    pub kind: String,
    /// What it is called, unlike every other one on the device: `W4A8` by the widths of weights and activations that may be chosen;
    /// those of several widths are numbered, as `mixed 2: 44 points at 4 bits`.
    #[serde(default)]
    pub name: String,
    /// The points that are not at the baseline's width, with theirs; empty for the float network too.
    pub changes: BTreeMap<String, Bits>,
    /// Nanoseconds of an inference while the device is as usual, with an interval for the same measurement at another time. None if
    /// it could not be measured, or was not yet.
    pub latency_ns: Option<Estimate>,
    /// Medians of each repetition's own rounds, in nanoseconds, also of those that do not count: its own, and the baseline's.
    #[serde(default)]
    pub sessions_ns: Vec<[f64; 2]>,
    /// Its time as a part of the baseline's in the same rounds, over the repetitions that count.
    pub ratio: Option<Estimate>,
    /// Repetitions, each by a process of its own.
    pub sessions: u64,
    /// Rounds of all repetitions that count.
    pub rounds: u64,
    /// Rounds that something disturbed, as the baseline's times say.
    pub disturbed: u64,
    /// Times that lie far from the median, of all repetitions.
    pub outliers: u64,
    /// Why this is not to be relied on; empty if it is. Where some repetitions were steady, they alone count.
    pub unsteady: Vec<Unsteady>,
    /// What the model expects from all other networks, in nanoseconds; none for the float network, or where there is no model.
    pub predicted_ns: Option<Estimate>,
    /// What the layers' times add up to, in nanoseconds.
    pub sum_ns: Option<Estimate>,
    /// Whether the table of layers was made of it, so that the sum agrees with it by construction.
    #[serde(default)]
    pub in_table: bool,
    /// Peak memory in bytes.
    pub peak_memory_bytes: Option<Estimate>,
    /// Joules of an inference.
    pub energy_joules: Option<Estimate>,
    /// The counter that says so.
    pub energy_source: Option<String>,
}

/// Something that could not be measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// `whole`, `layers` or `fidelity`.
    pub subject: String,
    /// Why.
    pub reason: String,
    /// Trials that failed so.
    pub trials: u64,
}

/// A config that a search found, beside what was measured of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finalist {
    /// Index of the search's stage.
    pub stage: u32,
    /// The points that are not at the baseline's width, with theirs.
    pub changes: BTreeMap<String, Bits>,
    /// The limited cost, such as `latency_ms`.
    pub cost: String,
    /// As the model predicted it, in the cost's unit.
    pub predicted: Estimate,
    /// As it was measured.
    pub measured: Option<Estimate>,
    /// Why that is not to be relied on; empty if it is.
    pub unsteady: Vec<Unsteady>,
    /// Of a cost that is energy what says so: the counter, or `model` for the energy model, which measures nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_source: Option<String>,
}

/// A config of a front.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrontRow {
    /// The points that are not at the baseline's width, with theirs.
    pub changes: BTreeMap<String, Bits>,
    /// Predicted loss, in the unit of the search's metric.
    pub loss: f64,
    /// Predicted cost, in the cost's unit.
    pub cost: f64,
}

/// The best of loss against cost, as a search predicted it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceFront {
    /// Index of the search's stage.
    pub stage: u32,
    /// What the loss is measured by, such as `top1_drop`.
    pub metric: String,
    /// The cost, such as `latency_ms`.
    pub cost: String,
    /// Of a cost that is energy what says so, as in [`Finalist`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_source: Option<String>,
    /// By ascending loss.
    pub points: Vec<FrontRow>,
}

/// What the device computed of a config, beside the simulation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FidelityRow {
    /// Index of the stage that asked.
    pub stage: u32,
    /// Whether it is the float network.
    pub is_float: bool,
    /// What it is called, as [`NetworkRow::name`].
    #[serde(default)]
    pub name: String,
    /// The points that are not at the baseline's width, with theirs.
    pub changes: BTreeMap<String, Bits>,
    /// What was found; none where it failed or is open.
    pub found: Option<Fidelity>,
    /// Accuracy of the device less that of the simulation, in 0..1, paired by image as far as counts tell.
    pub accuracy_difference: Option<f64>,
    /// Why it could not be measured.
    pub failed: Option<String>,
    /// Why the config is not recommended after that, where the stage verifies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What one probe stage measured, and what searches made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceReport {
    /// Index of the stage.
    pub stage: u32,
    /// With what, and where; without a class.
    pub target: ProbeTarget,
    /// The class of device that was found.
    pub class: Option<String>,
    /// What executes networks there.
    pub runtime: Option<String>,
    /// How it was measured.
    pub setting: ProbeSetting,
    /// Repetitions that were asked for.
    pub repetitions: u32,
    /// Whether the stage is over.
    pub is_over: bool,
    /// What it is usually like; none while nothing was measured whole.
    pub usual: Option<Usual>,
    /// The networks: float, baseline, uniform widths, mixed ones, searches' finalists.
    pub networks: Vec<NetworkRow>,
    /// What layers take by widths; none before anything is known.
    pub layers: Option<LayerTable>,
    /// How well they add up.
    pub additivity: Option<Additivity>,
    /// How sums become predictions, in nanoseconds.
    pub correction: Option<Correction>,
    /// What the device was like.
    pub environment: EnvironmentSummary,
    /// What could not be measured.
    pub failures: Vec<Failure>,
    /// What searches found within limits on this device.
    pub finalists: Vec<Finalist>,
    /// The best of loss against cost on this device, one per search and cost.
    pub fronts: Vec<DeviceFront>,
    /// What the device computed.
    pub fidelity: Vec<FidelityRow>,
    /// Sentences about all that.
    pub notes: Vec<String>,
    /// The trials on the device, those of searches and of comparisons among them, in the order in which they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trials: Vec<TrialKey>,
}

/// The report on every probe stage of an experiment, in their order.
pub(super) fn of(ledger: &Ledger, experiment: &Experiment) -> Vec<DeviceReport> {
    let stages = experiment.plan.stages.iter().zip(&experiment.stages).enumerate();
    let probes = stages.filter_map(|(index, (stage, progress))| match stage {
        StagePlan::Probe(probe) => Some((index as u32, probe.as_ref(), progress)),
        StagePlan::Prepare
        | StagePlan::Sensitivity { .. }
        | StagePlan::Search(_)
        | StagePlan::AutoQKeras(_)
        | StagePlan::Verify { .. } => None,
    });
    let devices = Devices { ledger, experiment, plan: &experiment.plan };
    probes.map(|(stage, probe, progress)| devices.report(stage, probe, progress)).collect()
}

struct Devices<'a> {
    ledger: &'a Ledger,
    experiment: &'a Experiment,
    plan: &'a Plan,
}

impl<'a> Devices<'a> {
    fn report(&self, stage: u32, probe: &ProbePlan, progress: &StageProgress) -> DeviceReport {
        let trials = Probed::all(self.ledger, self.experiment, &probe.target);
        let readings = Readings::of(&trials);
        let model = Model::fit(self.plan, &readings, Quantity::Latency).ok();
        let names = NetworkNames::of(self.plan, &trials);
        let mut notes = model.as_ref().map(|model| model.notes(&readings)).unwrap_or_default();
        notes.extend(self.doubt(stage, &trials));
        DeviceReport {
            stage,
            target: probe.target.clone(),
            class: readings.class.clone(),
            runtime: readings.runtime.clone(),
            setting: probe.setting,
            repetitions: probe.repetitions,
            is_over: progress.finished,
            usual: readings.usual,
            networks: self.networks(&readings, model.as_ref(), (&trials, &names)),
            environment: EnvironmentSummary::of(&readings.environments),
            failures: failures(&trials),
            finalists: self.finalists(&probe.target, &trials),
            fronts: self.fronts(&probe.target, &trials),
            fidelity: self.fidelity(&trials, &names),
            notes,
            correction: model.as_ref().map(|model| model.correction.clone()),
            additivity: model.as_ref().map(|model| model.additivity.clone()),
            layers: model.map(|model| model.table),
            trials: trials.iter().map(|asked| *asked.key).collect(),
        }
    }

    fn changes(&self, config: &BitConfig) -> BTreeMap<String, Bits> {
        let changes = config.changes().filter_map(|(point, choice)| match choice {
            Choice::Bits(bits) => Some((self.plan.points.get(point.0 as usize)?.name.clone(), bits)),
            Choice::Float => None,
        });
        changes.collect()
    }

    fn networks(
        &self,
        readings: &Readings,
        model: Option<&Model>,
        (trials, names): (&[Probed<'_>], &NetworkNames),
    ) -> Vec<NetworkRow> {
        let mut seen = BTreeSet::new();
        let first = trials.iter().filter(|asked| seen.insert(&asked.spec.config));
        let rows = first.filter_map(|asked| {
            let config = &asked.spec.config;
            let network = readings.networks.get(config)?;
            let Named { kind, name } = names.get(config)?;
            let of_sessions =
                |count: fn(&Session) -> u64| network.sessions.iter().map(|(_, session)| count(session)).sum();
            let model = model.filter(|_| *kind != FLOAT);
            Some(NetworkRow {
                kind: (*kind).to_owned(),
                name: name.clone(),
                changes: self.changes(config),
                latency_ns: readings.estimate(config, Quantity::Latency),
                sessions_ns: network
                    .sessions
                    .iter()
                    .map(|(_, session)| [session.config.median, session.baseline.median])
                    .collect(),
                ratio: network.ratio(),
                sessions: network.sessions.len() as u64,
                rounds: of_sessions(|session| session.rounds),
                disturbed: of_sessions(|session| session.disturbed),
                outliers: of_sessions(|session| session.outliers),
                unsteady: readings.unsteady(config),
                predicted_ns: model.map(|model| model.predict_unseen(config)),
                sum_ns: model.map(|model| model.table.sum(&model.layout, config)),
                in_table: model.is_some_and(|model| model.is_in_table(readings, config)),
                peak_memory_bytes: readings.estimate(config, Quantity::PeakMemory),
                energy_joules: readings.estimate(config, Quantity::Energy),
                energy_source: network.energy.first().map(|energy| energy.source.clone()),
            })
        });
        rows.collect()
    }

    fn finalists(&self, target: &ProbeTarget, trials: &[Probed<'_>]) -> Vec<Finalist> {
        let mut finalists = Vec::new();
        for (stage, progress) in (0..).zip(&self.experiment.stages) {
            for selected in progress.selection.iter().flat_map(|selection| &selection.top) {
                let devices = selected.devices.iter().filter(|device| device.target == *target);
                finalists.extend(devices.map(|device| Finalist {
                    stage,
                    changes: self.changes(&selected.config),
                    cost: device.cost.clone(),
                    predicted: device.predicted,
                    measured: device.measured,
                    unsteady: device.unsteady.clone(),
                    energy_source: source_of(&device.cost, trials, stage),
                }));
            }
        }
        finalists
    }

    fn fronts(&self, target: &ProbeTarget, trials: &[Probed<'_>]) -> Vec<DeviceFront> {
        let mut fronts = Vec::new();
        for (stage, (planned, progress)) in (0..).zip(self.plan.stages.iter().zip(&self.experiment.stages)) {
            let StagePlan::Search(search) = planned else { continue };
            let all = progress.selection.iter().flat_map(|selection| &selection.fronts);
            fronts.extend(all.filter(|front| front.target == *target).map(|front| DeviceFront {
                stage,
                metric: search.objective.as_str().to_owned(),
                cost: front.cost.clone(),
                energy_source: source_of(&front.cost, trials, stage),
                points: front.points.iter().map(|point| self.front_row(point)).collect(),
            }));
        }
        fronts
    }

    fn front_row(&self, point: &crate::selection::FrontPoint) -> FrontRow {
        FrontRow { changes: self.changes(&point.config), loss: point.loss, cost: point.cost }
    }

    fn fidelity(&self, trials: &[Probed<'_>], names: &NetworkNames) -> Vec<FidelityRow> {
        let asked = trials.iter().filter(|asked| matches!(asked.spec.subject, ProbeSubject::Fidelity { .. }));
        let row = |Probed { stage, spec, outcome, .. }: &Probed<'_>| {
            let found = outcome.and_then(|outcome| match &outcome.result {
                TrialResult::Measured(measured) => match &measured.reading {
                    Reading::Fidelity(found) => Some(found.clone()),
                    Reading::Whole { .. } | Reading::Layers { .. } => None,
                },
                TrialResult::Failed { .. }
                | TrialResult::Prepared { .. }
                | TrialResult::Evaluated(_)
                | TrialResult::Trained(_) => None,
            });
            let difference = |found: &Fidelity| {
                (found.device_correct as f64 - found.simulated_correct as f64) / found.n.max(1) as f64
            };
            FidelityRow {
                stage: *stage,
                is_float: !is_quantized(&spec.config),
                name: names.get(&spec.config).map(|named| named.name.clone()).unwrap_or_default(),
                changes: self.changes(&spec.config),
                accuracy_difference: found.as_ref().map(difference),
                refused: found.as_ref().and_then(|found| self.refused(*stage, spec, found)),
                found,
                failed: outcome.and_then(|outcome| reason(outcome).map(str::to_owned)),
            }
        };
        asked.map(row).collect()
    }
}

impl Devices<'_> {
    /// That networks which a probe stage compared are computed otherwise than simulated, where no later stage compares what is
    /// found; none if they are not, or one does.
    fn doubt(&self, stage: u32, trials: &[Probed<'_>]) -> Option<String> {
        let mut later = self.plan.stages.iter().skip(stage as usize + 1);
        if later.any(|later| matches!(later, StagePlan::Verify { .. })) {
            return None;
        }
        let found = |asked: &Probed<'_>| {
            let TrialResult::Measured(measured) = &asked.outcome?.result else { return None };
            let Reading::Fidelity(found) = &measured.reading else { return None };
            Some(refusal(asked.spec, found, DIFFERENCE_MAX_PPM))
        };
        let compared: Vec<Option<String>> =
            trials.iter().filter(|asked| asked.stage == stage).filter_map(found).collect();
        let differing: Vec<&String> = compared.iter().flatten().collect();
        let first = differing.first()?;
        Some(format!(
            "{} of {} networks that were compared are computed otherwise than simulated, by more than {} percentage points: {first}. \
             Nothing compares what searches find: add a `verify` stage",
            differing.len(),
            compared.len(),
            f64::from(DIFFERENCE_MAX_PPM) / f64::from(PPM_PER_POINT)
        ))
    }

    /// Why a stage that verifies does not recommend a config after what a device computed of it.
    fn refused(&self, stage: u32, spec: &ProbeSpec, found: &Fidelity) -> Option<String> {
        match self.plan.stages.get(stage as usize)? {
            StagePlan::Verify { difference_max_ppm, .. } => refusal(spec, found, *difference_max_ppm),
            StagePlan::Prepare
            | StagePlan::Sensitivity { .. }
            | StagePlan::Search(_)
            | StagePlan::Probe(_)
            | StagePlan::AutoQKeras(_) => None,
        }
    }
}

/// What says the energies by which a search in a stage went; none for other costs.
pub(super) fn source_of(cost: &str, trials: &[Probed<'_>], stage: u32) -> Option<String> {
    let is_energy = Quantity::of_cost(cost).is_some_and(|(quantity, _)| quantity == Quantity::Energy);
    is_energy.then(|| energy_source(trials, stage))
}

fn reason(outcome: &Outcome) -> Option<&str> {
    match &outcome.result {
        TrialResult::Failed { reason } => Some(reason),
        TrialResult::Measured(_)
        | TrialResult::Prepared { .. }
        | TrialResult::Evaluated(_)
        | TrialResult::Trained(_) => None,
    }
}

fn failures(trials: &[Probed<'_>]) -> Vec<Failure> {
    let mut counted: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for Probed { spec, outcome, is_settled, .. } in trials {
        let lost = (*is_settled && outcome.is_none()).then_some("every worker that measured it was lost");
        if let Some(reason) = lost.or_else(|| outcome.and_then(reason)) {
            *counted.entry((spec.subject.as_str(), reason)).or_default() += 1;
        }
    }
    let failure = |((subject, reason), trials): ((&str, &str), u64)| Failure {
        subject: subject.to_owned(),
        reason: reason.to_owned(),
        trials,
    };
    counted.into_iter().map(failure).collect()
}

impl DeviceReport {
    /// How much a limit on what is measured here allows, in the cost's unit: a percentage is of the baseline as it is known by now.
    /// None where the baseline was not measured.
    pub fn at_most(&self, limit: &Limit) -> Option<f64> {
        match limit.at_most {
            Amount::Of(amount) => Some(amount),
            Amount::OfBaselinePpm(ppm) => {
                let (quantity, unit) = Quantity::of_cost(&limit.cost)?;
                let baseline = self.networks.iter().find(|row| row.kind == BASELINE)?.measured(quantity)?;
                Some(baseline.median / unit * f64::from(ppm) / 1e6)
            }
        }
    }
}

impl Finalist {
    /// The cost as people read it.
    pub fn title(&self) -> String {
        cost_title(&self.cost, self.energy_source.as_deref())
    }
}

impl DeviceFront {
    /// The cost as people read it.
    pub fn title(&self) -> String {
        cost_title(&self.cost, self.energy_source.as_deref())
    }
}

impl NetworkRow {
    /// Whether it is the float network, which differs from the baseline in no point's width.
    pub(super) fn is_float(&self) -> bool {
        self.kind == FLOAT
    }

    /// What was measured, in the quantity's unit.
    pub fn measured(&self, quantity: Quantity) -> Option<Estimate> {
        match quantity {
            Quantity::Latency => self.latency_ns,
            Quantity::Energy => self.energy_joules,
            Quantity::PeakMemory => self.peak_memory_bytes,
        }
    }

    /// What was measured as an interval in milliseconds.
    pub fn latency_ms(&self) -> Option<Interval> {
        self.latency_ns.map(|Estimate { median, low, high }| Interval {
            value: median / 1e6,
            low: low / 1e6,
            high: high / 1e6,
        })
    }
}
