//! What a search that trains came to: its trials, the best of each block, and the network that it found.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::SearchedDevice;
use crate::autoqkeras::{Asked, Comparison, Compat, Goal, Order, Place, Purpose, best, objective};
use crate::digest::Digest;
use crate::evaluation::PPM;
use crate::plan::{AutoQKerasPlan, StagePlan};
use crate::state::{Experiment, Ledger, StageProgress, TrialState};
use crate::trial::{NodeQuantizers, Trained, Training, TrialKey, TrialResult, TrialSpec};

/// A trial of a search that trains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainedRow {
    /// Its place in the plan of its block's tuner.
    pub place: Place,
    /// Why it failed; none if it did not.
    pub failed: Option<String>,
    /// What training gave; none before it is done.
    pub trained: Option<Trained>,
    /// Accuracy times what the size is forgiven; none before it is done.
    pub score: Option<f64>,
    /// The network's size beside the reference's, in the goal's unit.
    pub size: Comparison,
    /// Least share of the selection images that it is to recognize, if any.
    pub least: Option<f64>,
    /// Its quantizers, by node.
    pub quantizers: BTreeMap<String, NodeQuantizers>,
    /// Output channels and features of nodes that have others than the float network.
    pub outputs: BTreeMap<String, usize>,
}

/// The search of one block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockRows {
    /// Its pattern; empty where the network is searched all at once.
    pub pattern: String,
    /// Its trials in canonical order.
    pub trials: Vec<TrainedRow>,
    /// Index of the best trial so far.
    pub best: Option<usize>,
}

/// The network that a search came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoundNetwork {
    /// Its checkpoint.
    pub model: Digest,
    /// Its size beside the reference's, in the goal's unit.
    pub size: Comparison,
    /// On the selection images; none where the trained weights are not kept, as in QKeras.
    pub selection: Option<Trained>,
    /// On the report images; none before it is measured.
    pub report: Option<Trained>,
    /// Its quantizers, by node.
    pub quantizers: BTreeMap<String, NodeQuantizers>,
    /// Whose arithmetic they have.
    #[serde(default, skip_serializing_if = "Compat::is_default")]
    pub compat: Compat,
    /// Output channels and features of nodes that have others than the float network.
    pub outputs: BTreeMap<String, usize>,
}

/// What one stage of such a search came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainedSearch {
    /// Index of the stage in the plan.
    pub stage: u32,
    /// Unit of sizes: `pJ`, `bits`, or that of a measured cost: `ms`, `us` or `mJ`.
    pub unit: String,
    /// The float network's size, which trials are compared with.
    pub reference: Comparison,
    /// Least share of the selection images that is to be recognized, where drops are limited and the float network known.
    pub least_accuracy: Option<f64>,
    /// The float network on the selection images.
    pub float: Option<Trained>,
    /// The float network on the report images.
    pub float_on_report: Option<Trained>,
    /// What decisions depend on.
    pub order: Order,
    /// The searches, in their order, as far as they have begun.
    pub blocks: Vec<BlockRows>,
    /// What fine-tuning came to.
    pub fine_tuning: Option<TrainedRow>,
    /// The network found; none before the last block is over.
    pub found: Option<FoundNetwork>,
    /// Whether the search is over.
    pub is_over: bool,
    /// Its trials, measurements on a device among them, in the order in which they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trials: Vec<TrialKey>,
    /// The device that sizes were measured on, if they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<SearchedDevice>,
}

/// Trials of a stage with what they are for.
struct Stage<'a> {
    ledger: &'a Ledger,
    experiment: &'a Experiment,
    plan: &'a AutoQKerasPlan,
    progress: &'a StageProgress,
}

struct Entry<'a> {
    asked: &'a Asked,
    /// None where its network could not be measured, so that it was not trained.
    training: Option<&'a Training>,
    state: &'a TrialState,
}

