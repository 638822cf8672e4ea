//! What a search knows of the devices that it is limited on: models of them, and what was measured there.

use std::collections::{BTreeMap, BTreeSet};

use bitloop_core::bits::{BitConfig, Choice};
use bitloop_core::latency::{Probed, Quantity, Readings, counter_before};
use bitloop_core::plan::{Amount, Plan, ProbePlan, SearchPlan, StagePlan};
use bitloop_core::probe::{Estimate, Unsteady};
use bitloop_core::selection::OnDevice;
use bitloop_core::state::StageHistory;
use bitloop_core::trial::{ProbeSpec, ProbeSubject, ProbeTarget, TrialSpec};

use super::pricing::Pricing;
use crate::cost::Cost;
use crate::searched::Searched;

/// Configs that are measured whole before a search ends.
pub(super) const FINALISTS: usize = 5;

/// Times that finalists are measured.
const FINALS_MAX: usize = 4;

/// A cost on a device, with all that is known of it. Numbers are in the cost's unit.
pub(super) struct Device {
    /// The cost's name with the device, for messages.
    pub(super) title: String,
    target: ProbeTarget,
    cost: String,
    /// The limit; none for a cost that is lowered.
    at_most: Option<f64>,
    /// How many of the quantity's units make one.
    unit: f64,
    pricing: Pricing,
    /// What was measured whole; none of what could not be.
    measured: BTreeMap<BitConfig, Option<Estimate>>,
    /// Why what was measured is not to be relied on, where it is not.
    unsteady: BTreeMap<BitConfig, Vec<Unsteady>>,
    /// Configs that the search had measured, in order.
    own: Vec<BitConfig>,
}

/// How finalists are measured on a device, and all that was measured there.
pub(super) struct Probing {
    /// What all trials have in common.
    pub(super) probe: ProbeSpec,
    /// How often each config is measured.
    repetitions: u32,
    pub(super) readings: Readings,
    /// Whether a counter told the energy of any network before the search: what comes later changes nothing.
    pub(super) counts_energy: bool,
}

/// All costs on devices of a search.
pub(super) struct Devices {
    /// The cost that is lowered first, if there is one, then the limited ones in the order of the file.
    pub(super) all: Vec<Device>,
    /// One for each device, which may have several costs.
    probing: Vec<Probing>,
}

impl Devices {
    /// Fits a model of every cost on a device that a search names, to what was measured so far.
    ///
    /// Errors: why there is none, as when nothing was measured.
    pub(super) fn new(history: &StageHistory<'_>, search: &SearchPlan) -> Result<Self, String> {
        let plan = history.plan();
        let mut probing = Vec::new();
        let mut known: Vec<(&ProbeTarget, usize, Vec<BitConfig>)> = Vec::new();
        for target in search.targets() {
            let probed = history.probed(target);
            let own = probed.iter().filter(|probed| probed.stage == history.stage());
            let mut seen = BTreeSet::new();
            let own =
                own.map(|probed| probed.spec.config.clone()).filter(|config| seen.insert(config.clone()));
            known.push((target, probing.len(), own.collect()));
            let counts_energy = counter_before(&probed, history.stage()).is_some();
            probing.push(Probing { counts_energy, ..Probing::new(plan, target, &probed)? });
        }
        let lowered =
            search.lowers.iter().map(|lowers| (lowers.cost.as_str(), &lowers.target, lowers.title(), None));
        let limited = search.limits.iter().filter_map(|limit| {
            Some((limit.cost.as_str(), limit.target.as_ref()?, limit.title(), Some(limit.at_most)))
        });
        let device = |(cost, target, title, at_most): (&str, &ProbeTarget, String, Option<Amount>)| {
            let known = known.iter().find(|(known, ..)| *known == target);
            let (_, index, own) = known.ok_or_else(|| format!("nothing was measured on {target}"))?;
            Device::new(plan, (cost, target, title, at_most), &probing[*index])
                .map(|device| Device { own: own.clone(), ..device })
        };
        let all: Result<Vec<Device>, String> = lowered.chain(limited).map(device).collect();
        Ok(Self { all: all?, probing })
    }

