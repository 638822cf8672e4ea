//! A probe trial: from what is asked for to what came of it.

use std::collections::{BTreeMap, BTreeSet};

use bitloop_core::bits::BitConfig;
use bitloop_core::probe::{Estimate, Round, Session, Unsteady};
use bitloop_core::trial::{
    Energy, Measured, Outcome, ProbeSetting, ProbeSpec, ProbeSubject, Provenance, Reading, TrialResult, Work,
};

use super::fidelity::fidelity;
use super::staged::Staged;
use super::{Ability, EnergyReading, InferenceSetting, Layered, Probe, ProbeError, Timed, Timing};
use crate::executor::{ExecuteError, Obstacle, Setting};

/// What probe trials keep between them.
#[derive(Default)]
pub(crate) struct Probes {
    probes: Vec<Probe>,
    staged: Option<Staged>,
}

/// Why a trial gave no measurement.
pub(super) enum Unmeasured {
    /// Its network or its images, or what the probe says makes no sense, or it cannot do what is asked for.
    Obstacle(Obstacle),
    Probe(ProbeError),
}

impl Unmeasured {
    pub(super) fn failed(reason: impl Into<String>) -> Self {
        Self::Obstacle(Obstacle::Failed(reason.into()))
    }
}

impl From<ProbeError> for Unmeasured {
    fn from(error: ProbeError) -> Self {
        Self::Probe(error)
    }
}

impl<E: Into<Obstacle>> From<E> for Unmeasured {
    fn from(error: E) -> Self {
        Self::Obstacle(error.into())
    }
}

impl Probes {
    pub(crate) fn new(probes: Vec<Probe>) -> Self {
        Self { probes, staged: None }
    }

    /// What a coordinator hears of them.
    pub(crate) fn offers(&self) -> Vec<bitloop_core::device::ProbeOffer> {
        self.probes.iter().map(Probe::offer).collect()
    }

    /// Measures a trial; none if it is not wanted any more.
    ///
    /// Errors: why it may be measured later or elsewhere.
    pub(crate) fn measure(
        &mut self,
        spec: &ProbeSpec,
        setting: &Setting<'_>,
    ) -> Result<Option<Outcome>, ExecuteError> {
        let Self { probes, staged } = self;
        let Some(probe) = probes.iter().find(|probe| probe.name() == spec.target.probe) else {
            let reason = format!("this worker has no probe `{}`", spec.target.probe);
            return Err(ExecuteError::Device { reason });
        };
        let hello = probe.hello();
        let provenance = Provenance {
            engine: format!("bitloop {}", env!("CARGO_PKG_VERSION")),
            device: hello.device_class(),
            kernels: hello.runtime.clone(),
        };
        let outcome = |result| Outcome { result, provenance, work: Work::default() };
        let result = match attempt(spec, (probe, staged), setting) {
            Ok(measured) => Some(TrialResult::Measured(Box::new(measured))),
            Err(Unmeasured::Obstacle(Obstacle::Failed(reason))) => Some(TrialResult::Failed { reason }),
            Err(Unmeasured::Obstacle(Obstacle::Here(error))) => return Err(error),
            Err(Unmeasured::Probe(error)) => error.into_result()?,
        };
        Ok(result.map(outcome))
    }
}

fn attempt(
    spec: &ProbeSpec,
    (probe, kept): (&Probe, &mut Option<Staged>),
    setting: &Setting<'_>,
) -> Result<Measured, Unmeasured> {
    let staged = match kept.take().filter(|staged| staged.is(&spec.prepared)) {
        Some(staged) => staged,
        None => Staged::fetch(&spec.prepared, setting.artifacts)?,
    };
    let staged = kept.insert(staged);
    let config = staged.network("config", (&spec.config, spec.baseline), probe.hello())?;
    let (inference, patience) = (inference_setting(spec.setting), spec.setting.patience());
    let timing = Timing { setting: inference, patience, macs: staged.macs()? };
    match &spec.subject {
        ProbeSubject::Whole => {
            let baseline = (&BitConfig::baseline(), spec.baseline);
            let baseline = staged.network("baseline", baseline, probe.hello())?;
            // Where its memory came to lie is a part of what a process measures; each repetition is to have its own.
            probe.renew();
            whole(probe.time((&config, &baseline), timing, setting.stop)?)
        }
        ProbeSubject::Layers => {
            require(probe, Ability::Layers, "say how long layers take")?;
            let nodes = staged.quantized(&config)?;
            let nodes = nodes.prepared().model.graph.nodes.iter().map(|node| node.name.clone());
            let nodes: BTreeSet<String> = nodes.collect();
            probe.renew();
            layers(probe.layers((&config, &nodes), timing, setting.stop)?)
        }
        ProbeSubject::Fidelity { data, images } => {
            require(probe, Ability::Infer, "give what the network computes")?;
            let found = fidelity((probe, staged, &config), (data, *images), setting)?;
            Ok(Measured { reading: Reading::Fidelity(found), environment: Default::default() })
        }
    }
}

fn require(probe: &Probe, ability: Ability, what: &str) -> Result<(), Unmeasured> {
    match probe.hello().abilities.contains(&ability) {
        true => Ok(()),
        false => Err(Unmeasured::failed(format!("probe `{}` does not {what}", probe.name()))),
    }
}

fn inference_setting(setting: ProbeSetting) -> InferenceSetting {
    InferenceSetting { batch: setting.batch, threads: setting.threads }
}

fn whole(timed: Timed) -> Result<Measured, Unmeasured> {
    let Timed { rounds, peak_memory_bytes, energy, environment } = timed;
    let rounds: Vec<Round> =
        rounds.into_iter().map(|[config, baseline]| Round { config, baseline }).collect();
    let session = Session::of(&rounds).ok_or_else(|| Unmeasured::failed("no round was timed"))?;
    let session = session.beside(environment.others);
    let energy = energy.and_then(|EnergyReading { source, joules }| {
        let of = |side: usize| Estimate::of(&joules.iter().map(|pair| pair[side]).collect::<Vec<_>>());
        Some(Energy { source, config: of(0)?, baseline: of(1)? })
    });
    Ok(Measured { reading: Reading::Whole { session, peak_memory_bytes, energy }, environment })
}

fn layers(layered: Layered) -> Result<Measured, Unmeasured> {
    let Layered { nodes, other, whole: times, environment } = layered;
    let nodes = nodes.into_iter().filter_map(|(node, times)| Some((node, Estimate::of(&times)?)));
    let nodes: BTreeMap<String, Estimate> = nodes.collect();
    let other = Estimate::of(&other).unwrap_or(Estimate::exactly(0.0));
    let whole = Estimate::of(&times).ok_or_else(|| Unmeasured::failed("no inference was timed"))?;
    let unsteady = Unsteady::of(&times, whole).or_else(|| Unsteady::if_busy(environment.others));
    Ok(Measured { reading: Reading::Layers { nodes, other, whole, unsteady }, environment })
}
