//! GPU nodes without a GPU: workers that say they have one, and compute on the processor.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use bitloop_core::device::{Device, DeviceKind};
use bitloop_core::trial::{Outcome, TrialSpec};
use bitloop_tests::cluster::{Cluster, reference};
use bitloop_tests::experiment::Experiment;
use bitloop_tests::process::{await_that, await_within, bitloop};
use bitloop_worker::{
    Connection, Endpoint, ExecuteError, Executor, QuantExecutor, Setting, WorkerOptions, work,
};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Class of the GPU that is not there.
const CLASS: &str = "CUDA Made-up 16 GiB";

/// How long a trial that waited for a GPU may take to get to one that joins.
const PROMISED: Duration = Duration::from_secs(5);

/// Computes what the processor does, in the name of a GPU.
struct MadeUpGpu(QuantExecutor);

impl Executor for MadeUpGpu {
    fn device(&self) -> Device {
        Device {
            kind: DeviceKind::Cuda,
            id: "gpu-0".to_owned(),
            class: CLASS.to_owned(),
            memory_bytes: 16 << 30,
            ..Device::default()
        }
    }

    fn float_only(&self) -> bool {
        true
    }

    fn run(
        &mut self,
        trials: &[&TrialSpec],
        setting: &Setting<'_>,
        give: &mut dyn FnMut(Outcome),
    ) -> Result<(), ExecuteError> {
        self.0.run(trials, setting, &mut |mut outcome| {
            outcome.provenance.device = CLASS.to_owned();
            give(outcome);
        })
    }
}

/// A worker within this process; dropping its runtime loses it without a word.
struct GpuNode {
    runtime: Runtime,
    working: JoinHandle<()>,
}

impl GpuNode {
    fn join(cluster: &Cluster) -> Self {
        let runtime = Runtime::new().expect("threads");
        let connection = Connection::Url(Endpoint::parse(cluster.url()).expect("the coordinator's URL"));
        let executor = Box::new(MadeUpGpu(QuantExecutor::new("cpu", 1).expect("a processor")));
        let options = WorkerOptions {
            id: "gpu-node".to_owned(),
            host: "gpu-host".to_owned(),
            machine: "gpu-machine".to_owned(),
            threads: 1,
            labels: BTreeMap::new(),
            share: None,
            cache_dir: None,
            connect_timeout: None,
            max_give_backs: None,
            idle_exit: None,
        };
        let working = runtime.spawn(async move {
            let worked = work(connection, executor, options, CancellationToken::new()).await;
            worked.expect("the coordinator takes the worker");
        });
        Self { runtime, working }
    }

    fn lose(self) {
        self.working.abort();
        self.runtime.shutdown_background();
    }
}

fn requiring(experiment: &Experiment, requires: &str) {
    let text = fs::read_to_string(&experiment.file).expect("the experiment file");
    fs::write(&experiment.file, format!("{text}requires: {requires}\n")).expect("the experiment file");
}

fn committed_by(cluster: &Cluster, worker: &str) -> u64 {
    let workers = cluster.workers();
    let found = workers.iter().find(|known| known["id"] == worker);
    found.and_then(|known| known["committed"].as_u64()).unwrap_or(0)
}

#[test]
fn what_requires_a_gpu_waits_with_a_reason_and_goes_on_when_one_joins() {
    let inputs = tempfile::tempdir().unwrap();
    let experiment = Experiment::new(inputs.path(), "wanted", "['*.weight']", 64);
    requiring(&experiment, "{ device: cuda, gpu_memory: 8GiB }");
    let cluster = Cluster::new(None);
    let _processor = cluster.worker(1);
    await_that("the worker is there", || cluster.workers().len() == 1);
    let submitted = cluster.ask(&["submit", &experiment.path()]).ok();
    let id = submitted.out.trim();
    assert!(submitted.err.contains("none of the 1 connected workers can measure"), "{}", submitted.err);

    let explained = cluster.ask(&["explain", id]).ok().out;
    assert!(
        explained.contains("waiting") && explained.contains("requires device cuda, has cpu"),
        "{explained}"
    );
    assert_eq!(cluster.summary(id)["settled"], 0);

    let gpu = GpuNode::join(&cluster);
    await_within(PROMISED, "the trial is leased", || {
        let summary = cluster.summary(id);
        summary["leased"] != 0 || summary["settled"] != 0
    });
    cluster.ask(&["watch", id]).ok();

    let summary = cluster.summary(id);
    assert_eq!((&summary["status"], &summary["failed"]), (&"finished".into(), &0.into()));
    assert_eq!(committed_by(&cluster, "gpu-node"), summary["total"].as_u64().unwrap());
    gpu.lose();
}

#[test]
fn a_gpu_and_a_processor_share_a_float_experiment_and_what_the_gpu_leaves_is_measured() {
    let inputs = tempfile::tempdir().unwrap();
    let experiment = Experiment::new(inputs.path(), "shared", "all", 3000);
    let expected = reference(inputs.path(), &experiment);
    let cluster = Cluster::new(None);
    let _processor = cluster.worker(1);
    let gpu = GpuNode::join(&cluster);
    await_that("both are there", || cluster.workers().len() == 2);

    let id = cluster.submit(&experiment);
    await_that("both have measured", || {
        cluster.workers().iter().all(|worker| worker["committed"].as_u64() > Some(0))
    });
    gpu.lose();
    cluster.ask(&["watch", &id]).ok();

    let summary = cluster.summary(&id);
    assert_eq!((&summary["failed"], &summary["conflicts"]), (&0.into(), &0.into()));
    let results = cluster.ask(&["results", &id]).ok().out;
    assert!(results.contains(CLASS), "both classes of devices are named: {results}");
    let csv = cluster.ask(&["results", &id, "--format", "csv"]).ok().out;
    assert_eq!(csv.as_bytes(), expected, "each was compared with a baseline of its own");
}

#[test]
fn a_program_without_cuda_says_so_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    for device in ["cuda:0", "cuda:all"] {
        let said = bitloop(folder.path(), ["worker", "--device", device]).output().unwrap();
        let error = String::from_utf8(said.stderr).unwrap();
        assert_eq!(said.status.code(), Some(2), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(error.contains("built without CUDA"), "{error}");
    }
}
