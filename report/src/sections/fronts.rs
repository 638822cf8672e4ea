//! What was measured against what it costs, with the Pareto front.

use std::collections::BTreeSet;

use bitloop_core::plan::Metric;
use bitloop_search::priced::{Priced, priced};

use super::{MARKS_MAX, ROWS_MAX, axis, changes, interval_cells, interval_columns, loss, metric, spread};
use crate::chart::{Chart, Mark, Plot, Range, Scatter, Trace};
use crate::document::{Cell, Column, Section, Table, plural, shown};
use crate::material::Material;

/// What is always of interest.
const ALWAYS: [&str; 2] = ["size_kib", "bops_m"];

/// Costs that get a front.
const COSTS_MAX: usize = 8;

/// Of a hundred configs by their loss, those that the chart reaches up to.
const DRAWN_PERCENT: usize = 95;

const FRONT: &str = "front";

pub(super) fn sections(material: &Material) -> Vec<Section> {
    let report = &material.report;
    if report.configs.is_empty() && report.rows.is_empty() {
        return Vec::new();
    }
    costs(material).iter().take(COSTS_MAX).filter_map(|cost| section(material, cost)).collect()
}

/// What searches limit or lower, and sizes and operations where no search names them in another unit.
fn costs(material: &Material) -> Vec<String> {
    let mut costs: Vec<String> = Vec::new();
    let plans = material.report.searches.iter().map(|search| &search.plan);
    let named =
        plans.flat_map(|plan| plan.limits.iter().map(|limit| limit.cost.as_str()).chain(plan.lowered_cost()));
    for cost in named {
        if !costs.iter().any(|known| known == cost) {
            costs.push(cost.to_owned());
        }
    }
    for cost in ALWAYS {
        let model = cost.split('_').next().unwrap_or(cost);
        if !costs.iter().any(|known| known.split('_').next() == Some(model)) {
            costs.push(cost.to_owned());
        }
    }
    costs
}

fn section(material: &Material, cost: &str) -> Option<Section> {
    let metric = metric(material);
    // A cost that cannot be priced here has no front; the search that limits it says what it is.
    let rows = priced(&material.plan, &material.report, cost, metric).ok()?;
    if rows.is_empty() {
        return None;
    }
    let front: Vec<&Priced> = rows.iter().filter(|row| row.standing == FRONT).collect();
    let title = format!("Loss against {}", title(cost));
    let mut section = Section::new(format!("front-{}", cost.replace('_', "-")), title).say(format!(
        "Everything that was measured on all selection images: {}, {} of them on the Pareto front (no other costs less and lost \
         less). Losses of single measurements are noisy: a front of the lowest ones looks better than it is, which is what \
         verification on other images is for.",
        plural(rows.len(), "configuration", "configurations"),
        front.len()
    ));
    let top = top(&rows);
    let (inside, above): (Vec<&Priced>, Vec<&Priced>) = rows.iter().partition(|row| row.loss.value <= top);
    let drawn = drawn(inside);
    if drawn.len() + above.len() < rows.len() {
        section = section.say(format!(
            "{} are drawn: the front, and of the others some that are evenly spread over the costs.",
            drawn.len()
        ));
    }
    if !above.is_empty() {
        section = section.say(format!(
            "{} more than {} and would lie above the chart.",
            plural(above.len(), "configuration loses", "configurations lose"),
            loss(metric, top)
        ));
    }
    section.chart = Some(chart(&drawn, (cost, metric)));
    let mut columns = vec![Column::number(self::title(cost), 3)];
    columns.extend(interval_columns(metric, "measured"));
    columns.push(Column::number("points lowered", 0));
    columns.push(Column::words("configuration"));
    let cells = front.iter().map(|row| {
        let mut cells = vec![Cell::number(row.cost)];
        cells.extend(interval_cells(Some(row.loss)));
        cells.extend([Cell::count(row.changes.len() as u64), Cell::Words(changes(&row.changes))]);
        cells
    });
    section.table = Some(Table::new("The Pareto front, cheapest first", columns).fill(ROWS_MAX, cells));
    Some(section)
}

/// A cost's name for people; its own where there is none.
fn title(cost: &str) -> String {
    let models = [
        ("size", "size of the weights"),
        ("bops", "bit operations"),
        ("macs", "multiply-accumulates"),
        ("peak_activation", "peak of the activations"),
    ];
    let units = [("kib", "KiB"), ("mib", "MiB"), ("bits", "bits"), ("g", "billions"), ("m", "millions")];
    for (model, words) in models {
        if cost == model {
            return words.to_owned();
        }
        let unit = cost.strip_prefix(model).and_then(|rest| rest.strip_prefix('_'));
        if let Some((_, unit)) = units.iter().find(|(name, _)| Some(*name) == unit) {
            return format!("{words} ({unit})");
        }
    }
    cost.to_owned()
}

/// The largest loss that the chart has room for: a few harmful configs would press all others flat.
fn top(rows: &[Priced]) -> f64 {
    let mut losses: Vec<f64> = rows.iter().map(|row| row.loss.value).collect();
    losses.sort_by(f64::total_cmp);
    let most = losses.get(losses.len() * DRAWN_PERCENT / 100).or(losses.last()).copied().unwrap_or_default();
    let fronts = rows.iter().filter(|row| row.standing == FRONT).map(|row| row.loss.value);
    fronts.fold(most, f64::max)
}

/// The front, and as many of the others as there is room for.
fn drawn(rows: Vec<&Priced>) -> Vec<&Priced> {
    let (front, others): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.standing == FRONT);
    let front = spread(front, MARKS_MAX);
    let room = MARKS_MAX - front.len();
    front.into_iter().chain(spread(others, room)).collect()
}

fn chart(drawn: &[&Priced], (cost, metric): (&str, Metric)) -> Chart {
    let front = "on the front";
    let others = "dominated";
    let series = |row: &Priced| if row.standing == FRONT { front } else { others };
    let mark = |row: &&Priced| Mark {
        name: changes(&row.changes),
        series: series(row).to_owned(),
        x: row.cost,
        y: row.loss.value,
        x_range: None,
        // Those of all would cover the front.
        y_range: (row.standing == FRONT).then(|| Range::new(row.loss.low, row.loss.high)).flatten(),
    };
    let marks: Vec<Mark> = drawn.iter().map(mark).collect();
    let known: BTreeSet<&str> = marks.iter().map(|mark| mark.series.as_str()).collect();
    let mut points: Vec<[f64; 2]> =
        marks.iter().filter(|mark| mark.series == front).map(|mark| [mark.x, mark.y]).collect();
    points.sort_by(|a, b| a[0].total_cmp(&b[0]));
    let ends = points.first().zip(points.last()).map(|(cheap, dear)| {
        let of = |[cost, lost]: [f64; 2]| format!("{} at {}", loss(metric, lost), shown(cost, 2, false));
        format!(" The front goes from {} to {}.", of(*cheap), of(*dear))
    });
    Chart {
        alt: format!(
            "Marks of {}: {} across, loss upwards; a line joins the Pareto front.{}",
            plural(marks.len(), "configuration", "configurations"),
            title(cost),
            ends.unwrap_or_default()
        ),
        plot: Plot::Scatter(Scatter {
            x: title(cost),
            y: axis(metric).to_owned(),
            legend: "configuration".to_owned(),
            series: [front, others]
                .into_iter()
                .filter(|name| known.contains(name))
                .map(str::to_owned)
                .collect(),
            traces: vec![Trace { name: front.to_owned(), points }],
            marks,
            has_diagonal: false,
        }),
    }
}
