//! Which worker measured when, as far as the coordinator has kept it.

use std::collections::BTreeSet;

use super::{NAMES_MAX, ROWS_MAX, SPANS_MAX, cut, spread};
use crate::chart::{Chart, Moment, Plot, Span, Timeline, once};
use crate::document::{Cell, Column, Section, Table, plural};
use crate::material::{Attempt, Event, Material};

/// Where events stand that concern no worker.
const COORDINATOR: &str = "coordinator";

/// How attempts end: the word of the coordinator's log, and that of the legend.
const ENDS: [(&str, &str); 3] = [("measured", "measured"), ("duplicate", "measured"), ("failed", "failed")];

/// Every other end, such as a lost worker or one that gave a trial back.
const WITHOUT: &str = "without an outcome";

pub(super) fn sections(material: &Material) -> Vec<Section> {
    let chronicle = &material.chronicle;
    let timed: Vec<&Event> = concerning(material).into_iter().filter(|event| event.unix_ms > 0).collect();
    let mut section = Section::new("timeline", "Who measured when");
    if timed.is_empty() && chronicle.attempts.is_empty() {
        let text = "The coordinator keeps nothing of when this was measured any more: its logs hold the last 64 MiB of attempts \
                    and the last 4096 events, and results hold no times.";
        return vec![section.say(text)];
    }
    section = section.say(
        "A bar is a trial in a worker's hands, from the lease to the stored outcome; trials that were leased together lie over \
         each other. Results do not depend on any of this.",
    );
    section.text.extend(gaps(material));
    section.chart = chart(&timed, &chronicle.attempts);
    section.table = Some(table(&timed, &chronicle.attempts));
    vec![section]
}

/// The experiment's own events, and those of workers and of the coordinator while it was under way.
fn concerning(material: &Material) -> Vec<&Event> {
    let events = &material.chronicle.events;
    let times = events.iter().filter(|event| event.is_own && event.unix_ms > 0).map(|event| event.unix_ms);
    let attempts = material.chronicle.attempts.iter().flat_map(|attempt| [attempt.from_ms, attempt.to_ms]);
    let times: Vec<u64> = times.chain(attempts).collect();
    let (Some(first), Some(last)) = (times.iter().min(), times.iter().max()) else { return Vec::new() };
    let is_meanwhile = |event: &&Event| (*first..=*last).contains(&event.unix_ms);
    events.iter().filter(|event| event.is_own || (is_meanwhile(event) && is_of_the_cluster(event))).collect()
}

/// Whether an event is about workers or the coordinator rather than other experiments.
fn is_of_the_cluster(event: &Event) -> bool {
    ["worker_", "coordinator_", "store_"].iter().any(|beginning| event.kind.starts_with(beginning))
}

/// What is missing.
fn gaps(material: &Material) -> Vec<String> {
    let chronicle = &material.chronicle;
    let mut gaps = Vec::new();
    if chronicle.attempts.is_empty() {
        gaps.push(
            "The coordinator keeps no attempts at these trials any more; only events are shown.".to_owned(),
        );
    } else if chronicle.asked < chronicle.of {
        gaps.push(format!(
            "Attempts are those at {} of {} trials, evenly spread over the experiment.",
            chronicle.asked, chronicle.of
        ));
    }
    if chronicle.missed > 0 {
        gaps.push(format!("{} events before these are not kept any more.", chronicle.missed));
    }
    gaps
}

fn series(end: &str) -> &'static str {
    ENDS.iter().find(|(word, _)| *word == end).map_or(WITHOUT, |(_, series)| series)
}

fn lane(worker: &str) -> String {
    if worker.is_empty() { COORDINATOR.to_owned() } else { worker.to_owned() }
}

