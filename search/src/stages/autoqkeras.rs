//! The search that trains: block after block, each by its tuner; then a fine-tuning and a look at the report images. Where sizes
//! are measured, a device is asked about each network before trials of it are trained ([`measured`]).
//!
//! Everything follows from what was asked for and what came of it: a [`Search`] is asked with all of that each time, and
//! keeps nothing.

mod measured;

use std::sync::Arc;

use bitloop_core::autoqkeras::{Ask, Asked, Comparison, Compat, Purpose, objective};
use bitloop_core::bits::BitConfig;
use bitloop_core::digest::Digest;
use bitloop_core::evaluation::PPM;
use bitloop_core::plan::{AutoQKerasPlan, Plan};
use bitloop_core::state::{Batch, Proposal, StageHistory};
use bitloop_core::trial::{ImageRange, ImagesOf, Recipe, Start, Trained, Training, TrialResult, TrialSpec};

use crate::autoqkeras::tuners::{self, Outcome};
use crate::autoqkeras::{BlockSearch, Changes, SearchSpace};
use crate::network::Network;
use crate::{Searcher, Step};

use measured::{Device, Sized};

/// The most trials of a block under way at a time, whatever its tuner would ask for.
const ROOM: usize = 256;

/// A stage that such a search drives.
pub(crate) struct AutoQKeras {
    search: Result<Search, String>,
    /// What was settled when it was asked last.
    seen: Option<(usize, u64)>,
}

#[derive(Clone)]
struct Search {
    plan: Arc<Plan>,
    blocks: Arc<BlockSearch>,
    /// What the device knows by now that says sizes, if one does.
    device: Option<Arc<Device>>,
}

/// A trial of the stage and what came of it.
#[derive(Clone)]
struct Known {
    asked: Asked,
    state: State,
}

#[derive(Clone)]
enum State {
    Open,
    Trained(Trained),
    Failed(String),
}

/// Where a search of blocks stands.
struct Standing {
    /// The network with what the blocks so far came to.
    network: Network,
    size: Comparison,
    /// What its weights are.
    model: Digest,
    start: Start,
    /// Layers whose search is over.
    finished: Vec<String>,
    /// The learning rate that the last search chose, if it was to choose one.
    rate: Option<f64>,
    /// Of these weights with these quantizers, on the selection images; none where they were not looked at.
    accuracy: Option<f64>,
    /// The least accuracy that trials are to have now.
    least: Option<f64>,
}

impl AutoQKeras {
    pub(crate) fn new(plan: &Plan, stage: &AutoQKerasPlan) -> Self {
        let blocks = BlockSearch::new(stage, &plan.graph).map_err(|error| error.to_string());
        let search = blocks.map(|blocks| Search {
            plan: Arc::new(plan.clone()),
            blocks: Arc::new(blocks),
            device: None,
        });
        Self { search, seen: None }
    }
}

impl Searcher for AutoQKeras {
    fn size(&self) -> u64 {
        let Ok(search) = &self.search else { return 0 };
        search.size()
    }

    fn propose(&mut self, history: &StageHistory<'_>) -> Step {
        let search = match &self.search {
            Ok(search) => search.clone(),
            Err(reason) => return Step::Propose(Proposal::Failed(reason.clone())),
        };
        let now = (history.asked().len(), history.settled());
        if self.seen.replace(now) == Some(now) {
            return Step::Propose(Proposal::Wait);
        }
        let device = search.stage().goal.measured().map(|goal| Device::of(history, goal)).transpose();
        let search = match device {
            Ok(device) => Search { device: device.map(Arc::new), ..search },
            Err(reason) => return Step::Propose(Proposal::Failed(reason)),
        };
        let trials = history.asked().iter().zip(history.proposed());
        let trials = trials.filter(|(asked, _)| !asked.purpose.is_measured());
        let known = trials.map(|(asked, key)| {
            let state = match history.outcome(key).map(|outcome| &outcome.result) {
                Some(TrialResult::Trained(trained)) => State::Trained(trained.clone()),
                Some(TrialResult::Failed { reason }) => State::Failed(reason.clone()),
                Some(TrialResult::Measured(_)) => {
                    State::Failed("the device does not say its size".to_owned())
                }
                Some(TrialResult::Prepared { .. } | TrialResult::Evaluated(_)) => {
                    State::Failed("it gave no training; its worker has another version".to_owned())
                }
                None if history.is_settled(key) => {
                    State::Failed("every worker that trained it was lost".to_owned())
                }
                None => State::Open,
            };
            Known { asked: asked.clone(), state }
        });
        let known: Vec<Known> = known.collect();
        Step::Think(Box::new(move || search.next(&known).unwrap_or_else(Proposal::Failed)))
    }
}

