use bitloop_core::device::{ComputeCapability, Device, DeviceKind, ProbeOffer, Share, UnsupportedShare};
use bitloop_core::spec::{LABELS_MAX, is_label};
use bitloop_core::state::{LeaseId, Obstacle, ObstacleKind, Report, Shard, WorkerInfo};
use bitloop_core::trial::{
    Evaluation, Measured, Outcome, Provenance, Trained, TrialKey, TrialResult, TrialSpec, Work,
};

use super::limits::{SHARD_TRIALS_MAX, count, finite, name, prose, to_name, to_prose, trial_keys, worker_id};
use super::{ConvertError, digest, digest_to_wire, required};
use crate::v1;

/// Most features of a processor that anyone looks at.
const FEATURES_MAX: usize = 256;

/// Most probes of a worker.
const PROBES_MAX: usize = 64;

impl From<&WorkerInfo> for v1::WorkerInfo {
    fn from(info: &WorkerInfo) -> Self {
        Self {
            id: info.id.0.clone(),
            host: to_name(&info.host),
            threads: info.threads,
            float_only: info.float_only,
            device: Some((&info.device).into()),
            share: info.share.ten_thousandths(),
            labels: info.labels.clone().into_iter().collect(),
            machine: to_name(&info.machine),
            probes: info.probes.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::WorkerInfo> for WorkerInfo {
    type Error = ConvertError;

    fn try_from(info: v1::WorkerInfo) -> Result<Self, ConvertError> {
        let v1::WorkerInfo { id, host, threads, float_only, device, share, labels, machine, probes } = info;
        if labels.len() > LABELS_MAX || labels.iter().any(|(key, value)| !is_label(key) || !is_label(value)) {
            return Err(ConvertError::Labels);
        }
        let share = Share::new(share).map_err(|UnsupportedShare(share)| ConvertError::Share { share })?;
        let device = required("device", device)?.try_into()?;
        let labels = labels.into_iter().collect();
        count("probes", &probes, PROBES_MAX)?;
        let probes = probes.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
        Ok(Self {
            id: worker_id("id", id)?,
            host: name("host", host)?,
            machine: name("machine", machine)?,
            device,
            share,
            labels,
            probes,
            threads,
            float_only,
        })
    }
}

impl From<&ProbeOffer> for v1::ProbeOffer {
    fn from(offer: &ProbeOffer) -> Self {
        Self {
            name: offer.name.clone(),
            class: to_name(&offer.class),
            device: offer.device.as_deref().map(to_name),
            runtime: to_name(&offer.runtime),
        }
    }
}

impl TryFrom<v1::ProbeOffer> for ProbeOffer {
    type Error = ConvertError;

    fn try_from(offer: v1::ProbeOffer) -> Result<Self, ConvertError> {
        let v1::ProbeOffer { name: called, class, device, runtime } = offer;
        if !is_label(&called) {
            return Err(ConvertError::Labels);
        }
        Ok(Self {
            name: called,
            class: name("class", class)?,
            device: device.map(|device| name("device", device)).transpose()?,
            runtime: name("runtime", runtime)?,
        })
    }
}

impl From<&Device> for v1::Device {
    fn from(device: &Device) -> Self {
        let kind = match device.kind {
            DeviceKind::Cpu => v1::DeviceKind::Cpu,
            DeviceKind::Cuda => v1::DeviceKind::Cuda,
        };
        let capability = |it: ComputeCapability| v1::ComputeCapability { major: it.major, minor: it.minor };
        Self {
            kind: kind.into(),
            id: to_name(&device.id),
            class: to_name(&device.class),
            cores: device.cores,
            memory_bytes: device.memory_bytes,
            features: device.features.iter().map(|feature| to_name(feature)).collect(),
            compute_capability: device.compute_capability.map(capability),
        }
    }
}

impl TryFrom<v1::Device> for Device {
    type Error = ConvertError;

    fn try_from(device: v1::Device) -> Result<Self, ConvertError> {
        let kind = match v1::DeviceKind::try_from(device.kind) {
            Ok(v1::DeviceKind::Cpu) => DeviceKind::Cpu,
            Ok(v1::DeviceKind::Cuda) => DeviceKind::Cuda,
            Ok(v1::DeviceKind::Unspecified) => return Err(ConvertError::Missing { field: "kind" }),
            Err(_) => return Err(ConvertError::UnknownValue { field: "kind", value: device.kind }),
        };
        count("features", &device.features, FEATURES_MAX)?;
        let features = device.features.into_iter().map(|feature| name("features", feature));
        let capability = |it: v1::ComputeCapability| ComputeCapability { major: it.major, minor: it.minor };
        Ok(Self {
            kind,
            id: name("id", device.id)?,
            class: name("class", device.class)?,
            cores: device.cores,
            memory_bytes: device.memory_bytes,
            features: features.collect::<Result<_, _>>()?,
            compute_capability: device.compute_capability.map(capability),
        })
    }
}

impl From<&Shard> for v1::Shard {
    fn from(shard: &Shard) -> Self {
        Self {
            lease: shard.lease.0,
            context: shard.context.as_ref().map(digest_to_wire).unwrap_or_default(),
            trials: shard.trials.iter().map(|(_, spec)| spec.into()).collect(),
        }
    }
}

impl TryFrom<v1::Shard> for Shard {
    type Error = ConvertError;

    fn try_from(shard: v1::Shard) -> Result<Self, ConvertError> {
        let context = match shard.context.is_empty() {
            true => None,
            false => Some(digest("context", &shard.context)?),
        };
        count("trials", &shard.trials, SHARD_TRIALS_MAX)?;
        let mut trials = Vec::with_capacity(shard.trials.len());
        for trial in shard.trials {
            let spec = TrialSpec::try_from(trial)?;
            if let TrialSpec::Evaluate { context: own, .. } = &spec
                && context != Some(*own)
            {
                return Err(ConvertError::MixedContexts);
            }
            // The key is never taken from a peer: it follows from what is to be done.
            trials.push((spec.key(), spec));
        }
        Ok(Self { lease: LeaseId(shard.lease), context, trials })
    }
}

impl From<&Evaluation> for v1::Evaluation {
    fn from(sums: &Evaluation) -> Self {
        Self {
            n: sums.n,
            correct: sums.correct,
            correct_top5: sums.correct_top5,
            lost: sums.lost,
            gained: sums.gained,
            loss_sum: sums.loss_sum,
            loss_difference_sum: sums.loss_difference_sum,
            loss_difference_squares: sums.loss_difference_squares,
            kl_sum: sums.kl_sum,
            signal_sum: sums.signal_sum,
            noise_sum: sums.noise_sum,
        }
    }
}

impl TryFrom<v1::Evaluation> for Evaluation {
    type Error = ConvertError;

    fn try_from(sums: v1::Evaluation) -> Result<Self, ConvertError> {
        let counts = [
            ("correct", sums.correct),
            ("correct_top5", sums.correct_top5),
            ("lost", sums.lost),
            ("gained", sums.gained),
        ];
        for (field, count) in counts {
            if count > sums.n {
                return Err(ConvertError::Count { field, count, n: sums.n });
            }
        }
        Ok(Self {
            n: sums.n,
            correct: sums.correct,
            correct_top5: sums.correct_top5,
            lost: sums.lost,
            gained: sums.gained,
            loss_sum: finite("loss_sum", sums.loss_sum)?,
            loss_difference_sum: finite("loss_difference_sum", sums.loss_difference_sum)?,
            loss_difference_squares: finite("loss_difference_squares", sums.loss_difference_squares)?,
            kl_sum: finite("kl_sum", sums.kl_sum)?,
            signal_sum: finite("signal_sum", sums.signal_sum)?,
            noise_sum: finite("noise_sum", sums.noise_sum)?,
        })
    }
}

impl From<&Provenance> for v1::Provenance {
    fn from(provenance: &Provenance) -> Self {
        Self {
            engine: to_name(&provenance.engine),
            device: to_name(&provenance.device),
            kernels: to_name(&provenance.kernels),
        }
    }
}

impl TryFrom<v1::Provenance> for Provenance {
    type Error = ConvertError;

    fn try_from(provenance: v1::Provenance) -> Result<Self, ConvertError> {
        let v1::Provenance { engine, device, kernels } = provenance;
        Ok(Self {
            engine: name("engine", engine)?,
            device: name("device", device)?,
            kernels: name("kernels", kernels)?,
        })
    }
}

impl From<Work> for v1::Work {
    fn from(work: Work) -> Self {
        Self { macs: work.macs, macs_alone: work.macs_alone }
    }
}

impl From<v1::Work> for Work {
    fn from(work: v1::Work) -> Self {
        Self { macs: work.macs, macs_alone: work.macs_alone }
    }
}

impl From<&Trained> for v1::Trained {
    fn from(trained: &Trained) -> Self {
        Self {
            artifact: trained.artifact.as_ref().map(digest_to_wire),
            epochs: trained.epochs,
            best_epoch: trained.best_epoch,
            n: trained.n,
            correct: trained.correct,
            loss_sum: trained.loss_sum,
            learning_rate: trained.learning_rate,
        }
    }
}

impl TryFrom<v1::Trained> for Trained {
    type Error = ConvertError;

    fn try_from(trained: v1::Trained) -> Result<Self, ConvertError> {
        let artifact = trained.artifact.map(|bytes| digest("artifact", &bytes)).transpose()?;
        if trained.correct > trained.n {
            return Err(ConvertError::Count { field: "correct", count: trained.correct, n: trained.n });
        }
        Ok(Self {
            artifact,
            epochs: trained.epochs,
            best_epoch: trained.best_epoch,
            n: trained.n,
            correct: trained.correct,
            loss_sum: finite("loss_sum", trained.loss_sum)?,
            learning_rate: finite("learning_rate", trained.learning_rate)?,
        })
    }
}

impl From<&Report> for v1::Report {
    fn from(report: &Report) -> Self {
        let result = match &report.outcome.result {
            TrialResult::Prepared { artifact, steps } => v1::report::Result::Prepared(v1::Prepared {
                artifact: digest_to_wire(artifact),
                steps: serde_json::to_string(steps).expect("steps have only text keys and no floats"),
            }),
            TrialResult::Evaluated(sums) => v1::report::Result::Evaluated(sums.into()),
            TrialResult::Trained(trained) => v1::report::Result::Trained(trained.into()),
            TrialResult::Measured(measured) => v1::report::Result::Measured(v1::Measured {
                document: serde_json::to_string(measured).expect("a measurement has only text keys"),
            }),
            TrialResult::Failed { reason } => v1::report::Result::Failed(to_prose(reason)),
        };
        Self {
            key: digest_to_wire(&report.key.0),
            result: Some(result),
            provenance: Some((&report.outcome.provenance).into()),
            work: Some(report.outcome.work.into()),
        }
    }
}

fn measured_of(measured: &v1::Measured) -> Result<Measured, ConvertError> {
    let document = |reason| ConvertError::Document { field: "measured", reason };
    let measured: Measured =
        serde_json::from_str(&measured.document).map_err(|error| document(error.to_string()))?;
    measured.check().map_err(document)?;
    Ok(measured)
}

impl From<&Obstacle> for v1::Obstacle {
    fn from(obstacle: &Obstacle) -> Self {
        let kind = match obstacle.kind {
            ObstacleKind::Supply => v1::ObstacleKind::Supply,
            ObstacleKind::Device => v1::ObstacleKind::Device,
            ObstacleKind::Panic => v1::ObstacleKind::Panic,
        };
        let trials = obstacle.trials.iter().map(|key| digest_to_wire(&key.0)).collect();
        Self { kind: kind.into(), reason: to_prose(&obstacle.reason), trials }
    }
}

impl TryFrom<v1::Obstacle> for Obstacle {
    type Error = ConvertError;

    fn try_from(obstacle: v1::Obstacle) -> Result<Self, ConvertError> {
        let (field, value) = ("kind", obstacle.kind);
        let kind = match v1::ObstacleKind::try_from(value) {
            Ok(v1::ObstacleKind::Supply) => ObstacleKind::Supply,
            Ok(v1::ObstacleKind::Device) => ObstacleKind::Device,
            Ok(v1::ObstacleKind::Panic) => ObstacleKind::Panic,
            Ok(v1::ObstacleKind::Unspecified) => return Err(ConvertError::Missing { field }),
            Err(_) => return Err(ConvertError::UnknownValue { field, value }),
        };
        let reason = prose("reason", obstacle.reason)?;
        Ok(Self { kind, reason, trials: trial_keys("trials", &obstacle.trials)? })
    }
}

impl TryFrom<v1::Report> for Report {
    type Error = ConvertError;

    fn try_from(report: v1::Report) -> Result<Self, ConvertError> {
        let result = match required("result", report.result)? {
            v1::report::Result::Prepared(prepared) => TrialResult::Prepared {
                artifact: digest("artifact", &prepared.artifact)?,
                steps: serde_json::from_str(&prepared.steps)
                    .map_err(|error| ConvertError::Document { field: "steps", reason: error.to_string() })?,
            },
            v1::report::Result::Evaluated(sums) => TrialResult::Evaluated(sums.try_into()?),
            v1::report::Result::Trained(trained) => TrialResult::Trained(trained.try_into()?),
            v1::report::Result::Measured(measured) => {
                TrialResult::Measured(Box::new(measured_of(&measured)?))
            }
            v1::report::Result::Failed(reason) => TrialResult::Failed { reason: prose("failed", reason)? },
        };
        let provenance = required("provenance", report.provenance)?.try_into()?;
        let work = report.work.map(Work::from).unwrap_or_default();
        Ok(Self { key: TrialKey(digest("key", &report.key)?), outcome: Outcome { result, provenance, work } })
    }
}
