//! Turns against stand-ins for the engines' commands, which lie in `mock/` and keep what they know in a folder.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bitloop_autoscale::{Autoscaler, Demand, Notice, Turn, Work, engine_of};
use bitloop_core::spec::AutoscaleSpec;

/// An engine of stand-ins in a folder of its own, and an autoscaler before it.
struct Cluster {
    folder: tempfile::TempDir,
    spec: AutoscaleSpec,
    autoscaler: Autoscaler,
    turns: u32,
}

impl Cluster {
    fn new(engine: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mock = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mock").join(engine);
        for file in fs::read_dir(mock).unwrap() {
            let file = file.unwrap();
            // Links, as a file that was just written cannot always be executed while other threads start processes.
            symlink(file.path(), folder.path().join(file.file_name())).unwrap();
        }
        fs::create_dir(folder.path().join("state")).unwrap();
        let text = format!(
            "version: 1\nname: lab\nengine: {engine}\ncommands: {}\nevery: 10s\npause: {{ first: 1m }}\nclasses:\n  cpu:\n    \
             offers: {{ device: cpu }}\n    workers: {{ max: 4 }}\n    waiting: 3\n    target: 100s\n    idle_exit: 5m\n    \
             {engine}: {{ arguments: [-Aproject] }}\n",
            folder.path().display()
        );
        let text = if engine == "slurm" { text.replace("-Aproject", "--account=project") } else { text };
        let spec = AutoscaleSpec::parse(&text).unwrap();
        let autoscaler = Self::autoscaler(&spec);
        Self { folder, spec, autoscaler, turns: 0 }
    }

    fn autoscaler(spec: &AutoscaleSpec) -> Autoscaler {
        let engine = engine_of(spec, "http://head:7717", Some("me".to_owned())).unwrap();
        Autoscaler::new(spec.clone(), engine)
    }

    /// What a new start of the program knows: nothing.
    fn restart(&mut self) {
        self.autoscaler = Self::autoscaler(&self.spec);
    }

    fn state(&self, file: &str) -> PathBuf {
        self.folder.path().join("state").join(file)
    }

    fn put(&self, file: &str, text: &str) {
        fs::write(self.state(file), text).unwrap();
    }

    /// A turn with work for `workers`, ten seconds after the one before.
    fn turn(&mut self, workers: u32) -> Turn {
        self.turns += 1;
        let demand = Demand { trials: 99, seconds: f64::from(workers) * 100.0, ..Demand::default() };
        let demands = if workers == 0 { Vec::new() } else { vec![demand] };
        self.autoscaler.turn(Some(Work { demands, ..Work::default() }), false, self.spec.every * self.turns)
    }

    /// Calls of a command so far.
    fn calls(&self, command: &str) -> Vec<String> {
        let calls = fs::read_to_string(self.state("calls")).unwrap_or_default();
        calls.lines().filter(|call| call.split(' ').next() == Some(command)).map(str::to_owned).collect()
    }

    fn counts(&self) -> (u32, u32) {
        let counts = self.autoscaler.memory().counts("cpu");
        (counts.running, counts.waiting)
    }
}

#[test]
fn slurm_gets_as_many_as_may_wait_and_loses_what_is_not_needed() {
    let mut cluster = Cluster::new("slurm");

    assert_eq!(cluster.turn(9).done.len(), 3);
    cluster.put("1.state", "RUNNING\n");
    assert_eq!(cluster.turn(9).done.len(), 1);
    assert_eq!((cluster.counts(), cluster.turn(9).done.len()), ((1, 3), 0), "4 workers are the most");
    assert_eq!(cluster.turn(0).done.len(), 0, "work may come back at once");
    let cancelled = cluster.turn(0);

    assert_eq!(cluster.calls("sbatch").len(), 4);
    assert!(
        fs::read_to_string(cluster.state("1.script")).unwrap().starts_with("#!/bin/sh\nexec bitloop worker ")
    );
    let calls: Vec<_> = (2..=4).rev().map(|number| format!("scancel --state=PENDING {number}")).collect();
    assert_eq!(cluster.calls("scancel"), calls, "newest first, and not the one that runs");
    assert_eq!((cancelled.notices, cluster.turn(0).done.len()), (vec![], 0));
    fs::remove_file(cluster.state("1.state")).unwrap();
    (0..3).for_each(|_| drop(cluster.turn(0)));
    assert_eq!(cluster.counts(), (0, 0));
}

