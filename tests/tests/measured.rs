//! Experiments that measure a device, as a user runs them: with the built-in probe, on this machine, interrupted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use bitloop_tests::experiment::Experiment;
use bitloop_tests::process::{Process, await_that, binary, bitloop, now, numbers, say};
use serde_json::{Map, Value};

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

/// The probe that measures nothing and says so of a class of its own.
const DOUBLE: &str = env!("CARGO_BIN_EXE_misbehaving_probe");

/// What it says that executes networks.
const RUNTIME: &str = "double 1.0";

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

/// Repetitions of networks and what they came to, by probe and widths.
type Known = BTreeMap<(String, String), (u64, Value)>;

/// What is known of every network; nothing before the experiment is known.
fn known(folder: &Path, name: &str) -> Known {
    let said = say(folder, ["results", name, "--data-dir", "data", "--format", "json"]);
    let Ok(report) = serde_json::from_str::<Value>(&said.out) else { return Known::new() };
    let devices = report["devices"].as_array().into_iter().flatten();
    let known = devices.flat_map(|device| {
        let probe = device["target"]["probe"].as_str().expect("a name");
        let rows = device["networks"].as_array().into_iter().flatten();
        rows.map(move |row| {
            let network = (probe.to_owned(), network(row["kind"] == "float", &row["changes"]));
            (network, (row["sessions"].as_u64().expect("a number"), row["ratio"].clone()))
        })
    });
    known.collect()
}

/// A network by what it has other than the baseline.
fn network(is_float: bool, changes: &Value) -> String {
    if is_float { "float".to_owned() } else { changes.to_string() }
}

/// A line in which a probe that writes down what it is asked begins.
const STARTED: &str = "started";

/// Registers two probes that write down what they are asked: `noted` is the built-in one, `double` measures another class of device.
fn register_probes(folder: &Path) {
    let program =
        format!("echo {STARTED} >> noted.asked; tee -a noted.asked | {} probe integer", binary().display());
    let probes = format!(
        "version: 1\nprobes:\n  noted:\n    command: [/bin/sh, -c, \"{program}\"]\n    start_limit: 3m\n  \
         double:\n    command: [{DOUBLE}, good, --tell, double.asked]\n    start_limit: 3m\n"
    );
    fs::write(folder.join("probes.yaml"), probes).expect("a file");
}

/// Measures with the built-in probe and gives what was compared, and the lines that its processes wrote down.
fn noted(folder: &Path) -> (Vec<Value>, Vec<String>) {
    register_probes(folder);
    let stage =
        "probe: { probe: noted, configs: 0, repetitions: 1, at_most: 100ms, interval: 10%, fidelity: 16 }";
    let experiment = Experiment::with_stages(folder, "noted", &[stage], 320);
    let path = experiment.path();
    say(folder, ["run", &path, "--data-dir", "data", "--probe", "external=probes.yaml"]).ok();
    let report = results(folder, "noted");
    let compared = device(&report, "noted")["fidelity"].as_array().expect("comparisons").clone();
    let asked = fs::read_to_string(folder.join("noted.asked")).expect("what it was asked");
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

/// Starts an experiment again and again, each time killing it a little later, at most six times; says how often it was killed.
fn through_kills(folder: &Path, experiment: &Experiment) -> u32 {
    let mut kills = 0;
    loop {
        let path = experiment.path();
        let arguments = ["run", &path, "--data-dir", "data", "--workers", "1", "--probe", "integer"];
        let mut process = Process::start(bitloop(folder, arguments));
        let started = now();
        let patience = Duration::from_millis(500 + 400 * u64::from(kills));
        while process.is_running() && started.elapsed() < patience {
            thread::sleep(Duration::from_millis(5));
        }
        if kills == 6 || !process.is_running() {
            process.end().ok();
            return kills;
        }
        process.kill();
        kills += 1;
    }
}

/// Both probes' devices, one stage behind the other, and a search that has limits on both.
const TWO_DEVICES: [&str; 5] = [
    "probe: { probe: double, configs: 3, repetitions: 2, at_most: 100ms, interval: 10%, fidelity: 0 }",
    "probe: { probe: noted, configs: 3, repetitions: 2, at_most: 100ms, interval: 10%, fidelity: 16 }",
    "sensitivity: { single: all }",
    "search: { constraints: { latency_ms: [{ max: 80%, probe: noted }, { max: 1, probe: double }] }, \
     trials: 4, round: 2 }",
    "verify: { top: 1 }",
];

/// How often each network was to be timed whole by a probe, as far as it wrote that down.
fn timed(folder: &Path, probe: &str) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for line in fs::read_to_string(folder.join(format!("{probe}.asked"))).unwrap_or_default().lines() {
        let Ok(request) = serde_json::from_str::<Value>(line) else { continue };
        let Some(bits) = request["ask"]["time"]["config"]["bits"].as_object() else { continue };
        let changes = bits.iter().filter(|(_, bits)| **bits != BASELINE);
        let changes: Map<String, Value> =
            changes.map(|(point, bits)| (point.clone(), bits.clone())).collect();
        let network = network(bits.values().all(Value::is_null), &Value::Object(changes));
        *counts.entry(network).or_default() += 1;
    }
    counts
}

/// What is known of both devices at a moment, and how often their probes were asked for each network until then.
struct Moment {
    known: Known,
    timed: BTreeMap<&'static str, BTreeMap<String, u32>>,
}

