//! All that a person watches of a coordinator, as tables and as JSON. `bitloop top` draws the same tables.

use std::cmp::Ordering;

use bitloop_proto::v1::{
    CoordinatorSummary, ExperimentStatus, ExperimentSummary, OverviewResponse, TrialFailure, WorkerSummary,
};
use serde_json::{Value, json};

use super::progress::{Pace, span};
use super::summary::{device_text, status, summary_json, worker_json};
use super::table::{table, with_thousands};

/// A driver that was silent for longer, in milliseconds, is held up: it is at work twice a second.
const SILENT_MS: u64 = 3_000;

/// A worker that was silent for longer, in milliseconds, has missed heartbeats.
const UNHEARD_MS: u64 = 5_000;

/// Digits of a trial's key that are shown; enough for `bitloop explain`.
const KEY_DIGITS: usize = 12;

/// How much something wants a person's eyes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Plain,
    /// Over, or nothing to see.
    Faint,
    Warning,
    Bad,
}

/// What a cell is sorted by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Key {
    Text(String),
    Number(f64),
}

impl Key {
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(one), Self::Text(other)) => one.cmp(other),
            (Self::Number(one), Self::Number(other)) => one.total_cmp(other),
            // A column holds cells of one kind.
            (Self::Text(_), Self::Number(_)) | (Self::Number(_), Self::Text(_)) => Ordering::Equal,
        }
    }
}

/// A column. One whose title starts with `>` stands to the right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) title: &'static str,
    /// Of columns that do not fit, those with the highest go first.
    pub(crate) dispensable: u8,
}

const fn column(title: &'static str, dispensable: u8) -> Column {
    Column { title, dispensable }
}

/// Text and what it is sorted by.
pub(crate) type Cell = (String, Key);

pub(crate) struct Row {
    pub(crate) cells: Vec<Cell>,
    pub(crate) mood: Mood,
}

/// A table with a name.
pub(crate) struct Section {
    pub(crate) name: &'static str,
    /// What stands there without rows.
    pub(crate) empty: &'static str,
    pub(crate) columns: &'static [Column],
    pub(crate) rows: Vec<Row>,
}

const EXPERIMENTS: &[Column] = &[
    column("experiment", 0),
    column("status", 3),
    column("stage", 4),
    column(">prio", 8),
    column(">done", 1),
    column(">open", 6),
    column(">leased", 7),
    column(">failed", 5),
    column(">rate", 2),
    column(">left", 2),
    column(">workers", 9),
];

const WORKERS: &[Column] = &[
    column("worker", 0),
    column("device", 8),
    column("measures", 3),
    column(">leased", 6),
    column(">rate", 1),
    column(">ms/trial", 5),
    column(">busy", 2),
    column(">done", 4),
    column(">failed", 4),
    column(">heard", 3),
];

const FAILURES: &[Column] = &[
    column(">ago", 2),
    column("trial", 0),
    column("experiment", 3),
    column("worker", 4),
    column("reason", 1),
];

/// The tables of an overview.
pub(crate) fn sections(overview: &OverviewResponse) -> [Section; 3] {
    [
        Section {
            name: "Experiments",
            empty: "no experiments; `bitloop submit EXPERIMENT.yaml` adds one",
            columns: EXPERIMENTS,
            rows: overview.experiments.iter().map(experiment).collect(),
        },
        Section {
            name: "Workers",
            empty: "no workers; `bitloop worker --coordinator URL` adds one",
            columns: WORKERS,
            rows: overview.workers.iter().map(worker).collect(),
        },
        Section {
            name: "Failures",
            empty: "no trial has failed since the coordinator's start",
            columns: FAILURES,
            rows: overview.failures.iter().map(failure).collect(),
        },
    ]
}

/// Text from elsewhere, on one line and without what moves the cursor.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

fn text(value: &str) -> Cell {
    (plain(value), Key::Text(value.to_owned()))
}

fn count(value: u64) -> Cell {
    (with_thousands(value), Key::Number(value as f64))
}

fn or_dash(value: Option<(String, f64)>) -> Cell {
    value.map_or_else(|| ("-".to_owned(), Key::Number(-1.0)), |(text, key)| (text, Key::Number(key)))
}

fn rate(per_second: f64) -> Cell {
    let pace = Pace { per_second, left: 0 };
    or_dash((per_second > 0.0).then(|| (pace.rate(), per_second)))
}

