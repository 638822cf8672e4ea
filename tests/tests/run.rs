//! `bitloop run` as a user types it: whole, killed, interrupted, continued, shared.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use bitloop_tests::experiment::{Experiment, results_file};
use bitloop_tests::process::{Process, Said, await_that, bitloop, now, say};

fn run(folder: &Path, experiment: &str, data_dir: &str, more: &[&str]) -> Said {
    let arguments = [&["run", experiment, "--data-dir", data_dir][..], more].concat();
    say(folder, arguments)
}

/// The number in `resumed: N of M trials already measured`.
fn resumed(err: &str) -> Option<u64> {
    let line = err.lines().find_map(|line| line.strip_prefix("resumed: "))?;
    line.split(' ').next()?.parse().ok()
}

#[test]
fn a_run_that_is_killed_again_and_again_gives_the_bytes_of_an_undisturbed_one() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = Experiment::new(folder.path(), "killed", "all", 3000);
    run(folder.path(), &experiment.path(), "undisturbed", &["--workers", "2"]).ok();

    let mut measured = 0;
    let mut kills = 0;
    let last = loop {
        let arguments = ["run", &experiment.path(), "--data-dir", "killed", "--workers", "1"];
        let mut process = Process::start(bitloop(folder.path(), arguments));
        // Moments from the very start to the middle of the sweep.
        let patience = Duration::from_millis(60 + 190 * kills);
        let started = now();
        while process.is_running() && started.elapsed() < patience {
            thread::sleep(Duration::from_millis(5));
        }
        if kills == 8 || !process.is_running() {
            break process.end().ok();
        }
        process.kill();
        kills += 1;
        let known = resumed(&process.err()).unwrap_or(0);
        assert!(known >= measured, "{known} of {measured} acknowledged trials are left");
        measured = known;
    };

    assert!(kills >= 2, "the sweep is long enough to be killed more than once");
    assert!(resumed(&last.err).is_some(), "{}", last.err);
    let undisturbed = results_file(&folder.path().join("undisturbed"));
    assert!(undisturbed.is_some());
    assert_eq!(results_file(&folder.path().join("killed")), undisturbed);
}

#[test]
fn workers_and_threads_do_not_change_a_byte() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = Experiment::new(folder.path(), "same", "['*.weight']", 200);
    for (data_dir, workers, threads) in [("a", "1", "1"), ("b", "3", "1"), ("c", "1", "3")] {
        run(folder.path(), &experiment.path(), data_dir, &["--workers", workers, "--threads", threads]).ok();
    }

    let bytes = |data_dir: &str| results_file(&folder.path().join(data_dir)).expect("results");
    assert_eq!(bytes("a"), bytes("b"));
    assert_eq!(bytes("a"), bytes("c"));
}

#[test]
fn an_adaptive_sweep_is_the_same_for_any_number_of_workers_and_a_full_one_goes_on_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = Experiment::new(folder.path(), "adaptive", "['conv2d_0_*.weight']", 1000);
    let text = fs::read_to_string(&experiment.file).unwrap();
    let evaluated = |how: &str| fs::write(&experiment.file, format!("{text}evaluation: {how}\n")).unwrap();
    let results = |data_dir: &str| {
        let files = bitloop_tests::files(&folder.path().join(data_dir).join("results"), ".csv");
        files.iter().map(|file| fs::read_to_string(file).unwrap()).collect::<Vec<String>>()
    };

    evaluated("{ mode: adaptive, tolerance: 3.0, part: 64 }");
    for (data_dir, workers) in [("a", "1"), ("b", "3")] {
        run(folder.path(), &experiment.path(), data_dir, &["--workers", workers]).ok();
    }
    let all = results("a");
    assert_eq!(all, results("b"));
    let [adaptive] = all.as_slice() else { panic!("{all:?}") };
    for state in [",harmful,partial,0.95,", ",decided,partial,0.95,"] {
        assert!(adaptive.contains(state), "{adaptive}");
    }

    evaluated("{ mode: full, part: 64 }");
    let full = run(folder.path(), &experiment.path(), "a", &[]).ok();
    // At least the preparation and one part of each of the six configs.
    let line = full.err.lines().find_map(|line| line.strip_prefix("reused: "));
    let reused = line.and_then(|line| line.split(' ').next()?.parse::<u64>().ok());
    assert!(reused.is_some_and(|count| count >= 7), "{}", full.err);
    let all = results("a");
    let full = all.iter().find(|results| *results != adaptive).expect("results of the second experiment");
    assert!(full.lines().skip(1).all(|line| line.contains(",done,full,0.95,1000,")), "{full}");
}

