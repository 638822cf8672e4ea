//! Experiments that measure a device, as a user runs them: with the built-in probe, on this machine, interrupted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use bitloop_tests::experiment::Experiment;
use bitloop_tests::process::{Process, binary, bitloop, now, say};
use serde_json::Value;

const STAGES: [&str; 4] = [
    "sensitivity: { single: all }",
    "probe: { probe: integer, configs: 3, repetitions: 2, at_most: 100ms, interval: 10%, fidelity: 16 }",
    "search: { constraints: { latency_ms: { max: 80%, probe: integer } }, trials: 4, round: 2 }",
    "verify: { top: 1 }",
];

/// The part of the baseline's time that is allowed. Networks of 8 bits take about half of it where processors multiply integers well: far
/// enough from the limit on either side for a machine that is busy with something else.
const LIMIT: f64 = 0.8;

/// Bits of the baseline.
const BASELINE: u32 = 16;

/// An experiment whose limit the baseline breaks: layers of 8 bits multiply integers, those of 16 bits floats.
fn limited(folder: &Path, name: &str, stages: &[&str]) -> Experiment {
    let experiment = Experiment::with_stages(folder, name, stages, 320);
    experiment.replace("numerics: exact", "numerics: float");
    experiment.replace("bits: [2, 3, 4]", "bits: [8]");
    experiment.replace("bits: [2, 4]", "bits: [8]");
    experiment.replace("baseline: 8", &format!("baseline: {BASELINE}"));
    experiment
}

fn results(folder: &Path, name: &str) -> Value {
    let said = say(folder, ["results", name, "--data-dir", "data", "--format", "json"]).ok();
    serde_json::from_str(&said.out).expect("a report is JSON")
}

/// What was measured with a probe.
fn device<'a>(report: &'a Value, probe: &str) -> &'a Value {
    let mut devices = report["devices"].as_array().expect("devices").iter();
    devices.find(|device| device["target"]["probe"] == probe).expect("a stage has this probe")
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

/// Checks that everything was measured on this device, and that what was found keeps a limit there that the baseline breaks.
fn assert_measured(report: &Value, probe: &str) {
    assert_eq!(report["status"], "finished", "{report}");
    let device = device(report, probe);
    assert!(device["class"].as_str().is_some_and(|class| !class.is_empty()), "{device}");
    let networks = device["networks"].as_array().expect("networks");
    assert!(networks.len() > 3);
    for network in networks {
        let times = &network["latency_ns"];
        let [low, median, high] = ["low", "median", "high"].map(|key| number(&times[key]));
        assert!(0.0 <= low && 0.0 < median && low <= median && median <= high, "{network}");
        assert!(network["sessions"].as_u64().expect("a number") >= 2, "{network}");
    }
    // The probe executes what the simulation does.
    let compared = device["fidelity"].as_array().expect("comparisons");
    assert!(!compared.is_empty());
    for row in compared {
        assert_eq!(row["found"]["agreeing"], row["found"]["n"], "{row}");
        assert!(row["found"]["first_difference"].is_null(), "{row}");
    }
    assert_limit_kept(device, &report["searches"][0]["top"][0]);
}

/// Checks that the best config, and all others that a search found, keep the limit on a device that the baseline breaks.
fn assert_limit_kept(device: &Value, top: &Value) {
    let networks = device["networks"].as_array().expect("networks");
    let ms = |network: &Value| number(&network["latency_ns"]["median"]) / 1e6;
    let baseline = networks.iter().find(|network| network["kind"] == "baseline").expect("it was measured");
    // What is above it is the last digit of a product.
    let limit_ms = LIMIT * ms(baseline) * (1.0 + 1e-9);
    let is_top = |network: &&Value| network["kind"] != "float" && network["changes"] == top["changes"];
    let found = networks.iter().find(is_top).expect("it was measured whole");

    assert!(top["refused"].is_null() && found["kind"] != "baseline", "{top}");
    assert!(ms(found) <= limit_ms && limit_ms < ms(baseline), "{limit_ms} ms for {found}\n{baseline}");
    // That is of all processes; in turns with the baseline it is faster, too.
    assert!(number(&found["ratio"]["median"]) < 1.0, "{found}");
    let finalists = device["finalists"].as_array().expect("finalists");
    assert!(finalists.iter().any(|finalist| finalist["changes"] == top["changes"]), "{finalists:?}");
    for finalist in finalists {
        let median = number(&finalist["measured"]["median"]);
        assert!(median <= limit_ms, "{median} of {limit_ms} ms: {finalist}");
    }
}

#[test]
fn what_a_search_finds_was_measured_on_this_machine_and_keeps_a_limit_that_the_baseline_breaks() {
    let folder = tempfile::tempdir().expect("a folder");
    let experiment = limited(folder.path(), "measured", &STAGES);

    // The second worker has no probe, and measures losses.
    let arguments = ["run", &experiment.path(), "--data-dir", "data", "--workers", "2", "--probe", "integer"];
    say(folder.path(), arguments).ok();

    assert_measured(&results(folder.path(), "measured"), "integer");
}