fn ago(millis: u64) -> Cell {
    let seconds = millis as f64 / 1e3;
    let shown = if seconds < 10.0 { format!("{seconds:.1} s") } else { span(seconds) };
    (shown, Key::Number(seconds))
}

fn experiment(summary: &ExperimentSummary) -> Row {
    let open = summary.total.saturating_sub(summary.settled + summary.leased);
    let mood = match summary.status() {
        ExperimentStatus::Failed => Mood::Bad,
        ExperimentStatus::Active if summary.workers == 0 || summary.failed > 0 => Mood::Warning,
        ExperimentStatus::Active | ExperimentStatus::Unspecified => Mood::Plain,
        ExperimentStatus::Paused | ExperimentStatus::Cancelled | ExperimentStatus::Finished => Mood::Faint,
    };
    let stage = if summary.stage.is_empty() { "-" } else { &summary.stage };
    let cells = vec![
        text(&summary.id),
        text(status(summary)),
        text(stage),
        (summary.priority.to_string(), Key::Number(f64::from(summary.priority))),
        count(summary.settled),
        count(open),
        count(summary.leased),
        count(summary.failed),
        rate(summary.per_second),
        or_dash(seconds_left(summary).map(|seconds| (span(seconds), seconds))),
        count(summary.workers),
    ];
    Row { cells, mood }
}

fn seconds_left(summary: &ExperimentSummary) -> Option<f64> {
    let left = summary.total.saturating_sub(summary.settled);
    let is_active = summary.status() == ExperimentStatus::Active;
    Pace { per_second: summary.per_second, left }.seconds_left().filter(|_| is_active)
}

fn worker(worker: &WorkerSummary) -> Row {
    let info = worker.info.clone().unwrap_or_default();
    let mood = match worker.silent_ms > UNHEARD_MS || worker.failed > 0 {
        true => Mood::Warning,
        false if worker.leased == 0 => Mood::Faint,
        false => Mood::Plain,
    };
    let experiment = if worker.experiment.is_empty() { "-" } else { &worker.experiment };
    let cells = vec![
        text(&info.id),
        text(&device_text(&info)),
        text(experiment),
        count(worker.leased),
        rate(worker.per_second),
        or_dash((worker.trial_ms > 0.0).then(|| (format!("{:.1}", worker.trial_ms), worker.trial_ms))),
        (format!("{:.0} %", worker.busy * 100.0), Key::Number(worker.busy)),
        count(worker.committed),
        count(worker.failed),
        ago(worker.silent_ms),
    ];
    Row { cells, mood }
}