impl Search {
    /// The float looks, every block's trials, the fine-tuning, and the look at what was found.
    fn size(&self) -> u64 {
        let blocks = (0..self.blocks.schedule.blocks.len()).filter(|block| self.blocks.is_searched(*block));
        let most = blocks.map(|block| {
            let space = self.blocks.space(block, &self.blocks.network).ok()?;
            self.blocks.tuner(block, &space).ok().map(|tuner| tuner.most())
        });
        let trials = most.flatten().fold(0, u64::saturating_add);
        // On a device: the survey, every trial's network, and the one found.
        let measured = self.stage().goal.measured().map_or(0, |goal| {
            trials.saturating_add(1).saturating_mul(goal.repetitions.into()).saturating_add(1)
        });
        trials.saturating_add(measured).saturating_add(3 + u64::from(self.stage().fine_tuning.is_some()))
    }

    fn stage(&self) -> &AutoQKerasPlan {
        &self.blocks.plan
    }

    /// What is next. Errors: why the stage cannot go on.
    fn next(&self, known: &[Known]) -> Result<Proposal, String> {
        if let Some(proposal) = self.device.as_ref().map_or(Ok(None), |device| device.begin())? {
            return Ok(proposal);
        }
        let float = match find(known, &Purpose::Float) {
            None => return self.look(Purpose::Float, &self.float()?),
            Some(State::Open) => return Ok(Proposal::Wait),
            Some(State::Failed(reason)) => {
                return Err(format!("the float network cannot be measured: {reason}"));
            }
            Some(State::Trained(trained)) => trained.accuracy(),
        };
        let mut standing = Standing { start: self.stage().start, ..self.float()? };
        for (block, least) in self.least(float).into_iter().enumerate() {
            standing.least = least;
            if let Some(proposal) = self.block(block, &mut standing, known)? {
                return Ok(proposal);
            }
        }
        self.ending(known, standing)
    }

    /// The least accuracy that the trials of each block are to have.
    ///
    /// A block may take of the allowed drop what it and those before it cost of all blocks: the first ones would use up all
    /// of it otherwise, and leave nothing for what comes later.
    fn least(&self, float: f64) -> Vec<Option<f64>> {
        let blocks = &self.blocks.schedule.blocks;
        let all: f64 = blocks.iter().map(|block| block.cost).sum();
        let mut so_far = 0.0;
        let shares = blocks.iter().map(|block| {
            so_far += block.cost;
            if all > 0.0 { so_far / all } else { 1.0 }
        });
        let drop = self.stage().drop_max_ppm.map(|ppm| f64::from(ppm) / f64::from(PPM));
        shares.map(|share| drop.map(|drop| float - drop * share)).collect()
    }

    /// The checkpoint. Errors: its size is to be measured, and is not.
    fn float(&self) -> Result<Standing, String> {
        let measured = self.device.as_ref().map(|device| device.float_size()).transpose()?;
        Ok(Standing {
            network: self.blocks.network.clone(),
            size: measured.unwrap_or_else(|| self.blocks.float_size()),
            model: self.plan.model,
            start: Start::Model,
            finished: Vec::new(),
            rate: None,
            accuracy: None,
            least: None,
        })
    }

