//! Assignments that a predictor's form lets expect little loss, by the method that a search names.

use std::collections::BTreeSet;

use bitloop_core::plan::SearchMethod;
use bitloop_core::rng::{Rng, rng};
use bitloop_core::selection::{Proof, ShadowPrice};

use crate::cost::Cost;
use crate::form::Form;
use crate::solve::greedy::Greedy;
use crate::solve::nsga2::{Forms, GreedyRepair, Nsga2, Settings, minimise};
use crate::solve::{
    self, Candidate, ExactOptions, Limit, Problem, Solution, SolveError, exact, shadow_prices,
};

/// Nodes of one exact solve: about a second's worth.
const NODES_MAX: u64 = 20_000_000;

/// By how much terms are doubted when other optima are looked for, as a share of each term.
const DOUBT: f64 = 0.3;

/// What a solver gives.
#[derive(Default)]
pub(super) struct Solved {
    /// Distinct assignments within the limits, best first.
    pub(super) pool: Vec<Vec<u8>>,
    /// The exact solver's answer, if it was asked.
    solution: Option<Solution>,
}

/// Finds some `count` assignments by a method; `draw` seeds what is drawn.
///
/// Errors: those of the exact solver, which also says what a method that found nothing has missed.
pub(super) fn solve(
    problem: &Problem,
    method: SearchMethod,
    count: usize,
    draw: u64,
) -> Result<Solved, SolveError> {
    let mut rng = rng(draw, count as u64);
    let pool = match method {
        SearchMethod::Nsga2 => genetic(problem, rng.next_u64()),
        SearchMethod::Greedy => greedy(problem, count, &mut rng),
        SearchMethod::Exact | SearchMethod::Demotion { .. } | SearchMethod::Amp { .. } => Vec::new(),
    };
    match pool.is_empty() {
        true => proved(problem, count, &mut rng),
        false => Ok(Solved { pool: distinct(pool), ..Solved::default() }),
    }
}

/// Halvings of the range in which the least cost lies.
const HALVINGS: usize = 10;

/// How often and by what assignments are looked for.
pub(super) struct Asked {
    pub(super) method: SearchMethod,
    pub(super) count: usize,
    pub(super) draw: u64,
}

/// Finds assignments of little cost among those that are `allowed`, cheapest first: the cost is limited ever closer to where
/// the best by the objective is allowed no more.
///
/// Errors: those of [`solve`].
pub(super) fn cheapest(
    problem: &Problem,
    cost: &Cost,
    asked: &Asked,
    allowed: &dyn Fn(&[u8]) -> bool,
) -> Result<Solved, SolveError> {
    let price = |levels: &Vec<u8>| cost.value(&problem.space, levels);
    let (mut low, mut high) = (0.0_f64, price(&problem.space.reference()));
    let mut pool: Vec<Vec<u8>> = Vec::new();
    for halving in 0..=HALVINGS {
        let at_most = if halving == 0 { high } else { f64::midpoint(low, high) };
        let mut limited = problem.clone();
        limited.limits.push(Limit { cost: cost.clone(), at_most });
        let found = match solve(&limited, asked.method, asked.count, asked.draw) {
            Ok(solved) => solved.pool,
            // What the loosest limit rules out, the others do.
            Err(SolveError::Infeasible { .. }) if halving > 0 => Vec::new(),
            Err(error) => return Err(error),
        };
        let found: Vec<Vec<u8>> = found.into_iter().filter(|levels| allowed(levels)).collect();
        match found.iter().map(price).min_by(f64::total_cmp) {
            Some(least) => high = least.min(at_most),
            None => low = at_most,
        }
        pool.extend(found);
    }
    pool.sort_by(|a, b| price(a).total_cmp(&price(b)).then_with(|| a.cmp(b)));
    Ok(Solved { pool: distinct(pool), ..Solved::default() })
}

fn options(best: usize) -> ExactOptions {
    ExactOptions { best, nodes_max: NODES_MAX }
}

