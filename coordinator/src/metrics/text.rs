//! Prometheus's text format, version 0.0.4.

mod backlog;

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::{Counter, DEVICES_MAX, Histogram, Metrics, OTHER_DEVICE};
use crate::driver::{LEASE_AGES_MS, Overview};

/// The words of all statuses, so that each is there before it first occurs.
const STATUSES: [&str; 5] = ["active", "paused", "cancelled", "finished", "failed"];

#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn line(&mut self, line: impl Display) {
        writeln!(self.0, "{line}").expect("a string takes everything");
    }

    fn single(&mut self, name: &str, kind: &str, (help, value): (&str, impl Display)) {
        self.family(name, kind, help);
        self.line(format_args!("{name} {value}"));
    }

    /// Values of one label.
    fn labelled<V: Display>(
        &mut self,
        name: &str,
        label: &str,
        values: impl IntoIterator<Item = (String, V)>,
    ) {
        for (word, value) in values {
            self.line(format_args!("{name}{{{label}=\"{}\"}} {value}", escaped(&word)));
        }
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.family(name, "histogram", help);
        let mut cumulated = 0;
        // What is observed while this is read may be in a bucket and not in the sum.
        for (place, count) in histogram.counts.iter().enumerate() {
            cumulated += count.get();
            let bound = histogram.bounds.get(place).map_or("+Inf".to_owned(), ToString::to_string);
            self.line(format_args!("{name}_bucket{{le=\"{bound}\"}} {cumulated}"));
        }
        self.line(format_args!("{name}_sum {}", histogram.sum.get() as f64 / 1e6));
        self.line(format_args!("{name}_count {cumulated}"));
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

pub(super) fn write(metrics: &Metrics, overview: &Overview) -> String {
    let mut text = Text::default();
    text.single(
        "bitloop_epoch",
        "gauge",
        ("Starts of the coordinator on this data directory.", metrics.epoch),
    );
    text.family("bitloop_build_info", "gauge", "Always 1; the label says which version this is.");
    text.labelled("bitloop_build_info", "version", [(env!("CARGO_PKG_VERSION").to_owned(), 1)]);
    let is_writable = u8::from(!metrics.is_store_failing.load(Ordering::Relaxed));
    let writable = ("1, or 0 while the store refuses writes and nothing is acknowledged.", is_writable);
    text.single("bitloop_store_writable", "gauge", writable);
    let unwritten =
        ("Finished experiments whose results files cannot be written.", metrics.unwritten_results());
    text.single("bitloop_unwritten_results", "gauge", unwritten);
    state(&mut text, overview);
    counters(&mut text, metrics);
    busy(&mut text, metrics);
    let histograms = [
        ("bitloop_commit_seconds", "From taking up a commit to its durable answer.", &metrics.commit_seconds),
        ("bitloop_batch_facts", "Facts made durable together.", &metrics.batch_facts),
        ("bitloop_loop_lag_seconds", "How late the driver's ticks were.", &metrics.lag_seconds),
        (
            "bitloop_round_seconds",
            "How long the driver's rounds took, which serve nobody else.",
            &metrics.round_seconds,
        ),
        ("bitloop_lease_seconds", "How long ended leases lasted.", &metrics.lease_seconds),
    ];
    for (name, help, histogram) in histograms {
        text.histogram(name, help, histogram);
    }
    let longest = metrics.longest_round.load(Ordering::Relaxed) as f64 / 1e6;
    text.single(
        "bitloop_longest_round_seconds",
        "gauge",
        ("The longest of these rounds since the start.", longest),
    );
    text.0
}

/// What the driver's latest overview says.
fn state(text: &mut Text, overview: &Overview) {
    let queued = overview.queued;
    let kinds = [
        ("prepare", queued.prepare),
        ("evaluate", queued.evaluate),
        ("train", queued.train),
        ("probe", queued.probe),
    ];
    text.family("bitloop_queued_trials", "gauge", "Trials that wait for a worker, by kind.");
    text.labelled("bitloop_queued_trials", "kind", kinds.map(|(kind, count)| (kind.to_owned(), count)));
    let mut statuses = BTreeMap::from(STATUSES.map(|status| (status.to_owned(), 0_u64)));
    let mut devices: BTreeMap<String, u64> = BTreeMap::new();
    for experiment in &overview.experiments {
        *statuses.entry(experiment.status.as_str().to_owned()).or_default() += 1;
    }
    for worker in &overview.workers {
        let device = &worker.info.device.class;
        let is_known = devices.contains_key(device) || devices.len() < DEVICES_MAX;
        *devices.entry(if is_known { device.clone() } else { OTHER_DEVICE.to_owned() }).or_default() += 1;
    }
    backlog::write(text, &overview.backlog);
    text.family("bitloop_experiments", "gauge", "Experiments, by status.");
    text.labelled("bitloop_experiments", "status", statuses);
    text.family("bitloop_workers", "gauge", "Workers heard from lately, by class of device.");
    text.labelled("bitloop_workers", "device", devices);
    probes(text, overview);
    let reused: u64 = overview.experiments.iter().map(|experiment| experiment.reused).sum();
    let leases = overview.leases;
    text.single(
        "bitloop_reused_trials",
        "gauge",
        ("Trials that were measured when they were proposed.", reused),
    );
    text.single("bitloop_leases", "gauge", ("Leases in force.", leases.count));
    text.single("bitloop_leased_trials", "gauge", ("Trials under a lease.", leases.trials));
    let oldest = ("Age of the oldest lease in force.", leases.oldest_ms as f64 / 1e3);
    text.single("bitloop_oldest_lease_seconds", "gauge", oldest);
    let name = "bitloop_leases_older_than";
    text.family(name, "gauge", "Leases in force that were granted longer ago than so many seconds.");
    let older = LEASE_AGES_MS.iter().zip(leases.older_than);
    text.labelled(name, "seconds", older.map(|(age_ms, count)| ((age_ms / 1_000).to_string(), count)));
}

/// What connected workers measure devices with.
fn probes(text: &mut Text, overview: &Overview) {
    let name = "bitloop_probes";
    text.family(name, "gauge", "Probes of workers heard from lately, by name and class of device.");
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for offer in overview.workers.iter().flat_map(|worker| &worker.info.probes) {
        let offered = (offer.name.as_str(), offer.class.as_str());
        let is_told = counts.contains_key(&offered) || counts.len() < DEVICES_MAX;
        *counts.entry(if is_told { offered } else { (OTHER_DEVICE, OTHER_DEVICE) }).or_default() += 1;
    }
    for ((probe, class), count) in counts {
        let (probe, class) = (escaped(probe), escaped(class));
        text.line(format_args!("{name}{{probe=\"{probe}\",device=\"{class}\"}} {count}"));
    }
}

fn counters(text: &mut Text, metrics: &Metrics) {
    let results = [
        ("succeeded", metrics.succeeded.get()),
        ("failed", metrics.failed.get()),
        ("quarantined", metrics.quarantined.get()),
    ];
    text.family(
        "bitloop_trials_total",
        "counter",
        "Trials settled since the start, by result; all are durable.",
    );
    text.labelled(
        "bitloop_trials_total",
        "result",
        results.map(|(result, count)| (result.to_owned(), count)),
    );
    let counters = [
        ("duplicates", "Outcomes that were there already and are equal.", &metrics.duplicates),
        ("conflicts", "Outcomes that were there already and differ.", &metrics.conflicts),
        (
            "leases_expired",
            "Leases that ended because nobody renewed them, or because their worker got nowhere.",
            &metrics.leases_expired,
        ),
        (
            "give_backs",
            "Times that workers gave trials back which they could not measure.",
            &metrics.give_backs,
        ),
        ("workers_lost", "Workers given up because their heartbeats stayed away.", &metrics.workers_lost),
        ("heartbeats_missed", "Heartbeats that did not come in time.", &metrics.heartbeats_missed),
        ("store_failures", "Writes that the store refused, as on a full disk.", &metrics.store_failures),
        ("artifact_stored_bytes", "Bytes of artifacts received.", &metrics.stored_bytes),
        ("artifact_fetched_bytes", "Bytes of artifacts sent.", &metrics.fetched_bytes),
    ];
    for (name, help, counter) in counters {
        text.single(&format!("bitloop_{name}_total"), "counter", (help, counter.get()));
    }
    let seconds = |micros: &Counter| micros.get() as f64 / 1e6;
    let predicted =
        ("What accepted trials were expected to take, where anything was.", seconds(&metrics.predicted_us));
    text.single("bitloop_predicted_seconds_total", "counter", predicted);
    let measured = ("What those trials took.", seconds(&metrics.measured_us));
    text.single("bitloop_measured_seconds_total", "counter", measured);
    let stalled = ("How long the coordinator itself was held up.", metrics.stalled_ms.get() as f64 / 1e3);
    text.single("bitloop_stalled_seconds_total", "counter", stalled);
}

fn busy(text: &mut Text, metrics: &Metrics) {
    let busy = metrics.busy_ms.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let name = "bitloop_busy_seconds_total";
    text.family(name, "counter", "Time that accepted trials took their workers, by class of device.");
    text.labelled(name, "device", busy.into_iter().map(|(device, millis)| (device, millis / 1e3)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_workers_call_their_devices_cannot_break_a_line() {
        assert_eq!(escaped("a \"b\" \\ c\nd"), r#"a \"b\" \\ c\nd"#);
    }
}