    /// What the search of a block wants next; none if it is over, and then the standing is what it came to.
    fn block(
        &self,
        block: usize,
        standing: &mut Standing,
        known: &[Known],
    ) -> Result<Option<Proposal>, String> {
        if !self.blocks.is_searched(block) {
            return Ok(None);
        }
        let space = self.blocks.space(block, &standing.network).map_err(|error| error.to_string())?;
        let tuner = self.blocks.tuner(block, &space).map_err(|error| error.to_string())?;
        let own = known.iter().filter_map(|known| match &known.asked.purpose {
            Purpose::Search { block: of, ask, .. } if *of as usize == block => Some((ask, known)),
            _ => None,
        });
        let own: Vec<(&Ask, &Known)> = own.collect();
        let trial = |(ask, known): &(&Ask, &Known)| {
            let outcome = match &known.state {
                State::Open => Outcome::Running,
                State::Failed(_) => Outcome::Failed,
                State::Trained(trained) => {
                    Outcome::Scored(objective(&known.asked.size, trained.accuracy(), known.asked.least))
                }
            };
            tuners::Trial { ask: (*ask).clone(), outcome }
        };
        let trials: Vec<tuners::Trial> = own.iter().map(trial).collect();
        match tuner.propose(&trials, self.room(&trials)) {
            tuners::Proposal::Wait => Ok(Some(Proposal::Wait)),
            tuners::Proposal::Trials(asks) => self.batch((block, &space), standing, (asks, &own)).map(Some),
            // Nothing more is asked for, but what was may still come to something.
            tuners::Proposal::Done if !trials.iter().all(tuners::Trial::is_settled) => {
                Ok(Some(Proposal::Wait))
            }
            tuners::Proposal::Done => {
                let found = tuners::best(&trials);
                let found = found.and_then(|best| own.iter().find(|(ask, _)| ask.place == best.ask.place));
                let Some((ask, Known { asked, state: State::Trained(trained) })) = found else {
                    return Err(self.nothing_found(block, &own));
                };
                standing.network = space.network(&ask.levels).map_err(|error| error.to_string())?;
                standing.size = asked.size;
                if self.stage().settings.learning_rate_optimizer {
                    let given = self.stage().training.optimizer.learning_rate();
                    standing.rate = Some(space.learning_rate(&ask.levels, given, asked.size.total_factor));
                }
                // QKeras builds the best model of a block anew: no trained weights go on, and nothing is known of the new.
                if self.stage().settings.compat == Compat::Bitloop {
                    standing.model = trained.artifact.unwrap_or(standing.model);
                    standing.start = Start::Model;
                    standing.accuracy = Some(trained.accuracy());
                }
                standing.finished.extend(self.blocks.schedule.blocks[block].layers.iter().cloned());
                Ok(None)
            }
        }
    }

    /// The trials that a tuner asks for, or what has to be measured of their networks before.
    fn batch(
        &self,
        (block, space): (usize, &SearchSpace),
        standing: &Standing,
        (asks, own): (Vec<Ask>, &[(&Ask, &Known)]),
    ) -> Result<Proposal, String> {
        let (mut batch, mut missing, mut is_open) = (Batch::default(), Vec::new(), false);
        for ask in asks {
            let network = space.network(&ask.levels).map_err(|error| error.to_string())?;
            let (asked, trial) = match self.sized(&network)? {
                Sized::Known(size) => {
                    let before = ask.place.before().and_then(|place| {
                        own.iter().find(|(earlier, _)| earlier.place == place).map(|(_, known)| *known)
                    });
                    let (asked, training) = self.asked((block, space), standing, (ask, before, size))?;
                    (asked, TrialSpec::Train(Box::new(training)))
                }
                // What came of measuring it is what comes of the trial.
                Sized::Failed(spec) => {
                    let (purpose, size) = (self.purpose(block, ask), self.float()?.size);
                    (Asked { purpose, size, least: standing.least }, TrialSpec::Probe(Box::new(spec)))
                }
                Sized::Missing(specs) => {
                    missing.extend(specs);
                    continue;
                }
                Sized::Open => {
                    is_open = true;
                    continue;
                }
            };
            batch.asked.push(asked);
            batch.trials.push(trial);
        }
        Ok(match (missing.is_empty(), is_open) {
            (false, _) => measured::measured(missing),
            (true, true) => Proposal::Wait,
            (true, false) => Proposal::Trials(batch),
        })
    }