#[test]
fn ctrl_c_stops_soon_names_the_command_that_continues_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = Experiment::new(folder.path(), "stopped", "all", 3000);
    let arguments = ["run", &experiment.path(), "--data-dir", "data", "--workers", "1"];
    let process = Process::start(bitloop(folder.path(), arguments));
    await_that("the sweep has begun", || process.err().contains("sensitivity"));

    process.signal("INT");
    let asked = now();
    let said = process.end();

    assert!(asked.elapsed() < Duration::from_secs(10), "it stops soon, also on a busy machine");
    assert_eq!(said.status.code(), Some(1), "{}", said.err);
    let command = format!("`bitloop run {} --data-dir data` continues", experiment.path());
    assert!(said.err.contains("interrupted") && said.err.contains(&command), "{}", said.err);
    let continued = run(folder.path(), &experiment.path(), "data", &[]).ok();
    assert!(resumed(&continued.err).is_some_and(|count| count > 0), "{}", continued.err);
}

#[test]
fn a_second_run_measures_nothing_and_an_edited_file_reuses_what_it_shares() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = Experiment::new(folder.path(), "shared", "['*.weight']", 100);
    let first = run(folder.path(), &experiment.path(), "data", &[]).ok();
    let second = run(folder.path(), &experiment.path(), "data", &[]).ok();
    assert_eq!(first.out, second.out);
    let total = resumed(&second.err).expect("the second run resumes");
    assert!(second.err.contains(&format!("resumed: {total} of {total} trials")), "{}", second.err);

    let text = fs::read_to_string(&experiment.file).unwrap();
    fs::write(&experiment.file, text.replace("['*.weight']", "['*.weight', input.output]")).unwrap();
    let edited = run(folder.path(), &experiment.path(), "data", &[]).ok();

    let reused = format!("reused: {total} of {} trials", total + 2);
    assert!(edited.err.contains(&reused), "{reused}: {}", edited.err);
    assert_eq!(bitloop_tests::files(&folder.path().join("data/results"), ".csv").len(), 2);
}

#[test]
fn a_copied_data_directory_continues_without_the_inputs_and_names_them_by_digest() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = Experiment::new(folder.path(), "moved", "all", 3000);
    let arguments = ["run", &experiment.path(), "--data-dir", "data", "--workers", "1"];
    let process = Process::start(bitloop(folder.path(), arguments));
    await_that("the sweep has begun", || process.err().contains("sensitivity"));
    process.signal("INT");
    process.end();
    fs::rename(folder.path().join("data"), folder.path().join("copy")).unwrap();
    experiment.remove_inputs();

    let refused = run(folder.path(), &experiment.path(), "copy", &[]);
    assert_eq!(refused.status.code(), Some(2), "{}", refused.err);
    assert!(
        refused.err.contains("convblock.safetensors") && refused.err.contains("blake3:"),
        "{}",
        refused.err
    );
    let command =
        refused.err.split('`').find(|text| text.starts_with("bitloop run moved-")).expect("a command");
    let continued = say(folder.path(), command.split(' ').skip(1)).ok();

    assert!(resumed(&continued.err).is_some_and(|count| count > 0), "{}", continued.err);
    assert!(results_file(&folder.path().join("copy")).is_some());
}

#[test]
fn a_changed_input_is_a_new_experiment_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = Experiment::new(folder.path(), "changed", "[input.output]", 50);
    run(folder.path(), &experiment.path(), "data", &[]).ok();
    let text = fs::read_to_string(&experiment.file).unwrap();
    fs::write(&experiment.file, text.replace("seed: 3", "seed: 4")).unwrap();

    let again = run(folder.path(), &experiment.path(), "data", &[]).ok();

    let note = "note: fashion_mnist/test selection images has changed since changed-";
    assert!(again.err.contains(note), "{}", again.err);
}

