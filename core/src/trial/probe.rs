//! Measuring a network on a device: what is asked for, and what came of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ImageRange;
use crate::bits::{BitConfig, Choice};
use crate::canonical::Encoder;
use crate::device::{ProbeNeed, Requirements};
use crate::digest::Digest;
use crate::plan::ExperimentId;
use crate::probe::{Environment, Estimate, Patience, Session, Unsteady};
use crate::trial::KEY_SCHEMA;

/// What measures, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeTarget {
    /// The probe's name, as workers offer it.
    pub probe: String,
    /// Labels of the workers that may measure.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub on: BTreeMap<String, String>,
    /// The class of device; any for the trial that finds out which there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
}

impl ProbeTarget {
    /// The target's own name: the digest of its canonical form.
    pub fn digest(&self) -> Digest {
        let mut encoder = Encoder::new("bitloop.probe_target", KEY_SCHEMA);
        encoder.text(&serde_json::to_string(self).expect("a target has only text keys"));
        Digest::of(&encoder.finish())
    }

    /// What workers must have: nobody else measures on the device meanwhile.
    pub fn requirements(&self) -> Requirements {
        Requirements {
            labels: self.on.clone(),
            exclusive: true,
            probe: Some(ProbeNeed { name: self.probe.clone(), class: self.class.clone() }),
            ..Requirements::NONE
        }
    }

    /// Whether it is the same but for the class, which only the one of both may name.
    pub fn is_on(&self, named: &Self) -> bool {
        self.probe == named.probe
            && self.on == named.on
            && (named.class.is_none() || named.class == self.class)
    }

    /// The same on devices of one class.
    #[must_use]
    pub fn of_class(&self, class: &str) -> Self {
        Self { class: Some(class.to_owned()), ..self.clone() }
    }
}

impl std::fmt::Display for ProbeTarget {
    /// As people read it: `onnxruntime on board=pi5`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.probe)?;
        let labels: Vec<String> = self.on.iter().map(|(key, value)| format!("{key}={value}")).collect();
        if labels.is_empty() { Ok(()) } else { write!(f, " on {}", labels.join(",")) }
    }
}

/// How inferences are made and for how long they are timed; integers, so that equal settings have one form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeSetting {
    /// Images of an inference.
    pub batch: u32,
    /// Threads that compute it.
    pub threads: u32,
    /// It is enough when the interval reaches so far from the median, in parts per million of it.
    pub half_width_ppm: u32,
    /// The longest time for a measurement, in milliseconds.
    pub at_most_ms: u32,
}

impl Default for ProbeSetting {
    fn default() -> Self {
        let Patience { half_width, at_most_ns, .. } = Patience::default();
        Self {
            batch: 1,
            threads: 1,
            half_width_ppm: (half_width * 1e6) as u32,
            at_most_ms: (at_most_ns / 1e6) as u32,
        }
    }
}

/// The part of a measurement's time that the shortest warm-up takes at most.
const WARM_UP_PART: f64 = 0.25;

/// Turns that a measurement is to have time for.
const TURNS_MIN: f64 = 400.0;

impl ProbeSetting {
    /// How long and how closely times are taken.
    pub fn patience(&self) -> Patience {
        let usual = Patience::default();
        let at_most_ns = f64::from(self.at_most_ms) * 1e6;
        Patience {
            half_width: f64::from(self.half_width_ppm) / 1e6,
            at_most_ns,
            // Most of the time is for rounds that count.
            warm_up_ns: usual.warm_up_ns.min(at_most_ns * WARM_UP_PART),
            turn_ns: usual.turn_ns.min(at_most_ns / TURNS_MIN),
            ..usual
        }
    }
}

/// What is measured of a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeSubject {
    /// Times of whole inferences beside those of the baseline, memory and energy.
    Whole,
    /// Times of each layer within the network.
    Layers,
    /// What the device computes, beside what the simulation does.
    Fidelity {
        /// The data artifact.
        data: Digest,
        /// Which of its images.
        images: ImageRange,
    },
}

impl ProbeSubject {
    /// The word used in messages.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Layers => "layers",
            Self::Fidelity { .. } => "fidelity",
        }
    }
}

/// A network that is measured on a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeSpec {
    /// With what, and where.
    pub target: ProbeTarget,
    /// The artifact that a prepare trial gave.
    pub prepared: Digest,
    /// What a point gets that the config does not name.
    pub baseline: Choice,
    /// What differs from that.
    pub config: BitConfig,
    /// How.
    pub setting: ProbeSetting,
    /// What of it.
    pub subject: ProbeSubject,
    /// Measurements of the same are repeated, and all of them count.
    pub repetition: u32,
    /// For whom it is found out which device there is: what another experiment found does not tell this one. None where the
    /// target names the class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_by: Option<ExperimentId>,
}

impl ProbeSpec {
    /// Its JSON form, the same for equal specifications.
    pub fn to_document(&self) -> String {
        serde_json::to_string(self).expect("a specification has only text keys and no floats")
    }

    /// Reads its JSON form.
    ///
    /// Errors: what is wrong with the text.
    pub fn from_document(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }
}

/// What inferences took from the supply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Energy {
    /// The counter that says so, such as `rapl package-0`.
    pub source: String,
    /// Joules of an inference of the config.
    pub config: Estimate,
    /// Of the baseline.
    pub baseline: Estimate,
}

