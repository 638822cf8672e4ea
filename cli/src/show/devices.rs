//! What was measured on devices, for people.

use bitloop_core::latency::Additivity;
use bitloop_core::probe::Estimate;
use bitloop_core::report::{DeviceReport, NetworkRow, Report};

use super::table;

/// Networks that tables show; all of them are in the JSON form.
const SHOWN: usize = 12;

/// A table per device, and what its figures say of each other.
pub(super) fn devices(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for device in &report.devices {
        lines.push(String::new());
        lines.push(heading(device));
        if !device.networks.is_empty() {
            lines.push(networks(device));
        }
        if device.networks.len() > SHOWN {
            lines
                .push(format!("{} more networks (`--output json` has each).", device.networks.len() - SHOWN));
        }
        lines.extend(device.additivity.as_ref().and_then(additivity));
        lines.extend(device.price_of_changes());
        lines.extend(device.notes.iter().map(|note| format!("{note}.")));
        lines.extend(device.failures.iter().map(|failure| {
            format!("{} trials ({}) failed: {}.", failure.trials, failure.subject, failure.reason)
        }));
    }
    lines
}

fn heading(device: &DeviceReport) -> String {
    let class = device.class.as_deref().unwrap_or("no device yet");
    let setting = device.setting;
    let state = if device.is_over { "" } else { "; under way" };
    format!(
        "device      {}: {class}, batch {}, {} threads{state}",
        device.target, setting.batch, setting.threads
    )
}

fn networks(device: &DeviceReport) -> String {
    let header = ["network", ">ms", "95% interval", ">of baseline", ">predicted", ">repetitions", ""];
    table(&header, device.networks.iter().take(SHOWN).map(cells))
}

fn cells(row: &NetworkRow) -> Vec<String> {
    let milliseconds = |nanoseconds: f64| format!("{:.4}", nanoseconds / 1e6);
    let of = |estimate: Option<Estimate>, text: &dyn Fn(Estimate) -> String| {
        estimate.map_or_else(|| "-".to_owned(), text)
    };
    vec![
        row.name.clone(),
        of(row.latency_ns, &|time| milliseconds(time.median)),
        of(row.latency_ns, &|time| format!("[{}, {}]", milliseconds(time.low), milliseconds(time.high))),
        of(row.ratio, &|ratio| format!("{:.3}", ratio.median)),
        of(row.predicted_ns, &|time| milliseconds(time.median)),
        row.sessions.to_string(),
        if row.unsteady.is_empty() { String::new() } else { "unsteady".to_owned() },
    ]
}

fn additivity(found: &Additivity) -> Option<String> {
    let corrected = found
        .corrected_mean_error
        .zip(found.corrected_max_error)
        .map(|(mean, max)| format!("; corrected {:.2} % and {:.2} %", mean * 100.0, max * 100.0));
    (found.configs > 0).then(|| {
        format!(
            "Sums of layers beside {} whole networks: off by {:.2} % on average, {:.2} % at most{}.",
            found.configs,
            found.mean_error * 100.0,
            found.max_error * 100.0,
            corrected.unwrap_or_default()
        )
    })
}

#[cfg(test)]
mod tests {
    use bitloop_report::Material;

    use super::*;

    #[test]
    fn networks_have_their_names_and_the_price_of_changes_is_spoken_of() {
        let material: Material =
            serde_json::from_str(include_str!("../../../report/tests/material/search.json")).unwrap();
        let mut report = material.report;
        report.devices =
            vec![serde_json::from_str(include_str!("../../../report/tests/material/device.json")).unwrap()];

        let text = devices(&report).join("\n");

        for name in ["float", "baseline W8A8", "W4A8", "mixed 1: 1 point at 4 bits"] {
            assert_eq!(text.matches(name).count(), 1, "{name}: {text}");
        }
        assert!(text.contains("No price of values that go from a layer to one of another width"), "{text}");
    }
}
