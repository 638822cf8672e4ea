use serde::Serialize as DeriveSerialize;
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::predict::Prediction;
use crate::solve::{Change, ShadowPrice};
use crate::space::Space;

/// Version of the answer's JSON form.
pub const ANSWER_FORMAT: u32 = 1;

/// What a solver found, as a document.
#[derive(Clone, Debug, PartialEq, DeriveSerialize)]
pub struct Answer {
    /// [`ANSWER_FORMAT`].
    pub format: u32,
    /// The solver.
    pub method: &'static str,
    /// What is minimised, in a few words.
    pub objective: String,
    /// Number of searched points.
    pub variables: usize,
    /// The best bit configs, ascending by objective; at least one.
    pub best: Vec<Found>,
    /// How good any other bit config can be; none for solvers that don't prove.
    pub proof: Option<Proof>,
    /// What the limits are worth, in their order; empty where that wasn't asked.
    pub shadow_prices: Vec<Price>,
    /// The front against the cost that was asked for; empty if none was.
    pub front: Vec<FrontEntry>,
    /// What a reader should know, as sentences.
    pub notes: Vec<String>,
}

/// A bit config with what it comes to.
#[derive(Clone, Debug, PartialEq, DeriveSerialize)]
pub struct Found {
    /// Bits of every searched point.
    pub bits: BitConfig,
    /// The objective.
    pub objective: f64,
    /// The predicted loss; none if losses weren't measured, or not at these widths.
    pub predicted_loss: Option<PredictedLoss>,
    /// The limited costs in the order of their limits, then those that are told beside them.
    pub costs: Vec<CostValue>,
}

/// A predicted loss with the interval that holds a measured one with [`CONFIDENCE`](crate::predict::CONFIDENCE).
#[derive(Clone, Copy, Debug, PartialEq, DeriveSerialize)]
pub struct PredictedLoss {
    /// The expected loss.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl From<Prediction> for PredictedLoss {
    fn from(Prediction { value, low, high }: Prediction) -> Self {
        Self { value, low, high }
    }
}

/// A cost beside its limit.
#[derive(Clone, Debug, PartialEq, DeriveSerialize)]
pub struct CostValue {
    /// The cost's name.
    pub cost: String,
    /// Its value.
    pub value: f64,
    /// The most it may be, if it is limited.
    pub at_most: Option<f64>,
}

/// A solver's certificate.
#[derive(Clone, Copy, Debug, PartialEq, DeriveSerialize)]
pub struct Proof {
    /// The worst objective of the bit configs that were found.
    pub objective: f64,
    /// No other bit config has an objective below this.
    pub bound: f64,
    /// The objective less the bound.
    pub gap: f64,
    /// Whether these are the best.
    pub proved: bool,
    /// Nodes of the search tree.
    pub nodes: u64,
}

/// What moving one limit by a step does to the objective.
#[derive(Clone, Debug, PartialEq, DeriveSerialize)]
pub struct Price {
    /// The cost's name.
    pub cost: String,
    /// The step, in the cost's unit; none if no single point changes the cost.
    pub step: Option<f64>,
    /// Change of the objective with the limit one step higher.
    pub looser: Option<PriceChange>,
    /// Change of the objective with the limit one step lower; none if nothing keeps it.
    pub tighter: Option<PriceChange>,
}

/// A change of the best objective.
#[derive(Clone, Copy, Debug, PartialEq, DeriveSerialize)]
pub struct PriceChange {
    /// The new objective less the old one.
    pub objective: f64,
    /// Whether the new one is proved.
    pub proved: bool,
}

impl From<ShadowPrice> for Price {
    fn from(price: ShadowPrice) -> Self {
        let of = |change: Option<Change>| {
            change.map(|change| PriceChange { objective: change.objective, proved: change.proved })
        };
        Self { cost: price.cost, step: price.step, looser: of(price.looser), tighter: of(price.tighter) }
    }
}

/// A point of a front.
#[derive(Clone, Debug, PartialEq, DeriveSerialize)]
pub struct FrontEntry {
    /// The cost that the front is drawn against.
    pub cost: f64,
    /// The objective.
    pub objective: f64,
    /// Whether it is proved to be on the front.
    pub proved: bool,
    /// Bits of every searched point.
    pub bits: BitConfig,
}

/// Bits by point, in the order of the points.
#[derive(Clone, Debug, PartialEq)]
pub struct BitConfig(pub Vec<(String, u32)>);

impl BitConfig {
    /// The widths of an assignment.
    pub fn of(space: &Space, levels: &[u8]) -> Self {
        let widths = space.variables.iter().enumerate();
        Self(widths.map(|(at, variable)| (variable.name.clone(), space.width(at, levels).get())).collect())
    }

    /// The bit config as a JSON document: an object from point to bits, as HAWQ's programs and `bitloop export` read it.
    pub fn to_json(&self) -> String {
        format!("{{\n{}\n}}\n", self.lines("  ").join(",\n"))
    }

    /// The same as a YAML document.
    pub fn to_yaml(&self) -> String {
        // A JSON string is a YAML string too.
        self.lines("").iter().map(|line| format!("{line}\n")).collect()
    }

    fn lines(&self, indent: &str) -> Vec<String> {
        let line = |(name, bits): &(String, u32)| {
            format!("{indent}{}: {bits}", serde_json::Value::from(name.as_str()))
        };
        self.0.iter().map(line).collect()
    }
}

impl Serialize for BitConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (point, bits) in &self.0 {
            map.serialize_entry(point, bits)?;
        }
        map.end()
    }
}
