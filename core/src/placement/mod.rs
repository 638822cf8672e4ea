//! Where quantizers stand: rules, which are data, applied to a graph give its points.
//!
//! Rules come from YAML files; three are built in. Applying them knows shapes and edges, nothing of tensors, widths or
//! encodings. Start reading at [`Placement`]; `default.yaml` explains each rule, `docs/placement.md` the files.

mod classes;
mod operator;
mod place;
mod supergroups;
mod tensors;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

pub use operator::Operator;

use crate::trial::{Biases, Granularity};

/// The rules that hold unless others are named; other files fall back on them key by key.
pub(crate) const DEFAULT_RULES: &str = include_str!("default.yaml");
const PER_TENSOR_RULES: &str = include_str!("per_tensor.yaml");
const PAIRWISE_MPQ_RULES: &str = include_str!("pairwise_mpq.yaml");

static DEFAULT: LazyLock<Placement> =
    LazyLock::new(|| Placement::parse(DEFAULT_RULES).expect("a test reads the built-in rules"));

/// Which activations may carry a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activations {
    /// Every tensor, where it is made.
    Outputs,
    /// Those that a layer with weights reads.
    LayerInputs,
}

/// Which weights carry a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightRules {
    /// The layers.
    pub operators: Vec<Operator>,
    /// How many scales a weight has, where the experiment does not say.
    pub granularity: Granularity,
}

/// A chain of operators with one quantizer at its end; each step lists what may stand there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supergroup(pub Vec<Vec<Operator>>);

/// A layer by its place in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerPlace {
    /// The first layer with weights.
    First,
    /// The last layer with weights.
    Last,
    /// A layer that projects a block's input onto its sum: but for a batch norm its output goes straight into a sum,
    /// and its input is read by another layer too, whose output does not.
    Shortcut,
}

/// What an exception is about; in patterns `*` stands for any text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// Points whose names match.
    Point(String),
    /// Nodes whose names match: a node's weight and its output; fixing it also fixes what only fixed layers read.
    Node(String),
    /// The same for a layer that is known by its place.
    Layer(LayerPlace),
}

/// What an exception says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// No quantizer.
    None,
    /// A quantizer like others, whatever an earlier exception or `float` says.
    Keep,
    /// A quantizer that stays at the baseline's width.
    Fixed,
}

/// A rule for named points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// What it is about.
    pub selector: Selector,
    /// What it says.
    pub treatment: Treatment,
}

/// The rules by which points are placed; every field is a key of a rules file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Whether the network's input carries a point.
    pub inputs: bool,
    /// Which weights carry one.
    pub weights: WeightRules,
    /// How biases are treated.
    pub biases: Biases,
    /// Which activations may carry one.
    pub activations: Activations,
    /// Chains with one point at their end.
    pub supergroups: Vec<Supergroup>,
    /// Operators without a quantizer whose output is on their input's grid.
    pub pass_through: Vec<Operator>,
    /// Operators that use their input's quantizer on their output, unless in a supergroup behind another operator.
    pub shared: Vec<Operator>,
    /// Operators whose inputs and output share one quantizer.
    pub tied: Vec<Operator>,
    /// Operators whose output carries none.
    pub float: Vec<Operator>,
    /// By name; the last one that matches counts.
    pub exceptions: Vec<Exception>,
}

impl Placement {
    /// Names of the built-in rules.
    pub const PRESETS: [&'static str; 3] = ["default", "per_tensor", "pairwise_mpq"];

    /// Returns built-in rules by name: one of [`Placement::PRESETS`].
    pub fn preset(name: &str) -> Option<Self> {
        let rules = match name {
            "default" => return Some(DEFAULT.clone()),
            "per_tensor" => PER_TENSOR_RULES,
            "pairwise_mpq" => PAIRWISE_MPQ_RULES,
            _ => return None,
        };
        Some(Self::parse(rules).expect("a test reads the built-in rules"))
    }

    /// The default rules without a copy.
    pub(crate) fn standard() -> &'static Self {
        &DEFAULT
    }
}

impl Default for Placement {
    /// The rules in `default.yaml`.
    fn default() -> Self {
        DEFAULT.clone()
    }
}