#[test]
fn an_experiment_without_its_probe_is_refused_with_the_option_that_it_lacks() {
    let folder = tempfile::tempdir().expect("a folder");
    let experiment = Experiment::with_stages(folder.path(), "unmeasured", &STAGES, 320);

    let said = say(folder.path(), ["run", &experiment.path(), "--data-dir", "data"]);

    assert_eq!(said.status.code(), Some(2), "{}", said.err);
    assert!(said.err.contains("start it with `--probe integer`"), "{}", said.err);
}

/// Repetitions of every network and what they came to, by its kind and widths; nothing before the experiment is known.
fn known(folder: &Path, name: &str) -> BTreeMap<String, (u64, Value)> {
    let said = say(folder, ["results", name, "--data-dir", "data", "--format", "json"]);
    let Ok(report) = serde_json::from_str::<Value>(&said.out) else { return BTreeMap::new() };
    let devices = report["devices"].as_array().into_iter().flatten();
    let networks = devices.flat_map(|device| device["networks"].as_array().into_iter().flatten());
    let known = networks.map(|row| {
        let sessions = row["sessions"].as_u64().expect("a number");
        (format!("{} {}", row["kind"], row["changes"]), (sessions, row["ratio"].clone()))
    });
    known.collect()
}

/// A line in which a probe that writes down what it is asked begins.
const STARTED: &str = "started";

/// Measures with the built-in probe and gives what was compared, and the lines that its processes wrote down.
fn noted(folder: &Path) -> (Vec<Value>, Vec<String>) {
    let program = format!("echo {STARTED} >> asked; tee -a asked | {} probe integer", binary().display());
    let probes = format!("version: 1\nprobes:\n  noted:\n    command: [/bin/sh, -c, \"{program}\"]\n");
    fs::write(folder.join("probes.yaml"), probes).expect("a file");
    let stage =
        "probe: { probe: noted, configs: 0, repetitions: 1, at_most: 100ms, interval: 10%, fidelity: 16 }";
    let experiment = Experiment::with_stages(folder, "noted", &[stage], 320);
    let path = experiment.path();
    say(folder, ["run", &path, "--data-dir", "data", "--probe", "external=probes.yaml"]).ok();
    let report = results(folder, "noted");
    let compared = device(&report, "noted")["fidelity"].as_array().expect("comparisons").clone();
    let asked = fs::read_to_string(folder.join("asked")).expect("what it was asked");
    (compared, asked.lines().map(str::to_owned).collect())
}

/// What a line asks for, by kind.
fn ask(line: &str) -> Value {
    serde_json::from_str::<Value>(line).expect("a request")["ask"].take()
}

#[test]
fn each_measurement_has_a_process_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");

    let (_, lines) = noted(folder.path());

    for kind in ["time", "layers"] {
        let asks = |line: &String| line != STARTED && ask(line).get(kind).is_some();
        assert!(lines.iter().any(asks), "{kind}");
        for pair in lines.windows(2).filter(|pair| asks(&pair[1])) {
            assert_eq!(pair[0], STARTED, "a process that had measured before was asked {}", pair[1]);
        }
    }
}

#[test]
fn layers_are_left_alone_where_every_logit_is_as_simulated() {
    let folder = tempfile::tempdir().expect("a folder");

    let (compared, lines) = noted(folder.path());

    assert!(compared.iter().all(|row| row["found"]["logit_difference_max"] == 0.0), "{compared:?}");
    let asked = lines.iter().filter(|line| *line != STARTED).map(|line| ask(line));
    let inferred: Vec<Value> = asked.filter_map(|mut ask| Some(ask.get_mut("infer")?.take())).collect();
    assert!(!compared.is_empty() && inferred.len() == compared.len(), "{inferred:?}");
    assert!(inferred.iter().all(|infer| infer["nodes"] == Value::Array(Vec::new())), "{inferred:?}");
}

/// Starts an experiment again and again, each time killing it a little later, at most six times; says what was known at each kill.
fn through_kills(folder: &Path, experiment: &Experiment) -> Vec<BTreeMap<String, (u64, Value)>> {
    let mut kept = Vec::new();
    loop {
        let path = experiment.path();
        let arguments = ["run", &path, "--data-dir", "data", "--workers", "1", "--probe", "integer"];
        let mut process = Process::start(bitloop(folder, arguments));
        let started = now();
        let patience = Duration::from_millis(500 + 400 * kept.len() as u64);
        while process.is_running() && started.elapsed() < patience {
            thread::sleep(Duration::from_millis(5));
        }
        if kept.len() == 6 || !process.is_running() {
            process.end().ok();
            return kept;
        }
        process.kill();
        let name = experiment.file.file_stem().and_then(|stem| stem.to_str()).expect("a name");
        kept.push(known(folder, name));
    }
}