fn key(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn failure(failure: &TrialFailure) -> Row {
    let worker = if failure.worker.is_empty() { "-" } else { &failure.worker };
    let cells = vec![
        ago(failure.age_ms),
        text(&key(&failure.trial).chars().take(KEY_DIGITS).collect::<String>()),
        text(&failure.experiment),
        text(worker),
        text(&failure.reason),
    ];
    Row { cells, mood: Mood::Plain }
}

/// How the coordinator itself is, in phrases; what is wrong comes first.
pub(crate) fn phrases(coordinator: &CoordinatorSummary) -> Vec<(Mood, String)> {
    let mut phrases = Vec::new();
    if coordinator.silent_ms > SILENT_MS {
        let silent = span(coordinator.silent_ms as f64 / 1e3);
        let text = format!("its driver has been held up for {silent}; this is from before");
        phrases.push((Mood::Bad, text));
    }
    if !coordinator.store_error.is_empty() {
        let text = format!("the store cannot be written: {}", plain(&coordinator.store_error));
        phrases.push((Mood::Bad, text));
    }
    let mut say = |mood, text: String| phrases.push((mood, text));
    let noted = |count: u64, mood| if count > 0 { mood } else { Mood::Plain };
    say(Mood::Plain, format!("epoch {}, up {}", coordinator.epoch, span(coordinator.uptime_ms as f64 / 1e3)));
    say(Mood::Plain, format!("{} trials queued", with_thousands(coordinator.queued)));
    let leases = match coordinator.leases {
        1 => "1 lease".to_owned(),
        many => format!("{} leases", with_thousands(many)),
    };
    say(Mood::Plain, format!("{} leased in {leases}", with_thousands(coordinator.leased)));
    say(Mood::Plain, format!("{} succeeded", with_thousands(coordinator.succeeded)));
    let failed = coordinator.failed;
    say(noted(failed, Mood::Warning), format!("{} failed", with_thousands(failed)));
    say(Mood::Plain, format!("{} repeated", with_thousands(coordinator.duplicates)));
    let conflicts = coordinator.conflicts;
    say(noted(conflicts, Mood::Bad), format!("{} conflicts", with_thousands(conflicts)));
    let expired = coordinator.leases_expired;
    say(noted(expired, Mood::Warning), format!("{} leases expired", with_thousands(expired)));
    let lost = coordinator.workers_lost;
    say(noted(lost, Mood::Warning), format!("{} workers lost", with_thousands(lost)));
    say(Mood::Plain, commits(coordinator));
    phrases
}

fn commits(coordinator: &CoordinatorSummary) -> String {
    if coordinator.commit_p99_ms <= 0.0 {
        return "no commits yet".to_owned();
    }
    let most = match coordinator.commit_p99_ms.is_finite() {
        true => format!("99 % within {} ms", coordinator.commit_p99_ms),
        false => "more than 1 % above 10 s".to_owned(),
    };
    format!("a commit takes {:.1} ms, {most}", coordinator.commit_ms)
}

/// Everything as text for people.
pub(crate) fn overview_text(overview: &OverviewResponse) -> String {
    let coordinator = overview.coordinator.clone().unwrap_or_default();
    let phrases = phrases(&coordinator).into_iter().map(|(_, phrase)| format!("  {phrase}"));
    let mut lines = vec![format!("Coordinator (bitloop {})", plain(&coordinator.version))];
    lines.extend(phrases);
    for section in sections(overview) {
        lines.extend([String::new(), format!("{} ({})", section.name, section.rows.len())]);
        let header: Vec<&str> = section.columns.iter().map(|column| column.title).collect();
        let is_empty = section.rows.is_empty();
        let rows = section.rows.into_iter().map(|row| row.cells.into_iter().map(|(text, _)| text).collect());
        let body = if is_empty { section.empty.to_owned() } else { table(&header, rows) };
        lines.extend(body.lines().map(|line| format!("  {line}")));
    }
    lines.join("\n")
}

/// Everything as JSON.
pub(crate) fn overview_json(overview: &OverviewResponse) -> Value {
    let coordinator = overview.coordinator.clone().unwrap_or_default();
    let experiments = overview.experiments.iter().map(|summary| {
        let mut value = summary_json(summary);
        value["priority"] = summary.priority.into();
        value["per_second"] = summary.per_second.into();
        value["seconds_left"] = seconds_left(summary).into();
        value
    });
    let workers = overview.workers.iter().map(|worker| {
        let mut value = worker_json(worker);
        value["failed"] = worker.failed.into();
        value["per_second"] = worker.per_second.into();
        value["busy"] = worker.busy.into();
        value["experiment"] = (!worker.experiment.is_empty()).then_some(&worker.experiment).cloned().into();
        value["running"] = (!worker.running.is_empty()).then(|| key(&worker.running)).into();
        value
    });
    let failures = overview.failures.iter().map(|failure| {
        json!({
            "trial": key(&failure.trial),
            "experiment": failure.experiment,
            "worker": (!failure.worker.is_empty()).then_some(&failure.worker),
            "reason": failure.reason,
            "age_ms": failure.age_ms,
        })
    });
    json!({
        "coordinator": coordinator_json(&coordinator),
        "experiments": experiments.collect::<Vec<_>>(),
        "workers": workers.collect::<Vec<_>>(),
        "failures": failures.collect::<Vec<_>>(),
    })
}

fn coordinator_json(coordinator: &CoordinatorSummary) -> Value {
    let is_any = coordinator.commit_p99_ms > 0.0;
    json!({
        "version": coordinator.version,
        "epoch": coordinator.epoch,
        "uptime_ms": coordinator.uptime_ms,
        "age_ms": coordinator.age_ms,
        "silent_ms": coordinator.silent_ms,
        "store_error": (!coordinator.store_error.is_empty()).then_some(&coordinator.store_error),
        "queued": coordinator.queued,
        "leases": coordinator.leases,
        "leased": coordinator.leased,
        "commit_ms": is_any.then_some(coordinator.commit_ms),
        "commit_p99_ms": is_any.then_some(coordinator.commit_p99_ms),
        "succeeded": coordinator.succeeded,
        "failed": coordinator.failed,
        "duplicates": coordinator.duplicates,
        "conflicts": coordinator.conflicts,
        "leases_expired": coordinator.leases_expired,
        "workers_lost": coordinator.workers_lost,
    })
}
