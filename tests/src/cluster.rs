//! A coordinator and workers as they run on a cluster: each in its own folder, with a cleared environment, without the
//! model or data files; in network namespaces where the system permits them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::experiment::{Experiment, results_file};
use crate::network::{Host, Network};
use crate::process::{Process, Said, await_that, bitloop, say};

/// Host of the coordinator; workers have 1 to 3, the submitting user has 4.
pub const COORDINATOR: Host = 0;
const USER: Host = 4;

/// The machines of one test.
#[derive(Debug)]
pub struct Cluster {
    folder: tempfile::TempDir,
    network: Option<Network>,
    url: String,
    /// The coordinator's process.
    pub coordinator: Process,
}

impl Cluster {
    /// Starts a coordinator on a free port; `network` as far as it is there.
    pub fn new(network: Option<Network>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut cluster =
            Self { folder, network, url: String::new(), coordinator: Process::start(Command::new("true")) };
        let address =
            if cluster.network.is_some() { Network::address(COORDINATOR) } else { "127.0.0.1".to_owned() };
        cluster.start_coordinator(&format!("{address}:0"));
        cluster
    }

    fn start_coordinator(&mut self, listen: &str) {
        let mut arguments = vec!["coordinator", "--listen", listen, "--data-dir", "data"];
        if self.network.is_some() {
            arguments.push("--insecure");
        }
        let coordinator = Process::start(self.command(COORDINATOR, &arguments));
        await_that("the coordinator listens", || coordinator.out().contains("listening on "));
        self.url = coordinator.out().trim().trim_start_matches("listening on ").to_owned();
        self.coordinator = coordinator;
    }

    /// `kill -9` and a new start on the same address and data directory.
    pub fn restart_coordinator(&mut self) {
        self.coordinator.kill();
        let listen = self.url.trim_start_matches("http://").to_owned();
        self.start_coordinator(&listen);
    }

    /// A command on a host, in the host's own folder.
    fn command(&self, host: Host, arguments: &[&str]) -> Command {
        let folder = self.folder_of(host);
        match &self.network {
            Some(network) => network.bitloop(host, &folder, arguments),
            None => bitloop(&folder, arguments),
        }
    }

    /// A host's own folder.
    pub fn folder_of(&self, host: Host) -> PathBuf {
        let folder = self.folder.path().join(format!("host{host}"));
        fs::create_dir_all(&folder).expect("a host's folder");
        folder
    }

    /// The coordinator's data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.folder_of(COORDINATOR).join("data")
    }

    /// Starts a worker whose cache folder is its host's.
    pub fn worker(&self, host: Host) -> Process {
        self.worker_with(host, &[])
    }

    /// Starts such a worker with more options.
    pub fn worker_with(&self, host: Host, options: &[&str]) -> Process {
        let arguments = ["worker", "--coordinator", &self.url, "--threads", "1", "--cache-dir", "cache"];
        Process::start(self.command(host, &[&arguments, options].concat()))
    }

    /// Where the coordinator listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A user's command, with the coordinator's URL.
    pub fn ask(&self, arguments: &[&str]) -> Said {
        self.start(arguments).end()
    }

    /// Starts such a command.
    pub fn start(&self, arguments: &[&str]) -> Process {
        let arguments = [arguments, &["--coordinator", &self.url]].concat();
        Process::start(self.command(USER, &arguments))
    }

    /// Submits an experiment; returns its id.
    pub fn submit(&self, experiment: &Experiment) -> String {
        self.ask(&["submit", &experiment.path()]).ok().out.trim().to_owned()
    }

    /// The workers that the coordinator hears of.
    pub fn workers(&self) -> Vec<serde_json::Value> {
        let said = self.ask(&["workers", "--output", "json"]).ok();
        serde_json::from_str(&said.out).expect("`--output json` prints JSON")
    }

    /// The network between the hosts.
    ///
    /// Panics: when there is none.
    pub fn network(&self) -> &Network {
        self.network.as_ref().expect("the test asked for a network")
    }

    /// How far an experiment is.
    pub fn summary(&self, id: &str) -> serde_json::Value {
        let said = self.ask(&["show", id, "--output", "json"]).ok();
        serde_json::from_str(&said.out).expect("`--output json` prints JSON")
    }

    /// Waits until so many trials are settled.
    pub fn await_settled(&self, id: &str, count: u64) {
        await_that(&format!("{count} trials are settled"), || {
            self.summary(id)["settled"].as_u64().unwrap_or(0) >= count
        });
    }
}

/// What `bitloop run` makes of an experiment in one process.
pub fn reference(folder: &Path, experiment: &Experiment) -> Vec<u8> {
    say(folder, ["run", &experiment.path(), "--data-dir", "reference"]).ok();
    results_file(&folder.join("reference")).expect("results")
}

/// A network for a test; none, with a word on standard error, where the system does not permit it.
pub fn in_network(hosts: Host, test: &str) -> Option<Network> {
    match Network::new(hosts) {
        Ok(network) => Some(network),
        Err(reason) => {
            assert!(!crate::is_required("netns"), "{test}: {reason}");
            eprintln!("{test}: separate processes instead of network namespaces: {reason}");
            None
        }
    }
}
