use bitloop_core::plan::{Amount, Limit, Metric, SearchPlan};
use bitloop_core::probe::Estimate;
use bitloop_core::report::{ConfigRow, Interval, Report, RowState, SearchReport, TopRow, Verified};
use bitloop_search::solve::PROOF;

use super::answer::number;
use super::table;

/// Configs of a search that tables show; all of them are in the CSV and JSON forms.
const SHOWN: usize = 10;

/// What was measured beside the sweep's single points, what the searches found, and what is left of it on the report images.
pub(super) fn searches(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    if !report.configs.is_empty() {
        lines.push(String::new());
        lines.push(besides(&report.configs));
    }
    for search in &report.searches {
        lines.push(String::new());
        lines.push(heading(search));
        lines.push(found(search));
        lines.extend(search.refusals().iter().map(|refusal| format!("{refusal}.")));
        lines.extend(proof(search));
        lines.extend(search.notes.iter().map(|note| format!("{}.", note.trim_end_matches('.'))));
    }
    if let Some(verified) = &report.verified {
        lines.push(String::new());
        lines.push(verification(report, verified));
    }
    lines
}

/// How many configs of how many points were measured; what a sweep lowers alone has a table of its own.
fn besides(configs: &[ConfigRow]) -> String {
    let measured = configs.iter().filter(|row| row.result.measured().is_some());
    let (mut alone, mut pairs, mut larger) = (0, 0, 0);
    for row in measured {
        match row.changes.len() {
            0 | 1 => alone += 1,
            2 => pairs += 1,
            _ => larger += 1,
        }
    }
    let alone = if alone > 0 { format!("Measured alone: {alone} points. ") } else { String::new() };
    format!(
        "{alone}Measured together: {pairs} pairs and {larger} larger sets of points (`--format csv` has each)."
    )
}

fn heading(search: &SearchReport) -> String {
    let plan = &search.plan;
    let mut words = vec![plan.method.as_str().to_owned()];
    // Sets are measured, by top-1.
    if plan.method.is_limited_by_cost() {
        words.push(format!("predictor {}", plan.predictor));
        words.push(format!("by {}", plan.objective.as_str()));
    }
    words.extend(limits(plan));
    let state = if search.is_over { "" } else { "; best so far" };
    format!("search      {}: {} trials{state}", words.join(", "), search.trials)
}

/// What a search keeps to, and what it lowers within it.
pub(crate) fn limits(search: &SearchPlan) -> Vec<String> {
    let of = |limit: &Limit| match limit.at_most {
        Amount::Of(amount) => format!("{} <= {amount}", limit.title()),
        Amount::OfBaselinePpm(ppm) => {
            format!("{} <= {}% of the baseline's", limit.title(), f64::from(ppm) / 1e4)
        }
    };
    let lowers = search.lowers.as_ref().map(|lowers| {
        format!("lowering {}, {} <= {}", lowers.title(), search.objective.as_str(), lowers.loss_max)
    });
    let drop = search.method.drop_max_ppm();
    let drop = drop.map(|ppm| format!("top1_drop <= {} points", f64::from(ppm) / 1e4));
    let lowered = search.lowered_cost().map(|cost| format!("lowering {cost}"));
    search.limits.iter().map(of).chain(lowers).chain(drop).chain(lowered).collect()
}

/// A loss in the unit of its metric.
pub(super) fn loss(metric: Metric, value: f64) -> String {
    let value = if value.abs() < 5e-5 { 0.0 } else { value };
    match metric {
        Metric::Top1Drop => format!("{value:+.2}"),
        Metric::LossIncrease => format!("{value:+.4}"),
    }
}

pub(super) fn interval(metric: Metric, Interval { low, high, .. }: Interval) -> String {
    format!("[{}, {}]", loss(metric, low), loss(metric, high))
}

