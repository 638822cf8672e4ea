use super::answer::ANSWER_FORMAT;
use super::{Answer, BitConfig, CostValue, Found, OfflineError, Proof, Question};
use crate::solve::{Candidate, ExactOptions, Solution, exact};

/// A solver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Branch and bound, with a proof.
    Exact,
}

impl Method {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
        }
    }
}

/// How a question is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct SolveOptions {
    /// The solver.
    pub method: Method,
    /// Number of distinct bit configs that are wanted, at least 1.
    pub best: usize,
}

impl SolveOptions {
    /// The one best bit config by a solver.
    pub fn new(method: Method) -> Self {
        Self { method, best: 1 }
    }
}

/// Puts a question to a solver.
///
/// Errors: `Solve` if no bit config keeps the limits, or the problem can't be solved.
pub fn answer(question: &Question, options: &SolveOptions) -> Result<Answer, OfflineError> {
    let exact_options = ExactOptions { best: options.best, ..ExactOptions::default() };
    let solution = exact(&question.problem, &exact_options)?;
    Ok(Answer {
        format: ANSWER_FORMAT,
        method: options.method.as_str(),
        objective: question.objective.clone(),
        variables: question.problem.space.variables.len(),
        best: solution.best.iter().map(|candidate| found(question, candidate)).collect(),
        proof: Some(proof(&solution)),
        shadow_prices: Vec::new(),
        front: Vec::new(),
        notes: question.notes.clone(),
    })
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
