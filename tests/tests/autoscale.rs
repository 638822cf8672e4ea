//! `bitloop autoscale` against a stand-in for Slurm that really starts what is submitted.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use bitloop_tests::experiment::{Experiment, results_file};
use bitloop_tests::process::{Process, Said, await_that, binary, bitloop, say};
use bitloop_tests::root;

/// A coordinator, and a Slurm of stand-ins.
struct Site {
    folder: tempfile::TempDir,
    url: String,
    /// What its users show, over TLS.
    identity: Option<&'static str>,
    _coordinator: Process,
}

impl Site {
    fn new() -> Self {
        Self::in_folder(tempfile::tempdir().expect("a temporary folder"), None)
    }

    /// The same over TLS, with a worker's identity in the folder `worker` and a reader's in `reader`.
    fn secured() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let token = say(folder.path(), ["init", "--data-dir", "data"]).ok().out;
        let site = Self::in_folder(folder, Some("data/security/admin"));
        let reader = site.ask(&["token", "--role", "read"]).ok().out;
        for (name, token) in [("worker", token), ("reader", reader)] {
            let file = site.file(&format!("{name}.token"), &token);
            let join = ["join", "--token-file", &file, "--identity", name, "--coordinator", &site.url];
            say(site.folder.path(), join).ok();
        }
        site
    }

    fn in_folder(folder: tempfile::TempDir, identity: Option<&'static str>) -> Self {
        let coordinator = ["coordinator", "--listen", "127.0.0.1:0", "--data-dir", "data"];
        let coordinator = Process::start(bitloop(folder.path(), coordinator));
        await_that("the coordinator listens", || coordinator.out().contains("listening on "));
        let url = coordinator.out().trim().trim_start_matches("listening on ").to_owned();
        let slurm = folder.path().join("slurm");
        fs::create_dir_all(slurm.join("state")).expect("a folder for the stand-ins");
        for command in ["sbatch", "squeue", "scancel"] {
            let shipped = root().join("autoscale/tests/mock/slurm").join(command);
            symlink(shipped, slurm.join(command)).expect("the folder can be written");
        }
        Self { folder, url, identity, _coordinator: coordinator }
    }

    fn state(&self, file: &str) -> PathBuf {
        self.folder.path().join("slurm/state").join(file)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).expect("the folder can be written");
        path.display().to_string()
    }

    /// An autoscale file for workers that leave after `idle_exit`.
    fn autoscale_file(&self, idle_exit: &str) -> String {
        self.autoscale_file_with("", idle_exit)
    }

    /// The same with another line.
    fn autoscale_file_with(&self, line: &str, idle_exit: &str) -> String {
        let text = format!(
            "version: 1\nname: lab\nengine: slurm\n{line}program: {}\nevery: 100ms\nclasses:\n  cpu:\n    \
             offers: {{ device: cpu }}\n    workers: {{ max: 2 }}\n    target: 1s\n    idle_exit: {idle_exit}\n    \
             slurm: {{ cpus: 1 }}\n",
            binary().display()
        );
        self.file("autoscale.yaml", &text)
    }

    /// The program, with the stand-ins first on `PATH`.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bitloop(self.folder.path(), arguments);
        command.args(["--coordinator", &self.url]);
        command.envs(self.identity.map(|identity| ("BITLOOP_IDENTITY", identity)));
        let slurm = self.folder.path().join("slurm");
        command.env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", slurm.display()));
        command
    }

    fn ask(&self, arguments: &[&str]) -> Said {
        Process::start(self.command(arguments)).end()
    }

    /// Files in the stand-ins' folder whose names end so.
    fn states(&self, ending: &str) -> Vec<PathBuf> {
        bitloop_tests::files(&self.folder.path().join("slurm/state"), ending)
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Goal: with nothing but the file, an experiment gets its workers from the engine, and they go when it is done.
#[test]
fn an_experiment_gets_its_workers_from_the_engine_and_they_leave_when_it_is_done() {
    let site = Site::new();
    fs::write(site.state("starts"), "").unwrap();
    let autoscale = Process::start(site.command(&["autoscale", &site.autoscale_file("3s")]));
    let experiment = Experiment::new(site.folder.path(), "scaled", "all", 1000);
    say(site.folder.path(), ["run", &experiment.path(), "--data-dir", "reference"]).ok();

    let id = site.ask(&["submit", &experiment.path()]).ok().out.trim().to_owned();
    site.ask(&["watch", &id]).ok();
    await_that("the workers leave", || !site.states(".exit").is_empty() && site.states(".state").is_empty());
    autoscale.signal("TERM");
    let said = autoscale.end().ok();

    for exit in site.states(".exit") {
        assert_eq!(read(&exit).trim(), "0", "{}", read(&exit.with_extension("log")));
        let log = read(&exit.with_extension("log"));
        assert!(log.contains("worker stopped"), "{log}");
    }
    assert!(said.err.contains("class cpu: submitted 1 with 1 worker(s)"), "{}", said.err);
    // Results do not depend on who starts workers.
    let results = ["reference", "data"].map(|data_dir| results_file(&site.folder.path().join(data_dir)));
    assert!(results[0].is_some() && results[0] == results[1], "the results are not those of one process");
}

/// Goal: over TLS the engine's workers need one folder and no secret in anything that is submitted.
#[test]
fn workers_of_an_engine_prove_who_they_are_by_a_folder_alone() {
    let site = Site::secured();
    fs::write(site.state("starts"), "").unwrap();
    let identity = site.folder.path().join("worker");
    let file = site.autoscale_file_with(&format!("identity: {}\n", identity.display()), "3s");
    let mut command = site.command(&["autoscale", &file]);
    // It reads what work there is, and may do no more.
    command.env("BITLOOP_IDENTITY", "reader");
    let autoscale = Process::start(command);
    let experiment = Experiment::new(site.folder.path(), "scaled", "all", 500);

    let id = site.ask(&["submit", &experiment.path()]).ok().out.trim().to_owned();
    site.ask(&["watch", &id]).ok();
    await_that("the workers leave", || !site.states(".exit").is_empty() && site.states(".state").is_empty());
    autoscale.signal("TERM");
    let said = autoscale.end().ok();

    for exit in site.states(".exit") {
        assert_eq!(read(&exit).trim(), "0", "{}", read(&exit.with_extension("log")));
    }
    let own = read(&identity.join("identity.pem"));
    let (key, token) =
        (own.lines().nth(1).expect("PEM has lines"), read(&site.folder.path().join("worker.token")));
    let shown = [".script", ".name", ".log"].into_iter().flat_map(|ending| site.states(ending));
    let shown: Vec<String> =
        shown.map(|path| read(&path)).chain([read(&site.state("calls")), said.err]).collect();
    assert!(shown.iter().any(|text| text.contains(&format!(" --identity {} ", identity.display()))));
    assert!(
        !shown.iter().any(|text| text.contains(key) || text.contains(token.trim())),
        "a secret is submitted"
    );
}

#[test]
fn workers_get_no_identity_that_may_do_more_or_that_is_not_there() {
    let site = Site::secured();
    let look = |line: &str| site.ask(&["autoscale", &site.autoscale_file_with(line, "3s"), "--dry-run"]);
    let folder = |name: &str| format!("identity: {}\n", site.folder.path().join(name).display());

    let admin = look(&folder("data/security/admin"));
    let missing = look(&folder("nowhere"));
    let none = look("").ok();
    fs::set_permissions(site.folder.path().join("worker/identity.pem"), fs::Permissions::from_mode(0o640))
        .unwrap();
    let open = look(&folder("worker"));
    let plain = Site::new();
    let plain =
        plain.ask(&["autoscale", &plain.autoscale_file_with("identity: /worker\n", "3s"), "--dry-run"]);

    let code = |said: &Said| said.status.code();
    assert_eq!([&admin, &missing, &open, &plain].map(code), [Some(2); 4]);
    assert!(admin.err.contains("no more than the role worker"), "{}", admin.err);
    assert!(missing.err.contains("bitloop join --coordinator https://"), "{}", missing.err);
    assert!(none.err.contains("warning: workers are given no identity"), "{}", none.err);
    assert!(open.err.contains("others may read"), "{}", open.err);
    assert!(plain.err.contains("without TLS"), "{}", plain.err);
}

#[test]
fn a_dry_look_prints_everything_and_submits_nothing() {
    let site = Site::new();
    let experiment = Experiment::new(site.folder.path(), "dry", "all", 500);
    site.ask(&["submit", &experiment.path()]).ok();
    let file = site.autoscale_file("3s");

    let text = site.ask(&["autoscale", &file, "--dry-run"]).ok();
    let json = site.ask(&["autoscale", &file, "--dry-run", "--output", "json"]).ok();

    assert!(
        text.out.starts_with("class cpu: 1 s of work, 1 worker(s) wanted; 0 run, 0 wait"),
        "{}",
        text.out
    );
    for part in
        [r#"["sbatch", "--parsable", "--job-name=bitloop.lab.cpu.1""#, "    exec ", "--idle-exit 3000ms"]
    {
        assert!(text.out.contains(part), "{part} is missing from\n{}", text.out);
    }
    let json: serde_json::Value = serde_json::from_str(&json.out).expect("`--output json` prints JSON");
    assert_eq!(
        (&json["actions"][0]["action"], &json["actions"][0]["done"]),
        (&"submit".into(), &false.into())
    );
    assert_eq!(
        (&json["classes"][0]["workers_wanted"], &json["notices"]),
        (&1.into(), &serde_json::json!([]))
    );
    assert!(!read(&site.state("calls")).contains("sbatch"), "nothing is submitted");
    site.ask(&["autoscale", &file, "--once"]).ok();
    assert_eq!(site.states(".script").len(), 1);
}

#[test]
fn what_cannot_be_done_is_said_with_its_exit_code() {
    let site = Site::new();
    let file = site.autoscale_file("3s");
    let code = |said: &Said| said.status.code();

    let wrong = site.file("wrong.yaml", "version: 1\nname: lab\nengine: slrm\nclasses: {}\n");
    let wrong = site.ask(&["autoscale", &wrong, "--once"]);
    fs::write(site.state("away"), "").unwrap();
    let away = site.ask(&["autoscale", &file, "--once"]);
    let elsewhere = ["autoscale", &file, "--once", "--coordinator", "ftp://head"];
    let elsewhere = say(site.folder.path(), elsewhere);

    assert_eq!((code(&wrong), code(&away), code(&elsewhere)), (Some(2), Some(1), Some(2)));
    assert!(wrong.err.contains("engine: expected `slurm` or `pbs`, found text `slrm`"), "{}", wrong.err);
    assert!(away.err.contains("Unable to contact slurm controller"), "{}", away.err);
}

/// The options in the script are those that `bitloop worker` knows.
#[test]
fn a_worker_knows_all_that_it_is_told() {
    let site = Site::new();
    let experiment = Experiment::new(site.folder.path(), "told", "all", 500);
    site.ask(&["submit", &experiment.path()]).ok();
    site.ask(&["autoscale", &site.autoscale_file("3s"), "--once"]).ok();

    let help = say(site.folder.path(), ["worker", "--help"]).ok().out;
    let script = read(&site.state("1.script"));
    let options: Vec<&str> = script.split_whitespace().filter(|word| word.starts_with("--")).collect();
    assert!(options.len() >= 5, "{script}");
    for option in options {
        assert!(help.split_whitespace().any(|word| word == option), "`bitloop worker` has no {option}");
    }
}

#[test]
fn a_pause_outlives_starts_that_look_once() {
    let site = Site::new();
    let experiment = Experiment::new(site.folder.path(), "paused", "all", 500);
    site.ask(&["submit", &experiment.path()]).ok();
    let (file, notes) = (site.autoscale_file("3s"), site.folder.path().join("autoscale.json"));
    let look = ["autoscale", &file, "--once", "--state", notes.to_str().expect("a path is a text")];
    let submissions = || read(&site.state("calls")).lines().filter(|call| call.starts_with("sbatch")).count();
    fs::write(site.state("refuse"), "9").unwrap();
    for _ in 0..3 {
        assert_eq!(site.ask(&look).status.code(), Some(1), "the engine refuses");
    }
    assert_eq!(submissions(), 3);

    site.ask(&look).ok();

    assert_eq!(submissions(), 3, "the pause has begun at the start before");
    fs::write(&notes, "{").unwrap();
    let torn = site.ask(&look);
    assert!(torn.status.code() == Some(1) && torn.err.contains("remove it"), "{}", torn.err);
}

/// What was submitted is lost to the next start if it cannot be written down, or if two write at once.
#[test]
fn nothing_is_submitted_by_a_file_that_cannot_be_written_or_that_another_has() {
    let site = Site::new();
    let experiment = Experiment::new(site.folder.path(), "kept", "all", 500);
    site.ask(&["submit", &experiment.path()]).ok();
    let file = site.autoscale_file("3s");
    let submissions = || read(&site.state("calls")).lines().filter(|call| call.starts_with("sbatch")).count();

    let nowhere = site.ask(&["autoscale", &file, "--once", "--state", "nowhere/state.json"]);
    assert_eq!((nowhere.status.code(), submissions()), (Some(1), 0), "{}", nowhere.err);
    assert!(nowhere.err.contains("nowhere/state.json cannot be written"), "{}", nowhere.err);

    let daemon = Process::start(site.command(&["autoscale", &file, "--state", "state.json"]));
    await_that("the daemon has submitted", || daemon.err().contains("submitted 1 "));
    let second = site.ask(&["autoscale", &file, "--once", "--state", "state.json"]);
    assert_eq!((second.status.code(), submissions()), (Some(1), 1), "{}", second.err);
    assert!(second.err.contains("state.json is used by another"), "{}", second.err);
    daemon.signal("TERM");
    daemon.end().ok();
    site.ask(&["autoscale", &file, "--once", "--state", "state.json"]).ok();
}

#[test]
fn a_daemon_whose_file_can_no_longer_be_written_says_so_and_goes_on() {
    let site = Site::new();
    let experiment = Experiment::new(site.folder.path(), "kept", "all", 500);
    let (file, notes) = (site.autoscale_file("3s"), site.folder.path().join("notes"));
    fs::create_dir(&notes).unwrap();
    let daemon = Process::start(site.command(&["autoscale", &file, "--state", "notes/state.json"]));
    await_that("the file is there", || notes.join("state.json").exists());

    fs::rename(&notes, site.folder.path().join("elsewhere")).unwrap();
    await_that("the daemon says so", || {
        daemon.err().contains("is not kept for the next start: notes/state.json")
    });
    site.ask(&["submit", &experiment.path()]).ok();
    await_that("it submits all the same", || daemon.err().contains("submitted 1 "));
    daemon.signal("TERM");

    daemon.end().ok();
}