fn found(search: &SearchReport) -> String {
    let metric = search.plan.objective;
    let name = format!(">{}", metric.as_str());
    let mut header = vec![">rank", name.as_str(), "95% interval"];
    let has_predictions = search.top.iter().any(|top| top.predicted.is_some());
    if has_predictions {
        header.extend([">predicted", "90% interval"]);
    }
    header.extend([">points", ">size", ">BOPs"]);
    let limited: Vec<&String> = search.top.first().map(|top| top.costs.keys().collect()).unwrap_or_default();
    let titles: Vec<String> = limited.iter().map(|cost| format!(">{cost}")).collect();
    header.extend(titles.iter().map(String::as_str));
    let devices: Vec<String> = search.top.first().map(on_devices).unwrap_or_default();
    header.extend(devices.iter().map(String::as_str));
    let rows = search.top.iter().take(SHOWN).enumerate().map(|(index, top)| {
        let refused = match (&top.refused, &top.unconfirmed) {
            (Some(_), _) => " refused",
            (None, Some(_)) => " not compared",
            (None, None) => "",
        };
        let mut cells = vec![format!("{}{refused}", index + 1)];
        cells.extend(measured(metric, &top.row.result));
        if has_predictions {
            cells.push(top.predicted.map_or_else(String::new, |predicted| loss(metric, predicted.value)));
            cells.push(top.predicted.map_or_else(String::new, |predicted| interval(metric, predicted)));
        }
        cells.push(top.row.changes.len().to_string());
        cells.extend(priced(&top.row));
        cells.extend(
            limited
                .iter()
                .map(|cost| top.costs.get(*cost).map_or_else(String::new, |cost| format!("{cost:.4}"))),
        );
        cells.extend(top.devices.iter().map(|device| match device.measured {
            Some(Estimate { median, low, high }) => {
                let unsteady = if device.unsteady.is_empty() { "" } else { " unsteady" };
                format!(
                    "{median:.4} [{low:.4}, {high:.4}]{unsteady}, predicted {:.4}",
                    device.predicted.median
                )
            }
            None => format!("predicted {:.4}", device.predicted.median),
        }));
        cells
    });
    table(&header, rows)
}

/// Titles of what is measured on devices.
fn on_devices(top: &TopRow) -> Vec<String> {
    top.devices.iter().map(|device| format!("{} ({})", device.title(), device.target)).collect()
}

fn measured(metric: Metric, result: &RowState) -> [String; 2] {
    match result.measured() {
        Some(measured) => {
            let of = measured.loss_by(metric);
            [loss(metric, of.value), interval(metric, of)]
        }
        None => [result.as_str().to_owned(), String::new()],
    }
}

fn priced(row: &ConfigRow) -> [String; 2] {
    [super::results::size(row.size_bits), format!("{:.2} M", row.bops as f64 / 1e6)]
}

fn proof(search: &SearchReport) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(proof) = search.proof {
        let gap = proof.objective - proof.bound;
        let word = if gap <= PROOF { "proved optimal".to_owned() } else { format!("gap {gap:.6}") };
        lines.push(format!(
            "Least predicted loss within the limits: {:.6}, bound {:.6} ({word}).",
            proof.objective, proof.bound
        ));
    }
    for price in &search.prices {
        let tighter = match price.tighter {
            Some(change) => format!("{change:+.6} with one less"),
            None => "nothing keeps one less".to_owned(),
        };
        lines.push(format!(
            "A step of {} ({}) is worth: {:+.6} with one more, {tighter}.",
            price.cost,
            number(price.step),
            price.looser
        ));
    }
    lines
}

/// Float, baseline, uniform widths and what the searches found, on the report images.
fn verification(report: &Report, verified: &Verified) -> String {
    let header =
        ["on report images", ">top-1", ">top-1 drop", "95% interval", ">loss increase", ">size", ">BOPs"];
    let row = |name: String, result: &RowState, priced: [String; 2]| {
        let mut cells = vec![name];
        match result.measured() {
            Some(measured) => cells.extend([
                format!("{:.2}%", measured.top1 * 100.0),
                loss(Metric::Top1Drop, measured.loss_by(Metric::Top1Drop).value),
                interval(Metric::Top1Drop, measured.loss_by(Metric::Top1Drop)),
                loss(Metric::LossIncrease, measured.loss_increase.value),
            ]),
            None => cells.extend([result.as_str().to_owned(), String::new(), String::new(), String::new()]),
        }
        cells.extend(priced);
        cells
    };
    let blank = || [String::new(), String::new()];
    let of_baseline = [
        super::results::size(report.baseline_size_bits),
        format!("{:.2} M", report.baseline_bops as f64 / 1e6),
    ];
    let mut rows = vec![
        row("float".to_owned(), &verified.float, blank()),
        row(format!("all at {} bits", report.baseline_bits), &verified.baseline, of_baseline),
    ];
    for uniform in &verified.uniform {
        let bits = uniform.changes.values().next().map(ToString::to_string).unwrap_or_default();
        rows.push(row(format!("all at {bits} bits"), &uniform.result, priced(uniform)));
    }
    for (index, search) in report.searches.iter().enumerate() {
        let is_verified = |top: &&TopRow| !matches!(top.verified, RowState::Open);
        for (rank, top) in search.top.iter().enumerate().filter(|(_, top)| is_verified(top)) {
            rows.push(row(
                format!("search {}, rank {}", index + 1, rank + 1),
                &top.verified,
                priced(&top.row),
            ));
        }
    }
    format!("{}\n{} images that nothing was chosen by.", table(&header, rows), verified.images)
}
