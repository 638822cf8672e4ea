//! What is wrong with a plan that somebody hands in.

use super::{IMAGES_MAX, NODES_MAX, OLDEST_PLAN_FORMAT, PARTS_MAX, PLAN_FORMAT, ProbePlan};
use crate::graph::GraphError;

/// Why a document is no plan.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// No JSON, or a field is missing, unknown or of the wrong type.
    #[error("the plan cannot be read: {0}")]
    Malformed(String),
    /// Written by another version.
    #[error(
        "the plan has format {found}, this program reads formats {OLDEST_PLAN_FORMAT} to {PLAN_FORMAT}; use the same version \
         everywhere"
    )]
    Format {
        /// Its version.
        found: u32,
    },
    /// It names another version than the oldest that can say what it says.
    #[error(
        "the plan names format {found}, and what it says is of format {due}; submit its file with `bitloop submit`"
    )]
    WrongFormat {
        /// The version that it names.
        found: u32,
        /// Its version.
        due: u32,
    },
    /// It is larger than any network that could be measured.
    #[error(
        "the plan has {nodes} operators and {points} points, and at most {NODES_MAX} of each are allowed"
    )]
    Size {
        /// Nodes of its graph.
        nodes: usize,
        /// Its points.
        points: usize,
    },
    /// Nothing could be measured, or more than there can be.
    #[error("the plan measures on {images} images; there are 1 to {IMAGES_MAX}")]
    Images {
        /// Images of a part of the data.
        images: u64,
    },
    /// A config would be measured in more trials than a coordinator keeps.
    #[error(
        "a config is measured in {parts} parts, and at most {PARTS_MAX} are allowed; raise `part` of `evaluation`"
    )]
    Parts {
        /// Parts of a config.
        parts: u64,
    },
    /// The graph is wrong.
    #[error("the plan's graph is wrong: {0}")]
    Graph(#[from] GraphError),
    /// A point stands on a tensor that is not there.
    #[error("the plan's point `{point}` is of `{node}`, which its graph does not have")]
    UnknownNode {
        /// The point.
        point: String,
        /// The node.
        node: String,
    },
    /// There are no subsets of such sizes.
    #[error("the plan lowers {low} to {high} points together, of {points}")]
    Subsets {
        /// Smallest number.
        low: u32,
        /// Largest number.
        high: u32,
        /// Points of the sweep.
        points: usize,
    },
    /// More networks would be measured on a device than anybody waits for, or none.
    #[error(
        "the plan measures {configs} configs {repetitions} times on a device; there are at most {} configs, 1 to {} times",
        ProbePlan::CONFIGS_MAX,
        ProbePlan::REPETITIONS_MAX
    )]
    Networks {
        /// Configs of several lowered points.
        configs: u64,
        /// How often each network is measured.
        repetitions: u32,
    },
    /// A stage names a point that is not there.
    #[error("the plan names point {point}, but its graph has {points}")]
    UnknownPoint {
        /// The index.
        point: u32,
        /// How many points there are.
        points: u32,
    },
}
