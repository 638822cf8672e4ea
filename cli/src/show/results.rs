use bitloop_core::evaluation::{PPM, PPM_PER_POINT};
use bitloop_core::report::{CONFIDENCE, Effort, Measured, MeasuredBy, Report, Row, RowState};
use bitloop_core::trial::PreparedStep;

use super::{devices, search, table, trained};

/// Lays a report out for people.
pub(crate) fn results_table(report: &Report, effort: &Effort) -> String {
    if report.trained.is_empty() {
        return measurements_table(report, effort);
    }
    let mut lines = vec![format!("experiment   {} ({})", report.experiment, report.status)];
    lines.extend(trained::searches(report));
    lines.extend(effort_notes(effort));
    lines.join("\n")
}

/// Lays measurements out: what everything is compared with, then the points by damage, then what it took.
fn measurements_table(report: &Report, effort: &Effort) -> String {
    let mut lines = vec![
        format!("experiment  {} ({})", report.experiment, report.status),
        format!("float       {}", reference(&report.float)),
        format!(
            "baseline    {}, W{bits}A{bits}, {} of weights, {:.2} MBOPs",
            reference(&report.baseline),
            size(report.baseline_size_bits),
            report.baseline_bops as f64 / 1e6,
            bits = report.baseline_bits,
        ),
        String::new(),
    ];
    if !report.steps.is_empty() {
        lines.push(steps_table(&report.steps));
        lines.push(String::new());
    }
    let interval = format!("{}% interval", confidence_percent(report));
    let header = [
        "point",
        "kind",
        ">bits",
        "state",
        ">n",
        ">top-1 drop",
        interval.as_str(),
        ">loss increase",
        ">size saved",
        ">BOPs saved",
    ];
    // Without a sweep there are no such rows.
    if !report.rows.is_empty() {
        lines.push(table(&header, report.by_damage().into_iter().map(|row| cells(report, row))));
        lines.push(String::new());
    }
    lines.push(
        "Drops are percentage points of the baseline's top-1 on the same images; negative means better."
            .to_owned(),
    );
    lines.extend(adaptive_notes(report));
    lines.extend(devices::devices(report));
    lines.extend(search::searches(report));
    lines.extend(effort_notes(effort));
    lines.join("\n")
}

/// Confidence of the intervals of the drop: of rows on all images it is the default, which an experiment's own goes
/// before where rows are decided on some of them.
fn confidence_percent(report: &Report) -> f64 {
    match report.evaluation.adaptive() {
        Some(adaptive) => f64::from(adaptive.confidence_ppm) / f64::from(PPM) * 100.0,
        None => CONFIDENCE * 100.0,
    }
}

/// What an adaptive evaluation decided on, and what it spared.
fn adaptive_notes(report: &Report) -> Vec<String> {
    let Some(adaptive) = report.evaluation.adaptive() else { return Vec::new() };
    let tolerance = f64::from(adaptive.tolerance_ppm) / f64::from(PPM_PER_POINT);
    let all = report.images * report.rows.len() as u64;
    let (evaluated, times) = (report.images_evaluated, all as f64 / report.images_evaluated.max(1) as f64);
    vec![
        format!(
            "Decided: the interval of the drop on all {} images is within {tolerance} points to either side of its middle. Harmful: that drop is above {tolerance} points.",
            report.images
        ),
        format!(
            "Done: measured on all images, with the {:.0}% interval for images like these.",
            CONFIDENCE * 100.0
        ),
        format!("{evaluated} of {all} images evaluated ({times:.1} times fewer)."),
    ]
}

/// What was computed, what that spared, and who did it.
fn effort_notes(Effort { work, measured }: &Effort) -> Vec<String> {
    let mut notes = Vec::with_capacity(2);
    if work.macs_alone > 0 {
        let spared = 100.0 * (1.0 - work.macs as f64 / work.macs_alone as f64);
        notes.push(format!(
            "{:.1} of {:.1} billion multiply-adds computed: {spared:.0}% are shared by candidates measured together.",
            work.macs as f64 / 1e9,
            work.macs_alone as f64 / 1e9,
        ));
    }
    let by = measured.iter().map(|MeasuredBy { engine: _, kernels, device, trials }| {
        format!("{kernels} kernels on {device} ({trials} trials)")
    });
    let by: Vec<String> = by.collect();
    if !by.is_empty() {
        notes.push(format!("Measured with {}.", by.join(", ")));
    }
    notes
}

/// One line per transform: whether it stayed, and the accuracy behind it.
fn steps_table(steps: &[PreparedStep]) -> String {
    let header = ["transform", "", ">changes", ">float top-1", ">baseline top-1"];
    let rows = steps.iter().map(|step| {
        let top1 = |correct: u64| format!("{:.2}%", correct as f64 / step.n.max(1) as f64 * 100.0);
        let (name, state) = match step.transform {
            Some(transform) => (transform.as_str(), step.state.as_str()),
            None => ("model as given", ""),
        };
        vec![
            name.to_owned(),
            state.to_owned(),
            if step.changes > 0 { step.changes.to_string() } else { String::new() },
            top1(step.float_correct),
            step.baseline_correct.map_or_else(|| "-".to_owned(), top1),
        ]
    });
    table(&header, rows)
}

fn reference(state: &RowState) -> String {
    match state {
        RowState::Open => "not measured yet".to_owned(),
        RowState::Failed { reason } => format!("failed: {reason}"),
        RowState::Done(measured) => reference_numbers(measured),
        RowState::Partial(measured) | RowState::Decided(measured) | RowState::Harmful(measured) => {
            format!("{} ({})", reference_numbers(measured), state.as_str())
        }
    }
}

fn reference_numbers(Measured { n, correct, top1, loss, .. }: &Measured) -> String {
    format!("top-1 {:.2}% ({correct} of n={n}), loss {loss:.4}", top1 * 100.0)
}

fn cells(report: &Report, row: &Row) -> Vec<String> {
    let state = row.result.as_str().to_owned();
    let mut cells = vec![row.point.clone(), row.kind.as_str().to_owned(), row.bits.to_string(), state];
    match &row.result {
        RowState::Done(measured)
        | RowState::Partial(measured)
        | RowState::Decided(measured)
        | RowState::Harmful(measured) => {
            cells.push(measured.n.to_string());
            let drop = measured.top1_drop;
            let points = |share: f64| format!("{:+.2}", tidy_zero(share * 100.0));
            cells.push(points(drop.value));
            cells.push(format!("[{}, {}]", points(drop.low), points(drop.high)));
            cells.push(format!("{:+.4}", tidy_zero(measured.loss_increase.value)));
        }
        RowState::Open => cells.extend(["", "", "", ""].map(str::to_owned)),
        RowState::Failed { reason } => {
            cells.extend([String::new(), String::new(), reason.clone(), String::new()]);
        }
    }
    cells.push(share(row.size_saved_bits, report.baseline_size_bits));
    cells.push(share(row.bops_saved, report.baseline_bops));
    cells
}

/// Zero without a sign, also where rounding would leave `-0.00`.
fn tidy_zero(value: f64) -> f64 {
    if value.abs() < 5e-5 { 0.0 } else { value }
}

fn share(saved: u64, of: u64) -> String {
    if saved == 0 || of == 0 { "-".to_owned() } else { format!("{:.1}%", saved as f64 / of as f64 * 100.0) }
}

pub(super) fn size(bits: u64) -> String {
    format!("{:.1} KiB", bits as f64 / 8.0 / 1024.0)
}
