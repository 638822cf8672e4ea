//! What is open, by what workers must have for it, so that whoever starts workers of a class asks for what these can measure.

use std::collections::BTreeMap;
use std::fmt;

use bitloop_core::device::{DeviceKind, Requirements};
use bitloop_core::state::Backlog;
use bitloop_core::trial::Numerics;

use super::{Text, escaped};

/// Sets of requirements that are told apart: stages may ask for any labels, so that there must be an end to it.
const NEEDS_MAX: usize = 64;

/// Memory, labels and probes of all further sets. No stage asks for such, so nobody takes these for work of a class of workers.
const OTHER: &str = "other";

/// What workers must have.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Needs {
    device: &'static str,
    exact: bool,
    /// Of a GPU, rounded up; 0 where none is asked for.
    gpu_memory_gib: String,
    /// As `key=value`, ascending.
    labels: String,
    /// The name of the probe that measures a device; empty where none is asked for.
    probe: String,
}

impl Needs {
    fn of(class: &Backlog) -> Self {
        let Requirements { gpu_memory_bytes, labels, probe, device: _, exclusive: _ } = &class.requirements;
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        Self {
            gpu_memory_gib: gpu_memory_bytes.unwrap_or(0).div_ceil(1 << 30).to_string(),
            labels: labels.join(","),
            probe: probe.as_ref().map(|need| need.name.clone()).unwrap_or_default(),
            ..Self::nothing(class.device(), class.numerics == Numerics::Exact)
        }
    }

    /// Neither memory nor labels nor a probe.
    fn nothing(device: Option<DeviceKind>, exact: bool) -> Self {
        let device = device.map_or("any", DeviceKind::as_str);
        let (labels, probe) = (String::new(), String::new());
        Self { device, exact, gpu_memory_gib: "0".to_owned(), labels, probe }
    }

    fn lumped(self) -> Self {
        let other = || OTHER.to_owned();
        let probe = if self.probe.is_empty() { self.probe } else { other() };
        Self { gpu_memory_gib: other(), labels: other(), probe, ..self }
    }
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, exact, gpu_memory_gib, labels, probe } = self;
        // Devices and memory are our own words, and labels have no character that would have to be escaped.
        write!(f, "{{device=\"{device}\",exact=\"{exact}\",gpu_memory_gib=\"{gpu_memory_gib}\",")?;
        write!(f, "labels=\"{labels}\",probe=\"{}\"}}", escaped(probe))
    }
}

/// What is open of one set.
#[derive(Default)]
struct Open {
    queued: u64,
    leased: u64,
    seconds: f64,
    wanted_seconds: f64,
}

/// One number of it.
type Sum = fn(&Open) -> f64;

const FAMILIES: [(&str, &str, Sum); 4] = [
    (
        "bitloop_waiting_trials",
        "Open trials that no worker has, by what a worker must have for them.",
        |open| open.queued as f64,
    ),
    (
        "bitloop_backlog_trials",
        "Open trials, waiting or leased, by what a worker must have for them.",
        |open| (open.queued + open.leased) as f64,
    ),
    ("bitloop_backlog_seconds", "Estimated work of the open trials for one worker, likewise.", |open| {
        open.seconds
    }),
    (
        "bitloop_wanted_seconds",
        "The same with no trial counted longer than ten minutes, as one worker measures it: for who starts workers.",
        |open| open.wanted_seconds,
    ),
];

pub(super) fn write(text: &mut Text, classes: &[Backlog]) {
    // These are always there, so that a sum for a class of workers that can do anything is never empty.
    let always = [Needs::nothing(None, false), Needs::nothing(Some(DeviceKind::Cpu), true)];
    let mut sets: BTreeMap<Needs, Open> = always.map(|needs| (needs, Open::default())).into();
    for class in classes {
        let needs = Needs::of(class);
        let is_told = sets.contains_key(&needs) || sets.len() < NEEDS_MAX;
        let open = sets.entry(if is_told { needs } else { needs.lumped() }).or_default();
        open.queued += class.queued;
        open.leased += class.leased;
        open.seconds += class.predicted_ms / 1e3;
        open.wanted_seconds += class.wanted_ms / 1e3;
    }
    for (name, help, value) in FAMILIES {
        text.family(name, "gauge", help);
        for (needs, open) in &sets {
            text.line(format_args!("{name}{needs} {}", value(open)));
        }
    }
}

