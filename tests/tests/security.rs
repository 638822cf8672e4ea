//! A coordinator that other machines reach, as its users see it: the real program, from `init` to results.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bitloop_tests::experiment::{Experiment, results_file};
use bitloop_tests::process::{Process, Said, await_that, bitloop, say};

/// A data directory with security, and its coordinator.
struct Lab {
    folder: tempfile::TempDir,
    coordinator: Process,
    url: String,
    /// The worker's token that `init` printed.
    token: String,
}

impl Lab {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let said = say(folder.path(), ["init", "--data-dir", "data", "--name", "lab.example"]).ok();
        let token = said.out.trim().to_owned();
        assert!(!said.err.contains(&token), "the token is data, and shown once");
        let coordinator = Process::start(Self::coordinator_in(folder.path()));
        let url = Self::url_of(&coordinator);
        Self { folder, coordinator, url, token }
    }

    /// Waits until it listens.
    fn url_of(coordinator: &Process) -> String {
        await_that("the coordinator listens", || coordinator.out().contains("listening on https://0.0.0.0:"));
        let port = coordinator.out().trim().rsplit_once(':').expect("a port").1.to_owned();
        format!("https://127.0.0.1:{port}")
    }

    /// Ends the coordinator without a word, and starts another one.
    fn restart(&mut self) {
        self.coordinator.kill();
        self.coordinator = Process::start(Self::coordinator_in(self.folder.path()));
        self.url = Self::url_of(&self.coordinator);
    }

    fn coordinator_in(folder: &Path) -> std::process::Command {
        let mut command = bitloop(
            folder,
            ["coordinator", "--listen", "0.0.0.0:0", "--http", "127.0.0.1:0", "--data-dir", "data"],
        );
        command.env("BITLOOP_LOG", "trace");
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a token to a file that only its owner reads.
    fn token_file(&self, name: &str, token: &str) -> String {
        let path = self.path(name);
        fs::write(&path, format!("{token}\n")).expect("a token's file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
        path.display().to_string()
    }

    fn worker(&self, more: &[&str]) -> Process {
        let fixed = ["worker", "--coordinator", &self.url, "--threads", "1", "--cache-dir", "cache"];
        let mut command = bitloop(self.folder.path(), fixed.iter().chain(more));
        command.env("BITLOOP_LOG", "trace");
        Process::start(command)
    }

    /// A user's command.
    fn ask(&self, identity: &str, arguments: &[&str]) -> Said {
        let fixed = ["--coordinator", &self.url, "--identity", identity];
        say(self.folder.path(), arguments.iter().chain(&fixed))
    }

    fn admin(&self, arguments: &[&str]) -> Said {
        self.ask("data/security/admin", arguments)
    }
}

/// All files below a folder, as far as they are text.
fn texts(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(texts(&path));
        } else {
            found.push((
                path.clone(),
                String::from_utf8_lossy(&fs::read(&path).expect("a file")).into_owned(),
            ));
        }
    }
    found
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[test]
fn a_cluster_of_members_measures_and_lets_out_no_secret() {
    let inputs = tempfile::tempdir().expect("a folder");
    let experiment = Experiment::new(inputs.path(), "secured", "all", 64);
    let lab = Lab::new();
    let file = lab.token_file("worker.token", &lab.token);
    let mut worker = lab.worker(&["--join-token-file", &file]);
    let id = lab.admin(&["submit", &experiment.path()]).ok().out.trim().to_owned();
    lab.admin(&["watch", &id]).ok();
    let results = results_file(&lab.path("data")).expect("results");
    say(lab.folder.path(), ["run", &experiment.path(), "--data-dir", "reference"]).ok();
    assert!(Some(results) == results_file(&lab.path("reference")), "TLS changes no result");

    // The worker comes back with what it keeps, without a token.
    worker.kill();
    let again = lab.worker(&[]);
    await_that("the worker registers again", || {
        lab.admin(&["workers", "--output", "json"]).ok().out.matches("\"silent_ms\"").count() >= 2
    });
    let command_line = fs::read(format!("/proc/{}/cmdline", again.id())).expect("a running process");
    let command_line = String::from_utf8_lossy(&command_line).into_owned();

    let key = |path: &str| {
        let text = fs::read_to_string(lab.path(path)).expect("a key");
        text.lines().nth(1).expect("PEM has lines").to_owned()
    };
    let metrics = fs::read_to_string(lab.path("data/security/metrics.token")).expect("a token");
    let (_, secret) = lab.token.rsplit_once('-').expect("a token has parts");
    let secrets = [
        secret.to_owned(),
        metrics.trim().to_owned(),
        key("data/security/ca.key"),
        key("data/security/server.pem"),
        key("data/security/admin/identity.pem"),
        key("cache/identity/identity.pem"),
    ];
    let said = [lab.coordinator.out(), lab.coordinator.err(), worker.err(), again.err(), command_line];
    assert!(said[1].contains("joined") && said[1].contains("worker"), "the log says who came");
    for secret in &secrets {
        assert!(secret.len() >= 64, "{secret}");
        assert!(
            !said.iter().any(|text| text.contains(secret)),
            "a secret is in a log or a list of processes"
        );
    }
    let mut holders = 0;
    for (path, text) in texts(lab.folder.path()) {
        if secrets.iter().any(|secret| text.contains(secret)) {
            assert_eq!(mode(&path), 0o600, "{}", path.display());
            holders += 1;
        }
    }
    assert_eq!(holders, 6, "the token's own file, and five of the program's");
    for folder in ["data/security", "data/security/admin", "cache/identity"] {
        assert_eq!(mode(&lab.path(folder)), 0o700, "{folder}");
    }
}

