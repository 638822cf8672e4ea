//! Real processes that are killed, and networks that are cut, while they work: the results are those of a calm cluster,
//! byte for byte.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::Duration;

use bitloop_core::rng::{Rng, rng};
use bitloop_tests::cluster::{Cluster, reference};
use bitloop_tests::experiment::Experiment;
use bitloop_tests::files;
use bitloop_tests::is_required;
use bitloop_tests::network::{Host, Network};
use bitloop_tests::process::{Process, await_for, await_that, await_within, now};

const WORKERS: Host = 3;

/// Mean time between two kills.
const KILL_PERIOD: Duration = Duration::from_secs(2);

/// A shard under way is over and written down by then: it takes about two seconds, and a silent coordinator is noticed after
/// five.
const SPOOLED: Duration = Duration::from_secs(15);

/// How long workers may take to be back at a coordinator that starts anew.
const PROMISED: Duration = Duration::from_secs(10);

/// How long processes are killed, unless `BITLOOP_CHAOS_SECONDS` says so.
const CHAOS: Duration = Duration::from_secs(30);

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a whole number, not `{text}`")))
}

/// A cluster in which something is killed now and then.
struct Chaos {
    cluster: Cluster,
    workers: Vec<Process>,
    rng: Rng,
    kills: [u32; 2],
    /// How long processes are still killed.
    left: Duration,
}

impl Chaos {
    fn new(seed: u64, length: Duration) -> Self {
        let cluster = Cluster::new(None);
        let workers = (1..=WORKERS).map(|host| cluster.worker(host)).collect();
        Self { cluster, workers, rng: rng(seed, 0), kills: [0, 0], left: length }
    }

    /// Time until the next kill: kills are as independent of each other as in a Poisson process.
    fn next_wait(&mut self) -> Duration {
        KILL_PERIOD.mul_f64(-(1.0 - self.rng.uniform()).ln())
    }

    /// Whom to kill next; none is the coordinator.
    fn victim(&mut self) -> Option<usize> {
        let workers = self.workers.len();
        match self.kills.map(|kills| kills > 0) {
            // Short chaos sees both kinds, too, however the seed has it.
            [false, true] => None,
            [true, false] => Some(self.rng.below(workers)),
            // The coordinator is twice as likely as a worker.
            [false, false] | [true, true] => {
                Some(self.rng.below(workers + 2)).filter(|victim| *victim < workers)
            }
        }
    }

    /// `kill -9` of the coordinator or a worker, and a new one.
    fn kill(&mut self) {
        let victim = self.victim();
        match victim.and_then(|victim| Some((victim, self.workers.get_mut(victim)?))) {
            Some((victim, worker)) => {
                worker.kill();
                *worker = self.cluster.worker(victim as Host + 1);
                self.kills[1] += 1;
            }
            None => {
                self.cluster.restart_coordinator();
                self.kills[0] += 1;
            }
        }
    }

    fn is_finished(&self, id: &str) -> bool {
        self.cluster.summary(id)["status"] == "finished"
    }

    /// Kills until an experiment is finished, as long as there is time left for it; then only waits.
    fn outlive(&mut self, id: &str) {
        while !self.left.is_zero() {
            let (wait, began) = (self.next_wait(), now());
            if await_for(wait, || self.is_finished(id)) {
                break;
            }
            self.kill();
            self.left = self.left.saturating_sub(began.elapsed());
        }
        await_that("the experiment is finished", || self.is_finished(id));
    }
}

