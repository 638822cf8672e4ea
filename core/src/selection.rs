//! What a search came to: the configs it recommends, and how sure it is of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bits::BitConfig;
use crate::report::Interval;

/// A config that a search recommends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Selected {
    /// What differs from the baseline.
    pub config: BitConfig,
    /// Its loss as the last predictor expects it, with the interval for a measurement; none where nothing predicts.
    pub predicted: Option<Interval>,
    /// Its costs by name: those that are limited.
    pub costs: BTreeMap<String, f64>,
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
}
