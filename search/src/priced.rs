//! What an experiment measured, against what it costs.

use std::collections::BTreeMap;

use bitloop_core::bits::Bits;
use bitloop_core::plan::{Metric, Plan};
use bitloop_core::report::{Interval, Report, RowState};
use serde::Serialize;

use crate::cost::{CostError, Subject, cost};
use crate::front::{Measured, NotANumber, Standing, standings};
use crate::searched::Searched;

/// A measured config with its cost and loss.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Priced {
    /// The points that are not at the baseline's width, with theirs.
    pub changes: BTreeMap<String, Bits>,
    /// Its cost, in the cost's unit.
    pub cost: f64,
    /// Its loss beside the baseline on the selection images.
    pub loss: Interval,
    /// How it compares: `front`, `dominated`, or `dominated_beyond_doubt` where even the ends of the intervals say so.
    pub standing: &'static str,
}

/// Why configs cannot be priced.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PricedError {
    /// The cost is unknown, or the network lacks what it needs.
    #[error(transparent)]
    Cost(#[from] CostError),
    /// A loss is not a number.
    #[error(transparent)]
    NotANumber(#[from] NotANumber),
}

/// Prices everything that an experiment measured on all selection images, the baseline among it, by ascending cost and
/// then loss; each config once.
///
/// Errors: see [`PricedError`].
pub fn priced(plan: &Plan, report: &Report, name: &str, metric: Metric) -> Result<Vec<Priced>, PricedError> {
    let searched = Searched::new(plan);
    let space = &searched.space;
    let subject = Subject::of_graph(&plan.graph, &plan.points, plan.candidates.baseline, space)?;
    let cost = cost(name, &subject)?;
    let mut rows: BTreeMap<BTreeMap<String, Bits>, Interval> = BTreeMap::new();
    let mut add = |changes: BTreeMap<String, Bits>, result: &RowState| {
        if let RowState::Done(measured) = result {
            rows.insert(changes, measured.loss_by(metric));
        }
    };
    add(BTreeMap::new(), &report.baseline);
    report.rows.iter().for_each(|row| add(BTreeMap::from([(row.point.clone(), row.bits)]), &row.result));
    report.configs.iter().for_each(|row| add(row.changes.clone(), &row.result));
    let priced = rows.into_iter().filter_map(|(changes, loss)| {
        let mut levels = space.reference();
        for (point, bits) in &changes {
            let variable = space.find(point)?;
            let level = space.variables[variable].widths.iter().position(|width| width == bits)?;
            levels[variable] = level as u8;
        }
        Some(Priced { cost: cost.value(space, &levels), changes, loss, standing: "" })
    });
    let mut priced: Vec<Priced> = priced.collect();
    let points: Vec<Measured> =
        priced.iter().map(|row| Measured { cost: row.cost, loss: row.loss }).collect();
    for (row, standing) in priced.iter_mut().zip(standings(&points)?) {
        row.standing = match standing {
            Standing::Front => "front",
            Standing::Dominated { .. } => "dominated",
            Standing::DominatedBeyondDoubt { .. } => "dominated_beyond_doubt",
        };
    }
    priced.sort_by(|a, b| a.cost.total_cmp(&b.cost).then(a.loss.value.total_cmp(&b.loss.value)));
    Ok(priced)
}

/// The configs as a CSV file: cost, loss with its interval, standing, and what each changes.
///
/// `cost` is the cost's name. Losses have six decimals, changes are `point=bits`, separated by blanks.
pub fn to_csv(rows: &[Priced], cost: &str, metric: Metric) -> String {
    let name = metric.as_str();
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut write = |fields: &[String]| writer.write_record(fields).expect("memory takes every record");
    let ends = ["", "_low", "_high"].map(|end| format!("{name}{end}"));
    write(&[&[cost.to_owned()][..], &ends, &["standing".to_owned(), "changes".to_owned()]].concat());
    for row in rows {
        let changes = row.changes.iter().map(|(point, bits)| format!("{point}={bits}"));
        let changes = changes.collect::<Vec<_>>().join(" ");
        let losses = [row.loss.value, row.loss.low, row.loss.high].map(|loss| format!("{loss:.6}"));
        write(&[&[row.cost.to_string()][..], &losses, &[row.standing.to_owned(), changes]].concat());
    }
    let bytes = writer.into_inner().expect("memory needs no flushing");
    String::from_utf8(bytes).expect("every field is text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_with_a_comma_or_a_quotation_mark_stays_in_its_field() {
        let row = |point: &str| Priced {
            changes: BTreeMap::from([(point.to_owned(), Bits::new(4).unwrap())]),
            cost: 1.5,
            loss: Interval { value: 0.25, low: 0.125, high: 0.5 },
            standing: "front",
        };

        let text = to_csv(&[row("conv.weight"), row("conv,\"1\".weight")], "size_kib", Metric::Top1Drop);

        assert_eq!(
            text,
            "size_kib,top1_drop,top1_drop_low,top1_drop_high,standing,changes\n\
             1.5,0.250000,0.125000,0.500000,front,conv.weight=4\n\
             1.5,0.250000,0.125000,0.500000,front,\"conv,\"\"1\"\".weight=4\"\n"
        );
    }
}