#[test]
fn pbs_gets_and_loses_the_same_and_nobody_elses_is_touched() {
    let mut cluster = Cluster::new("pbs");

    assert_eq!(cluster.turn(2).done.len(), 2);
    cluster.put("1.state", "R\n");
    assert_eq!((cluster.turn(2).done.len(), cluster.counts()), (0, (1, 1)));
    cluster.turn(0);
    cluster.turn(0);

    assert_eq!(cluster.calls("qdel"), ["qdel 2.head-1"]);
    assert_eq!(cluster.calls("qsub")[0], "qsub -N bitloop.lab.cpu.1 -l select=1:ncpus=1 -j oe -Aproject");
    cluster.restart();
    let adopted = cluster.turn(0);
    assert!(
        matches!(&adopted.notices[..], [Notice::Adopted { id, .. }] if id.0 == "1.head-1"),
        "{adopted:?}"
    );
}

#[test]
fn an_engine_that_refuses_is_left_alone_for_a_while_and_tried_again() {
    for engine in ["slurm", "pbs"] {
        let submit = if engine == "slurm" { "sbatch" } else { "qsub" };
        let mut cluster = Cluster::new(engine);
        cluster.put("refuse", "3");

        let refused = cluster.turn(4);
        let paused: Vec<usize> = (0..5).map(|_| cluster.turn(4).done.len()).collect();
        let tried = cluster.turn(4);

        let said: Vec<String> = refused.notices.iter().map(ToString::to_string).collect();
        let reason = if engine == "slurm" { "Invalid account" } else { "per-user limit" };
        assert!(said[0].contains(reason) && said[3].contains("nothing is submitted for 60 s"), "{said:?}");
        assert_eq!((paused, tried.done.len()), (vec![0; 5], 1), "{engine}");
        assert_eq!((cluster.turn(4).done.len(), cluster.calls(submit).len()), (2, 6), "{engine}");
    }
}

#[test]
fn an_engine_that_is_away_stops_everything_until_it_is_back() {
    for engine in ["slurm", "pbs"] {
        let mut cluster = Cluster::new(engine);
        cluster.turn(2);
        cluster.put("away", "");

        let away: Vec<Turn> = (0..9).map(|_| cluster.turn(0)).collect();
        fs::remove_file(cluster.state("away")).unwrap();
        let back = cluster.turn(2);

        assert!(away.iter().all(|turn| turn.done.is_empty() && turn.notices.len() == 1));
        assert!(matches!(&away[8].notices[0], Notice::EngineAway { .. }));
        assert_eq!((back.done.len(), cluster.counts()), (0, (0, 2)), "{engine}: nothing was taken for gone");
    }
}

#[test]
fn holes_in_the_engines_list_lose_nothing() {
    let mut cluster = Cluster::new("slurm");
    cluster.turn(2);
    cluster.put("forget", "2");

    let turns: Vec<usize> = (0..3).map(|_| cluster.turn(2).done.len()).collect();

    assert_eq!((turns, cluster.counts()), (vec![0; 3], (0, 2)));
    assert_eq!(cluster.calls("sbatch").len(), 2);
}

#[test]
fn a_dry_turn_changes_nothing() {
    let mut cluster = Cluster::new("slurm");
    let demand = Demand { trials: 9, seconds: 100.0, ..Demand::default() };

    let turn = cluster.autoscaler.turn(
        Some(Work { demands: vec![demand], ..Work::default() }),
        true,
        Duration::ZERO,
    );

    assert_eq!((turn.done.len(), turn.done[0].happened.is_none()), (1, true));
    assert_eq!(turn.done[0].call.command[2], "--job-name=bitloop.lab.cpu.1");
    assert!(turn.done[0].call.script.ends_with("--connect-timeout 300000ms\n"));
    assert_eq!(cluster.calls("sbatch"), Vec::<String>::new());
}
