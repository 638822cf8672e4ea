//! Searches that measure sets of lowered points until a drop is reached: demotion, and accuracy lists with their curve.
//!
//! They ask for assignments and draw conclusions from scores; the store of trials is their table of scores, so that
//! whatever any stage or experiment has measured is not measured again.

use std::collections::BTreeMap;

use bitloop_core::bits::BitConfig;
use bitloop_core::evaluation::PPM;
use bitloop_core::graph::{GraphError, PointKind};
use bitloop_core::plan::{Plan, SearchMethod, SearchPlan};
use bitloop_core::report::{Evaluations, RowState};
use bitloop_core::selection::{Selected, Selection};
use bitloop_core::state::{Batch, Proposal, StageHistory};

use super::{NOT_PREPARED, prepared};
use crate::amp::{self, Amp, Candidate, Mixed, Order, Rule, Walk};
use crate::cost::{CostError, Subject, cost};
use crate::demotion::{Demotion, End, Found, Lowering, LoweringError, Objective, Pace};
use crate::limits::Limits;
use crate::searched::Searched;
use crate::set_search::{Group, Paired, Score, SetSearch, Step as Next};
use crate::solve::Limit;
use crate::{Searcher, Step};

/// The cost that counts where an experiment limits none.
const COST: &str = "bops_g";

/// A stage that such a search drives.
pub(crate) struct Sets {
    plan: SearchPlan,
    searched: Searched,
    method: Result<Method, SetsError>,
    limits: Vec<Limit>,
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
}