impl Moment {
    fn now(folder: &Path) -> Self {
        // What was asked for when it was killed is written down by then.
        let known = known(folder, "killed");
        Self { known, timed: ["noted", "double"].map(|probe| (probe, timed(folder, probe))).into() }
    }

    /// Starts an experiment with both probes and kills it when it has asked one of them so many times more.
    fn of_kill((more, probe): (u32, &str), (folder, experiment): (&Path, &Experiment)) -> Self {
        let asked = || timed(folder, probe).values().sum::<u32>();
        let before = asked();
        let mut process = Process::start(bitloop(folder, measuring(&experiment.path())));
        await_that("it has measured", || asked() >= before + more || !process.is_running());
        assert!(process.is_running(), "{probe}: {}", process.err());
        process.kill();
        Self::now(folder)
    }

    fn known_of<'a>(
        &'a self,
        probe: &'a str,
    ) -> impl Iterator<Item = (&'a (String, String), &'a (u64, Value))> {
        self.known.iter().filter(move |((of, _), _)| of == probe)
    }

    /// Repetitions that are known of all networks, and how often the probe was asked for one.
    fn counts(&self, probe: &str) -> [u64; 2] {
        let asked = self.timed[probe].values().map(|count| u64::from(*count));
        [self.known_of(probe).map(|(_, (sessions, _))| *sessions).sum(), asked.sum()]
    }
}

/// Checks that after a kill a probe was asked for what was not known then, and for nothing else.
fn assert_measured_once(probe: &str, killed: &Moment, end: &Moment) {
    let ([known, asked_before], [all, asked]) = (killed.counts(probe), end.counts(probe));
    assert!(known > 0, "{probe}: something was measured before the kill");
    let (missing, asked) = (all - known, asked - asked_before);
    // What was under way may have been written down behind the kill.
    assert!(
        (missing..=missing + 1).contains(&asked),
        "{probe}: {asked} were asked for, {missing} were not known"
    );
    for (network, (sessions, ratio)) in killed.known_of(probe) {
        let (all, final_ratio) = &end.known[network];
        assert!(all >= sessions, "{network:?}: {all} repetitions of {sessions} are left");
        // No two measurements come to the same on a processor.
        assert!(all > sessions || final_ratio == ratio, "{network:?}: {ratio} became {final_ratio}");
    }
}

/// The arguments that run an experiment with both probes.
fn measuring(experiment: &str) -> [&str; 8] {
    ["run", experiment, "--data-dir", "data", "--workers", "1", "--probe", "external=probes.yaml"]
}

/// Checks that each device has its own class, as its probe was announced, and what was measured on it alone.
fn assert_apart(report: &Value, (folder, announced): (&Path, &str)) {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let [noted, double] = ["noted", "double"].map(|probe| device(report, probe));
    let (own_class, own_runtime) = (text(&noted["class"]), text(&noted["runtime"]));
    assert!(own_class.ends_with(&own_runtime) && own_runtime.contains(" integer "), "{own_class}");
    assert!(announced.contains(&format!("probe noted: {own_class}\n")), "{own_class}: {announced}");
    assert_eq!(
        (text(&double["class"]), text(&double["runtime"])),
        (format!("made-up board, {RUNTIME}"), RUNTIME.into())
    );
    for (device, is_double) in [(noted, false), (double, true)] {
        assert_eq!(device["failures"], Value::Array(Vec::new()));
        for row in device["networks"].as_array().expect("networks") {
            let time = number(&row["latency_ns"]["median"]);
            // It says so of everything, and no processor needs so little.
            assert_eq!(time == 1000.0, is_double, "{row}");
            assert_eq!(row["energy_source"] == "made up", is_double, "{row}");
        }
    }
    // It alone says which of its processes measured.
    let processes = double["environment"]["more"]["process"].as_array().expect("numbers of processes");
    let started = numbers(&folder.join("double.asked"));
    let is_own = |number: &Value| {
        number.as_str().and_then(|text| text.parse().ok()).is_some_and(|it| started.contains(&it))
    };
    assert!(!processes.is_empty() && processes.iter().all(is_own), "{processes:?}");
    assert!(double["environment"]["affinities"] == Value::Array(Vec::new()), "{}", double["environment"]);
    assert!(noted["environment"]["more"].get("process").is_none(), "{}", noted["environment"]);
}

/// Beginning anew takes ten seconds each time: a device may still be measured for whoever was killed.
#[test]
fn what_was_measured_before_a_kill_is_measured_once_and_no_device_gets_what_is_anothers() {
    let folder = tempfile::tempdir().expect("a folder");
    let experiment = limited(folder.path(), "killed", &TWO_DEVICES);
    register_probes(folder.path());
    let at = (folder.path(), &experiment);

    let in_the_first = Moment::of_kill((8, "double"), at);
    Moment::of_kill((4, "noted"), at);
    let in_the_second = Moment::of_kill((6, "noted"), at);
    let said = say(folder.path(), measuring(&experiment.path())).ok();

    let report = results(folder.path(), "killed");
    assert_measured(&report, "noted");
    assert_apart(&report, (folder.path(), &said.err));
    let end = Moment::now(folder.path());
    assert_measured_once("double", &in_the_first, &end);
    assert_measured_once("noted", &in_the_second, &end);
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

    let kills = through_kills(folder.path(), &experiment);

    assert!(kills >= 2, "it is long enough to be killed more than once");
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
