//! The probe that users start from, as it is shipped.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use bitloop_core::bits::{BitConfig, Choice};
use bitloop_core::probe::Patience;
use bitloop_quant::export::{CodeTypes, Exported, onnx_for_device};
use bitloop_quant::prepare::Prepared;
use bitloop_tests::{is_required, root};
use bitloop_worker::probe::{
    InferenceSetting, Network, Probe, ProbeCommand, ProbeError, ProbeOption, Timed, Timing, registered,
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
    time_at_most(1e6, probe, folder)
}

fn time_at_most(at_most_ns: f64, probe: &Probe, folder: &Path) -> Result<Timed, ProbeError> {
    let file = folder.join("network.onnx");
    fs::write(&file, "a network").expect("a file");
    let network = Network { prepared: None, onnx: Some(file), bits: BTreeMap::new() };
    let patience = Patience { at_most_ns, ..Patience::default() };
    let setting = InferenceSetting { batch: 2, threads: 1 };
    probe.time((&network, &network), Timing { setting, patience, macs: 0 }, &GO_ON)
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
fn a_board_is_not_called_for_every_millisecond_and_does_not_fill_up() {
    if !has_python("a_board_is_not_called_for_every_millisecond") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (board_folder, calls) = (folder.path().join("board"), folder.path().join("calls"));
    fs::create_dir(&board_folder).expect("a folder");
    let command = format!("echo called >> {} && echo {{inferences}}000", calls.display());
    let probe = board(&board_folder, "sh -c", &command).expect("a probe");

    for _ in 0..2 {
        let timed = time_at_most(4e9, &probe, folder.path()).expect("times");
        assert!((6..=15).contains(&timed.rounds.len()), "{} rounds", timed.rounds.len());
        probe.renew();
    }

    // Of a microsecond each, 200 000 inferences are a turn.
    let calls = fs::read_to_string(&calls).expect("calls").lines().count();
    assert!(calls <= 2 * 2 * 20, "{calls} calls");
    assert_eq!(fs::read_dir(&board_folder).expect("the board").count(), 2, "one file for each side");
}

#[test]
fn a_board_that_is_mostly_waited_for_is_not_measured_for_as_long_as_it_computes() {
    if !has_python("a_board_that_is_mostly_waited_for") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let calls = folder.path().join("calls");
    // A hundredth of a second of the board's in a twentieth of ours.
    let command = format!("echo called >> {}; sleep 0.05; echo {{inferences}}0", calls.display());
    let probe = board(folder.path(), "sh -c", &command).expect("a probe");

    let timed = time_at_most(0.5e9, &probe, folder.path()).expect("times");

    let calls = fs::read_to_string(&calls).expect("calls").lines().count();
    assert!(!timed.rounds.is_empty() && calls < 40, "{calls} calls");
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
    let mut command = command.clone();
    // The Python of an environment that has the runtime.
    if let Some(environment) = std::env::var_os("BITLOOP_TEST_ONNXRUNTIME") {
        let own = PathBuf::from(environment).join("bin");
        let others = std::env::var("PATH").unwrap_or_default();
        command.environment.insert("PATH".to_owned(), format!("{}:{others}", own.display()));
    }

    let probe = match Probe::start(name, command, &GO_ON) {
        Ok(probe) => probe,
        Err(error) => {
            assert!(error.to_string().contains("`pip install onnxruntime numpy`"), "{error}");
            assert!(!is_required("onnxruntime"), "BITLOOP_REQUIRE names onnxruntime: {error}");
            eprintln!("skipped: {error}");
            return;
        }
    };

    let folder = tempfile::tempdir().expect("a folder");
    let prepared = root().join("quant/src/prepare/golden/prepared_1.safetensors");
    let prepared = Prepared::from_bytes(&fs::read(prepared).expect("a file")).expect("a prepared network");
    let network = |choice: Choice| {
        let exported = Exported::at(&prepared, &BitConfig::baseline(), choice).expect("a network");
        let file = folder.path().join(format!("{choice}.onnx"));
        fs::write(&file, onnx_for_device(&exported, CodeTypes::Int8).expect("a file")).expect("a file");
        Network { prepared: None, onnx: Some(file), bits: BTreeMap::new() }
    };
    let (config, baseline) = (network(Choice::Bits(8.try_into().expect("a width"))), network(Choice::Float));
    let patience = Patience { at_most_ns: 0.2e9, warm_up_ns: 0.02e9, turn_ns: 1e6, ..Patience::default() };
    let setting = InferenceSetting { batch: 2, threads: 1 };
    let timed =
        probe.time((&config, &baseline), Timing { setting, patience, macs: 0 }, &GO_ON).expect("times");
    assert!(probe.hello().runtime.starts_with("onnxruntime "), "{:?}", probe.hello());
    assert!(timed.rounds.len() > 10, "{timed:?}");
}