#[test]
fn what_was_measured_before_a_kill_is_measured_once_and_the_rest_on_the_same_device() {
    let folder = tempfile::tempdir().expect("a folder");
    let experiment = limited(folder.path(), "killed", &STAGES);

    let kept = through_kills(folder.path(), &experiment);

    assert!(kept.len() >= 2, "it is long enough to be killed more than once");
    assert_measured(&results(folder.path(), "killed"), "integer");
    // No two measurements come to the same, so what is the same was not measured again.
    let last = known(folder.path(), "killed");
    let earlier: Vec<_> = kept.iter().flatten().filter(|(_, (sessions, _))| *sessions > 0).collect();
    assert!(!earlier.is_empty(), "something was measured before a kill");
    for (network, (sessions, ratio)) in earlier {
        let (all, final_ratio) = &last[network];
        assert!(all >= sessions, "{network}: {all} repetitions of {sessions} are left");
        assert!(all > sessions || final_ratio == ratio, "{network}: {ratio} became {final_ratio}");
    }
}

/// Two blocks, and kernels of which the narrower ones save no time.
const TRAINED: &str = r#"goal:
  type: measured
  params: { cost: latency_us, probe: integer, repetitions: 1, at_most: 100ms, interval: 10%, delta_p: 4, delta_n: 4 }
quantization_config:
  kernel: { ternary: 2, "quantized_bits(4,0,1)": 4, "quantized_bits(8,0,1)": 8 }
  bias: { "quantized_bits(6,2,1)": 6 }
  activation: { "quantized_relu(4,2)": 4, "quantized_relu(8,2)": 8 }
limit: { Dense: [8, 8, 8], Conv2D: [8, 8, 8], Activation: [8], BatchNormalization: [] }
mode: random
max_trials: 6
blocks: ["^(conv2d|act|bn)_[01]_", "^((conv2d|act|bn)_2_|dense)"]
training: { epochs: 1, batch: 64, optimizer: { adam: { learning_rate: 0.001 } } }"#;

/// An experiment that trains and has a device say how large networks are.
fn that_trains_by_measuring(folder: &Path, name: &str) -> Experiment {
    let experiment = Experiment::that_trains(folder, name, TRAINED);
    experiment.replace("training: 512\n", "training: 512\n  calibration: 64\n");
    experiment
}

#[test]
fn a_search_that_trains_forgives_what_was_measured_on_this_machine_also_after_kills() {
    let folder = tempfile::tempdir().expect("a folder");
    let experiment = that_trains_by_measuring(folder.path(), "forgiven");

    let kept = through_kills(folder.path(), &experiment);

    assert!(kept.len() >= 2, "it is long enough to be killed more than once");
    let report = results(folder.path(), "forgiven");
    assert_eq!(report["status"], "finished", "{report}");
    let search = &report["trained"][0];
    assert_eq!(search["unit"], "us");
    let device = &search["device"];
    assert!(device["class"].as_str().is_some_and(|class| !class.is_empty()), "{device}");
    assert_eq!(device["failed"], 0, "{device}");
    let float = number(&search["reference"]["trial"]);
    let mut sizes = BTreeSet::new();
    for row in search["blocks"]
        .as_array()
        .expect("blocks")
        .iter()
        .flat_map(|block| block["trials"].as_array().expect("trials").iter())
    {
        assert_eq!(number(&row["size"]["reference"]), float, "all are compared with the same: {row}");
        assert!(number(&row["size"]["trial"]) > 0.0 && row["failed"].is_null(), "{row}");
        sizes.insert(row["size"]["trial"].to_string());
    }
    assert!(sizes.len() > 2 && sizes.len() as u64 <= number(&device["networks"]) as u64, "{sizes:?}");
    let found = &search["found"];
    assert!(number(&found["size"]["trial"]) > 0.0 && found["report"]["n"].as_u64() > Some(0), "{found}");
    let anew = number(&device["found"]["median"]);
    // A busy machine may say another time, but no other order of magnitude.
    let before = number(&found["size"]["trial"]) / float;
    assert!((0.2..5.0).contains(&(anew / before)), "{before} of float's time, then {anew}");
    let said = say(folder.path(), ["results", "forgiven", "--data-dir", "data"]).ok();
    assert!(said.out.contains("found, measured anew: "), "{}", said.out);
}

#[test]
fn a_search_that_trains_without_its_probe_is_refused_with_the_option_that_it_lacks() {
    let folder = tempfile::tempdir().expect("a folder");
    let experiment = that_trains_by_measuring(folder.path(), "unforgiven");

    let said = say(folder.path(), ["run", &experiment.path(), "--data-dir", "data"]);

    assert_eq!(said.status.code(), Some(2), "{}", said.err);
    assert!(said.err.contains("start it with `--probe integer`"), "{}", said.err);
}
