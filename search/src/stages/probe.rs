//! Measures what networks take on a device: first which device there is, then every network, once in each round of repetitions.
//!
//! Rounds are behind each other, and each has an order of its own, so that repetitions of one network are spread over time and
//! over processes. Where the probe does not tell layers apart, networks follow in which one layer alone is changed. What was
//! measured unsteadily is repeated at last, up to twice as often as everything else.

use std::collections::BTreeSet;

use bitloop_core::bits::{BitConfig, Bits, Choice, PointIndex};
use bitloop_core::graph::PointKind;
use bitloop_core::latency::{Layout, Readings, Unit};
use bitloop_core::plan::{Plan, ProbePlan};
use bitloop_core::rng::rng;
use bitloop_core::state::{Batch, Proposal, StageHistory};
use bitloop_core::trial::{ImageRange, ProbeSpec, ProbeSubject, TrialResult, TrialSpec};

use super::{NOT_PREPARED, prepared};
use crate::{Searcher, Step};

/// Most networks with one layer changed: layers of one kind count once, so that few networks come near it.
const ONE_BY_ONE_MAX: usize = 256;

/// Tells the order of a round from what else is drawn with the seed.
const ORDER_STEP: u64 = 1 << 32;

pub(crate) struct Probe {
    probe: ProbePlan,
    /// What is measured in a round.
    networks: Vec<(BitConfig, ProbeSubject)>,
    /// What the device is to compute as the simulation does.
    fidelity: Vec<(BitConfig, ProbeSubject)>,
    /// What is measured instead of layers, if they cannot be.
    one_by_one: Vec<BitConfig>,
}

impl Probe {
    pub(crate) fn new(plan: &Plan, probe: &ProbePlan) -> Self {
        let uniform = uniform_configs(plan);
        let layers = uniform.iter().map(|config| (config.clone(), ProbeSubject::Layers));
        let mixed = mixed_configs(plan, probe);
        let mut seen = BTreeSet::new();
        let wholes = uniform.iter().chain(&mixed).filter(|config| seen.insert((*config).clone()));
        let wholes: Vec<_> = wholes.map(|config| (config.clone(), ProbeSubject::Whole)).collect();
        let one_by_one = one_by_one_configs(plan).into_iter().filter(|config| !seen.contains(config));
        let one_by_one = one_by_one.take(ONE_BY_ONE_MAX).collect();
        let selection = plan.data.selection;
        let images = ImageRange { start: 0, len: probe.fidelity.min(selection.images) };
        let subject = ProbeSubject::Fidelity { data: selection.digest, images };
        let compared = uniform.iter().filter(|_| images.len > 0);
        let fidelity = compared.map(|config| (config.clone(), subject.clone())).collect();
        Self { probe: probe.clone(), networks: layers.chain(wholes).collect(), fidelity, one_by_one }
    }

    /// The trials of all rounds.
    fn rounds(&self, survey: &ProbeSpec) -> Vec<TrialSpec> {
        let of_round = |repetition: u32| {
            let mut networks: Vec<_> = self.networks.iter().collect();
            rng(self.probe.seed, ORDER_STEP + u64::from(repetition)).shuffle(&mut networks);
            networks.into_iter().map(move |(config, subject)| (config, subject, repetition))
        };
        let rounds = (0..self.probe.repetitions).flat_map(of_round);
        let compared = self.fidelity.iter().map(|(config, subject)| (config, subject, 0));
        let all = rounds.chain(compared);
        all.map(|(config, subject, repetition)| again(survey, config, (subject, repetition))).collect()
    }

    /// What comes after the rounds: nothing if everything is known as closely as it can be.
    fn rest(&self, survey: &ProbeSpec, readings: &Readings) -> Vec<TrialSpec> {
        let is_known = |config: &BitConfig| readings.networks.contains_key(config);
        if readings.has_no_layers() && !self.one_by_one.iter().any(is_known) {
            let rounds = 0..self.probe.repetitions;
            let of_round = |repetition| self.one_by_one.iter().map(move |config| (config, repetition));
            let trials = rounds.flat_map(of_round);
            return trials
                .map(|(config, repetition)| again(survey, config, (&ProbeSubject::Whole, repetition)))
                .collect();
        }
        let unsure = readings.networks.keys();
        let unsure = unsure.filter(|config| readings.is_worth_repeating(config, self.probe.repetitions));
        let trials = unsure
            .map(|config| again(survey, config, (&ProbeSubject::Whole, readings.next_repetition(config))));
        trials.collect()
    }
}

/// The trial of a repetition of a network, on the device that the survey found.
fn again(survey: &ProbeSpec, config: &BitConfig, (subject, repetition): (&ProbeSubject, u32)) -> TrialSpec {
    TrialSpec::Probe(Box::new(ProbeSpec {
        config: config.clone(),
        subject: subject.clone(),
        repetition,
        asked_by: None,
        ..survey.clone()
    }))
}

impl Searcher for Probe {
    /// Without what is measured again, or one by one: whether that comes, the device decides.
    fn size(&self) -> u64 {
        1 + self.networks.len() as u64 * u64::from(self.probe.repetitions) + self.fidelity.len() as u64
    }