/// The best by the form, and what a greedy descent makes of it if its terms were somewhat other: a predictor is never
/// quite right.
fn proved(problem: &Problem, count: usize, rng: &mut Rng) -> Result<Solved, SolveError> {
    let solution = exact(problem, &options(1))?;
    let mut pool: Vec<Vec<u8>> = solution.best.iter().map(|best| best.levels.clone()).collect();
    pool.extend(greedy(problem, count, rng));
    if problem.objective.two.is_empty() {
        // The next best ones come last: they differ least from what is in the pool already.
        pool.extend(exact(problem, &options(count.max(1)))?.best.into_iter().map(|best| best.levels));
    }
    Ok(Solved { pool: distinct(pool), solution: Some(solution) })
}

impl Solved {
    /// How good the best config of the predictor is beside the bound, if that was asked of the exact solver.
    pub(super) fn proof(&self) -> Option<Proof> {
        let solution = self.solution.as_ref()?;
        Some(Proof { objective: solution.best.first()?.objective, bound: solution.bound })
    }

    /// What each limit is worth, if the exact solver has proved its answer: the difference of optima that nobody knows
    /// says nothing. Solved for anew, so this takes a while.
    ///
    /// Errors: those of the exact solver.
    pub(super) fn prices(&self, problem: &Problem) -> Result<Vec<ShadowPrice>, SolveError> {
        let proved = self.solution.as_ref().filter(|solution| solution.is_proved());
        proved.map_or(Ok(Vec::new()), |solution| prices(problem, solution))
    }

    /// What a reader should know.
    pub(super) fn notes(&self) -> Vec<String> {
        let cut_off = self.solution.as_ref().filter(|solution| !solution.is_proved());
        let note = "the search tree was cut off: a better config by this predictor may exist, and what the limits are \
                    worth is not known";
        cut_off.map(|_| note.to_owned()).into_iter().collect()
    }
}

fn prices(problem: &Problem, solution: &Solution) -> Result<Vec<ShadowPrice>, SolveError> {
    let known = shadow_prices(problem, solution, &options(1))?;
    let priced = known.into_iter().filter_map(|solve::ShadowPrice { cost, step, looser, tighter }| {
        let is_proved = [looser, tighter].iter().flatten().all(|change| change.proved);
        let tighter = tighter.map(|change| change.objective);
        is_proved.then_some(ShadowPrice { cost, step: step?, looser: looser?.objective, tighter })
    });
    Ok(priced.collect())
}

/// The problem with every term of one or two points changed a little.
fn doubted(problem: &Problem, rng: &mut Rng) -> Problem {
    let mut objective: Form = problem.objective.clone();
    let two = objective.two.iter_mut().flat_map(|two| &mut two.values);
    for value in objective.one.iter_mut().flatten().chain(two) {
        *value *= libm::exp(DOUBT * rng.normal());
    }
    Problem { objective, ..problem.clone() }
}

/// The loss against the first limited cost, from greedy descents.
fn genetic(problem: &Problem, seed: u64) -> Vec<Vec<u8>> {
    let cost = problem.limits.first().and_then(|limit| limit.cost.rows.first());
    let objectives: Vec<Form> = [&problem.objective].into_iter().chain(cost).cloned().collect();
    let forms = Forms::new(&problem.space, &objectives, &problem.limits);
    let starts = [Greedy::new(problem).descend_and_exchange(&problem.space.reference()).levels];
    let search = Nsga2::new(forms.counts(), Settings::published(seed), &starts);
    let front = search
        .ok()
        .and_then(|search| minimise(search.with_repair(Box::new(GreedyRepair::new(problem))), &forms).ok());
    let mut front = front.unwrap_or_default();
    front.sort_by(|a, b| a.objectives[0].total_cmp(&b.objectives[0]).then_with(|| a.levels.cmp(&b.levels)));
    front.into_iter().map(|point| point.levels).collect()
}

fn greedy(problem: &Problem, count: usize, rng: &mut Rng) -> Vec<Vec<u8>> {
    let reference = problem.space.reference();
    let mut pool = vec![Greedy::new(problem).descend_and_exchange(&reference).levels];
    for _ in 0..count {
        pool.push(Greedy::new(&doubted(problem, rng)).descend_and_exchange(&reference).levels);
    }
    pool.retain(|levels| Candidate::of(problem, levels.clone()).keeps(&problem.limits));
    pool
}

fn distinct(pool: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut seen = BTreeSet::new();
    pool.into_iter().filter(|levels| seen.insert(levels.clone())).collect()
}
