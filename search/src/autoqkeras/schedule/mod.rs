//! Block by block: which layers are searched together, in which order, with how many trials.

mod blocks;
mod share;

use std::collections::BTreeMap;

use super::lookup::Lookup;
use bitloop_core::autoqkeras::{BlockOrder, BlockSettings, Compat, Limit, Settings};

use super::{PatternError, SpaceError};
use crate::goal::Size;
use crate::network::Network;

/// What the layers of the network cost before quantizing, whatever the unit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerCosts {
    /// By layer; those that are not there cost nothing.
    pub of_layer: BTreeMap<String, f64>,
    /// The whole network's, times the stress of the goal.
    pub reference: f64,
}

/// One search of the schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// The pattern.
    pub pattern: String,
    /// Its layers, in the network's order.
    pub layers: Vec<String>,
    /// Their places in the network.
    pub layer_indexes: Vec<usize>,
    /// What they cost together.
    pub cost: f64,
    /// Trials, if any number was given.
    pub max_trials: Option<u32>,
    /// What of the limit holds for them.
    pub limit: Limit,
}

/// Blocks in the order of their searches.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// At least one.
    pub blocks: Vec<Block>,
    /// What is odd about it.
    pub warnings: Vec<ScheduleWarning>,
    reference: f64,
}

/// Why there is no schedule.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ScheduleError {
    /// No patterns.
    #[error("there are no blocks; give a pattern of layer names for each")]
    NoBlocks,
    /// A pattern is no regular expression.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// The limit is wrong.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// A layer is in two blocks.
    #[error("the layer `{layer}` is in the blocks `{first}` and `{second}`; it can be searched in one alone")]
    Overlap {
        /// The layer.
        layer: String,
        /// A block.
        first: String,
        /// Another one.
        second: String,
    },
    /// A block has no layers.
    #[error(
        "the block `{0}` has no layer: the names of none that is searched begin with a match; `bitloop inspect MODEL` lists them"
    )]
    MatchesNothing(String),
    /// A block has nothing to choose.
    #[error("the block `{0}` has no layer that the limit says anything of; leave it out or extend the limit")]
    Empty(String),
    /// Some block would have no trial.
    #[error("{trials} trials are too few for {blocks} blocks; each needs one at least")]
    TooFewTrials {
        /// All trials.
        trials: u32,
        /// Number of blocks.
        blocks: usize,
    },
    /// A cost is no number that can be shared out by.
    #[error("the cost of layer `{0}` is negative or no number")]
    BadCost(String),
}

/// What whoever writes a schedule should know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleWarning {
    /// A limited layer is in no block.
    #[error("the layer `{0}` is in no block and keeps its floats, though the limit speaks of it")]
    LeftOut(String),
    /// A layer is searched twice, as in QKeras.
    #[error("the layer `{0}` is in more than one block, as QKeras allows; the first search decides")]
    Twice(String),
}

/// Returns the blocks of a network in the order in which they are searched.
///
/// Trials are shared out by cost with one for each block at least; where QKeras is followed each block has
/// `int(max(10, max_trials * cost / reference))`. Errors: mistakes in patterns, limit and numbers; where QKeras is followed
/// blocks may overlap and be empty, see [`Schedule::failure`].
pub fn schedule(
    network: &Network,
    settings: &Settings,
    blocks: &BlockSettings,
    costs: &LayerCosts,
) -> Result<Schedule, ScheduleError> {
    costs.check()?;
    let lookup = Lookup::new(&settings.limit, network, settings.compat)?;
    let taken = blocks::Taken { network, settings, lookup: &lookup };
    let mut found = taken.blocks(blocks, costs)?;
    let warnings = taken.warnings(&found)?;
    if blocks.schedule_block == BlockOrder::Cost {
        found.sort_by(|a, b| b.cost.total_cmp(&a.cost));
    }
    if let Some(trials) = blocks.max_trials.filter(|trials| *trials > 0) {
        let of_blocks: Vec<f64> = found.iter().map(|block| block.cost).collect();
        let shares = match settings.compat {
            Compat::Bitloop => share::by_cost(trials, &of_blocks)?,
            Compat::Qkeras => share::as_qkeras(trials, &of_blocks, costs.reference),
        };
        for (block, share) in found.iter_mut().zip(shares) {
            block.max_trials = Some(share);
        }
    }
    let schedule = Schedule { blocks: found, warnings, reference: costs.reference };
    match (settings.compat, schedule.failure()) {
        (Compat::Bitloop, Some(failure)) => Err(failure),
        _ => Ok(schedule),
    }
}

impl LayerCosts {
    /// The costs that a goal's reference says, and its size times the goal's stress.
    pub fn of(reference: &Size, stress: f64) -> Self {
        Self { of_layer: reference.layers.iter().cloned().collect(), reference: reference.total * stress }
    }

    fn check(&self) -> Result<(), ScheduleError> {
        match self.of_layer.iter().find(|(_, cost)| !(cost.is_finite() && **cost >= 0.0)) {
            Some((layer, _)) => Err(ScheduleError::BadCost(layer.clone())),
            None => Ok(()),
        }
    }
}

impl Schedule {
    /// A schedule of one search over the whole network, without a pattern.
    ///
    /// Errors: `BadCost`; `Empty` where the limit says nothing of any layer.
    pub(super) fn whole(
        network: &Network,
        settings: &Settings,
        costs: &LayerCosts,
    ) -> Result<Self, ScheduleError> {
        costs.check()?;
        let included = |at: &usize| settings.includes(*at);
        let layer_indexes: Vec<usize> = (0..network.layers.len()).filter(included).collect();
        let layers: Vec<String> = layer_indexes.iter().map(|at| network.layers[*at].name.clone()).collect();
        let cost = layers.iter().filter_map(|layer| costs.of_layer.get(layer)).sum();
        let limit = settings.limit.clone();
        let block = Block { pattern: String::new(), layers, layer_indexes, cost, max_trials: None, limit };
        Ok(Self { blocks: vec![block], warnings: Vec::new(), reference: costs.reference })
    }

    /// Where a search that follows QKeras stops: at the first block that has nothing to choose.
    pub fn failure(&self) -> Option<ScheduleError> {
        let empty = self.blocks.iter().find(|block| block.limit.entries.is_empty());
        empty.map(|block| match block.layers.is_empty() {
            true => ScheduleError::MatchesNothing(block.pattern.clone()),
            false => ScheduleError::Empty(block.pattern.clone()),
        })
    }

    /// A block's share of the reference's cost, which with stress can be more than 1.
    pub fn cost_fraction(&self, block: &Block) -> f64 {
        block.cost / self.reference
    }

    /// What QKeras prints of its schedule: cost and trials of each block, in order.
    pub fn lines(&self) -> Vec<String> {
        let lines = |block: &Block| {
            let cost = format!("... block cost: {:.0} / {:.0}", block.cost, self.reference);
            let trials =
                block.max_trials.map(|trials| format!("... adjusting max_trials for this block to {trials}"));
            std::iter::once(cost).chain(trials)
        };
        self.blocks.iter().flat_map(lines).collect()
    }
}

#[cfg(test)]
mod tests;