    fn propose(&mut self, history: &StageHistory<'_>) -> Step {
        let Some(artifact) = prepared(history) else {
            return Step::Propose(Proposal::Failed(NOT_PREPARED.to_owned()));
        };
        let plan = history.plan();
        let survey = ProbeSpec {
            target: self.probe.target.clone(),
            prepared: artifact,
            baseline: Choice::Bits(plan.candidates.baseline),
            config: BitConfig::baseline(),
            setting: self.probe.setting,
            subject: ProbeSubject::Whole,
            repetition: 0,
            asked_by: Some(plan.id()),
        };
        let proposed = history.proposed();
        let Some(first) = proposed.first() else {
            return Step::Propose(proposal(vec![TrialSpec::Probe(Box::new(survey))]));
        };
        if proposed.len() as u64 > history.settled() {
            return Step::Propose(Proposal::Wait);
        }
        let found = match history.outcome(first) {
            None => Err(format!("every worker that measured {} was lost", survey.target)),
            Some(outcome) => match survey_failed(&outcome.result) {
                Some(reason) => Err(reason),
                None => Ok(survey.target.of_class(&outcome.provenance.device)),
            },
        };
        let survey = match found {
            Ok(target) => ProbeSpec { target, ..survey },
            Err(reason) => return Step::Propose(Proposal::Failed(reason)),
        };
        let next = match proposed.len() {
            1 => self.rounds(&survey),
            _ => self.rest(&survey, &Readings::of(&history.probed(&self.probe.target))),
        };
        Step::Propose(if next.is_empty() { Proposal::Finished } else { proposal(next) })
    }
}

fn proposal(trials: Vec<TrialSpec>) -> Proposal {
    Proposal::Trials(Batch { trials, ..Batch::default() })
}

pub(super) fn survey_failed(result: &TrialResult) -> Option<String> {
    match result {
        TrialResult::Measured(_) => None,
        TrialResult::Failed { reason } => Some(format!("the baseline cannot be measured: {reason}")),
        TrialResult::Prepared { .. } | TrialResult::Evaluated(_) | TrialResult::Trained(_) => {
            Some("no measurement came back; its worker has another version".to_owned())
        }
    }
}

/// The widths of a kind of point, the baseline's among them, ascending.
fn widths(plan: &Plan, kind: PointKind) -> Vec<Bits> {
    let mut widths = plan.candidates.bits(kind).to_vec();
    widths.push(plan.candidates.baseline);
    widths.sort();
    widths.dedup();
    widths
}

/// All points float, then every pair of a width for weights and one for activations.
fn uniform_configs(plan: &Plan) -> Vec<BitConfig> {
    let baseline = plan.candidates.baseline;
    let (weights, activations) = (widths(plan, PointKind::Weight), widths(plan, PointKind::Activation));
    let pairs = weights.iter().flat_map(|weight| activations.iter().map(move |input| (*weight, *input)));
    let searchable = plan.searchable();
    let config = |(weight, input): (Bits, Bits)| {
        let of = |point: &PointIndex| match plan.points[point.0 as usize].kind {
            PointKind::Weight => (*point, Choice::Bits(weight)),
            PointKind::Activation => (*point, Choice::Bits(input)),
        };
        BitConfig::against(Choice::Bits(baseline), searchable.iter().map(of))
    };
    std::iter::once(plan.float_config()).chain(pairs.map(config)).collect()
}

/// Every searchable point at a width drawn from its candidates and the baseline's.
fn mixed_configs(plan: &Plan, probe: &ProbePlan) -> Vec<BitConfig> {
    let baseline = plan.candidates.baseline;
    let searchable = plan.searchable();
    let config = |index| {
        let mut rng = rng(probe.seed, index);
        let drawn = searchable.iter().map(|point| {
            let widths = plan.candidates.bits(plan.points[point.0 as usize].kind);
            let width = widths.get(rng.below(widths.len() + 1)).copied().unwrap_or(baseline);
            (*point, Choice::Bits(width))
        });
        let drawn: Vec<_> = drawn.collect();
        BitConfig::against(Choice::Bits(baseline), drawn)
    };
    (0..probe.configs).map(config).collect()
}

/// One layer of every kind at every pair of widths, everything else at the baseline's; none for a graph that is wrong.
fn one_by_one_configs(plan: &Plan) -> Vec<BitConfig> {
    let Ok(layout) = Layout::new(plan) else { return Vec::new() };
    let searchable: BTreeSet<PointIndex> = plan.searchable().into_iter().collect();
    let baseline = plan.candidates.baseline;
    let choices = |point: Option<PointIndex>| {
        let point = point.filter(|point| searchable.contains(point));
        let widths = point.map(|point| widths(plan, plan.points[point.0 as usize].kind));
        let choice =
            |width: Option<Bits>| point.zip(width).map(|(point, width)| (point, Choice::Bits(width)));
        widths.map_or(vec![None], |widths| widths.into_iter().map(|width| choice(Some(width))).collect())
    };
    let of_unit = |unit: &Unit| {
        let (weights, inputs) = (choices(unit.weight), choices(unit.input.filter(|_| unit.owns_input)));
        let pairs = weights.into_iter().flat_map(move |weight| {
            inputs.clone().into_iter().map(move |input| weight.into_iter().chain(input).collect::<Vec<_>>())
        });
        pairs.map(|pair| BitConfig::against(Choice::Bits(baseline), pair)).collect::<Vec<_>>()
    };
    let mut kinds = BTreeSet::new();
    let one_of_each = layout.units.iter().filter(|unit| kinds.insert(unit.kind));
    let configs: Vec<BitConfig> = one_of_each.flat_map(of_unit).collect();
    let mut seen = BTreeSet::from([BitConfig::baseline()]);
    configs.into_iter().filter(|config| seen.insert(config.clone())).collect()
}
