//! What networks take on a device, where that is the goal: they are measured before trials of them are trained.
//!
//! Time does not depend on what weights are, so the network that is measured is the float one with codes of the widths that a
//! trial's quantizers have. Every measurement has turns with the float network, which is what sizes are compared with.

use std::collections::{BTreeMap, BTreeSet};

use bitloop_core::autoqkeras::{Asked, Comparison, MeasuredGoal, Purpose, Size};
use bitloop_core::bits::{BitConfig, Choice};
use bitloop_core::digest::Digest;
use bitloop_core::latency::{Probed, Readings};
use bitloop_core::plan::ExperimentId;
use bitloop_core::probe::Unsteady;
use bitloop_core::state::{Batch, Proposal, StageHistory};
use bitloop_core::trial::{ProbeSpec, ProbeSubject, TrialSpec};

use crate::stages::probe::survey_failed;
use crate::stages::{NOT_PREPARED, prepared};

/// A device that says sizes, and what it said so far.
pub(super) struct Device {
    goal: MeasuredGoal,
    experiment: ExperimentId,
    /// The artifact that the prepare stage gave.
    prepared: Digest,
    /// Of the search; what its end measures anew is not in it.
    readings: Readings,
    /// What the search asked about each network.
    asks: BTreeMap<BitConfig, Asks>,
    survey: Survey,
    /// Whether what was found is being measured anew, or was.
    last_look: Option<LastLook>,
}

/// Measurements of a network.
#[derive(Clone, Copy, Default)]
struct Asks {
    asked: u32,
    settled: u32,
}

/// What came of asking which device there is.
enum Survey {
    NotAsked,
    Open,
    Failed(String),
    Known,
}

/// How the last look stands.
#[derive(Clone, Copy)]
enum LastLook {
    Open,
    Over,
}

/// What is known of a network's size.
#[derive(Debug)]
pub(super) enum Sized {
    /// It, beside the reference's.
    Known(Comparison),
    /// It cannot be told: the trial that says why.
    Failed(ProbeSpec),
    /// These have to be measured first.
    Missing(Vec<ProbeSpec>),
    /// It is being measured.
    Open,
}

impl Device {
    /// What a stage knows of the device of its goal.
    ///
    /// Errors: no model was prepared.
    pub(super) fn of(history: &StageHistory<'_>, goal: &MeasuredGoal) -> Result<Self, String> {
        let prepared = prepared(history).ok_or(NOT_PREPARED)?;
        let trials = || history.asked().iter().zip(history.proposed());
        let mut last = trials().filter(|(asked, _)| asked.purpose == Purpose::FoundOnDevice).peekable();
        let last_look = last.peek().is_some().then(|| match last.all(|(_, key)| history.is_settled(key)) {
            true => LastLook::Over,
            false => LastLook::Open,
        });
        let survey = trials().find(|(asked, _)| asked.purpose == Purpose::Survey);
        let survey = survey.map_or(Survey::NotAsked, |(_, key)| {
            match history.outcome(key).map(|outcome| survey_failed(&outcome.result)) {
                Some(None) => Survey::Known,
                Some(Some(reason)) => Survey::Failed(reason),
                None if history.is_settled(key) => {
                    Survey::Failed(format!("every worker that measured {} was lost", goal.target))
                }
                None => Survey::Open,
            }
        });
        let mut probed = history.probed(&goal.target);
        probed.retain(|probed| probed.spec.repetition < goal.repetitions_max());
        let mut asks: BTreeMap<BitConfig, Asks> = BTreeMap::new();
        for Probed { spec, is_settled, .. } in &probed {
            let of_network = asks.entry(spec.config.clone()).or_default();
            of_network.asked += 1;
            of_network.settled += u32::from(*is_settled);
        }
        let (goal, experiment) = (goal.clone(), history.plan().id());
        let readings = Readings::of(&probed);
        Ok(Self { goal, experiment, prepared, readings, asks, survey, last_look })
    }

    /// What comes before everything else, if it is not known: which class of device there is, and what the float network
    /// takes there.
    ///
    /// Errors: it cannot be measured.
    pub(super) fn begin(&self) -> Result<Option<Proposal>, String> {
        let asked_by = Some(self.experiment.clone());
        match &self.survey {
            Survey::NotAsked => {
                let survey = ProbeSpec { asked_by, ..self.spec(&BitConfig::baseline(), 0) };
                Ok(Some(proposal(vec![survey], Purpose::Survey)))
            }
            Survey::Open => Ok(Some(Proposal::Wait)),
            Survey::Failed(reason) => Err(reason.clone()),
            Survey::Known => Ok(None),
        }
    }

