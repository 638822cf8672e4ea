//! A search that trains: what is chosen, by whom, and how trials are trained.

use serde::{Deserialize, Serialize};

use crate::autoqkeras::{BlockSettings, Goal, Settings, TunerSettings};
use crate::graph::{Graph, GraphError, Point};
use crate::placement::Placement;
use crate::trial::{Recipe, Start};

/// AutoQKeras's search over a network, block by block or all at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoQKerasPlan {
    /// What a network's size is, and what less of it is worth.
    pub goal: Goal,
    /// What may be chosen.
    pub settings: Settings,
    /// How the network is taken apart; all at once where nothing is said.
    pub blocks: Option<BlockSettings>,
    /// Who chooses; with blocks its number of trials is shared out among them.
    pub tuner: TunerSettings,
    /// Largest drop of top-1 beside the float network on the selection images, in parts per million of them.
    pub drop_max_ppm: Option<u32>,
    /// Where a trial's weights start.
    pub start: Start,
    /// What the learning rate of layers in finished blocks is multiplied by.
    pub finished_rate: f64,
    /// How every trial is trained; where the tuner says how long, its epochs and patience do not count.
    pub training: Recipe,
    /// How the network that was found is trained at the end; none leaves it as its trial left it.
    pub fine_tuning: Option<Recipe>,
    /// Of the tuner's draws.
    pub seed: u64,
}

/// Where a device that measures networks of such a search has quantizers: where the default rules place them once batch norms
/// are folded.
///
/// Errors: those of [`Placement::points`].
pub fn device_points(graph: &Graph) -> Result<Vec<Point>, GraphError> {
    Placement::default().points(&graph.without_folded_batch_norms())
}
