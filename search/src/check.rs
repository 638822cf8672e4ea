//! What is wrong with a plan's searches before anything is measured.

use bitloop_core::plan::{AutoQKerasPlan, Plan, SearchPlan, StagePlan, SubsetDesign};
use bitloop_core::spec::Mistake;
use bitloop_core::trial::Recipe;

use crate::autoqkeras::BlockSearch;
use crate::cost::{CostError, Subject, cost};
use crate::form::Form;
use crate::limits::Limits;
use crate::predict::Method;
use crate::searched::Searched;
use crate::solve::{ExactOptions, Problem, SolveError, exact};

/// Nodes after which limits are taken for ones that can be kept, since nothing shows that they can't.
const NODES_MAX: u64 = 1_000_000;

/// Finds predictors and costs that nobody knows, limits that no config keeps, and designs that the evaluation excludes.
pub fn check(plan: &Plan) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    // The file does not name preparing.
    let named = plan.stages.iter().filter(|stage| !matches!(stage, StagePlan::Prepare));
    for (index, stage) in named.enumerate() {
        let path = format!("stages[{index}].{}", stage.as_str());
        match stage {
            StagePlan::AutoQKeras(search) => {
                if let Err(error) = BlockSearch::new(search, &plan.graph) {
                    mistakes.push(Mistake {
                        path: path.clone(),
                        problem: error.to_string(),
                        hint: String::new(),
                    });
                }
                mistakes.extend(batch_mistakes(plan, search, &path));
            }
            StagePlan::Search(search) => mistakes.extend(search_mistakes(plan, search, &path)),
            StagePlan::Sensitivity { subsets: Some(subsets), .. }
                if subsets.design == SubsetDesign::Uncertain && plan.evaluation.adaptive().is_some() =>
            {
                mistakes.push(Mistake {
                    path: format!("{path}.multi.design"),
                    problem: "batches that the predictor chooses are measured on all images".to_owned(),
                    hint: "write `evaluation: full`, or `design: random`".to_owned(),
                });
            }
            StagePlan::Prepare
            | StagePlan::Sensitivity { .. }
            | StagePlan::Probe(_)
            | StagePlan::Verify { .. } => {}
        }
    }
    mistakes
}

/// What whoever wrote a plan should know, though nothing is wrong: each with its place in the file.
pub fn warnings(plan: &Plan) -> Vec<String> {
    // The file does not name preparing.
    let named = plan.stages.iter().filter(|stage| !matches!(stage, StagePlan::Prepare));
    let searches = named.enumerate().filter_map(|(index, stage)| match stage {
        StagePlan::AutoQKeras(search) => Some((index, BlockSearch::new(search, &plan.graph).ok()?)),
        _ => None,
    });
    let lines = searches.flat_map(|(index, search)| {
        let place = move |warning: String| format!("stages[{index}].autoqkeras: {warning}");
        search.warnings().into_iter().map(place).collect::<Vec<_>>()
    });
    lines.collect()
}

/// Finds recipes whose batches all training images together do not fill.
fn batch_mistakes(plan: &Plan, search: &AutoQKerasPlan, path: &str) -> Vec<Mistake> {
    let images = plan.data.training.map_or(0, |part| part.images);
    let recipes = [("training", Some(&search.training)), ("fine_tuning", search.fine_tuning.as_ref())];
    let too_large = |(key, recipe): (&str, Option<&Recipe>)| {
        let batch = recipe.map(|recipe| recipe.batch).filter(|batch| u64::from(*batch) > images)?;
        Some(Mistake {
            path: format!("{path}.{key}.batch"),
            problem: format!("{images} training images do not fill a batch of {batch}"),
            hint: "lower it, or raise `data.training`".to_owned(),
        })
    };
    recipes.into_iter().filter_map(too_large).collect()
}

fn search_mistakes(plan: &Plan, search: &SearchPlan, path: &str) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    if let Err(error) = search.predictor.parse::<Method>() {
        let path = format!("{path}.predictor");
        mistakes.push(Mistake { path, problem: error.to_string(), hint: String::new() });
    }
    if let Some(cost) = &search.cost
        && let Err(error) = priced(plan, cost)
    {
        let path = format!("{path}.cost");
        mistakes.push(Mistake { path, problem: error.to_string(), hint: String::new() });
    }
    if !(1..=SearchPlan::ROUND_MAX).contains(&search.round) {
        let problem = format!("{} configs are no round", search.round);
        let hint = format!("write a number from 1 to {}", SearchPlan::ROUND_MAX);
        mistakes.push(Mistake { path: format!("{path}.round"), problem, hint });
    }
    if let Some(problem) = unkept(plan, search) {
        let hint = "`bitloop inspect MODEL` and docs/search.md say what a model costs".to_owned();
        mistakes.push(Mistake { path: format!("{path}.constraints"), problem, hint });
    }
    mistakes
}

fn priced(plan: &Plan, name: &str) -> Result<(), CostError> {
    let Searched { space, .. } = Searched::new(plan);
    let subject = Subject::of_graph(&plan.graph, &plan.points, plan.candidates.baseline, &space)?;
    cost(name, &subject).map(drop)
}

/// Why no config keeps the limits, if that is known.
fn unkept(plan: &Plan, search: &SearchPlan) -> Option<String> {
    let Searched { space, .. } = Searched::new(plan);
    let limits = match Limits::new(plan, &space, &search.limits) {
        Ok(Limits(limits)) => limits,
        Err(error) => return Some(error.to_string()),
    };
    let problem = Problem { objective: Form::constant(0.0, &space), space, limits };
    match exact(&problem, &ExactOptions { best: 1, nodes_max: NODES_MAX }) {
        Ok(_) | Err(SolveError::NotFound { .. }) => None,
        Err(error) => Some(error.to_string()),
    }
}