    /// Configs that the search had measured, whichever the device.
    pub(super) fn own(&self) -> BTreeSet<&BitConfig> {
        self.all.iter().flat_map(|device| &device.own).collect()
    }

    /// Whether no more finalists are measured.
    pub(super) fn is_exhausted(&self) -> bool {
        self.own().len() >= FINALISTS * FINALS_MAX
    }

    /// Whether finalists were measured, and none of them keeps all limits.
    pub(super) fn is_disappointed(&self) -> bool {
        let own = self.own();
        !own.is_empty()
            && !own.iter().any(|config| self.all.iter().all(|device| device.keeps(config, device.at_most)))
    }

    /// How often the search has begun anew with tighter limits.
    pub(super) fn tightened(&self) -> usize {
        if self.is_disappointed() { self.own().len().div_ceil(FINALISTS) } else { 0 }
    }

    /// Whether a config was measured on every device, or cannot be.
    pub(super) fn is_measured(&self, config: &BitConfig) -> bool {
        self.all.iter().all(|device| device.measured.contains_key(config))
    }

    /// Whether another measurement would say no more of it.
    pub(super) fn is_known(&self, config: &BitConfig) -> bool {
        self.probing.iter().all(|probing| probing.wanted(config) == 0)
    }

    /// The measurements that configs still lack, on whichever device: repetitions behind each other, so that they are spread
    /// over time, and one more of what was measured unsteadily.
    pub(super) fn trials(&self, configs: &[BitConfig]) -> Vec<TrialSpec> {
        let rounds = self.probing.iter().map(|probing| probing.repetitions).max().unwrap_or_default();
        let asked = (0..rounds).flat_map(|round| self.probing.iter().map(move |probing| (round, probing)));
        let trials = asked.flat_map(|(round, probing)| {
            configs.iter().filter_map(move |config| {
                let repetition = probing.readings.next_repetition(config) + round;
                (round < probing.wanted(config)).then(|| probing.trial(config, repetition))
            })
        });
        trials.collect()
    }

    /// What of the measured configs came nearest to the limits, as a sentence; none if nothing was measured.
    pub(super) fn nearest(&self) -> Option<String> {
        let excess = |config: &BitConfig| {
            let over = |device: &Device| Some(device.value(config)? / device.at_most?.max(f64::MIN_POSITIVE));
            self.all.iter().filter_map(over).fold(0.0, f64::max)
        };
        let own = self.own();
        let measured = own.into_iter().filter(|config| {
            self.all.iter().all(|device| device.measured.get(*config).is_some_and(Option::is_some))
        });
        let best = measured.min_by(|a, b| excess(a).total_cmp(&excess(b)))?;
        let each = self.all.iter().filter_map(|device| {
            let measured = device.measured.get(best)?.as_ref()?;
            let limit =
                device.at_most.map_or(String::new(), |at_most| format!(", its limit is {at_most:.4}"));
            Some(format!(
                "{} of {:.4} ({:.4} to {:.4}){limit}",
                device.title, measured.median, measured.low, measured.high
            ))
        });
        Some(each.collect::<Vec<_>>().join("; "))
    }

    /// What a config takes on every device, predicted and measured.
    pub(super) fn of(&self, config: &BitConfig) -> Vec<OnDevice> {
        let on = |device: &Device| OnDevice {
            target: device.target.clone(),
            cost: device.cost.clone(),
            predicted: device.pricing.predict_unseen(config).scaled(device.unit.recip()),
            measured: device
                .measured
                .get(config)
                .copied()
                .flatten()
                .filter(|_| !device.pricing.is_modelled()),
            unsteady: device.unsteady.get(config).cloned().unwrap_or_default(),
            energy_source: None,
        };
        self.all.iter().map(on).collect()
    }

