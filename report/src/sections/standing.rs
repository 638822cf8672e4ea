//! Where the experiment stands, and what everything is compared with.

use bitloop_core::report::RowState;

use super::{cut, kib, loss, millions, state};
use crate::document::{Cell, Column, Section, Table, plural};
use crate::material::{Material, Standing};

pub(super) fn sections(material: &Material) -> Vec<Section> {
    let mut section = Section::new("standing", "Where it stands").say(progress(material));
    let Standing { conflicts, .. } = material.standing;
    if conflicts > 0 {
        section = section.say(format!(
            "{} of this coordinator, of whichever experiment, gave another result than the first time; the first one \
             counts.",
            plural(conflicts as usize, "repeated measurement", "repeated measurements")
        ));
    }
    if material.report.trained.is_empty() {
        section.text.extend(best(material));
        section.table = Some(references(material));
    }
    vec![section]
}

fn progress(material: &Material) -> String {
    let Standing { reason, stage, total, settled, failed, reused, .. } = &material.standing;
    // What a search could still have asked for is not open when it is over.
    let mut counts = match material.report.status.as_str() {
        "finished" => plural(*settled as usize, "trial", "trials"),
        _ => format!("{settled} of {total} trials are settled"),
    };
    if *failed > 0 {
        counts.push_str(&format!(", {failed} of them failed"));
    }
    if *reused > 0 {
        counts.push_str(&format!(", {reused} had been measured for other experiments"));
    }
    let stage = if stage.is_empty() { String::new() } else { format!(" in its stage “{stage}”") };
    match material.report.status.as_str() {
        "active" => format!(
            "This experiment is still going{stage}: {counts}. Numbers will change, and what has not begun is missing."
        ),
        "paused" => {
            format!("This experiment is paused{stage}: {counts}. Numbers will change when it goes on.")
        }
        "cancelled" => {
            format!("This experiment was cancelled{stage}: {counts}. What was measured until then is shown.")
        }
        "failed" => format!("This experiment failed: {}. {counts}.", cut(reason)),
        status => format!("This experiment is {status}: {counts}."),
    }
}

/// A sentence for each search's best config.
fn best(material: &Material) -> Vec<String> {
    let searches = material.report.searches.iter().zip(1..);
    let sentence = |(search, number): (&bitloop_core::report::SearchReport, usize)| {
        let Some((_, best)) = search.recommended() else {
            let method = search.plan.method.as_str();
            return match search.top.len() {
                0 => format!("Search {number} ({method}) has found nothing so far."),
                _ => format!(
                    "Search {number} ({method}) recommends nothing: {}.",
                    cut(&search.refusals().join("; "))
                ),
            };
        };
        let size = kib(best.row.size_bits);
        let bops = millions(best.row.bops);
        let of = |result: &RowState| {
            result
                .measured()
                .map(|measured| loss(search.plan.objective, measured.loss_by(search.plan.objective).value))
        };
        let lost =
            of(&best.row.result).map_or("not measured yet".to_owned(), |lost| format!("{lost} measured"));
        let verified =
            of(&best.verified).map(|lost| format!(", {lost} on the report images")).unwrap_or_default();
        let word = if search.is_over { "found" } else { "so far has found" };
        format!(
            "Search {number} ({}) {word} a configuration of {size:.1} KiB and {bops:.1} MBOPs: {lost}{verified}.",
            search.plan.method.as_str()
        )
    };
    searches.map(sentence).collect()
}

fn references(material: &Material) -> Table {
    let report = &material.report;
    let columns = vec![
        Column::words("network"),
        Column::words("state"),
        Column::number("selection images", 0),
        Column::number("right", 0),
        Column::number("top-1 (%)", 2),
        Column::number("cross-entropy (nats)", 4),
        Column::number("weights (KiB)", 1),
        Column::number("MBOPs an image", 2),
    ];
    let row = |name: String, result: &RowState, size: Option<f64>, bops: Option<f64>| {
        let measured = result.measured();
        vec![
            Cell::Words(name),
            state(result),
            Cell::number(measured.map(|it| it.n as f64)),
            Cell::number(measured.map(|it| it.correct as f64)),
            Cell::number(measured.map(|it| it.top1 * 100.0)),
            Cell::number(measured.map(|it| it.loss)),
            Cell::number(size),
            Cell::number(bops),
        ]
    };
    let (size, bops) = (kib(report.baseline_size_bits), millions(report.baseline_bops));
    let baseline = format!("baseline: all points at {} bits", report.baseline_bits);
    let rows = [
        row("float".to_owned(), &report.float, None, None),
        row(baseline, &report.baseline, Some(size), Some(bops)),
    ];
    Table::new("What everything is compared with", columns).fill(rows.len(), rows)
}
