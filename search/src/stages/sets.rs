//! Searches that measure sets of lowered points until a drop is reached: demotion, and accuracy lists with their curve.
//!
//! They ask for assignments and draw conclusions from scores; the store of trials is their table of scores, so that
//! whatever any stage or experiment has measured is not measured again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bitloop_core::bits::BitConfig;
use bitloop_core::evaluation::PPM;
use bitloop_core::graph::{GraphError, PointKind};
use bitloop_core::plan::{Plan, SearchMethod, SearchPlan, StagePlan};
use bitloop_core::report::{Evaluations, RowState};
use bitloop_core::selection::{Selected, Selection};
use bitloop_core::state::{Batch, Proposal, StageHistory};

use super::{NOT_PREPARED, prepared};
use crate::amp::{self, Amp, Candidate, Mixed, Order, Rule, Walk};
use crate::cost::{Cost, CostError, Subject, cost};
use crate::demotion::{Demotion, End, Found, Lowering, LoweringError, Objective, Pace};
use crate::searched::Searched;
use crate::set_search::{Group, Paired, Score, SetSearch, Step as Next};
use crate::space::Variable;
use crate::{Searcher, Step};

/// A stage that such a search drives.
pub(crate) struct Sets {
    /// The most configs that it measures.
    trials: Option<u64>,
    /// Configs, as far as known before it starts, and no more than `trials`.
    size: u64,
    /// Trials of a config.
    parts: u64,
    /// Shared with the thought that goes on with it, of which there is one at a time.
    search: Result<Arc<Mutex<Search>>, String>,
}

/// A search with what its assignments mean.
struct Search {
    searched: Searched,
    method: Method,
    /// What its configs are said to cost.
    cost: Option<Cost>,
}

enum Method {
    Demotion(Box<Demotion>),
    Amp(Box<Amp>),
}