fn chart(events: &[&Event], attempts: &[Attempt]) -> Option<Chart> {
    let starts = events.iter().map(|event| (event.unix_ms, &event.time));
    let leases =
        attempts.iter().filter(|attempt| attempt.from_ms > 0).map(|attempt| (attempt.from_ms, &attempt.time));
    let (began_ms, began) = starts.chain(leases).min()?;
    let since = |unix_ms: u64| unix_ms.saturating_sub(began_ms) as f64 / 1e3;
    let span = |attempt: &Attempt| Span {
        lane: lane(&attempt.worker),
        series: series(&attempt.end).to_owned(),
        from_s: since(attempt.from_ms),
        to_s: since(attempt.to_ms),
        note: cut(&attempt.text),
    };
    let spans: Vec<Span> =
        attempts.iter().filter(|attempt| attempt.to_ms >= attempt.from_ms).map(span).collect();
    let moment = |event: &&Event| Moment {
        lane: lane(&event.worker),
        at_s: since(event.unix_ms),
        note: format!("{}: {}", event.kind.replace('_', " "), cut(&event.text)),
    };
    let mut moments: Vec<Moment> = spread(events.iter().map(moment).collect(), SPANS_MAX);
    let of_spans = spans.iter().map(|span| span.lane.as_str());
    let mut lanes: Vec<String> = once(
        [COORDINATOR].into_iter().chain(of_spans).chain(moments.iter().map(|moment| moment.lane.as_str())),
    )
    .into_iter()
    .map(str::to_owned)
    .collect();
    lanes[1..].sort();
    lanes.truncate(NAMES_MAX);
    let known: BTreeSet<&String> = lanes.iter().collect();
    let mut spans = spread(spans, SPANS_MAX);
    spans.retain(|span| known.contains(&span.lane));
    moments.retain(|moment| known.contains(&moment.lane));
    let ends = spans.iter().map(|span| span.to_s).chain(moments.iter().map(|moment| moment.at_s));
    let last = ends.fold(0.0, f64::max);
    let present: BTreeSet<&str> = spans.iter().map(|span| span.series.as_str()).collect();
    let series = ["measured", "failed", WITHOUT].into_iter().filter(|name| present.contains(name));
    Some(Chart {
        alt: format!(
            "Timeline of {:.1} seconds from {began}: {} of {}, and {}.",
            last,
            plural(spans.len(), "attempt", "attempts"),
            plural(lanes.len() - 1, "worker", "workers"),
            plural(moments.len(), "event", "events")
        ),
        plot: Plot::Timeline(Timeline {
            began: began.clone(),
            legend: "attempt".to_owned(),
            series: series.map(str::to_owned).collect(),
            lanes,
            spans,
            moments,
        }),
    })
}

/// Events and attempts in the order of time.
fn table(events: &[&Event], attempts: &[Attempt]) -> Table {
    let columns = vec![
        Column::words("time"),
        Column::words("what"),
        Column::words("worker"),
        Column::number("seconds", 3),
        Column::words("more"),
    ];
    let events = events.iter().map(|event| {
        let cells = vec![
            Cell::words(&event.time),
            Cell::Words(event.kind.replace('_', " ")),
            Cell::words(&event.worker),
            Cell::Nothing,
            Cell::Words(cut(&event.text)),
        ];
        (event.unix_ms, cells)
    });
    let attempts = attempts.iter().map(|attempt| {
        let seconds = attempt.to_ms.checked_sub(attempt.from_ms).map(|ms| ms as f64 / 1e3);
        let cells = vec![
            Cell::words(&attempt.time),
            Cell::Words(format!("attempt: {}", attempt.end.replace('_', " "))),
            Cell::words(&attempt.worker),
            Cell::number(seconds),
            Cell::Words(cut(&attempt.text)),
        ];
        (attempt.from_ms, cells)
    });
    let mut rows: Vec<(u64, Vec<Cell>)> = events.chain(attempts).collect();
    rows.sort_by_key(|(at, _)| *at);
    Table::new("What happened, in order", columns).fill(ROWS_MAX, rows.into_iter().map(|(_, cells)| cells))
}