/// Goal: no kill of any process at any moment changes a byte of the results.
#[test]
fn killed_processes_change_no_byte_of_the_results() {
    let length = number("BITLOOP_CHAOS_SECONDS").map_or(CHAOS, Duration::from_secs);
    let seed = number("BITLOOP_SEED").unwrap_or(1);
    let inputs = tempfile::tempdir().unwrap();
    let mut chaos = Chaos::new(seed, length);
    let mut rounds = 0;
    while !chaos.left.is_zero() {
        rounds += 1;
        // Another number of images makes every trial a new one.
        let folder = inputs.path().join(format!("round{rounds}"));
        std::fs::create_dir(&folder).unwrap();
        let experiment = Experiment::new(&folder, &format!("chaos{rounds}"), "all", 2_000 + 10 * rounds);
        let expected = reference(&folder, &experiment);

        let id = chaos.cluster.submit(&experiment);
        chaos.outlive(&id);

        let csv = chaos.cluster.ask(&["results", &id, "--format", "csv"]).ok().out;
        assert_eq!(csv.as_bytes(), expected, "seed {seed}, round {rounds}");
        assert_eq!(chaos.cluster.summary(&id)["conflicts"], 0, "seed {seed}, round {rounds}");
    }
    let [coordinator, workers] = chaos.kills;
    eprintln!(
        "seed {seed}: {rounds} experiments, {coordinator} kills of the coordinator, {workers} of workers"
    );
    assert!(coordinator > 0 && workers > 0, "a kind of process was not killed; give it more seconds");
}

/// Goal: workers outlive the coordinator, and are back soon after it is.
#[test]
fn workers_are_back_within_ten_seconds_of_the_coordinators_new_start() {
    let mut cluster = Cluster::new(None);
    let mut workers: Vec<_> = (1..=WORKERS).map(|host| cluster.worker(host)).collect();
    let names = |cluster: &Cluster| -> BTreeSet<String> {
        cluster.workers().iter().map(|worker| worker["id"].to_string()).collect()
    };
    await_that("the workers are there", || names(&cluster).len() == workers.len());
    let expected = names(&cluster);

    cluster.restart_coordinator();
    await_within(PROMISED, "the workers are back", || names(&cluster) == expected);

    assert!(workers.iter_mut().all(Process::is_running), "they are the same processes");
}

/// Goal: a worker that is cut off without being told goes on, keeps what it measured, is given up by the coordinator, and
/// is back when the network is, also when the coordinator started anew meanwhile.
#[test]
fn a_worker_behind_a_cut_network_keeps_its_work_and_comes_back() {
    let network = match Network::new(5) {
        Ok(network) => network,
        Err(reason) => {
            assert!(!is_required("netns"), "{reason}");
            drop(writeln!(std::io::stderr(), "skipped: this system gives no network namespaces: {reason}"));
            return;
        }
    };
    let inputs = tempfile::tempdir().unwrap();
    let experiment = Experiment::new(inputs.path(), "partition", "all", 6_000);
    let expected = reference(inputs.path(), &experiment);
    let mut cluster = Cluster::new(Some(network));
    let _cut_off = cluster.worker(1);
    let id = cluster.submit(&experiment);
    cluster.await_settled(&id, 3);
    let is_spooling = || !files(&cluster.folder_of(1).join("cache/spool"), ".jsonl").is_empty();
    await_that("a shard is under way when the network is cut, and is written down", || {
        await_that("a shard is under way", || cluster.summary(&id)["leased"].as_u64() > Some(0));
        cluster.network().cut_off(1);
        let is_caught = await_for(SPOOLED, is_spooling);
        if !is_caught {
            // The shard was over before; with the next one it may be otherwise.
            cluster.network().heal(1);
        }
        is_caught
    });
    await_that("the coordinator gives the worker up", || cluster.workers().is_empty());
    // The worker's connections do not hear of this.
    cluster.restart_coordinator();
    cluster.network().heal(1);
    await_that("the worker is back", || cluster.workers().len() == 1);

    let _second = cluster.worker(2);
    cluster.ask(&["watch", &id]).ok();
    let csv = cluster.ask(&["results", &id, "--format", "csv"]).ok().out;
    assert_eq!(csv.as_bytes(), expected);
    assert_eq!(cluster.summary(&id)["conflicts"], 0);
    await_that("nothing is left to be sent", || {
        files(&cluster.folder_of(1).join("cache/spool"), ".jsonl").is_empty()
    });
}