#[cfg(test)]
mod tests {
    use bitloop_core::device::ProbeNeed;

    use super::*;

    fn open(requirements: Requirements, numerics: Numerics) -> Backlog {
        let (predicted_ms, wanted_ms) = (500.0, 250.0);
        Backlog { requirements, numerics, queued: 2, leased: 1, predicted_ms, wanted_ms, workers: 0 }
    }

    fn labelled(pairs: &[(&str, &str)]) -> Requirements {
        let labels = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Requirements { labels, ..Requirements::NONE }
    }

    fn written(classes: &[Backlog]) -> String {
        let mut text = Text::default();
        write(&mut text, classes);
        text.0
    }

    #[test]
    fn what_is_open_is_told_by_device_arithmetic_memory_and_labels() {
        let large = Requirements { gpu_memory_bytes: Some((40 << 30) + 1), ..Requirements::NONE };
        let text = written(&[
            open(Requirements::NONE, Numerics::Float),
            open(Requirements { exclusive: true, ..Requirements::NONE }, Numerics::Float),
            open(large, Numerics::Float),
            open(labelled(&[("rack", "2"), ("board", "orin")]), Numerics::Exact),
        ]);

        for line in [
            r#"bitloop_backlog_seconds{device="any",exact="false",gpu_memory_gib="0",labels="",probe=""} 1"#,
            r#"bitloop_backlog_seconds{device="cuda",exact="false",gpu_memory_gib="41",labels="",probe=""} 0.5"#,
            r#"bitloop_backlog_seconds{device="cpu",exact="true",gpu_memory_gib="0",labels="",probe=""} 0"#,
            r#"bitloop_backlog_seconds{device="cpu",exact="true",gpu_memory_gib="0",labels="board=orin,rack=2",probe=""} 0.5"#,
            r#"bitloop_wanted_seconds{device="any",exact="false",gpu_memory_gib="0",labels="",probe=""} 0.5"#,
            r#"bitloop_waiting_trials{device="any",exact="false",gpu_memory_gib="0",labels="",probe=""} 4"#,
            r#"bitloop_backlog_trials{device="any",exact="false",gpu_memory_gib="0",labels="",probe=""} 6"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    /// A worker without the probe can do nothing of this, so nobody who sums up what any worker can do may count it.
    #[test]
    fn what_only_a_probe_can_measure_is_told_apart() {
        let on_board = |class: Option<&str>| {
            let need = ProbeNeed { name: "snpe".to_owned(), class: class.map(str::to_owned) };
            Requirements { probe: Some(need), exclusive: true, ..labelled(&[("board", "orin")]) }
        };
        let on_any = Requirements { labels: BTreeMap::new(), ..on_board(None) };
        let text = written(&[
            open(Requirements::NONE, Numerics::Float),
            open(on_any, Numerics::Float),
            open(on_board(None), Numerics::Float),
            open(on_board(Some("Orin")), Numerics::Float),
        ]);

        for line in [
            r#"bitloop_wanted_seconds{device="any",exact="false",gpu_memory_gib="0",labels="",probe=""} 0.25"#,
            r#"bitloop_wanted_seconds{device="any",exact="false",gpu_memory_gib="0",labels="",probe="snpe"} 0.25"#,
            r#"bitloop_wanted_seconds{device="any",exact="false",gpu_memory_gib="0",labels="board=orin",probe="snpe"} 0.5"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn there_is_an_end_to_the_sets_and_nothing_is_lost_of_them() {
        let boards: Vec<String> = (0..3 * NEEDS_MAX).map(|number| format!("b{number}")).collect();
        let classes: Vec<Backlog> =
            boards.iter().map(|board| open(labelled(&[("board", board)]), Numerics::Float)).collect();

        let text = written(&classes);

        let of_seconds = || text.lines().filter(|line| line.starts_with("bitloop_backlog_seconds{"));
        assert_eq!(of_seconds().count(), NEEDS_MAX + 1);
        let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
        assert_eq!(of_seconds().filter_map(value).sum::<f64>(), 0.5 * classes.len() as f64);
        assert!(text.contains(r#"gpu_memory_gib="other",labels="other",probe=""} "#), "{text}");
    }
}