    /// What a reader should know of the models and of what was measured.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for device in &self.all {
            let correction = device.pricing.correction();
            if let Some((correction, reach)) = correction.and_then(|known| Some((known, known.half_width?))) {
                notes.push(format!(
                    "{}: predictions of one more config hold within {:.4}, as {} measured ones say",
                    device.title,
                    reach / device.unit,
                    correction.configs
                ));
            }
            if device.pricing.is_modelled() {
                notes.push(format!(
                    "{}: no counter of energy was readable there, so that no energy is measured; every value is what QTools's model \
                     says, of a 45 nm process with weights in the circuit and activations in DRAM",
                    device.title
                ));
            }
            let unsteady = device.own.iter().filter(|config| device.unsteady.contains_key(*config)).count();
            if unsteady > 0 {
                notes.push(format!("{}: {unsteady} finalists were measured unsteadily", device.title));
            }
            let failed =
                device.own.iter().filter(|config| device.measured.get(*config) == Some(&None)).count();
            if failed > 0 {
                notes.push(format!("{}: {failed} finalists could not be measured", device.title));
            }
            let over = |config: &&BitConfig| {
                device.at_most.is_some_and(|limit| device.value(config).is_some_and(|value| value > limit))
            };
            let broke = device.own.iter().filter(over).count();
            if broke > 0 {
                notes.push(format!(
                    "{}: {broke} finalists were predicted to keep the limit, and do not",
                    device.title
                ));
            }
        }
        notes
    }
}

impl Probing {
    fn new(plan: &Plan, target: &ProbeTarget, probed: &[Probed<'_>]) -> Result<Self, String> {
        let stage = probe_of(plan, target)?;
        let readings = Readings::of(probed);
        let nothing = || format!("nothing was measured on {target}");
        let class = readings.class.clone().ok_or_else(nothing)?;
        let probe = ProbeSpec {
            target: target.of_class(&class),
            prepared: probed.first().map(|probed| probed.spec.prepared).ok_or_else(nothing)?,
            baseline: Choice::Bits(plan.candidates.baseline),
            config: BitConfig::baseline(),
            setting: stage.setting,
            subject: ProbeSubject::Whole,
            repetition: 0,
            asked_by: None,
        };
        Ok(Self { probe, repetitions: stage.repetitions, readings, counts_energy: false })
    }

    /// Whether any network with quantizers was measured whole.
    pub(super) fn has_measured_any(&self) -> bool {
        !self.readings.quantized(Quantity::Latency).is_empty()
    }

    /// Repetitions that a config lacks.
    fn wanted(&self, config: &BitConfig) -> u32 {
        match self.readings.networks.get(config) {
            Some(network) if network.settled > 0 => {
                u32::from(self.readings.is_worth_repeating(config, self.repetitions))
            }
            Some(_) | None => self.repetitions,
        }
    }

    fn trial(&self, config: &BitConfig, repetition: u32) -> TrialSpec {
        let spec = ProbeSpec { config: config.clone(), repetition, ..self.probe.clone() };
        TrialSpec::Probe(Box::new(spec))
    }
}

impl Device {
    fn new(
        plan: &Plan,
        (cost, target, title, at_most): (&str, &ProbeTarget, String, Option<Amount>),
        probing: &Probing,
    ) -> Result<Self, String> {
        let (quantity, unit) =
            Quantity::of_cost(cost).ok_or_else(|| format!("`{cost}` is not measured on devices"))?;
        let readings = &probing.readings;
        let pricing = Pricing::new(plan, probing, quantity).map_err(|error| format!("{title}: {error}"))?;
        let is_modelled = pricing.is_modelled();
        // Nobody takes a limit that is named in an error or a note for a measured one.
        let title = if is_modelled { format!("{title} by the energy model") } else { title };
        // What was measured, if at all. What the energy model says counts of networks that the device executes.
        let estimate = |config: &BitConfig| match is_modelled {
            true => readings.estimate(config, Quantity::Latency).map(|_| pricing.predict(config)),
            false => readings.estimate(config, quantity),
        };
        let at_most = match at_most {
            None => None,
            Some(Amount::Of(amount)) => Some(amount),
            Some(Amount::OfBaselinePpm(ppm)) => {
                let baseline = estimate(&BitConfig::baseline());
                let baseline = baseline.ok_or_else(|| format!("{title}: the baseline was not measured"))?;
                Some(baseline.median / unit * f64::from(ppm) / 1e6)
            }
        };
        let whole = || readings.networks.iter().filter(|(_, network)| network.settled > 0);
        let measured = whole().map(|(config, _)| {
            (config.clone(), estimate(config).map(|estimate| estimate.scaled(unit.recip())))
        });
        let measured = measured.collect();
        let timed = whole().filter(|_| !is_modelled);
        let unsteady = timed.map(|(config, _)| (config.clone(), readings.unsteady(config)));
        Ok(Self {
            title,
            target: target.clone(),
            cost: cost.to_owned(),
            at_most,
            unit,
            pricing,
            measured,
            unsteady: unsteady.filter(|(_, reasons)| !reasons.is_empty()).collect(),
            own: Vec::new(),
        })
    }

