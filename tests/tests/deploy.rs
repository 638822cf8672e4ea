//! The files in `deploy/` are well formed, and the program knows the options that they give it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use bitloop_core::spec::AutoscaleSpec;
use bitloop_tests::metrics::Metrics;
use bitloop_tests::process::{Process, await_that, binary, say};
use bitloop_tests::{files, root};

/// Files of `deploy/` whose names end so; there must be some.
fn deployed(ending: &str) -> Vec<PathBuf> {
    let found = files(&root().join("deploy"), ending);
    assert!(!found.is_empty(), "deploy/ holds files that end in `{ending}`");
    found
}

#[test]
fn yaml_parses() {
    for path in deployed(".yaml") {
        let text = fs::read_to_string(&path).expect("YAML is text");
        for document in text.split("\n---\n") {
            if let Err(error) = serde_yaml::from_str::<serde_yaml::Value>(document) {
                panic!("{}: {error}", path.display());
            }
        }
    }
}

#[test]
fn shell_scripts_parse() {
    for path in [".sh", ".sbatch", ".pbs"].into_iter().flat_map(deployed) {
        let status = Command::new("bash").arg("-n").arg(&path).status().expect("bash is there");
        assert!(status.success(), "{} is no shell script", path.display());
    }
}

/// A coordinator and a worker by the scripts for batch jobs, as an engine would run them.
#[test]
fn batch_scripts_start_a_coordinator_and_workers_that_find_it() {
    for (coordinator, worker) in
        [("slurm/coordinator.sbatch", "slurm/worker.sbatch"), ("pbs/coordinator.pbs", "pbs/worker.pbs")]
    {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let script = |name: &str, port: &str| {
            let mut command = Command::new("bash");
            command.arg(root().join("deploy").join(name)).env_clear().current_dir(folder.path());
            command.envs([("PATH", "/usr/local/bin:/usr/bin:/bin"), ("BITLOOP_PORT", port)]);
            command.env("BITLOOP", binary()).env("BITLOOP_DEPLOY", root().join("deploy"));
            command.env("BITLOOP_DIR", folder.path());
            Process::start(command)
        };
        let coordinator = script(coordinator, "0");
        await_that("the coordinator listens", || coordinator.out().contains("listening on "));
        let url = coordinator.out().trim().trim_start_matches("listening on ").to_owned();
        let port = url.rsplit(':').next().expect("the address has a port");

        let worker = script(worker, port);
        let workers = || say(folder.path(), ["workers", "--coordinator", &url, "--output", "json"]).ok().out;
        await_that("the worker is there", || workers().trim() != "[]");
        // The script has become the worker, and the other one the coordinator: signals reach them.
        worker.signal("TERM");
        assert!(worker.end().ok().err.contains("worker stopped"));
        coordinator.signal("TERM");
        coordinator.end().ok();
    }
}

#[test]
fn workers_elsewhere_get_the_tunnels_end_as_their_coordinator() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("host"), "elsewhere\n").expect("the folder can be written");
    for name in ["ssh", "sleep"] {
        symlink(root().join("tests/stand_ins").join(name), folder.path().join(name)).unwrap();
    }

    let mut command = Command::new("bash");
    command.arg(root().join("deploy/hpc/through_ssh.sh"));
    command.args(["worker", "--coordinator", "http://head:1", "--threads", "2", "--label", "a b"]);
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    command.env_clear().envs([("PATH", path.as_str()), ("BITLOOP", "echo"), ("PBS_JOBID", "5[2].head")]);
    command.env("BITLOOP_DIR", folder.path());
    let said = Process::start(command).end().ok();

    assert_eq!(said.out, "worker --coordinator http://127.0.0.1:20041 --threads 2 --label a b\n");
    let calls = fs::read_to_string(folder.path().join("calls")).unwrap();
    let ports: Vec<bool> =
        calls.lines().map(|call| call.contains("-L 127.0.0.1:20041:127.0.0.1:7717 elsewhere")).collect();
    assert_eq!(ports, [false, true], "{calls}");
}

#[test]
fn autoscale_files_have_no_mistakes() {
    for path in deployed("autoscale.yaml") {
        let text = fs::read_to_string(&path).expect("YAML is text");
        let spec = AutoscaleSpec::parse(&text).unwrap_or_else(|error| panic!("{}:\n{error}", path.display()));
        assert_eq!(spec.classes.len(), 2, "{}", path.display());
    }
}

/// A command of bitloop and the options that one line gives it, if the line names one.
fn command_line(line: &str) -> Option<(&str, Vec<&str>)> {
    if line.trim_start().starts_with('#') {
        return None;
    }
    // The same for shells, lists of JSON and lists of YAML.
    let mut words = line.split(|at: char| at.is_whitespace() || "[]\",".contains(at));
    let command = words.find(|word| ["coordinator", "worker"].contains(word))?;
    let options = words.filter(|word| word.starts_with("--")).collect();
    Some((command, options))
}

#[test]
fn every_option_given_to_bitloop_exists() {
    let mut seen = 0;
    let endings = [".yaml", ".service", "Containerfile", ".sh", ".sbatch", ".pbs"];
    for path in endings.into_iter().flat_map(deployed) {
        // Commands of shells go on in the next line.
        let text = fs::read_to_string(&path).expect("files in deploy/ are text").replace("\\\n", " ");
        for (command, options) in text.lines().filter_map(command_line) {
            let help = say(&root(), [command, "--help"]).ok().out;
            for option in options {
                let known = help.split_whitespace().any(|word| word == option);
                assert!(known, "{}: `bitloop {command}` has no {option}", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen >= 30, "only {seen} options were found");
}

/// Names of metrics in a text, as far as they are written whole.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    words.filter(|word| word.starts_with("bitloop_")).map(str::to_owned).collect()
}

/// The samples of a coordinator that has just started.
fn served_metrics() -> BTreeSet<String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let body = Metrics::start(folder.path()).text();
    let samples = body.lines().filter(|line| !line.starts_with('#'));
    // Those that come with their first event have no sample yet.
    let families = body.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    samples.filter_map(|line| line.split(['{', ' ']).next()).chain(families).map(str::to_owned).collect()
}

#[test]
fn every_metric_that_a_dashboard_a_trigger_or_an_alert_names_exists() {
    let served = served_metrics();
    let mut seen = 0;
    let read = |path: &Path| fs::read_to_string(path).expect("it is text");
    let files = [".json", ".yaml"].into_iter().flat_map(deployed);
    let mut texts: Vec<(PathBuf, String)> = files.map(|path| (path.clone(), read(&path))).collect();
    // Of the page about them, what are tables and alerts.
    let page = root().join("docs/operations.md");
    let is_of_metrics = |line: &&str| line.starts_with("| `bitloop_") || line.contains("expr:");
    let told: Vec<String> = read(&page).lines().filter(is_of_metrics).map(str::to_owned).collect();
    texts.push((page, told.join("\n")));
    for (path, text) in &texts {
        for name in metrics_in(text) {
            assert!(served.contains(&name), "{}: there is no metric {name}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 40, "only {seen} metrics were found");

    let told = metrics_in(&texts[texts.len() - 1].1);
    let bare = |name: &str| {
        let ends = ["_bucket", "_sum", "_count"];
        let family =
            ends.iter().find_map(|end| name.strip_suffix(end)).filter(|family| served.contains(*family));
        family.unwrap_or(name).to_owned()
    };
    for name in served.iter().map(|name| bare(name)) {
        assert!(told.contains(&name), "docs/operations.md does not tell of {name}");
    }
}
