use super::answer::ANSWER_FORMAT;
use super::{Answer, BitConfig, CostValue, Found, FrontEntry, OfflineError, Price, Proof, Question};
use crate::cost::Cost;
use crate::solve::greedy::Greedy;
use crate::solve::nsga2::{Evaluate, Forms, GreedyRepair, Nsga2, Score, Settings, minimise};
use crate::solve::{
    Candidate, ExactOptions, FrontOptions, Problem, Solution, SolveError, check, exact, pareto_front,
    shadow_prices,
};

/// Nodes of one exact search: a few seconds' worth. Objectives without products of searched widths need a tenth of it;
/// those of a dense quadratic predictor are rarely proved with ten times as many.
const NODES_MAX: u64 = 20_000_000;

/// A solver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Branch and bound, with a proof.
    Exact,
    /// Lowering by least damage per saving, then raising while limits hold.
    Greedy,
    /// A population, started and repaired greedily: 100 generations of 100.
    Nsga2,
}

impl Method {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Greedy => "greedy",
            Self::Nsga2 => "nsga2",
        }
    }
}

/// How a question is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct SolveOptions {
    /// The solver.
    pub method: Method,
    /// Number of distinct bit configs that are wanted, at least 1; more than 1 by the exact solver alone.
    pub best: usize,
    /// Whether the exact solver says what the limits are worth, where it has a proof.
    pub prices: bool,
    /// The most points of a front that the exact solver gives.
    pub front_max: usize,
    /// The most nodes that the exact solver looks at for each answer.
    pub nodes_max: u64,
    /// Seed of NSGA-II.
    pub seed: u64,
}

impl SolveOptions {
    /// The one best bit config by a solver, without prices.
    pub fn new(method: Method) -> Self {
        Self { method, best: 1, prices: false, front_max: 100, nodes_max: NODES_MAX, seed: 1 }
    }
}

/// Puts a question to a solver.
///
/// Errors: `Infeasible`, with the range of every limited cost; `NotFound` by solvers that prove nothing; `OnlyExact`
/// where they are asked for what they can't do; `Solve` if the problem can't be solved.
pub fn answer(question: &Question, options: &SolveOptions) -> Result<Answer, OfflineError> {
    match options.method {
        Method::Exact => by_proof(question, options),
        Method::Greedy => by_descent(question, options),
        Method::Nsga2 => by_population(question, options),
    }
    .map_err(|error| with_ranges(&question.problem, error))
}

fn by_proof(question: &Question, options: &SolveOptions) -> Result<Answer, OfflineError> {
    let problem = &question.problem;
    let exact_options = ExactOptions { best: options.best, nodes_max: options.nodes_max };
    let solution = exact(problem, &exact_options)?;
    let mut answer = told(question, options.method, &solution.best);
    answer.proof = Some(proof(&solution));
    if options.prices {
        price(problem, &solution, &exact_options, &mut answer)?;
    }
    if let Some(cost) = &question.front {
        let front_options = FrontOptions { points_max: options.front_max, nodes_max: options.nodes_max };
        let front = pareto_front(problem, cost, &front_options)?;
        answer.front = front
            .into_iter()
            .map(|point| FrontEntry {
                cost: point.cost,
                objective: point.candidate.objective,
                proved: point.is_proved(),
                bits: BitConfig::of(&problem.space, &point.candidate.levels),
            })
            .collect();
    }
    Ok(answer)
}

/// Says what the limits are worth, of a proved solution: the difference of optima that nobody knows says nothing.
pub(super) fn price(
    problem: &Problem,
    solution: &Solution,
    options: &ExactOptions,
    answer: &mut Answer,
) -> Result<(), OfflineError> {
    if solution.is_proved() {
        let prices = shadow_prices(problem, solution, options)?;
        answer.shadow_prices = prices.into_iter().map(Price::from).collect();
    } else {
        answer
            .notes
            .push("the best is not proved, so that what the limits are worth is not known".to_owned());
    }
    Ok(())
}

fn by_descent(question: &Question, options: &SolveOptions) -> Result<Answer, OfflineError> {
    let problem = &question.problem;
    only_exact(options.best > 1, "more than one bit config", options)?;
    only_exact(question.front.is_some(), "a front", options)?;
    check::check(problem)?;
    let descent = Greedy::new(problem).descend_and_exchange(&problem.space.reference());
    let candidate = Candidate::of(problem, descent.levels);
    if !candidate.keeps(&problem.limits) {
        return Err(OfflineError::NotFound(options.method.as_str()));
    }
    Ok(told(question, options.method, &[candidate]))
}