    /// A network's size. Errors: none can be told.
    fn sized(&self, network: &Network) -> Result<Sized, String> {
        match &self.device {
            None => self.blocks.sized(network).map(Sized::Known).map_err(|error| error.to_string()),
            Some(device) => device.sized(&self.codes(network)?),
        }
    }

    /// What a device executes of a network.
    fn codes(&self, network: &Network) -> Result<BitConfig, String> {
        let codes = self.blocks.device.as_ref().ok_or("no device says sizes")?;
        codes.config(&self.changes(network)?).map_err(|error| error.to_string())
    }

    fn changes(&self, network: &Network) -> Result<Changes, String> {
        let grammar = self.stage().settings.compat.grammar();
        Changes::of(network, &self.plan.graph, grammar).map_err(|error| error.to_string())
    }

    fn purpose(&self, block: usize, ask: Ask) -> Purpose {
        let pattern = self.blocks.schedule.blocks[block].pattern.clone();
        Purpose::Search { block: block as u32, pattern, ask }
    }

    fn nothing_found(&self, block: usize, own: &[(&Ask, &Known)]) -> String {
        let mut reasons = own.iter().filter_map(|(_, known)| match &known.state {
            State::Failed(reason) => Some(reason.as_str()),
            State::Open | State::Trained(_) => None,
        });
        let reason = reasons.next_back().unwrap_or("there were none");
        let pattern = &self.blocks.schedule.blocks[block].pattern;
        let of_block = if pattern.is_empty() { String::new() } else { format!(" of the block `{pattern}`") };
        format!("all {} trials{of_block} failed; the last one: {reason}", own.len())
    }

    fn room(&self, trials: &[tuners::Trial]) -> usize {
        let running = trials.iter().filter(|trial| !trial.is_settled()).count();
        let most = match self.stage().tuner {
            bitloop_core::autoqkeras::TunerSettings::Asha { in_flight, .. } => in_flight as usize,
            _ => ROOM,
        };
        most.saturating_sub(running)
    }

    /// A trial of a block.
    fn asked(
        &self,
        (block, space): (usize, &SearchSpace),
        standing: &Standing,
        (ask, before, size): (Ask, Option<&Known>, Comparison),
    ) -> Result<(Asked, Training), String> {
        let network = space.network(&ask.levels).map_err(|error| error.to_string())?;
        if !size.is_finite() {
            return Err("the goal counts nothing of a trial's network; look at its `config`".to_owned());
        }
        let stage = self.stage();
        let mut recipe = stage.training.clone();
        let rate = space.learning_rate(&ask.levels, recipe.optimizer.learning_rate(), size.total_factor);
        recipe.optimizer = recipe.optimizer.with_learning_rate(rate);
        if let Some(epochs) = ask.epochs {
            recipe.epochs = epochs.to - epochs.from;
            recipe.patience = Some(Recipe::patience_for(recipe.epochs));
        }
        if stage.settings.compat == Compat::Bitloop {
            // A kernel that has other shapes than it learned with, as filters before it were changed, starts anew.
            let is_kept = |layer: &&String| {
                let weights = |network: &Network| Some(network.layer(layer)?.weights.clone());
                weights(&network) == weights(&standing.network)
            };
            let finished = standing.finished.iter().filter(is_kept);
            recipe.slower = finished.map(|layer| (layer.clone(), stage.finished_rate)).collect();
        }
        let (mut model, mut start) = (standing.model, standing.start);
        if let Some(Known {
            state: State::Trained(Trained { artifact: Some(artifact), learning_rate, .. }),
            ..
        }) = before
        {
            (model, start) = (*artifact, Start::Model);
            // It goes on: with the epochs behind, at the rate that was found.
            recipe.first_epoch = ask.epochs.map_or(0, |epochs| epochs.from);
            recipe.finds_rate = false;
            recipe.optimizer = recipe.optimizer.with_learning_rate(*learning_rate);
        }
        let training = self.training(&network, (model, start), recipe, Images::Selection)?;
        Ok((Asked { purpose: self.purpose(block, ask), size, least: standing.least }, training))
    }