impl Sets {
    pub(crate) fn new(plan: &Plan, search: &SearchPlan) -> Self {
        let searched = Searched::new(plan);
        let limits = Limits::new(plan, &searched.space, &search.limits);
        let (limits, method) = match limits {
            Ok(Limits(limits)) => (limits, method(plan, search, &searched)),
            Err(error) => (Vec::new(), Err(error.into())),
        };
        Self { plan: search.clone(), searched, method, limits }
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

fn method(plan: &Plan, search: &SearchPlan, searched: &Searched) -> Result<Method, SetsError> {
    let of_float = |ppm: u32| f64::from(ppm) / f64::from(PPM);
    match search.method {
        SearchMethod::Amp { drop_max_ppm } => {
            let rule = Rule {
                walk: Walk::Complete,
                allowed_drop: drop_max_ppm.map(of_float),
                order: Order::ByCandidate,
            };
            let groups = layer_groups(plan, searched)?;
            let price = price(plan, search, searched)?;
            let problem = amp::Problem::new(searched.space.clone(), groups, pairs_of_widths(plan), price)?;
            Ok(Method::Amp(Box::new(Amp::new(problem, rule))))
        }
        SearchMethod::Demotion { .. } | SearchMethod::Exact | SearchMethod::Nsga2 | SearchMethod::Greedy => {
            let drop_max_ppm = search.method.drop_max_ppm().unwrap_or(0);
            let variables = searched.space.variables.iter().enumerate();
            let group = |(index, variable): (usize, &crate::space::Variable)| Group {
                name: variable.name.clone(),
                variables: vec![index],
            };
            let groups = variables.filter(|(_, variable)| variable.widths.len() > 1).map(group).collect();
            let lowest = vec![0; searched.space.variables.len()];
            let lowering = Lowering::new(groups, searched.space.reference(), lowest)?;
            // Without a limited cost every point counts one.
            let saved = match search.limits.is_empty() {
                true => None,
                false => Some((searched.space.clone(), price(plan, search, searched)?)),
            };
            let objective = Objective { target: -of_float(drop_max_ppm), cost: saved };
            let at_most = search.trials.map(|trials| usize::try_from(trials).unwrap_or(usize::MAX));
            let side_by_side = usize::try_from(search.round).unwrap_or(usize::MAX);
            let pace = Pace { side_by_side, at_most, ..Pace::default() };
            Ok(Method::Demotion(Box::new(Demotion::new(lowering, objective, pace))))
        }
    }
}

/// The cost that is to fall: the first that the experiment limits, or [`COST`].
fn price(plan: &Plan, search: &SearchPlan, searched: &Searched) -> Result<crate::cost::Cost, SetsError> {
    let subject = Subject::of_graph(&plan.graph, &plan.points, plan.candidates.baseline, &searched.space)?;
    let name = search.limits.first().map_or(COST, |limit| &limit.cost);
    Ok(cost(name, &subject)?)
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

impl Sets {
    fn selected(&self, levels: &[u8]) -> Selected {
        let costs = self
            .limits
            .iter()
            .map(|limit| (limit.cost.name.clone(), limit.cost.value(&self.searched.space, levels)));
        Selected { config: self.searched.assigned(levels), predicted: None, costs: costs.collect() }
    }

    /// What is measured next, or what came of it.
    fn next(&mut self, known: &dyn Fn(&[u8]) -> Option<Score>) -> Next<Told> {
        match self.method.as_mut() {
            Ok(Method::Demotion(demotion)) => match demotion.next(known) {
                Next::Measure(sets) => Next::Measure(sets),
                Next::Done(found) => Next::Done(told_of_demotion(demotion, &found)),
            },
            Ok(Method::Amp(amp)) => match amp.next(known) {
                Next::Measure(sets) => Next::Measure(sets),
                Next::Done(mixed) => Next::Done(told_of_curve(amp, &mixed)),
            },
            Err(_) => Next::Done((Vec::new(), Vec::new())),
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
    let chosen = mixed.levels.iter().cloned();
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
    for levels in chosen.chain(curve) {
        if !top.contains(&levels) {
            top.push(levels);
        }
    }
    (top, notes)
}

impl Searcher for Sets {
    /// Of a demotion the singles at least are known; of a curve its list, and as many points.
    fn size(&self) -> u64 {
        let singles = match &self.method {
            Ok(Method::Demotion(demotion)) => demotion.groups() as u64 + 2,
            Ok(Method::Amp(amp)) => {
                let candidates = amp.problem().candidates().len() as u64;
                let list = amp.problem().groups().len() as u64 * candidates.saturating_sub(1);
                1 + candidates + 2 * list
            }
            Err(_) => 0,
        };
        self.plan.trials.map_or(singles, |trials| singles.min(trials))
    }

    fn propose(&mut self, history: &StageHistory<'_>) -> Step {
        if history.proposed().len() as u64 > history.settled() {
            return Step::Propose(Proposal::Wait);
        }
        if let Err(error) = &self.method {
            return Step::Propose(Proposal::Failed(error.to_string()));
        }
        let Some(artifact) = prepared(history) else {
            return Step::Propose(Proposal::Failed(NOT_PREPARED.to_owned()));
        };
        let (context, mode) = (history.plan().context(artifact), history.plan().evaluation);
        let own = history.evaluations(history.stage(), mode);
        let searched = self.searched.clone();
        let known = |levels: &[u8]| {
            let config = searched.assigned(levels);
            // What was quarantined is settled without an outcome.
            let was_asked = own.configs().contains(&&config);
            score(&own, &config).or(was_asked.then(Score::failed))
        };
        Step::Propose(match self.next(&known) {
            Next::Measure(sets) => {
                let configs: Vec<BitConfig> =
                    sets.iter().map(|levels| self.searched.assigned(levels)).collect();
                let references = mode.references();
                let trials = configs.iter().flat_map(|config| context.trials(config, references)).collect();
                Proposal::Trials(Batch { context: Some(context), trials })
            }
            Next::Done((top, notes)) => {
                let top = top.iter().map(|levels| self.selected(levels)).collect();
                Proposal::Selected(Box::new(Selection { top, notes, ..Selection::default() }))
            }
        })
    }
}
