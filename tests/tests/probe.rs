//! `bitloop probe` as a process: it answers, and it never outlives whoever asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::thread;

use bitloop_tests::process::{PATIENCE, await_that, binary, bitloop, say};
use bitloop_tests::root;
use serde_json::{Value, json};

/// A probe that the test speaks with; killed when dropped.
struct Probe {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Probe {
    fn start(name: &str) -> Self {
        let mut command = bitloop(&std::env::temp_dir(), ["probe", name]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = child.expect("the program starts");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        Self { child, input, output }
    }

    fn ask(&mut self, request: &Value) {
        let input = self.input.as_mut().expect("its input is open");
        writeln!(input, "{request}").expect("it reads");
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it says lines of text");
        serde_json::from_str(&line).expect("it says nothing but JSON")
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A small prepared network at some width.
fn network(bits: u32) -> Value {
    let points = ["input.output", "conv.weight", "relu.output", "dense.weight", "dense.output"];
    let bits: Value = points.iter().map(|point| ((*point).to_owned(), json!(bits))).collect();
    json!({ "prepared": root().join("quant/src/prepare/golden/prepared_1.safetensors"), "bits": bits })
}

/// A request to measure for so many nanoseconds.
fn time(at_most_ns: f64) -> Value {
    let patience = json!({
        "rounds_min": 10, "half_width": 1e-12, "at_most_ns": at_most_ns, "warm_up_ns": 1e6, "turn_ns": 1e5
    });
    let setting = json!({ "batch": 1, "threads": 1 });
    json!({ "id": 5, "ask": { "time": {
        "config": network(4), "baseline": network(8), "setting": setting, "patience": patience
    } } })
}

/// Longer than any test.
const FOR_EVER_NS: f64 = 1e15;

#[test]
fn a_probe_answers_until_its_input_ends() {
    let mut probe = Probe::start("integer");

    let hello = probe.line();
    probe.ask(&time(1e7));
    let timed = probe.line();
    let layers = json!({
        "config": network(8), "setting": { "batch": 2, "threads": 2 }, "patience": time(1e7)["ask"]["time"]["patience"]
    });
    probe.ask(&json!({ "id": 6, "ask": { "layers": layers } }));
    let layers = probe.line();
    probe.ask(&json!("nonsense"));
    let refused = probe.line();
    probe.input = None;
    let ended = probe.child.wait().expect("it is a child");

    assert_eq!(hello["protocol"], 1);
    assert!(hello["runtime"].as_str().is_some_and(|runtime| runtime.contains("integer")), "{hello}");
    let timed = &timed["reply"]["timed"];
    let rounds = timed["rounds"].as_array().expect("rounds");
    let is_time = |time: &Value| time.as_f64().is_some_and(|time| time > 0.0);
    assert!(!rounds.is_empty() && rounds.iter().all(|round| is_time(&round[0]) && is_time(&round[1])));
    assert!(layers["reply"]["layers"]["nodes"]["conv"].is_array(), "{layers}");
    assert!(refused["reply"]["failed"]["reason"].is_string(), "{refused}");
    assert!(ended.success(), "{ended}");
}

#[test]
fn a_probe_ends_with_its_input_in_the_middle_of_a_measurement() {
    let mut probe = Probe::start("integer");
    probe.line();
    probe.ask(&time(FOR_EVER_NS));

    probe.input = None;

    await_that("the probe ends", || probe.child.try_wait().expect("it is a child").is_some());
    let mut rest = String::new();
    probe.output.read_to_string(&mut rest).expect("text");
    assert_eq!(rest, "", "nothing was measured");
}

#[test]
fn a_probe_ends_when_whoever_started_it_is_killed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let request = folder.path().join("request");
    std::fs::write(&request, format!("{}\n", time(FOR_EVER_NS))).expect("a file");
    // The shell alone holds the writing end of the probe's input, as a worker would.
    let script = "mkfifo pipe; \"$0\" probe integer <pipe & exec 3>pipe; cat request >&3; wait";
    let mut parent = Command::new("sh");
    parent.args([Path::new("-c"), &PathBuf::from(script), &binary()]).current_dir(folder.path());
    let parent = parent.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut parent = parent.expect("there is a shell");
    let mut output = BufReader::new(parent.stdout.take().expect("its output is a pipe"));
    let mut hello = String::new();
    output.read_line(&mut hello).expect("the probe says what it is");

    parent.kill().expect("the shell is there");
    parent.wait().expect("it is a child");

    // Its output ends when nobody holds it any more: neither the shell nor the probe.
    let (told, ended) = sync_channel(1);
    thread::spawn(move || {
        let mut rest = String::new();
        let read = output.read_to_string(&mut rest).map(|_| rest);
        let _ = told.send(read);
    });
    let rest = ended.recv_timeout(PATIENCE).expect("the probe has ended").expect("text");
    assert!(hello.contains("integer"), "{hello}");
    assert_eq!(rest, "", "nothing was measured");
}

#[test]
fn probes_that_are_not_there_are_said_to_be() {
    for (wrong, message) in [
        ("sundial", "there is no probe `sundial`"),
        ("integer=speed=9", "has no option `speed`"),
        ("integer=fast", "`fast` is no option"),
    ] {
        let said = say(&std::env::temp_dir(), ["probe", wrong]);

        assert_eq!(said.status.code(), Some(2), "{said:?}");
        assert!(said.err.contains(message) && said.out.is_empty(), "{said:?}");
    }
}