    /// What a config takes: as measured, else as predicted; none of what cannot be measured.
    pub(super) fn value(&self, config: &BitConfig) -> Option<f64> {
        match self.measured.get(config) {
            Some(measured) => measured.map(|measured| measured.median),
            None => Some(self.predicted(config)),
        }
    }

    /// The limit; none of a cost that is lowered.
    pub(super) fn at_most(&self) -> Option<f64> {
        self.at_most
    }

    /// Whether a config keeps the limit: the median of what was measured does; what was not measured keeps the limit
    /// `unmeasured`, as it was tightened.
    pub(super) fn keeps(&self, config: &BitConfig, unmeasured: Option<f64>) -> bool {
        let at_most = if self.measured.contains_key(config) { self.at_most } else { unmeasured };
        self.value(config).is_some_and(|value| at_most.is_none_or(|at_most| value <= at_most))
    }

    /// What a config is predicted to take.
    pub(super) fn predicted(&self, config: &BitConfig) -> f64 {
        self.pricing.predict(config).median / self.unit
    }

    /// The limit for what was not measured, if finalists broke it: lower by how much they took more than the model says that
    /// knows them, and by half of its interval for every [`FINALISTS`] of them.
    pub(super) fn tightened(&self) -> Option<f64> {
        let at_most = self.at_most?;
        let over = |config: &BitConfig| {
            let measured = self.measured.get(config)?.as_ref()?.median;
            (measured > at_most).then(|| measured - self.predicted(config))
        };
        let over: Vec<f64> = self.own.iter().filter_map(over).collect();
        if over.is_empty() {
            return Some(at_most);
        }
        let bias = over.iter().sum::<f64>() / over.len() as f64;
        let reach =
            self.pricing.correction().and_then(|known| known.half_width).unwrap_or_default() / self.unit;
        let times = over.len().div_ceil(FINALISTS) as f64;
        Some((at_most - bias.max(0.0) - reach * times / 2.0).max(0.0))
    }

    /// The prediction as solvers take it.
    pub(super) fn form(&self, searched: &Searched) -> Cost {
        self.pricing.form(searched, (self.title.clone(), self.unit))
    }

    /// The same without the prices of conversions, which tie layers together.
    pub(super) fn simpler_form(&self, searched: &Searched) -> Cost {
        self.pricing.simpler_form(searched, (self.title.clone(), self.unit))
    }

    /// Whether conversions have a price.
    pub(super) fn has_changes(&self) -> bool {
        self.pricing.has_changes()
    }

    /// The device and the cost's name.
    pub(super) fn named(&self) -> (ProbeTarget, String) {
        (self.target.clone(), self.cost.clone())
    }
}

/// The stage that measured a device.
fn probe_of<'a>(plan: &'a Plan, target: &ProbeTarget) -> Result<&'a ProbePlan, String> {
    let probes = plan.stages.iter().filter_map(|stage| match stage {
        StagePlan::Probe(probe) => Some(probe.as_ref()),
        StagePlan::Prepare
        | StagePlan::Sensitivity { .. }
        | StagePlan::Search(_)
        | StagePlan::AutoQKeras(_)
        | StagePlan::Verify { .. } => None,
    });
    let mut probes = probes.filter(|probe| probe.target == *target);
    probes.next().ok_or_else(|| format!("no stage measures {target}"))
}
