//! Probes that hang, lie and die: what the worker makes of a real process that does so. `src/bin/misbehaving_probe.rs` is it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bitloop_core::probe::Patience;
use bitloop_tests::process::{PATIENCE as TEST_PATIENCE, await_that, is_running, numbers, signal};
use bitloop_worker::probe::{
    Breakage, Inference, InferenceSetting, Limits, Network, Probe, ProbeCommand, ProbeError, Suspect, Timed,
    Timing,
};
use tracing_subscriber::util::SubscriberInitExt;

/// The probe that behaves as it is told.
const DOUBLE: &str = env!("CARGO_BIN_EXE_misbehaving_probe");

/// Nobody stops anything.
static GO_ON: AtomicBool = AtomicBool::new(false);

/// A folder with what one test's probe leaves.
struct Bench {
    folder: tempfile::TempDir,
    limits: Limits,
}

impl Bench {
    /// Limits that nothing reaches but what hangs.
    fn new() -> Self {
        let limits =
            Limits { start: TEST_PATIENCE, request: TEST_PATIENCE, load: TEST_PATIENCE, end: TEST_PATIENCE };
        Self { folder: tempfile::tempdir().expect("a folder"), limits }
    }

    /// Requests to what hangs are soon over.
    fn impatient() -> Self {
        let soon = Duration::from_millis(300);
        let limits = Limits { request: soon, load: soon, ..Self::new().limits };
        Self { limits, ..Self::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> ProbeCommand {
        let own = ["--tell".to_owned(), self.path("started").display().to_string()];
        ProbeCommand {
            program: PathBuf::from(DOUBLE),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).chain(own).collect(),
            environment: BTreeMap::new(),
            folder: Some(self.folder.path().to_owned()),
            limits: self.limits,
        }
    }

    fn start(&self, arguments: &[&str]) -> Result<Probe, ProbeError> {
        Probe::start("double", self.command(arguments), &GO_ON)
    }

    fn probe(&self, arguments: &[&str]) -> Probe {
        self.start(arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }

    /// Numbers of the processes that were started.
    fn started(&self) -> Vec<u32> {
        numbers(&self.path("started"))
    }

    fn await_all_gone(&self) {
        await_that("all processes are gone", || self.started().iter().all(|number| !is_running(*number)));
    }
}

fn network(points: &[&str]) -> Network {
    let bits = points.iter().map(|point| ((*point).to_owned(), Some(4))).collect();
    Network { prepared: None, onnx: Some(PathBuf::from("network.onnx")), bits }
}

/// What is to be measured is soon over; an inference is of 2.6 thousand million multiply-adds.
fn timing() -> Timing {
    let patience = Patience { at_most_ns: 1e6, ..Patience::default() };
    Timing { setting: InferenceSetting { batch: 1000, threads: 1 }, patience, macs: 2_600_000 }
}

fn time_of(probe: &Probe, config: &Network) -> Result<Timed, ProbeError> {
    probe.time((config, &network(&[])), timing(), &GO_ON)
}

fn time(probe: &Probe) -> Result<Timed, ProbeError> {
    time_of(probe, &network(&[]))
}

fn broken(error: ProbeError) -> (Breakage, String, Suspect) {
    match error {
        ProbeError::Broken { how, reason, suspect, .. } => (how, reason, suspect),
        other => panic!("not broken: {other}"),
    }
}

/// The number of the process that answered.
fn answered_by(timed: &Timed) -> &str {
    &timed.environment.more["process"]
}

#[test]
fn a_good_probe_answers_all_that_is_asked_in_one_process_and_ends_with_its_input() {
    let bench = Bench::new();
    let probe = bench.probe(&["good"]);
    assert_eq!((probe.name(), probe.hello().class.as_str()), ("double", "made-up board"));

    let first = time(&probe).expect("times");
    assert_eq!(first.rounds.len(), 20);
    let names: BTreeSet<String> = ["conv", "dense"].map(str::to_owned).into();
    let layered = probe.layers((&network(&[]), &names), timing(), &GO_ON).expect("layers");
    assert_eq!(layered.nodes["conv"], [600.0, 600.0]);
    let (output, nodes) = (bench.path("output"), vec!["conv".to_owned()]);
    fs::write(&output, "what was there before").expect("a file");
    infer(&probe, &output, &nodes).expect("an output");
    assert_eq!(fs::metadata(&output).expect("the output").len(), 3 * 11 * 4);
    let last = time(&probe).expect("times");

    assert_eq!(answered_by(&first), answered_by(&last));
    assert_eq!(bench.started().len(), 1);
    drop(probe);
    assert!(!is_running(bench.started()[0]));
    let told = fs::read_to_string(bench.path("started")).expect("what it told");
    assert!(told.ends_with("ended by itself\n"), "it had the time for that: {told}");
}

fn infer(probe: &Probe, output: &Path, nodes: &[String]) -> Result<(), ProbeError> {
    let config = network(&[]);
    let elements = 10 + nodes.len() as u64;
    let asked = Inference { config: &config, images: Path::new("images"), count: 3, nodes, elements, output };
    probe.infer(&asked, &GO_ON)
}

#[test]
fn what_does_not_start_as_it_should_says_why() {
    let bench = Bench::new();
    for (mode, expected) in [
        ("dies-at-start", "it ended with exit status: 3; its last words: no board is connected"),
        ("garbage-at-start", "it says `\"Welcome!\"`, which is no hello"),
        ("other-protocol", "it speaks protocol 2, this bitloop speaks protocol 1"),
        ("no-class", "field `class` is empty"),
        ("unknown-hello-field", "unknown field `colour`"),
    ] {
        let Err(ProbeError::Absent { probe, reason }) = bench.start(&[mode]).map(drop) else {
            panic!("{mode} does not start")
        };
        assert!(probe == "double" && reason.contains(expected), "{mode}: {reason}");
    }
    let absent = ProbeCommand { program: bench.path("absent"), ..bench.command(&[]) };
    let Err(error) = Probe::start("double", absent, &GO_ON).map(drop) else { panic!("it is not there") };
    assert!(error.to_string().contains("absent cannot be started: No such file"), "{error}");
    let hanging =
        Bench { limits: Limits { start: Duration::from_millis(300), ..bench.limits }, ..Bench::new() };
    let Err(error) = hanging.start(&["hangs-at-start"]).map(drop) else { panic!("it hangs") };
    assert_eq!(error.to_string(), "probe `double` cannot be used: it did not answer within 300ms");
    bench.await_all_gone();
    hanging.await_all_gone();
}

/// Every way to answer with what is no answer to a request for times, and what is said of it.
const LIES: [(&str, &str); 20] = [
    ("garbage", "it says `Segmentation fault (core dumped)`, which is no answer"),
    ("endless-line", "it says a line of more than 8388608 bytes"),
    ("wrong-id", "it answers request 1000000 when it was asked"),
    ("unknown-field", "unknown field `colour`"),
    ("unknown-reply", "unknown variant `estimated`"),
    ("unknown-reply-field", "unknown field `colour`"),
    ("other-reply", "it says that it computed when it was asked for something else"),
    ("no-unit", "it says that an inference takes 5 ns: is it nanoseconds?"),
    ("milliseconds", "2600000000 multiply-adds takes 30 ns"),
    ("microseconds", "2600000000 multiply-adds takes 100 ns"),
    ("large-unit", "s of inferences within"),
    ("not-a-number", "which is no answer"),
    ("null", "which is no answer"),
    ("negative", "takes -1000 ns"),
    ("zero", "takes 0 ns"),
    ("no-rounds", "it gives no rounds"),
    ("million-rounds", "it gives 1000000 rounds, at most 100000 are taken"),
    ("memory", "bytes of memory were used"),
    ("energy", "is it joules?"),
    ("escape", "`environment.governor`"),
];

#[test]
fn each_lie_is_found_and_ends_both_processes_that_told_it() {
    for (mode, expected) in LIES {
        let bench = Bench::new();
        let probe = bench.probe(&[mode]);

        let (how, reason, _) = broken(time(&probe).expect_err(mode));

        assert_eq!(how, Breakage::Lied, "{mode}: {reason}");
        assert!(reason.contains(expected), "{mode}: {reason}");
        assert_eq!(bench.started().len(), 2, "{mode}: it may have been chance, once");
        bench.await_all_gone();
    }
}

#[test]
fn lies_about_layers_and_outputs_are_found() {
    let names: BTreeSet<String> = ["conv", "dense"].map(str::to_owned).into();
    for (mode, expected) in [
        ("unknown-layer", "`attention` takes, which the network does not have"),
        ("layers-unit", "are both nanoseconds?"),
        ("unknown-reply-field", "unknown field `colour`"),
    ] {
        let bench = Bench::new();
        let probe = bench.probe(&[mode]);
        let said = probe.layers((&network(&[]), &names), timing(), &GO_ON);
        let (how, reason, _) = broken(said.expect_err(mode));
        assert!(how == Breakage::Lied && reason.contains(expected), "{mode}: {reason}");
    }
    for (mode, expected) in [
        ("short-output", "its output has 116 bytes, 120 were asked for"),
        ("no-output", "its output is not there"),
    ] {
        let bench = Bench::new();
        let probe = bench.probe(&[mode]);
        fs::write(bench.path("output"), [0; 120]).expect("what was there before");
        let (how, reason, _) = broken(infer(&probe, &bench.path("output"), &[]).expect_err(mode));
        assert!(how == Breakage::Lied && reason.contains(expected), "{mode}: {reason}");
    }
}

#[test]
fn what_dies_says_how_and_what_its_last_words_were() {
    for (mode, expected) in [
        ("dies", "it ended with exit status: 4; its last words: segmentation violation"),
        ("half-a-line", "it ended with exit status: 0 in the middle of a line"),
    ] {
        let bench = Bench::new();
        let (how, reason, _) = broken(time(&bench.probe(&[mode])).expect_err(mode));
        assert_eq!((how, reason.as_str()), (Breakage::Died, expected), "{mode}");
    }
}

#[test]
fn what_hangs_is_killed_with_all_that_it_started() {
    let bench = Bench::impatient();
    let probe = bench.probe(&["child"]);

    let (how, reason, _) = broken(time(&probe).expect_err("it hangs"));

    assert_eq!((how, reason.as_str()), (Breakage::Hung, "it did not answer within 302ms"));
    assert!(bench.started().len() >= 2, "{:?}", bench.started());
    bench.await_all_gone();
}

#[test]
fn what_reads_nothing_holds_up_nobody() {
    let bench = Bench::impatient();
    let probe = bench.probe(&["hangs"]);
    // More than a pipe holds.
    let points: Vec<String> = (0..16_384).map(|point| format!("conv2d_{point}.weight")).collect();
    let points: Vec<&str> = points.iter().map(String::as_str).collect();

    for _ in 0..2 {
        let (how, ..) = broken(time_of(&probe, &network(&points)).expect_err("it hangs"));
        assert_eq!(how, Breakage::Hung);
    }
    drop(probe);
    bench.await_all_gone();
}

#[test]
fn a_child_that_keeps_the_output_open_does_not_hide_that_its_parent_died() {
    let bench = Bench::new();
    let probe = bench.probe(&["child-keeps-output"]);

    let (how, reason, _) = broken(time(&probe).expect_err("it dies"));

    assert_eq!((how, reason.as_str()), (Breakage::Died, "it ended with exit status: 0"));
    bench.await_all_gone();
}

#[test]
fn what_broke_once_is_started_again_and_answers() {
    for mode in ["dies", "hangs", "garbage", "no-unit", "half-a-line", "child-keeps-output"] {
        // Only the first process hangs: the second one has the time it needs.
        let bench = if mode == "hangs" { Bench::new_for_one_hang() } else { Bench::new() };
        let once = bench.path("once").display().to_string();
        let probe = bench.probe(&[mode, "--once", &once]);

        let timed = time(&probe).unwrap_or_else(|error| panic!("{mode}: {error}"));

        let (by, started) = (answered_by(&timed).to_owned(), bench.started());
        assert!(started.last().is_some_and(|last| last.to_string() == by), "{mode}: {started:?}, {by}");
        assert_eq!(answered_by(&time(&probe).expect("it is good now")), by, "{mode}");
    }
}

impl Bench {
    /// A limit that a good process keeps on any machine.
    fn new_for_one_hang() -> Self {
        let limits =
            Limits { request: Duration::from_secs(5), load: Duration::from_secs(5), ..Self::new().limits };
        Self { limits, ..Self::new() }
    }
}

#[test]
fn a_trial_that_breaks_a_good_probe_is_at_fault_and_the_others_are_measured() {
    let bench = Bench::new();
    let probe = bench.probe(&["dies", "--if", "time:4"]);
    let bad = network(&["conv.weight"]);

    let (.., suspect) = broken(time_of(&probe, &bad).expect_err("it dies"));
    assert_eq!(suspect, Suspect::Probe, "nobody has seen it answer yet");
    time(&probe).expect("another trial is measured");
    let (.., suspect) = broken(time_of(&probe, &bad).expect_err("it dies"));
    assert_eq!(suspect, Suspect::Trial);
    assert_eq!(bench.started().len(), 5, "the process that answered before, and two that were made for it");
    time(&probe).expect("the next one is measured");
}

#[test]
fn a_probe_that_breaks_whatever_it_is_asked_costs_one_trial_at_most() {
    let bench = Bench::new();
    let probe = bench.probe(&["dies", "--if", "time:4"]);
    time(&probe).expect("a good start");
    // From here on all of them kill it.
    let suspects = (0..3).map(|_| match time_of(&probe, &network(&["conv.weight"])).expect_err("it dies") {
        ProbeError::Broken { suspect, .. } => suspect == Suspect::Trial,
        // It is not started at once any more.
        ProbeError::Absent { reason, .. } => !reason.starts_with("it broke again and again"),
        other => panic!("{other}"),
    });

    assert_eq!(suspects.collect::<Vec<_>>(), [true, false, false]);
}

#[test]
fn two_answers_to_a_request_end_the_process() {
    let bench = Bench::new();
    let probe = bench.probe(&["twice"]);

    let said = [time(&probe), time(&probe), time(&probe)];

    // The second answer comes while one looks at the first, or later; never is it taken for one of the next request.
    let mut by = BTreeSet::new();
    for said in said {
        match said {
            Ok(timed) => assert!(by.insert(answered_by(&timed).to_owned()), "one process answered twice"),
            Err(ProbeError::Absent { reason, .. }) => assert!(reason.contains("again and again"), "{reason}"),
            Err(error) => assert_eq!(broken(error).0, Breakage::Lied),
        }
    }
}

#[test]
fn an_answer_that_nobody_asked_for_is_no_answer() {
    let bench = Bench::new();
    let probe = bench.probe(&["unasked"]);

    let (how, reason, _) = broken(time(&probe).expect_err("it lies"));

    assert_eq!(how, Breakage::Lied);
    assert!(["unasked", "when it was asked"].iter().any(|word| reason.contains(word)), "{reason}");
}

#[test]
fn an_answer_counts_although_the_process_ends_behind_it() {
    let bench = Bench::new();
    let probe = bench.probe(&["answers-and-ends"]);

    let by: BTreeSet<String> =
        (0..6).map(|_| answered_by(&time(&probe).expect("times")).to_owned()).collect();

    assert_eq!(by.len(), 6, "a process for each");
}

#[test]
fn a_device_that_became_another_one_is_not_measured() {
    let bench = Bench::new();
    let once = bench.path("once").display().to_string();
    let probe = bench.probe(&["other-class-at-first", "--once", &once]);
    assert_eq!(probe.hello().class, "another board");
    time(&probe).expect("times");
    kill(&bench);

    let Err(ProbeError::Absent { reason, .. }) = time(&probe) else { panic!("it is another device") };

    assert!(reason.contains("another board") && reason.contains("made-up board"), "{reason}");
}

/// `kill -9` of the process that was started last.
fn kill(bench: &Bench) {
    let last = bench.started().pop().expect("one was started");
    signal("KILL", last);
    await_that("it is killed", || !is_running(last));
}

#[test]
fn what_a_probe_says_itself_ends_no_process() {
    let bench = Bench::new();
    for (mode, expected) in [
        (
            "failed",
            ProbeError::Failed { probe: "double".to_owned(), reason: "no kernel for 3 bits".to_owned() },
        ),
        (
            "unable",
            ProbeError::Unable { probe: "double".to_owned(), reason: "the board is too hot".to_owned() },
        ),
    ] {
        let before = bench.started().len();
        let probe = bench.probe(&[mode]);
        for _ in 0..3 {
            assert_eq!(time(&probe).expect_err(mode), expected);
        }
        assert_eq!(bench.started().len(), before + 1, "{mode}");
    }
}

#[test]
fn what_writes_to_standard_error_without_end_answers_all_the_same() {
    let bench = Bench::new();
    let probe = bench.probe(&["floods"]);

    for _ in 0..2 {
        time(&probe).expect("times");
    }
    assert_eq!(bench.started().len(), 1);
}

/// Only this thread's log is kept for its trial.
#[test]
fn what_is_written_to_standard_error_is_in_the_log_of_whoever_waits_as_far_as_it_is_short() {
    let bench = Bench::new();
    let log = bench.path("log");
    let file = fs::File::create(&log).expect("a file");
    let layer = tracing_subscriber::fmt().with_ansi(false).with_writer(Mutex::new(file));
    let kept = layer.finish().set_default();

    time(&bench.probe(&["floods"])).expect("times");

    drop(kept);
    let text = fs::read_to_string(log).expect("a log");
    let told: Vec<&str> = text.lines().filter(|line| line.contains("the probe says probe=")).collect();
    assert_eq!(told.len(), 200, "{text}");
    assert!(told[0].contains("warning 0: \u{fffd}[31mhot\u{fffd}[0m"), "{}", told[0]);
    assert!(text.contains("the probe says more than is kept"), "{text}");
}

#[test]
fn what_ignores_the_end_of_its_input_is_killed() {
    let bench =
        Bench { limits: Limits { end: Duration::from_millis(100), ..Bench::new().limits }, ..Bench::new() };
    let probe = bench.probe(&["ignores-end"]);
    time(&probe).expect("times");

    drop(probe);

    assert!(!is_running(bench.started()[0]));
}

#[test]
fn what_is_not_wanted_any_more_ends_at_once_and_costs_nothing() {
    let bench = Bench::new();
    let probe = bench.probe(&["hangs", "--if", "time:4"]);
    time(&probe).expect("times");
    let stop = Arc::new(AtomicBool::new(false));
    let stopper = Arc::clone(&stop);
    let started = bench.path("started");
    let stopping = thread::spawn(move || {
        await_that("a process is there", || !numbers(&started).is_empty());
        stopper.store(true, Ordering::Relaxed);
    });

    let said = probe.time((&network(&["conv.weight"]), &network(&[])), timing(), &stop);

    assert_eq!(said, Err(ProbeError::Stopped { probe: "double".to_owned() }));
    stopping.join().expect("it stops");
    bench.await_all_gone();
    time(&probe).expect("the next one is measured, in a new process");
    assert_eq!(bench.started().len(), 2);
}

#[test]
fn a_start_that_is_not_wanted_any_more_ends_at_once() {
    let bench = Bench::new();
    let stop = AtomicBool::new(true);

    let said = Probe::start("double", bench.command(&["hangs-at-start"]), &stop).map(drop);

    assert_eq!(said, Err(ProbeError::Stopped { probe: "double".to_owned() }));
    bench.await_all_gone();
}
