use std::collections::BTreeMap;

use bitloop_proto::v1::{DeviceKind, ExperimentStatus, ExperimentSummary, WorkerInfo, WorkerSummary};
use serde_json::{Value, json};

use super::table;

/// The status as a word.
pub(crate) fn status(summary: &ExperimentSummary) -> &'static str {
    match summary.status() {
        ExperimentStatus::Unspecified => "unknown",
        ExperimentStatus::Active => "active",
        ExperimentStatus::Paused => "paused",
        ExperimentStatus::Cancelled => "cancelled",
        ExperimentStatus::Finished => "finished",
        ExperimentStatus::Failed => "failed",
    }
}

/// One line per experiment.
pub(crate) fn experiments_table(experiments: &[ExperimentSummary]) -> String {
    if experiments.is_empty() {
        return "no experiments; `bitloop submit EXPERIMENT.yaml` adds one".to_owned();
    }
    let header = ["id", "status", "stage", ">done", ">total", ">failed", ">reused"];
    let rows = experiments.iter().map(|summary| {
        let counts = [summary.settled, summary.total, summary.failed, summary.reused].map(|n| n.to_string());
        [vec![summary.id.clone(), status(summary).to_owned(), summary.stage.clone()], counts.to_vec()]
            .concat()
    });
    table(&header, rows)
}

/// One line per worker.
pub(crate) fn workers_table(workers: &[WorkerSummary]) -> String {
    if workers.is_empty() {
        return "no workers; `bitloop worker --coordinator URL` adds one".to_owned();
    }
    let header = ["id", "device", ">threads", ">leased", ">done", ">ms/trial", ">silent"];
    let rows = workers.iter().map(|worker| {
        let info = worker.info.clone().unwrap_or_default();
        let pace = if worker.trial_ms > 0.0 { format!("{:.1}", worker.trial_ms) } else { "-".to_owned() };
        vec![
            info.id.clone(),
            device_text(&info),
            info.threads.to_string(),
            worker.leased.to_string(),
            worker.committed.to_string(),
            pace,
            format!("{:.1} s", worker.silent_ms as f64 / 1e3),
        ]
    });
    table(&header, rows)
}

/// The device's class, a part of it if that is all the worker has, the worker's labels, and its probes with the classes of
/// devices that are not its own.
pub(super) fn device_text(info: &WorkerInfo) -> String {
    let mut text = info.device.as_ref().map(|device| device.class.clone()).unwrap_or_default();
    if (1..10_000).contains(&info.share) {
        text.push_str(&format!(" ({} of 10000)", info.share));
    }
    let labels: BTreeMap<&String, &String> = info.labels.iter().collect();
    labels.into_iter().for_each(|(key, value)| text.push_str(&format!(", {key}={value}")));
    let own = info.device.as_ref().map(|device| device.class.as_str());
    for probe in &info.probes {
        text.push_str(&format!(", probe {}", probe.name));
        if own != Some(&probe.class) {
            text.push_str(&format!(" ({})", probe.class));
        }
    }
    text
}

/// An experiment's summary as JSON.
pub(crate) fn summary_json(summary: &ExperimentSummary) -> Value {
    json!({
        "id": summary.id,
        "name": summary.name,
        "status": status(summary),
        "reason": (!summary.reason.is_empty()).then_some(&summary.reason),
        "stage": (!summary.stage.is_empty()).then_some(&summary.stage),
        "total": summary.total,
        "settled": summary.settled,
        "failed": summary.failed,
        "reused": summary.reused,
        "leased": summary.leased,
        "workers": summary.workers,
        "conflicts": summary.conflicts,
    })
}

/// A worker as JSON.
pub(crate) fn worker_json(worker: &WorkerSummary) -> Value {
    let info = worker.info.clone().unwrap_or_default();
    let device = info.device.unwrap_or_default();
    let labels: BTreeMap<&String, &String> = info.labels.iter().collect();
    let capability = device.compute_capability.map(|it| format!("{}.{}", it.major, it.minor));
    let kind = match device.kind() {
        DeviceKind::Unspecified => "unknown",
        DeviceKind::Cpu => "cpu",
        DeviceKind::Cuda => "cuda",
    };
    let probes = info.probes.iter().map(|probe| {
        json!({
            "name": probe.name,
            "device": probe.class,
            "device_id": probe.device,
            "runtime": probe.runtime,
        })
    });
    let probes: Vec<Value> = probes.collect();
    json!({
        "id": info.id,
        "host": info.host,
        "machine": info.machine,
        "device": device.class,
        "kind": kind,
        "cores": device.cores,
        "memory_bytes": device.memory_bytes,
        "features": device.features,
        "compute_capability": capability,
        "share": info.share,
        "labels": labels,
        "probes": probes,
        "threads": info.threads,
        "leased": worker.leased,
        "committed": worker.committed,
        "trial_ms": (worker.trial_ms > 0.0).then_some(worker.trial_ms),
        "silent_ms": worker.silent_ms,
    })
}

/// Aligned `name  value` lines.
pub(crate) fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: Vec<String> = fields.iter().map(|(name, value)| format!("{name:width$}  {value}")).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use bitloop_proto::v1::{Device, ProbeOffer};

    use super::*;

    #[test]
    fn a_worker_is_shown_with_its_probes_and_what_devices_they_measure_on() {
        let offer = |name: &str, class: &str, device: &str| ProbeOffer {
            name: name.to_owned(),
            class: class.to_owned(),
            device: (!device.is_empty()).then(|| device.to_owned()),
            runtime: "1.2".to_owned(),
        };
        let info = WorkerInfo {
            device: Some(Device { class: "AMD EPYC".to_owned(), ..Device::default() }),
            labels: [("board".to_owned(), "orin".to_owned())].into(),
            probes: vec![offer("integer", "AMD EPYC", ""), offer("snpe", "Orin", "serial-1")],
            ..WorkerInfo::default()
        };

        assert_eq!(device_text(&info), "AMD EPYC, board=orin, probe integer, probe snpe (Orin)");
        let json = worker_json(&WorkerSummary { info: Some(info), ..WorkerSummary::default() });
        let expected = json!([
            { "name": "integer", "device": "AMD EPYC", "device_id": null, "runtime": "1.2" },
            { "name": "snpe", "device": "Orin", "device_id": "serial-1", "runtime": "1.2" },
        ]);
        assert_eq!(json["probes"], expected);
    }
}
