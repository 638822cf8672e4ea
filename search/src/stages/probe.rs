//! Measures what networks take on a device: first which device there is, then every network, once in each round of repetitions.
//!
//! Rounds are behind each other, so that repetitions of one network are spread over time and over processes.

use bitloop_core::bits::{BitConfig, Bits, Choice, PointIndex};
use bitloop_core::graph::PointKind;
use bitloop_core::plan::{Plan, ProbePlan};
use bitloop_core::rng::rng;
use bitloop_core::state::{Batch, Proposal, StageHistory};
use bitloop_core::trial::{ProbeSpec, ProbeSubject, ProbeTarget, TrialSpec};

use super::{NOT_PREPARED, prepared};
use crate::{Searcher, Step};

pub(crate) struct Probe {
    probe: ProbePlan,
    /// What is measured in a round.
    networks: Vec<(BitConfig, ProbeSubject)>,
}

impl Probe {
    pub(crate) fn new(plan: &Plan, probe: &ProbePlan) -> Self {
        let uniform = uniform_configs(plan);
        let layers = uniform.iter().map(|config| (config.clone(), ProbeSubject::Layers));
        let mixed = mixed_configs(plan, probe);
        let wholes = uniform.iter().chain(&mixed).map(|config| (config.clone(), ProbeSubject::Whole));
        Self { probe: probe.clone(), networks: layers.chain(wholes).collect() }
    }

    /// The trials of all rounds on one class of device.
    fn trials(&self, spec: &ProbeSpec, class: &str) -> Vec<TrialSpec> {
        let target = self.probe.target.of_class(class);
        let of_round = |repetition| {
            self.networks.iter().map(move |(config, subject)| (config.clone(), subject.clone(), repetition))
        };
        let trials = (0..self.probe.repetitions).flat_map(of_round).map(|(config, subject, repetition)| {
            let target: ProbeTarget = target.clone();
            TrialSpec::Probe(Box::new(ProbeSpec {
                target,
                config,
                subject,
                repetition,
                asked_by: None,
                ..spec.clone()
            }))
        });
        trials.collect()
    }
}

impl Searcher for Probe {
    fn size(&self) -> u64 {
        1 + self.networks.len() as u64 * u64::from(self.probe.repetitions)
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
        Step::Propose(match history.proposed() {
            [] => proposal(vec![TrialSpec::Probe(Box::new(survey))]),
            [first] if !history.is_settled(first) => Proposal::Wait,
            [first] => match history.outcome(first).map(|outcome| (&outcome.result, &outcome.provenance)) {
                Some((result, found)) if survey_failed(result).is_none() => {
                    proposal(self.trials(&survey, &found.device))
                }
                Some((result, _)) => Proposal::Failed(survey_failed(result).unwrap_or_default()),
                None => Proposal::Failed(format!("every worker that measured {} was lost", survey.target)),
            },
            all if all.len() as u64 > history.settled() => Proposal::Wait,
            _ => Proposal::Finished,
        })
    }
}

fn proposal(trials: Vec<TrialSpec>) -> Proposal {
    Proposal::Trials(Batch { trials, ..Batch::default() })
}

fn survey_failed(result: &bitloop_core::trial::TrialResult) -> Option<String> {
    use bitloop_core::trial::TrialResult;
    match result {
        TrialResult::Measured(_) => None,
        TrialResult::Failed { reason } => Some(format!("the baseline cannot be measured: {reason}")),
        TrialResult::Prepared { .. } | TrialResult::Evaluated(_) | TrialResult::Trained(_) => {
            Some("no measurement came back; its worker has another version".to_owned())
        }
    }
}

/// All points float, then every pair of a width for weights and one for activations.
fn uniform_configs(plan: &Plan) -> Vec<BitConfig> {
    let baseline = plan.candidates.baseline;
    let with = |widths: &[Bits]| {
        let mut widths: Vec<Bits> = widths.iter().copied().chain([baseline]).collect();
        widths.sort();
        widths.dedup();
        widths
    };
    let (weights, activations) = (with(&plan.candidates.weight_bits), with(&plan.candidates.activation_bits));
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
            let widths = match plan.points[point.0 as usize].kind {
                PointKind::Weight => &plan.candidates.weight_bits,
                PointKind::Activation => &plan.candidates.activation_bits,
            };
            let width = widths.get(rng.below(widths.len() + 1)).copied().unwrap_or(baseline);
            (*point, Choice::Bits(width))
        });
        let drawn: Vec<_> = drawn.collect();
        BitConfig::against(Choice::Bits(baseline), drawn)
    };
    (0..probe.configs).map(config).collect()
}
