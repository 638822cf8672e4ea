use bitloop_core::plan::Metric;
use bitloop_search::priced::Priced;

use super::search::{interval, loss};
use super::table;

/// Lays out the Pareto front, cheapest first, and says how many configs are dominated, and how surely.
pub(crate) fn pareto_table(rows: &[Priced], cost: &str, metric: Metric) -> String {
    let titles = [format!(">{cost}"), format!(">{}", metric.as_str())];
    let header = [titles[0].as_str(), titles[1].as_str(), "95% interval", ">points"];
    let front = rows.iter().filter(|row| row.standing == "front").map(|row| {
        vec![
            format!("{:.4}", row.cost),
            loss(metric, row.loss.value),
            interval(metric, row.loss),
            row.changes.len().to_string(),
        ]
    });
    let of = |standing: &str| rows.iter().filter(|row| row.standing == standing).count();
    format!(
        "{}\n\n{} configs measured: {} on the front, {} dominated, {} of them beyond doubt (`--format csv` has each).",
        table(&header, front),
        rows.len(),
        of("front"),
        of("dominated") + of("dominated_beyond_doubt"),
        of("dominated_beyond_doubt"),
    )
}
