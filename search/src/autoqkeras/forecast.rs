//! What a search comes to, before anything is trained: AutoQKeras's debug mode.

use bitloop_core::autoqkeras::Goal;
use serde::Serialize;

use super::{BlockSearch, BlockSearchError, Hyperparameter};

/// A search that trains, before it starts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SearchForecast {
    /// What sizes are counted in: `pJ`, or `bits`, by which blocks are weighed too where sizes are measured.
    pub unit: &'static str,
    /// The float network's size, without stress.
    pub reference: f64,
    /// The same with stress, which shares are parts of.
    pub stressed: f64,
    /// The searches, in their order.
    pub blocks: Vec<BlockForecast>,
    /// Epochs of the fine-tuning at the end, at most.
    pub fine_tuning_epochs: u32,
    /// Trials, at most, without looks at networks that are not trained.
    pub trials: u64,
    /// Epochs of all trials and the fine-tuning, at most.
    pub epochs: u64,
    /// Images that all these epochs go through.
    pub images: u64,
    /// What whoever wrote the search should know.
    pub warnings: Vec<String>,
}

/// The search of one block.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BlockForecast {
    /// The pattern of its layers; empty where the network is searched all at once.
    pub pattern: String,
    /// Its layers, in the network's order.
    pub layers: Vec<String>,
    /// What they cost in the float network, in the goal's unit.
    pub cost: f64,
    /// This as a part of the float network's stressed size.
    pub share: f64,
    /// Trials, at most.
    pub trials: u64,
    /// Their epochs together, at most.
    pub epochs: u64,
    /// What is chosen.
    pub hyperparameters: Vec<Hyperparameter>,
    /// How many different choices there are.
    pub assignments: f64,
}

impl BlockSearch {
    /// Tells what the search comes to with so many training images.
    ///
    /// Errors: those of [`BlockSearch::space`] and [`BlockSearch::tuner`], which [`BlockSearch::new`] has found before.
    pub fn forecast(&self, training_images: u64) -> Result<SearchForecast, BlockSearchError> {
        let blocks = (0..self.schedule.blocks.len()).filter(|block| self.is_searched(*block));
        let blocks = blocks.map(|block| self.block_forecast(block));
        let blocks = blocks.collect::<Result<Vec<_>, _>>()?;
        let fine_tuning_epochs = self.plan.fine_tuning.as_ref().map_or(0, |recipe| recipe.epochs);
        let of_blocks = blocks.iter().map(|block| block.epochs).fold(0, u64::saturating_add);
        let epochs = of_blocks.saturating_add(u64::from(fine_tuning_epochs));
        Ok(SearchForecast {
            unit: match self.plan.goal {
                Goal::Bits(_) | Goal::Measured(_) => "bits",
                Goal::Energy(_) => "pJ",
            },
            reference: self.reference.total,
            stressed: self.reference.total * self.plan.goal.factor().stress,
            fine_tuning_epochs,
            trials: blocks.iter().map(|block| block.trials).fold(0, u64::saturating_add),
            epochs,
            images: epochs.saturating_mul(training_images),
            warnings: self.warnings(),
            blocks,
        })
    }

    /// What whoever wrote the search should know: of its blocks, then of limit and candidates.
    pub fn warnings(&self) -> Vec<String> {
        let of_schedule = self.schedule.warnings.iter().map(ToString::to_string);
        of_schedule.chain(self.warnings.iter().map(ToString::to_string)).collect()
    }

    fn block_forecast(&self, block: usize) -> Result<BlockForecast, BlockSearchError> {
        let of = &self.schedule.blocks[block];
        let space = self.space(block, &self.network)?;
        let tuner = self.tuner(block, &space)?;
        let trials = tuner.most();
        let each = u64::from(self.plan.training.epochs);
        let assignments: f64 = space.sizes().iter().map(|size| f64::from(*size)).product();
        Ok(BlockForecast {
            pattern: of.pattern.clone(),
            layers: of.layers.clone(),
            cost: of.cost,
            share: self.schedule.cost_fraction(of),
            trials,
            epochs: tuner.most_epochs().unwrap_or_else(|| trials.saturating_mul(each)),
            hyperparameters: space.hyperparameters,
            // What is more than any number is as good as the largest one, which JSON can say.
            assignments: assignments.min(f64::MAX),
        })
    }
}
