//! What a search that trains comes to: AutoQKeras's debug mode.

use bitloop_core::autoqkeras::Order;
use bitloop_core::plan::{AutoQKerasPlan, Plan, StagePlan};
use bitloop_search::autoqkeras::{BlockForecast, BlockSearch, Hyperparameter, SearchForecast, Value};
use serde_json::json;

use crate::args::Output;
use crate::failure::{Failure, Outcome};
use crate::inputs::Prepared;
use crate::show;

/// The searches of a plan that train; none in other plans.
pub(super) fn searches(plan: &Plan) -> Vec<&AutoQKerasPlan> {
    plan.stages.iter().filter_map(search).collect()
}

fn search(stage: &StagePlan) -> Option<&AutoQKerasPlan> {
    match stage {
        StagePlan::AutoQKeras(search) => Some(search),
        StagePlan::Prepare
        | StagePlan::Sensitivity { .. }
        | StagePlan::Search(_)
        | StagePlan::Probe(_)
        | StagePlan::Verify { .. } => None,
    }
}

pub(super) fn execute(prepared: &Prepared, searches: &[&AutoQKerasPlan], output: Output) -> Outcome {
    let plan = &prepared.plan;
    let training = plan.data.training.map_or(0, |part| part.images);
    let forecasts = searches.iter().map(|search| forecast(plan, search, training));
    let forecasts = forecasts.collect::<Result<Vec<_>, _>>()?;
    match output {
        Output::Json => show::json(&json!({
            "experiment": plan.id(),
            "trials": bitloop_search::plan_size(plan),
            "searches": forecasts,
            "graph": plan.graph,
            "images": {
                "training": training,
                "selection": plan.data.selection.images,
                "report": plan.data.report.images,
            },
            "sources": prepared.sources,
        })),
        Output::Text => {
            let mut text = show::fields(&description(plan, training));
            for (search, forecast) in searches.iter().zip(&forecasts) {
                text.push_str("\n\n");
                text.push_str(&described(search, forecast));
            }
            show::data(&text)
        }
    }
}

fn forecast(plan: &Plan, search: &AutoQKerasPlan, training: u64) -> Result<SearchForecast, Failure> {
    Ok(BlockSearch::new(search, &plan.graph)?.forecast(training)?)
}

fn description(plan: &Plan, training: u64) -> Vec<(&'static str, String)> {
    let thousands = show::with_thousands;
    let (selection, report) = (plan.data.selection.images, plan.data.report.images);
    let images = format!(
        "{} to learn from, {} selection, {} kept for a report",
        thousands(training),
        thousands(selection),
        thousands(report)
    );
    vec![
        ("experiment", plan.id().to_string()),
        ("model", format!("{} ({})", plan.graph.name, plan.model)),
        ("images", images),
    ]
}

fn described(search: &AutoQKerasPlan, forecast: &SearchForecast) -> String {
    let thousands = show::with_thousands;
    let mut fields = vec![
        ("mode", search.tuner.as_str().to_owned()),
        ("reference", sized(forecast.reference, forecast.unit)),
    ];
    if search.tuner.order() == Order::Arrival {
        fields
            .push(("order", "of arrival: which trials are asked for depends on which end first".to_owned()));
    }
    if forecast.stressed != forecast.reference {
        fields.push(("stressed", sized(forecast.stressed, forecast.unit)));
    }
    if let Some(ppm) = search.drop_max_ppm {
        fields
            .push(("limit", format!("{} points of accuracy below the float network", f64::from(ppm) / 1e4)));
    }
    fields.push(("trials", format!("at most {}", thousands(forecast.trials))));
    if let Some(goal) = search.goal.measured() {
        let seconds = f64::from(goal.repetitions) * f64::from(goal.setting.at_most_ms) / 1e3;
        fields.push((
            "measured",
            format!(
                "`{}` on {} of every network before it is trained, {} times, {} if each takes as long as it may; a worker \
                 started with `--probe {}` measures it. Until then bits say what blocks cost",
                goal.cost.as_str(),
                goal.target,
                goal.repetitions,
                super::duration(seconds),
                goal.target.probe,
            ),
        ));
    }
    let fine_tuning = match forecast.fine_tuning_epochs {
        0 => String::new(),
        epochs => format!(", {epochs} of them fine-tuning"),
    };
    fields.push(("epochs", format!("at most {}{fine_tuning}", thousands(forecast.epochs))));
    fields.push(("training", format!("at most {} images", thousands(forecast.images))));
    let mut text = show::fields(&fields);
    for (number, block) in (1..).zip(&forecast.blocks) {
        text.push_str("\n\n");
        text.push_str(&block_text(number, block, forecast.unit));
    }
    text
}

/// A block with its hyperparameters, a row for each.
fn block_text(number: usize, block: &BlockForecast, unit: &str) -> String {
    let name = if block.pattern.is_empty() { "the whole network" } else { block.pattern.as_str() };
    let mut text = format!(
        "search {number}: {name}\n{}: {} ({:.1} % of the reference), at most {} of {} choices\n",
        block.layers.join(", "),
        sized(block.cost, unit),
        block.share * 100.0,
        trials(block.trials),
        choices(block.assignments),
    );
    text.push_str(&show::table(&["chosen", "among"], block.hyperparameters.iter().map(row)));
    text
}

fn trials(number: u64) -> String {
    match number {
        1 => "1 trial".to_owned(),
        _ => format!("{} trials", show::with_thousands(number)),
    }
}

fn row(hyperparameter: &Hyperparameter) -> Vec<String> {
    let value = |value: &Value| match value {
        Value::Number(number) => number.to_string(),
        Value::Text(text) => text.clone(),
    };
    let values: Vec<String> = hyperparameter.values.iter().map(value).collect();
    vec![hyperparameter.name.clone(), values.join("  ")]
}

fn sized(size: f64, unit: &str) -> String {
    format!("{} {unit}", show::with_thousands(size.round() as u64))
}

/// Numbers that nobody counts are told by their order.
fn choices(assignments: f64) -> String {
    const COUNTED: f64 = 1e9;
    if assignments < COUNTED {
        show::with_thousands(assignments as u64)
    } else {
        format!("{assignments:.1e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_of_choices_are_told_by_their_order() {
        assert_eq!(choices(1024.0), "1 024");
        assert_eq!(choices(3.21e12), "3.2e12");
    }

    #[test]
    fn a_block_is_told_with_its_candidates() {
        let values = ["binary", "ternary"].map(|text| Value::Text(text.to_owned())).to_vec();
        let hyperparameter = Hyperparameter { name: "dense_kernel_quantizer".to_owned(), values, default: 0 };
        let block = BlockForecast {
            pattern: "^dense$".to_owned(),
            layers: vec!["dense".to_owned()],
            cost: 1200.4,
            share: 0.125,
            trials: 2,
            epochs: 6,
            hyperparameters: vec![hyperparameter],
            assignments: 2.0,
        };

        let text = block_text(3, &block, "pJ");

        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "search 3: ^dense$");
        assert_eq!(lines[1], "dense: 1 200 pJ (12.5 % of the reference), at most 2 trials of 2 choices");
        assert_eq!(lines[3], "dense_kernel_quantizer  binary  ternary");
    }
}