    /// What the float network takes, in the cost's unit.
    ///
    /// Errors: the device does not tell.
    pub(super) fn reference(&self) -> Result<Size, String> {
        let (quantity, unit) = self.goal.cost.quantity();
        let float = self.readings.networks.get(&BitConfig::baseline());
        let whole = float.and_then(|float| float.by_itself(quantity));
        match whole.map(|estimate| estimate.median / unit).filter(|total| *total > 0.0) {
            Some(total) => Ok(Size { total, layers: Vec::new() }),
            None => Err(format!(
                "{} does not measure `{}`; write `cost: latency_us`, or choose the goal `type: energy`, which is a model",
                self.goal.target,
                self.goal.cost.as_str()
            )),
        }
    }

    /// The float network beside itself.
    ///
    /// Errors: as [`Self::reference`].
    pub(super) fn float_size(&self) -> Result<Comparison, String> {
        self.reference().map(|reference| self.goal.factor.compare(&reference, &reference))
    }

    /// What is known of a network's size.
    ///
    /// Errors: as [`Self::reference`].
    pub(super) fn sized(&self, config: &BitConfig) -> Result<Sized, String> {
        if *config == BitConfig::baseline() {
            return self.float_size().map(Sized::Known);
        }
        let Asks { asked, settled } = self.asks.get(config).copied().unwrap_or_default();
        let missing = |to: u32| {
            let specs = (asked..to).map(|repetition| self.spec(config, repetition));
            Ok(Sized::Missing(specs.collect()))
        };
        if asked < self.goal.repetitions {
            return missing(self.goal.repetitions);
        }
        if settled < asked {
            return Ok(Sized::Open);
        }
        let network = self.readings.networks.get(config);
        let share = network.and_then(|network| self.goal.cost.share(network));
        let is_doubtful = network.zip(share).is_some_and(|(network, share)| {
            network.failed.is_empty() && (!network.reasons().is_empty() || Unsteady::if_wide(share).is_some())
        });
        if is_doubtful && asked < self.goal.repetitions_max() {
            return missing(asked + 1);
        }
        let reference = self.reference()?;
        let sized = share.map(|share| Size { total: reference.total * share.median, layers: Vec::new() });
        let compared =
            sized.map(|size| self.goal.factor.compare(&reference, &size)).filter(Comparison::is_finite);
        Ok(compared.map_or_else(|| Sized::Failed(self.spec(config, 0)), Sized::Known))
    }

    /// Measures the network that was found once more, by which nothing is chosen; nothing if that is over, or it is the float
    /// network.
    pub(super) fn end(&self, config: &BitConfig) -> Option<Proposal> {
        match self.last_look {
            Some(LastLook::Over) => None,
            Some(LastLook::Open) => Some(Proposal::Wait),
            None if *config == BitConfig::baseline() => None,
            None => {
                let first = self.goal.repetitions_max();
                let repetitions = first..first + self.goal.repetitions;
                let specs = repetitions.map(|repetition| self.spec(config, repetition));
                Some(proposal(specs.collect(), Purpose::FoundOnDevice))
            }
        }
    }

    fn spec(&self, config: &BitConfig, repetition: u32) -> ProbeSpec {
        let target = &self.goal.target;
        ProbeSpec {
            target: self
                .readings
                .class
                .as_ref()
                .map_or_else(|| target.clone(), |class| target.of_class(class)),
            prepared: self.prepared,
            baseline: Choice::Float,
            config: config.clone(),
            setting: self.goal.setting,
            subject: ProbeSubject::Whole,
            repetition,
            asked_by: None,
        }
    }
}

/// Asks for measurements, each network once before any is measured again, so that repetitions are spread over time.
pub(super) fn measured(specs: Vec<ProbeSpec>) -> Proposal {
    let mut seen = BTreeSet::new();
    let mut specs = specs;
    specs.retain(|spec| seen.insert((spec.config.clone(), spec.repetition)));
    specs.sort_by_key(|spec| spec.repetition);
    proposal(specs, Purpose::Measured)
}

fn proposal(specs: Vec<ProbeSpec>, purpose: Purpose) -> Proposal {
    let asked = Asked { purpose, size: Comparison::default(), least: None };
    let asked = vec![asked; specs.len()];
    let trials = specs.into_iter().map(|spec| TrialSpec::Probe(Box::new(spec))).collect();
    Proposal::Trials(Batch { trials, asked, ..Batch::default() })
}
