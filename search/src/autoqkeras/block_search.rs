//! A plan's search that trains, taken apart in blocks, each with its space, tuner and price.

use bitloop_core::autoqkeras::{Comparison, Compat, Goal, Size, TunerSettings};
use bitloop_core::graph::{Graph, GraphError};
use bitloop_core::plan::AutoQKerasPlan;

use super::schedule::{Block, LayerCosts, Schedule, schedule};
use super::tuners::{self, SettingsError, Tuner};
use super::{ScheduleError, SearchSpace, Settings, SpaceError, SpaceWarning};
use crate::energy::ValueCounts;
use crate::goal::{self, GoalError};
use crate::network::Network;

/// A network that is searched, and how.
#[derive(Clone, Debug)]
pub struct BlockSearch {
    /// What is asked for.
    pub plan: AutoQKerasPlan,
    /// The float network.
    pub network: Network,
    /// Its size, without stress.
    pub reference: Size,
    /// The searches, in their order; one where the network is searched all at once.
    pub schedule: Schedule,
    /// What is odd about the limit and the candidates.
    pub warnings: Vec<SpaceWarning>,
}

/// Why a network cannot be searched.
#[derive(Debug, thiserror::Error)]
pub enum BlockSearchError {
    /// The graph is wrong.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The size of the float network, or of one at the defaults, cannot be told.
    #[error(transparent)]
    Goal(#[from] GoalError),
    /// The blocks are wrong.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// The limit or the candidates are wrong.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// The tuner cannot be made.
    #[error(transparent)]
    Tuner(#[from] SettingsError),
    /// Sizes are wanted of weights that are not known before a trial is trained.
    #[error("`trained_model` needs the weights of trials before they are trained; leave it out")]
    TrainedModel,
    /// A network of the space cannot be built.
    #[error("{0}")]
    Trial(#[from] super::TrialError),
}

impl BlockSearch {
    /// Takes a network apart, and makes sure that every block has a space, a tuner and sizes.
    ///
    /// Errors: what is wrong with the settings for this network.
    pub fn new(plan: &AutoQKerasPlan, graph: &Graph) -> Result<Self, BlockSearchError> {
        if let Goal::Energy(energy) = &plan.goal
            && energy.trained_model
        {
            return Err(BlockSearchError::TrainedModel);
        }
        let network = Network::of_graph(graph)?;
        // Of blocks each sees its part of the limit, and none sees what is wrong with the whole.
        let warnings = match plan.settings.compat {
            Compat::Bitloop => SearchSpace::of(&network, &plan.settings)?.warnings,
            // QKeras never takes the network as a whole, which may then not be searchable as one.
            Compat::Qkeras => {
                SearchSpace::of(&network, &plan.settings).map_or_else(|_| Vec::new(), |of| of.warnings)
            }
        };
        let reference = goal::reference(&plan.goal, &network, is_qkeras(&plan.settings))?;
        let costs = LayerCosts::of(&reference, plan.goal.factor().stress);
        let schedule = match &plan.blocks {
            Some(blocks) => {
                let blocks = match plan.tuner.max_trials() {
                    Some(trials) => {
                        bitloop_core::autoqkeras::BlockSettings { max_trials: Some(trials), ..blocks.clone() }
                    }
                    None => blocks.clone(),
                };
                schedule(&network, &plan.settings, &blocks, &costs)?
            }
            None => Schedule::whole(&network, &plan.settings, &costs)?,
        };
        let search = Self { plan: plan.clone(), network, reference, schedule, warnings };
        for block in 0..search.schedule.blocks.len() {
            let space = search.space(block, &search.network)?;
            search.tuner(block, &space)?;
            search.sized(&space.network(&space.defaults())?)?;
        }
        Ok(search)
    }

    /// What may be chosen in a block of the network that the searches before it came to.
    ///
    /// Errors: those of [`SearchSpace::of`], which do not depend on the base; `Goal`.
    pub fn space(&self, block: usize, base: &Network) -> Result<SearchSpace, BlockSearchError> {
        let Block { limit, layer_indexes, .. } = &self.schedule.blocks[block];
        let settings = Settings {
            limit: limit.clone(),
            layer_indexes: Some(layer_indexes.clone()),
            ..self.plan.settings.clone()
        };
        let space = SearchSpace::of(base, &settings)?;
        if !settings.learning_rate_optimizer {
            return Ok(space);
        }
        let defaults = self.sized(&space.network(&space.defaults())?)?;
        Ok(space.with_learning_rate(self.plan.training.optimizer.learning_rate(), defaults.total_factor))
    }

    /// The tuner of a block.
    ///
    /// Errors: those of [`tuners::tuner`].
    pub fn tuner(&self, block: usize, space: &SearchSpace) -> Result<Box<dyn Tuner>, SettingsError> {
        let settings = self.tuner_settings(block);
        // Blocks draw apart from one another, the first as a search of the whole network.
        let seed = self.plan.seed.wrapping_add(block as u64);
        tuners::tuner(&settings, space.sizes(), seed, self.plan.settings.compat)
    }

    /// How the tuner of a block is set.
    pub fn tuner_settings(&self, block: usize) -> TunerSettings {
        match self.schedule.blocks[block].max_trials {
            Some(trials) => self.plan.tuner.with_max_trials(trials),
            None => self.plan.tuner,
        }
    }

    /// A network's size beside the reference's.
    ///
    /// Errors: those of [`goal::trial`].
    pub fn sized(&self, network: &Network) -> Result<Comparison, GoalError> {
        let size =
            goal::trial(&self.plan.goal, network, &ValueCounts::default(), is_qkeras(&self.plan.settings))?;
        Ok(self.plan.goal.factor().compare(&self.reference, &size))
    }

    /// The float network's own comparison.
    pub fn float_size(&self) -> Comparison {
        self.plan.goal.factor().compare(&self.reference, &self.reference)
    }
}

fn is_qkeras(settings: &Settings) -> bool {
    settings.compat == Compat::Qkeras
}