/// What a device computed, beside the simulation of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fidelity {
    /// Images.
    pub n: u64,
    /// Images that the device gets right.
    pub device_correct: u64,
    /// Images that the simulation gets right.
    pub simulated_correct: u64,
    /// Images on which the largest logit is the same.
    pub agreeing: u64,
    /// The largest difference of a logit.
    pub logit_difference_max: f64,
    /// The mean of the differences' magnitudes.
    pub logit_difference_mean: f64,
    /// The first layer, in the order of the graph, whose values differ by more than rounding explains; none if all agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_difference: Option<LayerDifference>,
}

/// How a layer's values differ between device and simulation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerDifference {
    /// The node.
    pub node: String,
    /// Part of its values that differ by more than a step of their grid, or by more than rounding of floats explains.
    pub share: f64,
    /// The largest difference, in steps of the grid, or as a part of the largest value where there is none.
    pub largest: f64,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// Of whole inferences.
    Whole {
        /// Times, in nanoseconds.
        session: Session,
        /// The most memory of a process that executes the config, in bytes, less that of one without a network.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peak_memory_bytes: Option<u64>,
        /// From the supply, where there is a counter.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        energy: Option<Energy>,
    },
    /// Of layers within the network, in nanoseconds of an inference.
    Layers {
        /// By node; what is part of another one's kernel is left out.
        nodes: BTreeMap<String, Estimate>,
        /// What belongs to no node, such as conversions between types.
        other: Estimate,
        /// Whole inferences meanwhile.
        whole: Estimate,
        /// Why they are not to be relied on, if so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unsteady: Option<Unsteady>,
    },
    /// Of what the device computes.
    Fidelity(Fidelity),
}

/// What a probe found, and under which circumstances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// What was measured.
    pub reading: Reading,
    /// What the device was like.
    pub environment: Environment,
}

impl Measured {
    /// What a device comes to that takes as many nanoseconds for everything, and computes what the simulation does: for
    /// benchmarks and tests of everything else.
    pub fn made_up(subject: &ProbeSubject, nanoseconds: f64) -> Self {
        let time = Estimate::exactly(nanoseconds);
        let reading = match subject {
            ProbeSubject::Whole => Reading::Whole {
                session: Session {
                    config: time,
                    baseline: time,
                    ratio: Estimate::exactly(1.0),
                    rounds: 1,
                    disturbed: 0,
                    outliers: 0,
                    unsteady: None,
                },
                peak_memory_bytes: None,
                energy: None,
            },
            ProbeSubject::Layers => {
                Reading::Layers { nodes: BTreeMap::new(), other: time, whole: time, unsteady: None }
            }
            ProbeSubject::Fidelity { images, .. } => {
                Reading::Fidelity(Fidelity { n: images.len, agreeing: images.len, ..Fidelity::default() })
            }
        };
        Self { reading, environment: Environment::default() }
    }

    /// Whether it answers what was asked about.
    pub(super) fn is_of(&self, subject: &ProbeSubject) -> bool {
        match (subject, &self.reading) {
            (ProbeSubject::Whole, Reading::Whole { .. }) | (ProbeSubject::Layers, Reading::Layers { .. }) => {
                true
            }
            (ProbeSubject::Fidelity { images, .. }, Reading::Fidelity(found)) => found.n == images.len,
            (ProbeSubject::Whole, Reading::Layers { .. } | Reading::Fidelity(_))
            | (ProbeSubject::Layers, Reading::Whole { .. } | Reading::Fidelity(_))
            | (ProbeSubject::Fidelity { .. }, Reading::Whole { .. } | Reading::Layers { .. }) => false,
        }
    }

    /// Checks that its numbers can be those of a measurement: finite, not negative, parts no more than the whole.
    ///
    /// Errors: what is wrong.
    pub fn check(&self) -> Result<(), String> {
        match &self.reading {
            Reading::Whole { session, energy, .. } => {
                let energies = energy.iter().flat_map(|energy| [&energy.config, &energy.baseline]);
                checked(energies.chain([&session.config, &session.baseline, &session.ratio]))
            }
            Reading::Layers { nodes, other, whole, .. } => checked(nodes.values().chain([other, whole])),
            Reading::Fidelity(found) => {
                let counts = [found.device_correct, found.simulated_correct, found.agreeing];
                let numbers = [found.logit_difference_max, found.logit_difference_mean];
                let differences =
                    found.first_difference.iter().flat_map(|first| [first.share, first.largest]);
                match counts.iter().all(|count| *count <= found.n)
                    && numbers
                        .into_iter()
                        .chain(differences)
                        .all(|number| number.is_finite() && number >= 0.0)
                {
                    true => Ok(()),
                    false => Err("counts beyond the images, or differences that are no numbers".to_owned()),
                }
            }
        }
    }
}

fn checked<'a>(estimates: impl Iterator<Item = &'a Estimate>) -> Result<(), String> {
    for Estimate { median, low, high } in estimates {
        let is_ordered = 0.0 <= *low && low <= median && median <= high && high.is_finite();
        if !is_ordered {
            return Err(format!("{median} is no median of values between {low} and {high}"));
        }
    }
    Ok(())
}
