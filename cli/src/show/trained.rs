//! What searches that train came to, for people.

use bitloop_core::autoqkeras::Order;
use bitloop_core::probe::Estimate;
use bitloop_core::report::{BlockRows, FoundNetwork, Report, SearchedDevice, TrainedRow, TrainedSearch};
use bitloop_core::trial::Trained;

use super::table;

/// Trials of a block that tables show; all of them are in the CSV and JSON forms.
const SHOWN: usize = 5;

/// What each search looked at, the best trials of its blocks, and the network found.
pub(super) fn searches(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for search in &report.trained {
        lines.push(float(search));
        if search.order == Order::Arrival {
            lines.push("order        of arrival: another time other trials may be asked for".to_owned());
        }
        for (index, block) in search.blocks.iter().enumerate() {
            lines.push(String::new());
            lines.push(heading(index, block));
            lines.push(trials(search, block));
        }
        if let Some(row) = &search.fine_tuning {
            lines.push(String::new());
            lines.push(format!("fine-tuning  {}", state(row)));
        }
        lines.extend(search.found.iter().flat_map(|found| network(search, found)));
        lines.extend(search.device.iter().flat_map(|device| measured(search, device)));
    }
    lines
}

fn float(search: &TrainedSearch) -> String {
    let of = |trained: &Option<Trained>| trained.as_ref().map_or("not measured yet".to_owned(), top1);
    let wanted = search.least_accuracy;
    let wanted = wanted.map(|least| format!("; at least {:.2}% wanted", least * 100.0)).unwrap_or_default();
    format!(
        "float        {}{wanted}; the reference takes {}",
        of(&search.float),
        size(search.reference.reference, &search.unit)
    )
}

fn heading(index: usize, block: &BlockRows) -> String {
    let settled = block.trials.iter().filter(|row| row.trained.is_some() || row.failed.is_some()).count();
    let failed = block.trials.iter().filter(|row| row.failed.is_some()).count();
    let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
    let name = if block.pattern.is_empty() { "whole network".to_owned() } else { block.pattern.clone() };
    format!("block {}      {name}: {settled} of {} trials{failed}", index + 1, block.trials.len())
}

/// The best trials, best first.
fn trials(search: &TrainedSearch, block: &BlockRows) -> String {
    let header = ["trial", "state", ">top-1", ">score", ">size", ">smaller", ">epochs", "chosen"];
    let value = |row: &TrainedRow| row.value().unwrap_or(f64::NEG_INFINITY);
    let mut rows: Vec<&TrainedRow> = block.trials.iter().collect();
    rows.sort_by(|a, b| value(b).total_cmp(&value(a)));
    let cells = |row: &&TrainedRow| {
        let trained = row.trained.as_ref();
        let number = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        vec![
            format!("{}.{}.{}", row.place.bracket, row.place.rung, row.place.slot),
            match (&row.failed, trained, row.keeps()) {
                (Some(_), _, _) => "failed",
                (None, None, _) => "open",
                (None, Some(_), Some(false)) => "below",
                (None, Some(_), Some(true) | None) => "done",
            }
            .to_owned(),
            number(trained.map(|trained| format!("{:.2}%", trained.accuracy() * 100.0))),
            number(row.score.map(|score| format!("{score:.4}"))),
            size(row.size.trial, &search.unit),
            format!("{:.1}x", row.size.times_smaller()),
            number(trained.map(|trained| trained.epochs.to_string())),
            row.failed.clone().unwrap_or_else(|| chosen_in(block, row)),
        ]
    };
    let shown = rows.iter().take(SHOWN).map(cells);
    table(&header, shown)
}

/// What differs between the trials of a block: what earlier blocks came to is the same in all of them.
fn chosen_in(block: &BlockRows, row: &TrainedRow) -> String {
    let described = row.described();
    let differs = |part: &&str| {
        block.trials.iter().any(|other| !other.described().split("; ").any(|known| known == *part))
    };
    let own: Vec<&str> = described.split("; ").filter(differs).collect();
    if own.is_empty() { described } else { own.join("; ") }
}

/// On which device sizes were measured, and what the network found takes there beside the float network.
fn measured(search: &TrainedSearch, device: &SearchedDevice) -> Vec<String> {
    let class = device.class.as_deref().unwrap_or("not known yet");
    let mut lines = vec![String::new(), format!("device       {}: {class}", device.target)];
    let of = |count: u64, what: &str| if count > 0 { format!(", {count} {what}") } else { String::new() };
    lines.push(format!(
        "             {} networks measured for the search{}{}",
        device.networks,
        of(device.unsteady, "of them unsteadily"),
        of(device.failed, "failed")
    ));
    let reference = search.reference.trial;
    lines.extend(device.found.map(|Estimate { median, low, high }| {
        let [median, low, high] = [median, low, high].map(|share| size(share * reference, &search.unit));
        format!(
            "             found, measured anew: {median} [{low}, {high}]; float takes {}",
            size(reference, &search.unit)
        )
    }));
    lines
}

fn state(row: &TrainedRow) -> String {
    match (&row.failed, &row.trained) {
        (Some(reason), _) => format!("failed: {reason}"),
        (None, Some(trained)) => {
            let top1 = top1(trained);
            format!("{top1}; epoch {} of {} is the best", trained.best_epoch, trained.epochs)
        }
        (None, None) => "not done yet".to_owned(),
    }
}

fn network(search: &TrainedSearch, found: &FoundNetwork) -> Vec<String> {
    let on = |name: &str, float: &Option<Trained>, found: &Option<Trained>| {
        let (Some(float), Some(found)) = (float, found) else { return format!("{name}: not measured yet") };
        let drop = (float.accuracy() - found.accuracy()) * 100.0;
        let drop = if drop.abs() < 5e-3 { 0.0 } else { drop };
        format!("{name}: {}, {drop:+.2} points below float's {}", top1(found), top1(float))
    };
    let mut lines = vec![
        String::new(),
        format!(
            "found        {}, {:.2} times smaller than the reference",
            size(found.size.trial, &search.unit),
            found.size.times_smaller()
        ),
        format!("             {}", on("selection images", &search.float, &found.selection)),
        format!("             {}", on("report images", &search.float_on_report, &found.report)),
        format!("             checkpoint {}", found.model),
    ];
    let row = TrainedRow::of_network(found);
    lines.extend(row.described().split("; ").map(|part| format!("             {part}")));
    lines
}

fn top1(trained: &Trained) -> String {
    format!("top-1 {:.2}% ({} of n={})", trained.accuracy() * 100.0, trained.correct, trained.n)
}

fn size(size: f64, unit: &str) -> String {
    match unit {
        "bits" | "pJ" => format!("{} {unit}", super::with_thousands(size.round() as u64)),
        // What is measured may be far below one.
        _ => format!("{size:.4} {unit}"),
    }
}