#[test]
fn an_experiment_that_was_interrupted_earlier_does_not_hold_up_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let earlier = Experiment::new(folder.path(), "earlier", "all", 8000);
    let next = Experiment::new(folder.path(), "next", "[input.output]", 50);
    let arguments = ["run", &earlier.path(), "--data-dir", "my data", "--workers", "1"];
    let process = Process::start(bitloop(folder.path(), arguments));
    await_that("the sweep has begun", || process.err().contains("sensitivity"));
    process.signal("INT");
    process.end();

    let finished = run(folder.path(), &next.path(), "my data", &[]).ok();
    let note = finished.err.lines().find(|line| line.starts_with("paused: earlier-")).expect("a note");
    assert!(note.contains(" of 40 trials") && note.contains("--data-dir 'my data'` continues it"), "{note}");

    let process = Process::start(bitloop(folder.path(), arguments));
    await_that("it goes on", || process.err().contains("resumed: "));
    process.signal("INT");
    assert!(process.end().err.contains("interrupted"));
}

#[test]
fn a_damaged_or_lost_artifact_is_restored_by_the_same_command() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = Experiment::new(folder.path(), "hurt", "['*.weight']", 300);
    run(folder.path(), &experiment.path(), "undisturbed", &[]).ok();
    let expected = results_file(&folder.path().join("undisturbed")).expect("results");
    let arguments = ["run", &experiment.path(), "--data-dir", "data", "--workers", "1"];
    let process = Process::start(bitloop(folder.path(), arguments));
    await_that("the sweep has begun", || process.err().contains("sensitivity"));
    process.signal("INT");
    process.end();
    // Model, two parts of the images, and what calibration gave.
    let artifacts = bitloop_tests::files(&folder.path().join("data/artifacts"), "");
    assert_eq!(artifacts.len(), 4);
    for (index, artifact) in artifacts.iter().enumerate() {
        match index % 2 {
            0 => fs::write(artifact, "cut short").unwrap(),
            _ => fs::remove_file(artifact).unwrap(),
        }
    }

    run(folder.path(), &experiment.path(), "data", &[]).ok();

    assert_eq!(results_file(&folder.path().join("data")), Some(expected));
}

#[test]
fn an_artifact_that_cannot_be_restored_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = Experiment::new(folder.path(), "gone", "all", 3000);
    let arguments = ["run", &experiment.path(), "--data-dir", "data", "--workers", "1"];
    let process = Process::start(bitloop(folder.path(), arguments));
    await_that("the sweep has begun", || process.err().contains("sensitivity"));
    process.signal("INT");
    process.end();
    let results = bitloop_tests::files(&folder.path().join("data/artifacts"), "");
    let model = results.iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    fs::remove_file(model).unwrap();

    // By its id: without the file nothing can be sent again.
    let said = say(folder.path(), ["run", "gone", "--data-dir", "data"]);

    assert_eq!(said.status.code(), Some(1), "{}", said.err);
    let digest = model.file_name().unwrap().to_string_lossy().into_owned();
    let error = said.err.lines().find(|line| line.starts_with("error: ")).expect("an error");
    assert!(error.contains(&digest) && error.contains("submit the experiment again"), "{}", said.err);
}

#[test]
fn results_that_cannot_be_written_are_no_success() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = Experiment::new(folder.path(), "unwritten", "[input.output]", 50);
    run(folder.path(), &experiment.path(), "first", &[]).ok();
    let results = bitloop_tests::files(&folder.path().join("first/results"), ".csv");
    let name = results[0].file_name().unwrap();
    // Something else stands in the place of the file.
    fs::create_dir_all(folder.path().join("data/results").join(name)).unwrap();

    let said = run(folder.path(), &experiment.path(), "data", &[]);

    assert_eq!(said.status.code(), Some(1), "{}", said.err);
    assert!(said.err.contains("cannot be written although every trial is measured"), "{}", said.err);
}

#[test]
fn two_processes_cannot_share_a_data_directory() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = Experiment::new(folder.path(), "locked", "all", 5000);
    let arguments = ["run", &experiment.path(), "--data-dir", "data"];
    let first = Process::start(bitloop(folder.path(), arguments));
    await_that("the sweep has begun", || first.err().contains("sensitivity"));

    let second = run(folder.path(), &experiment.path(), "data", &[]);

    assert_eq!(second.status.code(), Some(1));
    assert!(second.err.contains("is in use by another bitloop"), "{}", second.err);
}