/// The searches that train, in the order of the stages.
pub(super) fn searches(ledger: &Ledger, experiment: &Experiment) -> Vec<TrainedSearch> {
    let stages = (0u32..).zip(experiment.plan.stages.iter().zip(&experiment.stages));
    let searches = stages.filter_map(|(index, (stage, progress))| match stage {
        StagePlan::AutoQKeras(plan) => Some(Stage { ledger, experiment, plan, progress }.gather(index)),
        StagePlan::Prepare
        | StagePlan::Sensitivity { .. }
        | StagePlan::Search(_)
        | StagePlan::Probe(_)
        | StagePlan::Verify { .. } => None,
    });
    searches.collect()
}

impl<'a> Stage<'a> {
    fn entries(&self) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        let (ledger, experiment) = (self.ledger, self.experiment);
        let trials = self.progress.asked.iter().zip(&self.progress.trials);
        trials.filter_map(move |(asked, key)| {
            let trial = ledger.trial(key)?;
            let training = match &trial.spec {
                TrialSpec::Train(training) => Some(training.as_ref()),
                TrialSpec::Probe(_) if !asked.purpose.is_measured() => None,
                TrialSpec::Probe(_) | TrialSpec::Prepare(_) | TrialSpec::Evaluate { .. } => return None,
            };
            Some(Entry { asked, training, state: experiment.came_of(trial) })
        })
    }

    fn find(&self, purpose: &Purpose) -> Option<Entry<'a>> {
        self.entries().find(|entry| entry.asked.purpose == *purpose)
    }

    fn gather(&self, stage: u32) -> TrainedSearch {
        let done = |purpose: &Purpose| self.find(purpose).and_then(|entry| entry.trained().cloned());
        let float = done(&Purpose::Float);
        let least = self.plan.drop_max_ppm.zip(float.as_ref());
        let least = least.map(|(ppm, float)| float.accuracy() - f64::from(ppm) / f64::from(PPM));
        let blocks = self.blocks();
        let fine_tuning = self.find(&Purpose::FineTuning).map(|entry| entry.row());
        let reference = self.entries().next().map(|entry| entry.asked.size);
        TrainedSearch {
            stage,
            unit: match &self.plan.goal {
                Goal::Bits(_) => "bits".to_owned(),
                Goal::Energy(_) => "pJ".to_owned(),
                Goal::Measured(goal) => goal.cost.unit().to_owned(),
            },
            reference: reference.unwrap_or_default(),
            least_accuracy: least,
            float,
            float_on_report: done(&Purpose::FloatOnReport),
            found: self.found(&blocks, fine_tuning.as_ref()),
            order: self.plan.tuner.order(),
            blocks,
            fine_tuning,
            is_over: self.progress.finished,
            trials: self.progress.trials.clone(),
            device: self
                .plan
                .goal
                .measured()
                .map(|goal| SearchedDevice::new((self.ledger, self.experiment), self.progress, goal)),
        }
    }

    fn blocks(&self) -> Vec<BlockRows> {
        let mut blocks: BTreeMap<u32, BlockRows> = BTreeMap::new();
        for entry in self.entries() {
            let Purpose::Search { block, pattern, .. } = &entry.asked.purpose else { continue };
            let rows = blocks.entry(*block).or_insert_with(|| BlockRows {
                pattern: pattern.clone(),
                trials: Vec::new(),
                best: None,
            });
            rows.trials.push(entry.row());
        }
        for rows in blocks.values_mut() {
            rows.trials.sort_by_key(|row| row.place);
            rows.best = best(rows.trials.iter().map(TrainedRow::value));
        }
        blocks.into_values().collect()
    }

    /// The network that is looked at on the report images, which nothing is proposed for before it is known.
    fn found(&self, blocks: &[BlockRows], fine_tuning: Option<&TrainedRow>) -> Option<FoundNetwork> {
        let entry = self.find(&Purpose::FoundOnReport)?;
        let Training { model, quantizers, outputs, compat, .. } = entry.training?;
        let last = blocks.last().and_then(|rows| rows.trials.get(rows.best?));
        let rows = fine_tuning.into_iter().chain(last);
        let selection = rows.filter_map(|row| row.trained.as_ref());
        let mut selection = selection.filter(|trained| trained.artifact == Some(*model));
        let selection = selection.next().cloned();
        Some(FoundNetwork {
            model: *model,
            size: entry.asked.size,
            selection,
            report: entry.trained().cloned(),
            quantizers: quantizers.clone(),
            compat: *compat,
            outputs: outputs.clone(),
        })
    }
}

