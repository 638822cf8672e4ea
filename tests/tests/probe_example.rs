//! The probe that users start from, as it is shipped.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use bitloop_core::probe::Patience;
use bitloop_tests::{is_required, root};
use bitloop_worker::probe::{
    InferenceSetting, Network, Probe, ProbeCommand, ProbeError, ProbeOption, Timed, registered,
};

static GO_ON: AtomicBool = AtomicBool::new(false);

/// Whether its language is there; says so if not.
fn has_python(test: &str) -> bool {
    let is_there = Command::new("python3").arg("--version").output().is_ok_and(|done| done.status.success());
    if !is_there {
        assert!(!is_required("python3"), "{test}: python3 is missing");
        eprintln!("{test}: skipped, as python3 is missing");
    }
    is_there
}

/// The example for a board whose commands are those of this machine's shell.
fn board(folder: &Path, shell: &str, command: &str) -> Result<Probe, ProbeError> {
    let copy = format!("cp {{file}} {}/{{name}}", folder.display());
    let words = ["example.py", "board", "--class", "made-up board", "--device", "pi5"];
    let options = ["--shell", shell, "--copy", &copy, "--command", command];
    let command = ProbeCommand {
        program: PathBuf::from("python3"),
        arguments: words.into_iter().chain(options).map(str::to_owned).collect(),
        environment: BTreeMap::from([("PYTHONDONTWRITEBYTECODE".to_owned(), "1".to_owned())]),
        folder: Some(root().join("configs/probes")),
        limits: Default::default(),
    };
    Probe::start("pi5", command, &GO_ON)
}

fn time(probe: &Probe, folder: &Path) -> Result<Timed, ProbeError> {
    let file = folder.join("network.onnx");
    fs::write(&file, "a network").expect("a file");
    let network = Network { prepared: None, onnx: Some(file), bits: BTreeMap::new() };
    let patience = Patience { at_most_ns: 1e6, ..Patience::default() };
    probe.time((&network, &network), (InferenceSetting { batch: 2, threads: 1 }, patience), &GO_ON)
}

#[test]
fn a_board_is_timed_by_commands() {
    if !has_python("a_board_is_timed_by_commands") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    // A microsecond each, if the file is there.
    let command =
        format!("test -s {}/{{name}} && echo computed && echo {{inferences}}000", folder.path().display());
    let probe = board(folder.path(), "sh -c", &command).expect("a probe");

    let timed = time(&probe, folder.path()).expect("times");

    assert_eq!(probe.hello().device.as_deref(), Some("pi5"));
    assert!(
        !timed.rounds.is_empty() && timed.rounds.iter().flatten().all(|time| *time == 1_000.0),
        "{timed:?}"
    );
}

#[test]
fn a_board_that_is_away_is_said_to_be() {
    if !has_python("a_board_that_is_away_is_said_to_be") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");

    let Err(error) = board(folder.path(), "false", "echo").map(drop) else { panic!("it is away") };
    assert!(error.to_string().contains("`false true` ended with 1"), "{error}");
    let probe = board(folder.path(), "sh -c", "echo no time").expect("a probe");
    let Err(ProbeError::Unable { reason, .. }) = time(&probe, folder.path()) else { panic!("it is no time") };
    assert_eq!(reason, "`echo no time` says no number of nanoseconds");
}

#[test]
fn this_machine_is_timed_with_onnx_runtime_or_the_probe_says_what_to_install() {
    if !has_python("this_machine_is_timed") {
        return;
    }
    let file = ProbeOption::External(root().join("configs/probes/example.yaml"));
    let found = registered(&[file], Path::new("bitloop")).expect("a file that is read");
    let [(name, command)] = found.as_slice() else { panic!("{found:?}") };

    match Probe::start(name, command.clone(), &GO_ON) {
        Ok(probe) => assert!(probe.hello().runtime.starts_with("onnxruntime "), "{:?}", probe.hello()),
        Err(error) => assert!(error.to_string().contains("`pip install onnxruntime numpy`"), "{error}"),
    }
}
