//! What a device was like while it measured, over many measurements.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::probe::Environment;

/// The least and the most of something that was read.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

/// What the device was like, over all measurements; what could not be read is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EnvironmentSummary {
    /// Measurements that say something.
    pub measurements: u64,
    /// How the processor's frequency was governed: every way there was.
    pub governors: BTreeSet<String>,
    /// Processors that the probe could use: every set there was.
    pub affinities: BTreeSet<Vec<u32>>,
    /// Frequency in MHz.
    pub mhz: Option<Range>,
    /// Temperature in degrees Celsius.
    pub celsius: Option<Range>,
    /// Threads of the machine that were busy or wanted to be.
    pub load: Option<Range>,
    /// The part of the processors' time that others than the probe had.
    pub others: Option<Range>,
    /// What else was said, each value there was by name.
    pub more: BTreeMap<String, BTreeSet<String>>,
}

impl EnvironmentSummary {
    /// The summary of some measurements.
    pub(super) fn of(environments: &[Environment]) -> Self {
        let said = environments.iter().filter(|environment| **environment != Environment::default());
        let mut summary = Self::default();
        for environment in said {
            summary.measurements += 1;
            summary.governors.extend(environment.governor.clone());
            if !environment.affinity.is_empty() {
                summary.affinities.insert(environment.affinity.clone());
            }
            for (range, read) in [
                (&mut summary.mhz, environment.mhz),
                (&mut summary.celsius, environment.celsius),
                (&mut summary.load, environment.load),
                (&mut summary.others, environment.others.map(|others| [others; 2])),
            ] {
                for value in read.into_iter().flatten() {
                    let known = range.get_or_insert(Range { least: value, most: value });
                    *known = Range { least: known.least.min(value), most: known.most.max(value) };
                }
            }
            for (name, value) in &environment.more {
                summary.more.entry(name.clone()).or_default().insert(value.clone());
            }
        }
        summary
    }
}