fn by_population(question: &Question, options: &SolveOptions) -> Result<Answer, OfflineError> {
    let problem = &question.problem;
    only_exact(options.best > 1, "more than one bit config", options)?;
    check::check(problem)?;
    let forms = Forms::new(&problem.space, std::slice::from_ref(&problem.objective), &problem.limits);
    let start = Greedy::new(problem).descend_and_exchange(&problem.space.reference()).levels;
    let search = Nsga2::new(forms.counts(), Settings::published(options.seed), &[start]);
    let search = search.map_err(|_| OfflineError::NothingToSearch)?;
    let search = search.with_repair(Box::new(GreedyRepair::new(problem)));
    let evaluate = Against { problem, forms, cost: question.front.as_ref() };
    let found =
        minimise(search, &evaluate).expect("every score has one value per objective, and none is NaN");
    let mut candidates: Vec<Candidate> =
        found.into_iter().map(|found| Candidate::of(problem, found.levels)).collect();
    candidates.retain(|candidate| candidate.keeps(&problem.limits));
    candidates.sort_by(|a, b| a.objective.total_cmp(&b.objective));
    let Some(best) = candidates.first() else {
        return Err(OfflineError::NotFound(options.method.as_str()));
    };
    let mut answer = told(question, options.method, std::slice::from_ref(best));
    if let Some(cost) = &question.front {
        answer.front = candidates
            .iter()
            .map(|candidate| FrontEntry {
                cost: cost.value(&problem.space, &candidate.levels),
                objective: candidate.objective,
                proved: false,
                bits: BitConfig::of(&problem.space, &candidate.levels),
            })
            .collect();
    }
    Ok(answer)
}

/// The objective, and the cost that a front is wanted against.
struct Against<'a> {
    problem: &'a Problem,
    forms: Forms,
    cost: Option<&'a Cost>,
}

impl Evaluate for Against<'_> {
    fn score(&self, levels: &[u8]) -> Score {
        let mut score = self.forms.score(levels);
        score.objectives.extend(self.cost.map(|cost| cost.value(&self.problem.space, levels)));
        score
    }
}

fn only_exact(is_wanted: bool, what: &'static str, options: &SolveOptions) -> Result<(), OfflineError> {
    if is_wanted {
        return Err(OfflineError::OnlyExact { what, method: options.method.as_str() });
    }
    Ok(())
}

/// Says of every limited cost what it can be, where no bit config keeps the limits.
fn with_ranges(problem: &Problem, error: OfflineError) -> OfflineError {
    let OfflineError::Solve(SolveError::Infeasible { reached }) = &error else { return error };
    let reference = problem.space.reference();
    let ranges = problem.limits.iter().zip(reached).map(|(limit, reach)| {
        let most = limit.cost.value(&problem.space, &reference);
        format!("{} can be {} to {most}", limit.cost.name, reach.least)
    });
    let ranges: Vec<String> = ranges.collect();
    OfflineError::Infeasible { reason: error.to_string(), ranges: ranges.join(", ") }
}

fn told(question: &Question, method: Method, best: &[Candidate]) -> Answer {
    Answer {
        format: ANSWER_FORMAT,
        method: method.as_str(),
        objective: question.objective.clone(),
        variables: question.problem.space.variables.len(),
        best: best.iter().map(|candidate| found(question, candidate)).collect(),
        proof: None,
        shadow_prices: Vec::new(),
        front: Vec::new(),
        notes: question.notes.clone(),
    }
}

fn found(question: &Question, candidate: &Candidate) -> Found {
    let space = &question.problem.space;
    let limited = question.problem.limits.iter().zip(&candidate.costs).map(|(limit, value)| CostValue {
        cost: limit.cost.name.clone(),
        value: *value,
        at_most: Some(limit.at_most),
    });
    let told = question.told.iter().map(|cost| CostValue {
        cost: cost.name.clone(),
        value: cost.value(space, &candidate.levels),
        at_most: None,
    });
    let predicted = question.predict.as_ref().and_then(|predict| predict(&candidate.levels));
    Found {
        bits: BitConfig::of(space, &candidate.levels),
        objective: candidate.objective,
        predicted_loss: predicted.map(Into::into),
        costs: limited.chain(told).collect(),
    }
}

fn proof(solution: &Solution) -> Proof {
    Proof {
        objective: solution.best.last().map_or(f64::NAN, |last| last.objective),
        bound: solution.bound,
        gap: solution.gap(),
        proved: solution.is_proved(),
        nodes: solution.nodes,
    }
}