/// Why such a search cannot start.
#[derive(Debug, thiserror::Error)]
enum SetsError {
    #[error(transparent)]
    Cost(#[from] CostError),
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Lowering(#[from] LoweringError),
    #[error(transparent)]
    Groups(#[from] amp::ProblemError),
    #[error("`{0}` does not measure sets")]
    NoSets(&'static str),
}

impl Sets {
    pub(crate) fn new(plan: &Plan, search: &SearchPlan) -> Self {
        let made = Search::new(plan, search).map_err(|error| error.to_string());
        let size = made.as_ref().map_or(0, |made| made.method.size(search.trials));
        let parts = plan.evaluation.references().parts(plan.data.selection.images).max(1);
        Self { trials: search.trials, size, parts, search: made.map(|made| Arc::new(Mutex::new(made))) }
    }
}

impl Search {
    fn new(plan: &Plan, search: &SearchPlan) -> Result<Self, SetsError> {
        let searched = Searched::new(plan);
        let subject =
            Subject::of_graph(&plan.graph, &plan.points, plan.candidates.baseline, &searched.space)?;
        let cost = search.lowered_cost().map(|name| cost(name, &subject)).transpose()?;
        let method = match (search.method, cost.clone()) {
            (SearchMethod::Amp { drop_max_ppm }, Some(cost)) => curve(plan, &searched, drop_max_ppm, cost)?,
            (SearchMethod::Demotion { drop_max_ppm }, cost) => {
                demotion(search, &searched, drop_max_ppm, cost)?
            }
            (method, _) => return Err(SetsError::NoSets(method.as_str())),
        };
        Ok(Self { searched, method, cost })
    }
}

/// What a config scores: minus its drop of top-1 beside the baseline; what failed scores below everything.
fn score(evaluations: &Evaluations<'_>, config: &BitConfig) -> Option<Score> {
    match evaluations.reference(config) {
        RowState::Done(measured) => {
            let paired = Paired { n: measured.n, lost: measured.lost, gained: measured.gained };
            Some(Score { value: -measured.top1_drop.value, paired: Some(paired) })
        }
        RowState::Failed { .. } => Some(Score::failed()),
        RowState::Open | RowState::Partial(_) | RowState::Decided(_) | RowState::Harmful(_) => None,
    }
}

fn share(ppm: u32) -> f64 {
    f64::from(ppm) / f64::from(PPM)
}

/// Groups of layers along the complete curve.
fn curve(
    plan: &Plan,
    searched: &Searched,
    drop_max_ppm: Option<u32>,
    cost: Cost,
) -> Result<Method, SetsError> {
    let rule =
        Rule { walk: Walk::Complete, allowed_drop: drop_max_ppm.map(share), order: Order::ByCandidate };
    let groups = layer_groups(plan, searched)?;
    let problem = amp::Problem::new(searched.space.clone(), groups, pairs_of_widths(plan), cost)?;
    Ok(Method::Amp(Box::new(Amp::new(problem, rule))))
}

/// Every point by itself, to its smallest width. Without a cost every point counts one.
fn demotion(
    search: &SearchPlan,
    searched: &Searched,
    drop_max_ppm: u32,
    cost: Option<Cost>,
) -> Result<Method, SetsError> {
    let space = &searched.space;
    let variables = space.variables.iter().enumerate();
    let group =
        |(index, variable): (usize, &Variable)| Group { name: variable.name.clone(), variables: vec![index] };
    let groups = variables.filter(|(_, variable)| variable.widths.len() > 1).map(group).collect();
    let lowering = Lowering::new(groups, space.reference(), vec![0; space.variables.len()])?;
    let objective = Objective { target: -share(drop_max_ppm), cost: cost.map(|cost| (space.clone(), cost)) };
    let at_most = search.trials.map(|trials| usize::try_from(trials).unwrap_or(usize::MAX));
    let side_by_side = usize::try_from(search.round).unwrap_or(usize::MAX);
    let pace = Pace { side_by_side, at_most, ..Pace::default() };
    Ok(Method::Demotion(Box::new(Demotion::new(lowering, objective, pace))))
}

/// An activation with the weights of the layers that read it; points that no layer joins stand alone.
fn layer_groups(plan: &Plan, searched: &Searched) -> Result<Vec<Group>, GraphError> {
    let layers = plan.layer_costs()?;
    let reads = |weight: &str| {
        let node = weight.strip_suffix(".weight")?;
        layers.iter().find(|layer| layer.node == node)?.input_point.clone()
    };
    let mut groups: BTreeMap<usize, Group> = BTreeMap::new();
    for (index, variable) in searched.space.variables.iter().enumerate() {
        let input = match variable.kind {
            PointKind::Weight => reads(&variable.name).and_then(|input| searched.space.find(&input)),
            PointKind::Activation => None,
        };
        let leader = input.unwrap_or(index);
        let name = searched.space.variables[leader].name.clone();
        groups.entry(leader).or_insert(Group { name, variables: Vec::new() }).variables.push(index);
    }
    Ok(groups.into_values().collect())
}

/// Widths of activation and weights that a group may have: activations never narrower than the weights that meet them.
fn pairs_of_widths(plan: &Plan) -> Vec<Candidate> {
    let widths = |kind| {
        let mut widths = plan.candidates.bits(kind).to_vec();
        widths.push(plan.candidates.baseline);
        widths.into_iter().rev()
    };
    let pair = |activation| {
        let weights = widths(PointKind::Weight).filter(move |weight| *weight <= activation);
        weights.map(move |weight| Candidate { activation, weight })
    };
    widths(PointKind::Activation).flat_map(pair).collect()
}

impl Search {
    fn selected(&self, levels: &[u8]) -> Selected {
        let cost = self.cost.iter().map(|cost| (cost.name.clone(), cost.value(&self.searched.space, levels)));
        Selected {
            config: self.searched.assigned(levels),
            predicted: None,
            costs: cost.collect(),
            devices: Vec::new(),
        }
    }

    /// Goes on with what is measured, `left` configs of it at most: configs to measure, or what the search came to.
    fn next(&mut self, scores: &BTreeMap<BitConfig, Score>, left: usize) -> Next<Selection> {
        let searched = &self.searched;
        let known = |levels: &[u8]| scores.get(&searched.assigned(levels)).copied();
        let (top, notes) = match &mut self.method {
            Method::Demotion(demotion) => match demotion.next(&known) {
                Next::Measure(sets) => return Next::Measure(sets),
                Next::Done(found) => told_of_demotion(demotion, &found),
            },
            Method::Amp(amp) => match amp.next(&known) {
                Next::Measure(sets) if left > 0 => {
                    return Next::Measure(sets.into_iter().take(left).collect());
                }
                Next::Measure(_) => {
                    let (top, mut notes) = told_of_curve(amp, amp.so_far());
                    notes.push("the trials are used up".to_owned());
                    (top, notes)
                }
                Next::Done(mixed) => told_of_curve(amp, &mixed),
            },
        };
        let top = top.iter().map(|levels| self.selected(levels)).collect();
        Next::Done(Selection { top, notes, ..Selection::default() })
    }
}

impl Method {
    /// Of a demotion no more is known than what it may measure, or the singles at least; of a curve its list, and as many
    /// points.
    fn size(&self, trials: Option<u64>) -> u64 {
        match self {
            Self::Demotion(demotion) => trials.unwrap_or(demotion.groups() as u64 + 2),
            Self::Amp(amp) => {
                let candidates = amp.problem().candidates().len() as u64;
                let list = amp.problem().groups().len() as u64 * candidates.saturating_sub(1);
                (1 + candidates + 2 * list).min(trials.unwrap_or(u64::MAX))
            }
        }
    }
}

/// Assignments to recommend, best first, and what to say of them.
type Told = (Vec<Vec<u8>>, Vec<String>);

fn told_of_demotion(demotion: &Demotion, found: &Found) -> Told {
    let best = found.best.iter();
    let others = found.pareto.iter().filter(|other| found.best.as_ref() != Some(other));
    let top = best.chain(others).map(|set| demotion.levels_of(&set.lowered)).collect();
    let mut notes = vec![format!(
        "{} sets measured in {} rounds; {}",
        found.sets,
        found.rounds,
        match found.end {
            End::Unreachable => "the drop is too large with nothing lowered",
            End::AllLowered => "everything can be lowered",
            End::Settled => "no set that saves more has a chance worth measuring",
            End::Spent => "the trials are used up",
            End::Open => "it has not ended",
        }
    )];
    match (&found.best, &found.statement) {
        (None, _) => notes.push("no set of points keeps the drop within the limit".to_owned()),
        (Some(_), Some(statement)) if !statement.is_sure => {
            notes.push(
                "the interval of the best set's drop reaches beyond the limit: more images would tell"
                    .to_owned(),
            );
        }
        (Some(_), _) => {}
    }
    (top, notes)
}

fn told_of_curve(amp: &Amp, mixed: &Mixed) -> Told {
    let chosen = mixed.levels.clone().or_else(|| amp.cheapest_so_far());
    let measured = mixed.curve.iter().filter(|point| point.score.is_some());
    let mut points: Vec<_> = measured.collect();
    let score = |point: &amp::Point| point.score.map_or(f64::NEG_INFINITY, |score| score.value);
    // A point is worth showing if nothing that costs less scores as well.
    points.sort_by(|a, b| a.relative_cost.total_cmp(&b.relative_cost).then(score(b).total_cmp(&score(a))));
    let mut best = f64::NEG_INFINITY;
    points.retain(|point| {
        let is_better = score(point) > best;
        best = best.max(score(point));
        is_better
    });
    let curve = points.into_iter().map(|point| point.levels.clone());
    let rises = mixed.curve.iter().filter(|point| point.rises).count();
    let notes = vec![format!(
        "{} groups at {} pairs of widths; the curve has {} points, {} of them above the one before, and {} entries were left out",
        amp.problem().groups().len(),
        amp.problem().candidates().len(),
        mixed.curve.len(),
        rises,
        mixed.skipped.len()
    )];
    let mut top: Vec<Vec<u8>> = Vec::new();
    for levels in chosen.into_iter().chain(curve) {
        if !top.contains(&levels) {
            top.push(levels);
        }
    }
    (top, notes)
}

/// The float network and the baseline, which results are compared with, where this is the first that is measured.
fn references(history: &StageHistory<'_>) -> Vec<BitConfig> {
    let mut stages = history.plan().stages.iter().take(history.stage() as usize);
    match stages.all(|stage| matches!(stage, StagePlan::Prepare)) {
        true => vec![history.plan().float_config(), BitConfig::baseline()],
        false => Vec::new(),
    }
}

impl Searcher for Sets {
    fn size(&self) -> u64 {
        self.size.saturating_mul(self.parts)
    }

    fn propose(&mut self, history: &StageHistory<'_>) -> Step {
        if history.proposed().len() as u64 > history.settled() {
            return Step::Propose(Proposal::Wait);
        }
        let search = match &self.search {
            Ok(search) => Arc::clone(search),
            Err(reason) => return Step::Propose(Proposal::Failed(reason.clone())),
        };
        let Some(artifact) = prepared(history) else {
            return Step::Propose(Proposal::Failed(NOT_PREPARED.to_owned()));
        };
        let (context, mode) = (history.plan().context(artifact), history.plan().evaluation);
        let own = history.evaluations(history.stage(), mode);
        // What was quarantined is settled without an outcome.
        let score =
            |config: &&BitConfig| ((*config).clone(), score(&own, config).unwrap_or_else(Score::failed));
        let scores: BTreeMap<BitConfig, Score> = own.configs().iter().map(score).collect();
        let references = references(history);
        let spent = scores.len().saturating_sub(references.len()) as u64;
        let left = self.trials.unwrap_or(u64::MAX).saturating_sub(spent);
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let mut configs = if scores.is_empty() { references } else { Vec::new() };
        Step::Think(Box::new(move || {
            // Nothing that a thought leaves half done is lost: what a search keeps is found again from the scores.
            let mut search = search.lock().unwrap_or_else(PoisonError::into_inner);
            match search.next(&scores, left) {
                Next::Measure(sets) => {
                    for config in sets.iter().map(|levels| search.searched.assigned(levels)) {
                        if !configs.contains(&config) {
                            configs.push(config);
                        }
                    }
                    let trials = configs.iter().flat_map(|config| context.trials(config, mode.references()));
                    Proposal::Trials(Batch {
                        trials: trials.collect(),
                        context: Some(context),
                        ..Batch::default()
                    })
                }
                Next::Done(selection) => Proposal::Selected(Box::new(selection)),
            }
        }))
    }
}
