//! What a search came to: the configs it recommends, and how sure it is of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bits::BitConfig;
use crate::latency::ENERGY_MODEL;
use crate::probe::{Estimate, Unsteady};
use crate::report::Interval;
use crate::trial::ProbeTarget;

/// What a config takes on a device, in the unit of a limit's cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnDevice {
    /// The device.
    pub target: ProbeTarget,
    /// The cost, such as `latency_ms`.
    pub cost: String,
    /// As the model predicts it from what was measured of other configs.
    pub predicted: Estimate,
    /// As it was measured, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Estimate>,
    /// Why that is not to be relied on; empty if it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsteady: Vec<Unsteady>,
    /// Of a cost that is energy what says so: the counter, or `model` for the energy model, which measures nothing. Reports find it
    /// in the outcomes; selections that are stored leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_source: Option<String>,
}

impl OnDevice {
    /// The cost as people read it.
    pub fn title(&self) -> String {
        cost_title(&self.cost, self.energy_source.as_deref())
    }
}

/// A cost on a device as people read it, with the word for what the energy model says.
pub(crate) fn cost_title(cost: &str, energy_source: Option<&str>) -> String {
    match energy_source {
        Some(ENERGY_MODEL) => format!("{cost} by the energy model"),
        Some(_) | None => cost.to_owned(),
    }
}

/// A config that no other beats in both predicted loss and predicted cost on a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrontPoint {
    /// What differs from the baseline.
    pub config: BitConfig,
    /// Its predicted loss.
    pub loss: f64,
    /// Its predicted cost.
    pub cost: f64,
}

/// The best of loss against cost on a device, as predicted, by ascending loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Front {
    /// The device.
    pub target: ProbeTarget,
    /// The cost, such as `latency_ms`.
    pub cost: String,
    /// Its configs.
    pub points: Vec<FrontPoint>,
}

/// A config that a search recommends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Selected {
    /// What differs from the baseline.
    pub config: BitConfig,
    /// Its loss as the last predictor expects it, with the interval for a measurement; none where nothing predicts.
    pub predicted: Option<Interval>,
    /// Its costs by name: those that are limited and computed.
    pub costs: BTreeMap<String, f64>,
    /// Its costs on devices, in the order of the limits on them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<OnDevice>,
}

/// How much is known of the predictor's best config within the limits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// Predicted loss of the best config found.
    pub objective: f64,
    /// No config within the limits has a lower one.
    pub bound: f64,
}

/// What a limit is worth: how the least predicted loss changes when it moves by one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowPrice {
    /// The limited cost.
    pub cost: String,
    /// The step, in the cost's unit.
    pub step: f64,
    /// Change of the loss when the limit rises by a step; never above 0.
    pub looser: f64,
    /// Change of the loss when it falls by a step; none if nothing keeps it then.
    pub tighter: Option<f64>,
}

/// What a search came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    /// The configs, best measured one first.
    pub top: Vec<Selected>,
    /// Of the last predictor's optimum, if it was solved for.
    pub proof: Option<Proof>,
    /// One per limit, if it was solved for.
    pub prices: Vec<ShadowPrice>,
    /// What a reader should know, as sentences.
    pub notes: Vec<String>,
    /// One per device that the search is limited on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fronts: Vec<Front>,
}