    /// After the last block: the device once more, fine-tuning, then the report images.
    fn ending(&self, known: &[Known], mut standing: Standing) -> Result<Proposal, String> {
        if let Some(device) = &self.device
            && let Some(proposal) = device.end(&self.codes(&standing.network)?)
        {
            return Ok(proposal);
        }
        if let Some(recipe) = &self.stage().fine_tuning {
            match find(known, &Purpose::FineTuning) {
                None => {
                    let of = (standing.model, standing.start);
                    let mut recipe = recipe.clone();
                    if let Some(rate) =
                        standing.rate.filter(|_| recipe.optimizer == self.stage().training.optimizer)
                    {
                        recipe.optimizer = recipe.optimizer.with_learning_rate(rate);
                    }
                    let training = self.training(&standing.network, of, recipe, Images::Selection)?;
                    let (size, least) = (standing.size, standing.least);
                    return Ok(one(Asked { purpose: Purpose::FineTuning, size, least }, training));
                }
                Some(State::Open) => return Ok(Proposal::Wait),
                // What the blocks came to stands, if training on made it worse.
                Some(State::Failed(_)) => {}
                Some(State::Trained(trained)) => {
                    if standing.accuracy.is_none_or(|accuracy| trained.accuracy() >= accuracy) {
                        standing.model = trained.artifact.unwrap_or(standing.model);
                        standing.start = Start::Model;
                    }
                }
            }
        }
        let looks = [Purpose::FloatOnReport, Purpose::FoundOnReport].map(|purpose| find(known, &purpose));
        match looks {
            [None, _] => self.look(Purpose::FloatOnReport, &self.float()?),
            [_, None] => self.look(Purpose::FoundOnReport, &standing),
            [Some(State::Failed(reason)), _] | [_, Some(State::Failed(reason))] => {
                Err(format!("what was found cannot be measured on the report images: {reason}"))
            }
            [Some(State::Open), _] | [_, Some(State::Open)] => Ok(Proposal::Wait),
            [Some(State::Trained(_)), Some(State::Trained(_))] => Ok(Proposal::Finished),
        }
    }

    /// Measures a network without training it.
    fn look(&self, purpose: Purpose, standing: &Standing) -> Result<Proposal, String> {
        let images = match purpose {
            Purpose::FloatOnReport | Purpose::FoundOnReport => Images::Report,
            Purpose::Float | Purpose::Search { .. } | Purpose::FineTuning => Images::Selection,
            Purpose::Survey | Purpose::Measured | Purpose::FoundOnDevice => Images::Selection,
        };
        let recipe = Recipe { epochs: 0, patience: None, finds_rate: false, ..self.stage().training.clone() };
        let of = (standing.model, standing.start);
        let training = self.training(&standing.network, of, recipe, images)?;
        Ok(one(Asked { purpose, size: standing.size, least: None }, training))
    }

    fn training(
        &self,
        network: &Network,
        (model, start): (Digest, Start),
        recipe: Recipe,
        images: Images,
    ) -> Result<Training, String> {
        let changes = self.changes(network)?;
        let data = &self.plan.data;
        let whole = |part: bitloop_core::plan::DataPart| ImagesOf {
            data: part.digest,
            images: ImageRange { start: 0, len: part.images },
        };
        let validation = match images {
            Images::Selection => data.selection,
            Images::Report => data.report,
        };
        Ok(Training {
            model,
            outputs: changes.outputs,
            start,
            quantizers: changes.quantizers,
            training: whole(data.training.ok_or("there are no images to train on")?),
            validation: whole(validation),
            recipe,
            compat: self.stage().settings.compat,
        })
    }
}

/// What a network is judged by.
#[derive(Clone, Copy)]
enum Images {
    Selection,
    Report,
}

fn one(asked: Asked, training: Training) -> Proposal {
    let trials = vec![TrialSpec::Train(Box::new(training))];
    Proposal::Trials(Batch { trials, asked: vec![asked], ..Batch::default() })
}

fn find<'a>(known: &'a [Known], purpose: &Purpose) -> Option<&'a State> {
    known.iter().find(|known| known.asked.purpose == *purpose).map(|known| &known.state)
}