impl Entry<'_> {
    fn trained(&self) -> Option<&Trained> {
        match self.state {
            TrialState::Done(outcome) => match &outcome.result {
                TrialResult::Trained(trained) => Some(trained),
                TrialResult::Prepared { .. }
                | TrialResult::Evaluated(_)
                | TrialResult::Measured(_)
                | TrialResult::Failed { .. } => None,
            },
            TrialState::Open | TrialState::Quarantined { .. } => None,
        }
    }

    fn row(&self) -> TrainedRow {
        let trained = self.trained();
        let failed = match self.state {
            TrialState::Done(outcome) => match &outcome.result {
                TrialResult::Failed { reason } => Some(reason.clone()),
                TrialResult::Trained(_) => None,
                TrialResult::Measured(_) => Some("the device does not say its size".to_owned()),
                TrialResult::Prepared { .. } | TrialResult::Evaluated(_) => {
                    Some("it gave no training".to_owned())
                }
            },
            TrialState::Quarantined { losses } => {
                Some(format!("{losses} workers were lost while they trained it"))
            }
            TrialState::Open => None,
        };
        TrainedRow {
            place: match &self.asked.purpose {
                Purpose::Search { ask, .. } => ask.place,
                _ => Place::default(),
            },
            failed,
            trained: trained.cloned(),
            score: trained.map(|trained| f64::from(self.asked.size.score(trained.accuracy()))),
            size: self.asked.size,
            least: self.asked.least,
            quantizers: self.training.map(|training| training.quantizers.clone()).unwrap_or_default(),
            outputs: self.training.map(|training| training.outputs.clone()).unwrap_or_default(),
        }
    }
}

impl TrainedRow {
    /// A network that was only looked at.
    pub(super) fn looked_at(trained: Trained, size: Comparison) -> Self {
        Self {
            place: Place::default(),
            failed: None,
            trained: Some(trained),
            score: None,
            size,
            least: None,
            quantizers: BTreeMap::new(),
            outputs: BTreeMap::new(),
        }
    }

    /// The network that was found, as measured on the report images.
    pub fn of_network(found: &FoundNetwork) -> Self {
        Self {
            place: Place::default(),
            failed: None,
            trained: found.report.clone(),
            score: None,
            size: found.size,
            least: None,
            quantizers: found.quantizers.clone(),
            outputs: found.outputs.clone(),
        }
    }

    /// What was chosen, node by node: `conv2d_0 kernel=binary bias=quantized_bits(4,0,0) outputs=8; act_0 ...`.
    pub fn described(&self) -> String {
        let nodes: BTreeSet<&String> = self.quantizers.keys().chain(self.outputs.keys()).collect();
        let describe = |node: &&String| {
            let quantizers = self.quantizers.get(*node).cloned().unwrap_or_default();
            let NodeQuantizers { kernel, bias, activation } = quantizers;
            let named = [("kernel", kernel), ("bias", bias), ("activation", activation)];
            let mut words = vec![(*node).clone()];
            for (name, quantizer) in named {
                words.extend(quantizer.map(|quantizer| format!("{name}={}", quantizer.spelling())));
            }
            words.extend(self.outputs.get(*node).map(|outputs| format!("outputs={outputs}")));
            // Of a batch norm that is listed nothing is chosen.
            (words.len() > 1).then(|| words.join(" "))
        };
        nodes.iter().filter_map(describe).collect::<Vec<_>>().join("; ")
    }

    /// Whether it recognizes as much as is wanted; none before it is done, or where nothing is wanted.
    pub fn keeps(&self) -> Option<bool> {
        self.trained.as_ref().zip(self.least).map(|(trained, least)| trained.accuracy() >= least)
    }

    /// What trials are compared by; see [`objective`].
    pub fn value(&self) -> Option<f64> {
        Some(objective(&self.size, self.trained.as_ref()?.accuracy(), self.least))
    }
}
