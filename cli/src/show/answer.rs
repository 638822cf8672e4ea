//! What a solver found, for people.

use bitloop_search::offline::{Answer, BitConfig, Found, PriceChange};

use super::{fields, table, with_thousands};

/// The answer as tables: the best bit config, its costs, the others, prices and a front.
pub(crate) fn answer(answer: &Answer) -> String {
    let mut parts = Vec::new();
    let Some(best) = answer.best.first() else { return String::new() };
    parts.push(fields(&summary(answer, best)));
    parts.push(costs(best));
    if !answer.shadow_prices.is_empty() {
        parts.push(prices(answer));
    }
    if answer.best.len() > 1 {
        parts.push(ranking(answer));
    }
    if !answer.front.is_empty() {
        parts.push(front(answer));
    }
    let bits = best.bits.0.iter().map(|(point, bits)| vec![point.clone(), bits.to_string()]);
    parts.push(table(&["point", ">bits"], bits));
    parts.extend(answer.notes.iter().map(|note| format!("note: {note}")));
    parts.join("\n\n")
}

fn summary(answer: &Answer, best: &Found) -> Vec<(&'static str, String)> {
    let mut summary = vec![
        ("minimised", answer.objective.clone()),
        ("points", answer.variables.to_string()),
        ("method", answer.method.to_owned()),
        ("objective", number(best.objective)),
    ];
    if let Some(loss) = best.predicted_loss {
        let text =
            format!("{} ({} to {} with 90 %)", number(loss.value), number(loss.low), number(loss.high));
        summary.push(("predicted", text));
    }
    summary.push((
        "proof",
        match answer.proof {
            None => "none: this method does not prove".to_owned(),
            Some(proof) if proof.proved => {
                let (bound, nodes) = (number(proof.bound), with_thousands(proof.nodes));
                match answer.best.len() {
                    1 => format!("proved optimal: bound {bound}, {nodes} nodes"),
                    several => format!(
                        "proved: these are the {several} best, no other is below {bound}, {nodes} nodes"
                    ),
                }
            }
            Some(proof) => format!(
                "not proved: bound {}, a gap of {}, after {} nodes",
                number(proof.bound),
                number(proof.gap),
                with_thousands(proof.nodes)
            ),
        },
    ));
    summary
}

fn costs(best: &Found) -> String {
    let rows = best.costs.iter().map(|cost| {
        let share = cost.at_most.map(|limit| format!("{:.2} %", 100.0 * cost.value / limit));
        vec![
            cost.cost.clone(),
            number(cost.value),
            cost.at_most.map(number).unwrap_or_default(),
            share.unwrap_or_default(),
        ]
    });
    table(&["cost", ">value", ">limit", ">used"], rows)
}

fn prices(answer: &Answer) -> String {
    let change = |change: Option<PriceChange>| match change {
        None => "-".to_owned(),
        Some(change) => format!("{}{:+.6}", if change.proved { "" } else { "about " }, change.objective),
    };
    let rows = answer.shadow_prices.iter().map(|price| {
        let step = price.step.map_or_else(|| "-".to_owned(), number);
        vec![price.cost.clone(), step, change(price.looser), change(price.tighter)]
    });
    table(&["limit", ">moved by", ">objective if looser", ">if tighter"], rows)
}

fn ranking(answer: &Answer) -> String {
    let first = &answer.best[0].bits;
    let rows = answer.best.iter().zip(1..).map(|(found, rank)| {
        let rank: usize = rank;
        vec![rank.to_string(), number(found.objective), differences(first, &found.bits)]
    });
    table(&[">rank", ">objective", "differs from the first in"], rows)
}

/// The points in which a bit config differs from another.
fn differences(first: &BitConfig, other: &BitConfig) -> String {
    let pairs = first.0.iter().zip(&other.0).filter(|(a, b)| a.1 != b.1);
    pairs.map(|(_, (point, bits))| format!("{point}={bits}")).collect::<Vec<_>>().join(" ")
}

fn front(answer: &Answer) -> String {
    let rows = answer.front.iter().map(|point| {
        let proved = if point.proved { "proved" } else { "" };
        vec![number(point.cost), number(point.objective), proved.to_owned()]
    });
    table(&[">cost", ">objective", "front"], rows)
}

/// Six digits behind the point, none for whole numbers, and powers of ten for what six digits would hide.
pub(super) fn number(value: f64) -> String {
    // Counts of bits and operations are whole and far below 2^53.
    if value.fract() == 0.0 && (0.0..1e15).contains(&value) {
        return with_thousands(value as u64);
    }
    match value.abs() {
        // Six decimals would tell nothing of it: measured costs have steps of a few nanoseconds.
        1e-12..1e-4 => format!("{value:.2e}"),
        _ => format!("{value:.6}"),
    }
}
