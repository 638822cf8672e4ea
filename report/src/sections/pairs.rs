//! What two points lose together, beyond what each loses alone.

use std::collections::{BTreeMap, BTreeSet};

use bitloop_core::bits::Bits;
use bitloop_core::plan::Metric;
use bitloop_core::report::{ConfigRow, Interval};

use super::{
    HEAT_NAMES_MAX, ROWS_MAX, axis, digits, interval_cells, interval_columns, loss, measured, metric,
};
use crate::chart::{Chart, Heat, HeatCell, Plot};
use crate::document::{Cell, Column, Section, Table, plural, point_order};
use crate::material::Material;

/// A point at a width.
pub(super) type Lowered<'a> = (&'a str, Bits);

/// Two points lowered together.
struct Pair<'a> {
    points: [Lowered<'a>; 2],
    together: Interval,
    /// What each loses alone; none where that was not measured.
    alone: Option<[f64; 2]>,
}

impl Pair<'_> {
    fn beyond(&self) -> Option<f64> {
        self.alone.map(|[a, b]| self.together.value - a - b)
    }

    /// How far the pair stands out.
    fn weight(&self) -> f64 {
        self.beyond().unwrap_or(self.together.value).abs()
    }
}

pub(super) fn sections(material: &Material) -> Vec<Section> {
    let metric = metric(material);
    let alone = alone(material, metric);
    let order = point_order(&material.plan);
    let rows = material.report.configs.iter().filter(|row| row.changes.len() == 2);
    let mut pairs: Vec<Pair<'_>> = rows.filter_map(|row| of_row(row, metric, (&alone, &order))).collect();
    if pairs.is_empty() {
        return Vec::new();
    }
    pairs.sort_by(|a, b| b.weight().total_cmp(&a.weight()));
    let mut beyond = Section::new("pairs", "Pairs beyond the sum of their points")
        .say(format!(
            "Both points of a pair are lowered together. A colour is the pair's measured {} minus what the two lose alone: above \
             0 the pair is worse than its points suggest, below 0 they cover for each other. Intervals are in the table.",
            axis(metric)
        ));
    let shown = shown(&pairs, &order);
    if let Some(remark) = remark(&pairs, &shown) {
        beyond = beyond.say(remark);
    }
    beyond.chart = chart(&pairs, &shown, metric, true);
    beyond.table = Some(table(&pairs, metric));
    let mut total = Section::new("pairs-total", "Pairs in total")
        .say(format!("The same pairs: the {} of both points together.", axis(metric)));
    total.chart = chart(&pairs, &shown, metric, false);
    vec![beyond, total]
}

/// What every point loses alone, by width.
pub(super) fn alone(material: &Material, metric: Metric) -> BTreeMap<Lowered<'_>, f64> {
    let report = &material.report;
    let rows = report.rows.iter().map(|row| ((row.point.as_str(), row.bits), &row.result));
    let single = report.configs.iter().filter(|row| row.changes.len() == 1);
    let single =
        single.flat_map(|row| row.changes.iter().map(|(point, bits)| ((point.as_str(), *bits), &row.result)));
    rows.chain(single)
        .filter_map(|(lowered, result)| Some((lowered, measured(result, metric)?.value)))
        .collect()
}

fn of_row<'a>(
    row: &'a ConfigRow,
    metric: Metric,
    (alone, order): (&BTreeMap<Lowered<'_>, f64>, &BTreeMap<&str, usize>),
) -> Option<Pair<'a>> {
    let together = measured(&row.result, metric)?;
    let mut points: Vec<Lowered<'a>> =
        row.changes.iter().map(|(point, bits)| (point.as_str(), *bits)).collect();
    points.sort_by_key(|(point, bits)| (order.get(point).copied(), *bits));
    let points: [Lowered<'a>; 2] = points.try_into().ok()?;
    let known = points.map(|lowered| alone.get(&lowered).copied());
    let alone = known[0].zip(known[1]).map(|(a, b)| [a, b]);
    Some(Pair { points, together, alone })
}

fn name((point, bits): Lowered<'_>) -> String {
    format!("{point}={bits}")
}

/// The lowered points of the pairs that stand out most, in the order of the network.
fn shown(pairs: &[Pair<'_>], order: &BTreeMap<&str, usize>) -> Vec<String> {
    let mut chosen: BTreeSet<(Option<usize>, Bits, &str)> = BTreeSet::new();
    for pair in pairs {
        let of = pair.points.map(|(point, bits)| (order.get(point).copied(), bits, point));
        let new = of.iter().filter(|lowered| !chosen.contains(*lowered)).count();
        if chosen.len() + new <= HEAT_NAMES_MAX {
            chosen.extend(of);
        }
    }
    chosen.into_iter().map(|(_, bits, point)| name((point, bits))).collect()
}

fn remark(pairs: &[Pair<'_>], shown: &[String]) -> Option<String> {
    let shown: BTreeSet<&String> = shown.iter().collect();
    let is_shown = |pair: &&Pair<'_>| pair.points.iter().all(|lowered| shown.contains(&name(*lowered)));
    let drawn = pairs.iter().filter(is_shown).count();
    let left_out = pairs.len() - drawn;
    (left_out > 0).then(|| {
        format!(
            "{} of {} are drawn: those among the {} points and widths of the pairs that stand out most.",
            drawn,
            plural(pairs.len(), "pair", "pairs"),
            shown.len()
        )
    })
}

fn chart(pairs: &[Pair<'_>], shown: &[String], metric: Metric, is_beyond: bool) -> Option<Chart> {
    let known: BTreeSet<&String> = shown.iter().collect();
    let cell = |pair: &Pair<'_>| {
        let [column, row] = pair.points.map(name);
        let value = if is_beyond { pair.beyond()? } else { pair.together.value };
        (known.contains(&column) && known.contains(&row)).then_some(HeatCell { row, column, value })
    };
    let cells: Vec<HeatCell> = pairs.iter().filter_map(cell).collect();
    let most = cells.iter().max_by(|a, b| a.value.total_cmp(&b.value))?;
    let subject = if is_beyond { "beyond the sum of single points" } else { "in total" };
    Some(Chart {
        alt: format!(
            "Heat map of {} of lowered points, {subject}. The largest is {} with {}: {}.",
            plural(cells.len(), "pair", "pairs"),
            most.column,
            most.row,
            loss(metric, most.value)
        ),
        plot: Plot::Heat(Heat {
            legend: axis(metric).to_owned(),
            is_diverging: is_beyond,
            names: shown.to_vec(),
            cells,
        }),
    })
}

fn table(pairs: &[Pair<'_>], metric: Metric) -> Table {
    let digits = digits(metric);
    let mut columns = vec![Column::words("first point"), Column::words("second point")];
    columns.extend(["first alone", "second alone"].map(|title| Column::difference(title, digits)));
    columns.extend(interval_columns(metric, "together"));
    columns.push(Column::difference("beyond the sum", digits));
    let row = |pair: &Pair<'_>| {
        let mut cells = Vec::from(pair.points.map(|lowered| Cell::Words(name(lowered))));
        cells.extend([0, 1].map(|which| Cell::number(pair.alone.map(|alone| alone[which]))));
        cells.extend(interval_cells(Some(pair.together)));
        cells.push(Cell::number(pair.beyond()));
        cells
    };
    Table::new("Pairs, those that stand out most first", columns).fill(ROWS_MAX, pairs.iter().map(row))
}