#[test]
fn users_do_what_their_role_allows() {
    let lab = Lab::new();
    let token = lab.admin(&["token", "--role", "read"]).ok().out;
    let file = lab.token_file("read.token", token.trim());

    let joined = lab.ask("reader", &["join", "--token-file", &file]).ok();
    assert_eq!(joined.out.trim(), "reader");
    assert!(!joined.err.contains("warning"), "{}", joined.err);
    assert_eq!((mode(&lab.path("reader")), mode(&lab.path("reader/identity.pem"))), (0o700, 0o600));
    lab.ask("reader", &["list"]).ok();
    let refused = lab.ask("reader", &["cancel", "anything"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        refused.err.contains("ActOnExperiment needs the role submit, this identity has read"),
        "{}",
        refused.err
    );
    let refused = lab.ask("reader", &["token", "--role", "admin"]);
    assert!(refused.err.contains("needs the role admin"), "{}", refused.err);
    let refused = lab.ask("reader", &["worker", "--threads", "1"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.err.contains("Register needs the role worker"), "{}", refused.err);

    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("its mode");
    let replayed = lab.ask("thief", &["join", "--token-file", &file]);
    assert_eq!(replayed.status.code(), Some(1));
    assert!(replayed.err.contains("has been used up"), "{}", replayed.err);
    assert!(replayed.err.contains("others may read"), "{}", replayed.err);
    assert!(!lab.path("thief/identity.pem").exists());
    let twice = lab.ask("reader", &["join", "--token-file", &file]);
    assert_eq!(twice.status.code(), Some(2));
    assert!(twice.err.contains("holds the identity read"), "{}", twice.err);
}

#[test]
fn who_is_shut_out_stays_out_also_after_a_restart() {
    let mut lab = Lab::new();
    let token = lab.admin(&["token", "--role", "read"]).ok().out;
    let file = lab.token_file("read.token", token.trim());
    let joined = lab.ask("reader", &["join", "--token-file", &file, "--output", "json"]).ok().out;
    let joined: serde_json::Value = serde_json::from_str(&joined).expect("JSON");
    let name = joined["name"].as_str().expect("a name").to_owned();
    lab.ask("reader", &["list"]).ok();
    let file = lab.token_file("worker.token", &lab.token);
    let worker = lab.worker(&["--join-token-file", &file]);
    let workers = || lab.admin(&["workers", "--output", "json"]).ok().out;
    await_that("the worker is there", || workers().trim() != "[]");
    let workers: serde_json::Value = serde_json::from_str(&workers()).expect("JSON");
    let of_worker = workers[0]["id"].as_str().expect("a worker has a name").to_owned();

    let refused = lab.ask("reader", &["revoke", &name]);
    assert!(refused.err.contains("Revoke needs the role admin"), "{}", refused.err);
    let revoked = lab.admin(&["revoke", &name, "--output", "json"]).ok().out;
    let unknown = lab.admin(&["revoke", "somebody-else"]);
    lab.admin(&["revoke", &of_worker]).ok();

    let revoked: serde_json::Value = serde_json::from_str(&revoked).expect("JSON");
    assert_eq!((&revoked["member"], &revoked["is_new"]), (&name.as_str().into(), &true.into()));
    assert_eq!(unknown.status.code(), Some(1));
    assert!(unknown.err.contains("neither a member's name"), "{}", unknown.err);
    let ended = worker.end();
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.err.contains("is revoked"), "{}", ended.err);
    lab.restart();
    let refused = lab.ask("reader", &["list"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.err.contains("is revoked") && refused.err.contains("another folder"), "{}", refused.err);
    let again = lab.worker(&[]).end();
    assert!(again.err.contains("is revoked"), "{}", again.err);
    let said = lab.admin(&["revoke", &name]).ok().err;
    assert!(said.contains("as it was before"), "{said}");
}

#[test]
fn without_an_identity_there_is_a_way_to_one() {
    let lab = Lab::new();
    let elsewhere = tempfile::tempdir().expect("a folder");
    let ask = |arguments: &[&str]| say(elsewhere.path(), arguments);

    let refused = ask(&["list", "--coordinator", &lab.url]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(refused.err.contains("--identity") && refused.err.contains("bitloop join"), "{}", refused.err);
    let refused = ask(&["worker", "--coordinator", &lab.url]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(refused.err.contains("--join-token-file"), "{}", refused.err);
    let plain = lab.url.replace("https", "http");
    let refused = ask(&["list", "--coordinator", &plain]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(refused.err.contains("write https://"), "{}", refused.err);

    // In the variable, too, and never repeated.
    let mut command = bitloop(elsewhere.path(), ["join", "--coordinator", &lab.url, "--identity", "own"]);
    command.env("BITLOOP_JOIN_TOKEN", &lab.token[..lab.token.len() - 1]);
    let refused = Process::start(command).end();
    assert_eq!(refused.status.code(), Some(2));
    let (_, secret) = lab.token.rsplit_once('-').expect("a token has parts");
    assert!(
        refused.err.contains("BITLOOP_JOIN_TOKEN") && !refused.err.contains(&secret[..16]),
        "{}",
        refused.err
    );
    let mut command = bitloop(elsewhere.path(), ["join", "--coordinator", &lab.url, "--identity", "own"]);
    command.env("BITLOOP_JOIN_TOKEN", &lab.token);
    Process::start(command).end().ok();
    assert!(elsewhere.path().join("own/identity.pem").exists());
}

#[test]
fn an_identity_of_another_authority_reaches_nothing() {
    let lab = Lab::new();
    say(lab.folder.path(), ["init", "--data-dir", "other"]).ok();

    let refused = lab.ask("other/security/admin", &["list"]);

    assert_eq!(refused.status.code(), Some(3));
    assert!(refused.err.contains("UnknownIssuer"), "{}", refused.err);
}

#[test]
fn beyond_loopback_a_coordinator_wants_init_or_its_users_word() {
    let folder = tempfile::tempdir().expect("a folder");
    let start = |more: &[&str]| say(folder.path(), ["coordinator", "--data-dir", "data"].iter().chain(more));

    for port in ["--listen", "--http"] {
        let refused =
            start(&[port, "0.0.0.0:0", "--listen", "127.0.0.1:0"][..if port == "--http" { 4 } else { 2 }]);
        assert_eq!(refused.status.code(), Some(2), "{port}");
        assert!(
            refused.err.contains("bitloop init") && refused.err.contains("--insecure"),
            "{}",
            refused.err
        );
    }
    say(folder.path(), ["init", "--data-dir", "data"]).ok();
    let refused = start(&["--listen", "0.0.0.0:0", "--insecure"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(refused.err.contains("--insecure contradicts `bitloop init`"), "{}", refused.err);
}

#[test]
fn init_is_for_a_data_directory_that_nobody_uses() {
    let lab = Lab::new();

    let refused = say(lab.folder.path(), ["init", "--data-dir", "data"]);

    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.err.contains("is in use by another bitloop"), "{}", refused.err);
}
