//! A plan's search that trains, taken apart in blocks, each with its space, tuner and price.

use bitloop_core::autoqkeras::{Comparison, Compat, Goal, Size, TuneFilters, TunerSettings};
use bitloop_core::graph::{Graph, GraphError};
use bitloop_core::plan::AutoQKerasPlan;

use super::schedule::{Block, LayerCosts, Schedule, schedule};
use super::tuners::{self, SettingsError, Tuner};
use super::{
    Changes, DeviceCodes, NotExecuted, ScheduleError, SearchSpace, Settings, SpaceError, SpaceWarning,
    TrialError,
};
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
    /// Its size, without stress; of a goal that is measured its bits, which blocks are weighed by.
    pub reference: Size,
    /// What a device executes of its quantizers, if one says sizes.
    pub device: Option<DeviceCodes>,
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
    /// Measured energies would be used for layers of other sizes.
    #[error("`measured` holds for the network's own filter counts; remove it, or set `tune_filters: none`")]
    MeasuredFilters,
    /// A network of the space cannot be built.
    #[error("{0}")]
    Trial(#[from] TrialError),
    /// A candidate has no price.
    #[error("{name}: `{value}` has no size: {error}")]
    Unpriced {
        /// What is chosen.
        name: String,
        /// The candidate.
        value: String,
        /// Why not.
        error: Box<GoalError>,
    },
    /// No device executes a candidate, which sizes are measured of.
    #[error("{name}: `{value}` cannot be measured: {error}")]
    Unmeasurable {
        /// What is chosen.
        name: String,
        /// The candidate.
        value: String,
        /// Why not.
        error: NotExecuted,
    },
    /// A network has no size, or an infinite one.
    #[error(
        "the goal counts nothing of the network, or with `{value}` for {name} nothing, so that sizes cannot be compared; \
         `config` names classes, of which those with quantizers are others, such as `QConv2D`"
    )]
    Sizeless {
        /// What is chosen.
        name: String,
        /// The candidate.
        value: String,
    },
}

impl BlockSearch {
    /// Takes a network apart, and makes sure that every block has a space, a tuner and sizes.
    ///
    /// Errors: what is wrong with the settings for this network.
    pub fn new(plan: &AutoQKerasPlan, graph: &Graph) -> Result<Self, BlockSearchError> {
        if let Goal::Energy(energy) = &plan.goal {
            if energy.trained_model {
                return Err(BlockSearchError::TrainedModel);
            }
            if !energy.measured.is_empty() && plan.settings.tune_filters != TuneFilters::None {
                return Err(BlockSearchError::MeasuredFilters);
            }
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
        let device = plan.goal.measured().map(|_| DeviceCodes::new(graph)).transpose()?;
        let search = Self { plan: plan.clone(), network, reference, device, schedule, warnings };
        // As the searches will go, each from what the last one may come to.
        let mut base = search.network.clone();
        for block in (0..search.schedule.blocks.len()).filter(|block| search.is_searched(*block)) {
            let space = search.space(block, &base)?;
            search.tuner(block, &space)?;
            search.check(&space, graph)?;
            base = space.network(&space.defaults())?;
        }
        Ok(search)
    }

    /// Whether a block has layers that no earlier one has. Where QKeras is followed blocks may overlap, and what was chosen
    /// first stays.
    pub fn is_searched(&self, block: usize) -> bool {
        let (earlier, own) = self.schedule.blocks.split_at(block);
        let is_new = |layer: &String| !earlier.iter().any(|earlier| earlier.layers.contains(layer));
        own.first().is_some_and(|own| own.layers.is_empty() || own.layers.iter().any(is_new))
    }

    /// Makes sure that every value of every hyperparameter gives a network with a size, the others being at their defaults.
    ///
    /// A search would find out after hours otherwise.
    fn check(&self, space: &SearchSpace, graph: &Graph) -> Result<(), BlockSearchError> {
        let grammar = self.plan.settings.compat.grammar();
        for (at, hyperparameter) in space.hyperparameters.iter().enumerate() {
            for (level, value) in (0..).zip(&hyperparameter.values) {
                let mut levels = space.defaults();
                levels[at] = level;
                let network = space.network(&levels)?;
                let changes = Changes::of(&network, graph, grammar).map_err(TrialError::from)?;
                graph.with_outputs(&changes.outputs)?;
                let priced = self.sized(&network);
                let (name, value) = (&hyperparameter.name, value.to_string());
                if let Some(Err(error)) = self.device.as_ref().map(|device| device.config(&changes)) {
                    return Err(BlockSearchError::Unmeasurable { name: name.clone(), value, error });
                }
                let size = priced.map_err(|error| BlockSearchError::Unpriced {
                    name: name.clone(),
                    value: value.clone(),
                    error: Box::new(error),
                })?;
                if !size.is_finite() {
                    return Err(BlockSearchError::Sizeless { name: name.clone(), value });
                }
            }
        }
        Ok(())
    }

    /// What may be chosen in a block of the network that the searches before it came to.
    ///
    /// Errors: those of [`SearchSpace::of`]; `Nothing` if it [is not searched](Self::is_searched). `Goal`.
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
        let seed = match self.plan.settings.compat {
            // Blocks draw apart from one another, the first as a search of the whole network.
            Compat::Bitloop => self.plan.seed.wrapping_add(block as u64),
            // QKeras hands the same arguments to every block's tuner.
            Compat::Qkeras => self.plan.seed,
        };
        tuners::tuner(&settings, space.sizes(), seed, self.plan.settings.compat)
    }

    /// How the tuner of a block is set.
    pub fn tuner_settings(&self, block: usize) -> TunerSettings {
        match self.schedule.blocks[block].max_trials {
            Some(trials) => self.plan.tuner.with_max_trials(trials),
            None => self.plan.tuner,
        }
    }

    /// A network's size beside the reference's; of a goal that is measured, that of its bits.
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
