//! Two coordinators with one database, on which members work over TLS: the real program, and the death of the first.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use bitloop_tests::cluster::reference;
use bitloop_tests::experiment::{Experiment, results_file};
use bitloop_tests::postgres::PostgresServer;
use bitloop_tests::process::{Process, Said, await_that, bitloop, say};

/// Two machines, as far as one machine can be two: folders `a` and `b`, and addresses of the loopback.
struct Site {
    folder: tempfile::TempDir,
    database: PostgresServer,
}

impl Site {
    fn new(folder: tempfile::TempDir, database: PostgresServer) -> Self {
        Self { folder, database }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn coordinator(&self, data_dir: &str, listen: &str, more: &[&str]) -> Process {
        let store = self.database.url("postgres");
        let arguments = ["coordinator", "--listen", listen, "--data-dir", data_dir, "--store", &store];
        let arguments = [&arguments[..], &["--artifacts", "artifacts"], more].concat();
        Process::start(bitloop(self.path(), arguments))
    }

    /// An administrator's command.
    fn ask(&self, url: &str, arguments: &[&str]) -> Said {
        let fixed = ["--coordinator", url, "--identity", "a/security/admin"];
        say(self.path(), [arguments, &fixed].concat())
    }
}

/// Where a coordinator listens, once it does.
fn address_of(coordinator: &Process) -> String {
    await_that("the coordinator listens", || coordinator.out().contains("listening on https://"));
    coordinator.out().trim().trim_start_matches("listening on https://").to_owned()
}

fn settled(said: &Said) -> u64 {
    let summary: serde_json::Value = serde_json::from_str(&said.out).expect("`--output json` prints JSON");
    summary["settled"].as_u64().expect("a number of trials")
}

#[test]
fn a_standby_takes_over_from_a_dead_coordinator_and_its_members_go_on() {
    let Some(database) = PostgresServer::start() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let experiment = Experiment::new(folder.path(), "takeover", "all", 3000);
    let expected = reference(folder.path(), &experiment);
    let site = Site::new(folder, database);
    let names = ["--name", "127.0.0.1", "--name", "127.0.0.2"];
    let token = say(site.path(), ["init", "--data-dir", "a"].iter().chain(&names)).ok().out;
    fs::create_dir(site.path().join("b")).expect("a folder");
    symlink("../a/security", site.path().join("b/security")).expect("a link");

    let mut first = site.coordinator("a", "127.0.0.1:0", &[]);
    let first_address = address_of(&first);
    let (_, port) = first_address.rsplit_once(':').expect("a port");
    // The same port of another address, as on another machine.
    let second_address = format!("127.0.0.2:{port}");
    let mut second = site.coordinator("b", &second_address, &["--standby"]);
    let urls = [first_address.as_str(), &second_address].map(|address| format!("https://{address}"));
    let both = urls.join(",");
    let worker = ["worker", "--coordinator", &both, "--threads", "1", "--cache-dir", "cache"];
    let token_file = site.path().join("token");
    fs::write(&token_file, token).expect("a token's file");
    fs::set_permissions(&token_file, fs::Permissions::from_mode(0o600)).expect("its mode");
    let mut worker = bitloop(site.path(), worker);
    let mut worker = Process::start({
        worker.arg("--join-token-file").arg(&token_file);
        worker
    });
    let id = site.ask(&urls[0], &["submit", &experiment.path()]).ok().out.trim().to_owned();
    let show = ["show", &id, "--output", "json"];
    await_that("some trials are settled", || settled(&site.ask(&urls[0], &show).ok()) >= 4);
    assert!(second.is_running() && second.out().is_empty(), "it serves nothing while the first one works");

    first.kill();
    assert_eq!(address_of(&second), second_address);
    site.ask(&urls[1], &["watch", &id]).ok();

    assert!(worker.is_running(), "its worker stays");
    assert_eq!(results_file(&site.path().join("b")), Some(expected));
    let events = site.ask(&urls[1], &["events", "--output", "json"]).ok().out;
    let events = events.lines().map(|line| serde_json::from_str(line).expect("a line of JSON"));
    let events: Vec<serde_json::Value> = events.collect();
    let took_over: Vec<_> = events.iter().filter(|event| event["kind"] == "coordinator_took_over").collect();
    let text = took_over.first().and_then(|event| event["text"].as_str()).unwrap_or_default();
    assert!(took_over.len() == 1 && text.starts_with("epoch 2"), "{events:?}");
}
