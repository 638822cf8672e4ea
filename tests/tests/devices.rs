//! GPU nodes without a GPU: workers that say they have one, and compute on the processor.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use bitloop_core::device::{Device, DeviceKind};
use bitloop_core::digest::Digest;
use bitloop_core::trial::{Outcome, TrialSpec};
use bitloop_quant::data::Images;
use bitloop_tests::cluster::{Cluster, reference};
use bitloop_tests::experiment::Experiment;
use bitloop_tests::process::{await_that, await_within, bitloop};
use bitloop_worker::{
    ArtifactError, Artifacts, Connection, Endpoint, ExecuteError, Executor, QuantExecutor, Setting,
    WorkerOptions, work,
};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Class of the GPU that is not there.
const CLASS: &str = "CUDA Made-up 16 GiB";

/// Name of the worker that has it.
const NODE: &str = "gpu-node";

/// How long a trial that waited for a GPU may take to get to one that joins.
const PROMISED: Duration = Duration::from_secs(5);

/// Computes on the processor in the name of a GPU, and not what the processor does: it sees images half as bright.
struct MadeUpGpu {
    executor: QuantExecutor,
    /// Whoever writes to it holds up what is measured.
    gate: Arc<RwLock<()>>,
}

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
        let _open = self.gate.read().expect("nobody panics at the gate");
        let artifacts = Dimmed { artifacts: setting.artifacts, images: setting.context.map(|it| it.data) };
        let Setting { context, stop, .. } = *setting;
        let setting = Setting { context, artifacts: &artifacts, stop };
        self.executor.run(trials, &setting, &mut |mut outcome| {
            outcome.provenance.device = CLASS.to_owned();
            give(outcome);
        })
    }
}

/// A GPU whose memory somebody else has taken.
struct FullGpu(MadeUpGpu);

impl Executor for FullGpu {
    fn device(&self) -> Device {
        self.0.device()
    }

    fn float_only(&self) -> bool {
        true
    }

    fn run(
        &mut self,
        _: &[&TrialSpec],
        _: &Setting<'_>,
        _: &mut dyn FnMut(Outcome),
    ) -> Result<(), ExecuteError> {
        Err(ExecuteError::Device { reason: "no memory is left".to_owned() })
    }
}

/// Artifacts, of which the images that configs are evaluated on are darker.
struct Dimmed<'a> {
    artifacts: &'a dyn Artifacts,
    images: Option<Digest>,
}

impl Artifacts for Dimmed<'_> {
    fn fetch(&self, digest: &Digest) -> Result<Vec<u8>, ArtifactError> {
        let bytes = self.artifacts.fetch(digest)?;
        if self.images != Some(*digest) {
            return Ok(bytes);
        }
        let mut images = Images::from_bytes(&bytes).expect("a context's data are images");
        images.pixels.iter_mut().for_each(|pixel| *pixel /= 2);
        Ok(images.to_bytes())
    }

    fn store(&self, bytes: Vec<u8>) -> Result<Digest, ArtifactError> {
        self.artifacts.store(bytes)
    }
}

/// A worker within this process; dropping its runtime loses it without a word.
struct GpuNode {
    runtime: Runtime,
    working: JoinHandle<()>,
    gate: Arc<RwLock<()>>,
}

impl GpuNode {
    fn join(cluster: &Cluster) -> Self {
        Self::join_as(cluster, |gpu| Box::new(gpu))
    }

    fn join_as(cluster: &Cluster, make: impl FnOnce(MadeUpGpu) -> Box<dyn Executor>) -> Self {
        let runtime = Runtime::new().expect("threads");
        let connection = Connection::Url(Endpoint::parse(cluster.url()).expect("the coordinator's URL"));
        let gate = Arc::<RwLock<()>>::default();
        let executor = QuantExecutor::new("cpu", 1).expect("a processor");
        let executor = make(MadeUpGpu { executor, gate: Arc::clone(&gate) });
        let options = WorkerOptions {
            id: NODE.to_owned(),
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
        Self { runtime, working, gate }
    }

    /// Loses it while it measures; returns how many trials it held.
    fn lose_at_work(self, cluster: &Cluster) -> u64 {
        let gate = Arc::clone(&self.gate);
        let shut = gate.write().expect("nobody panics at the gate");
        await_that("it holds a lease", || told_of(cluster, "leased") > 0);
        let held = told_of(cluster, "leased");
        self.lose();
        // Its thread goes on to find that nobody wants to know.
        drop(shut);
        held
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

/// A number that the list of workers tells of the GPU's.
fn told_of(cluster: &Cluster, number: &str) -> u64 {
    let workers = cluster.workers();
    let found = workers.iter().find(|known| known["id"] == NODE);
    found.and_then(|known| known[number].as_u64()).unwrap_or(0)
}

/// The loss of each config in a results file, and its increase over the baseline's.
fn losses(csv: &str) -> BTreeMap<String, [f64; 2]> {
    let mut rows = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = rows.next().expect("a header");
    let column = |name| header.iter().position(|column| *column == name).expect("a column of results");
    let [kind, changes, loss, increase] = ["kind", "changes", "loss", "loss_increase"].map(column);
    let number = |text: &str| text.parse().expect("every config is measured");
    let row = |row: Vec<&str>| {
        (format!("{} {}", row[kind], row[changes]), [number(row[loss]), number(row[increase])])
    };
    rows.map(row).collect()
}

/// Losses that one class of devices measured: each beside the baseline as that class has it.
fn losses_of_one_class(csv: &str) -> BTreeMap<String, [f64; 2]> {
    // Of six digits behind the point the last ones of three numbers are rounded.
    const ROUNDED: f64 = 2e-6;
    let losses = losses(csv);
    let [baseline, _] = losses["baseline "];
    for (config, [loss, increase]) in &losses {
        assert!(
            (loss - increase - baseline).abs() < ROUNDED,
            "{config}: {loss} is not {increase} above {baseline}"
        );
    }
    losses
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
    assert_eq!(told_of(&cluster, "committed"), summary["total"].as_u64().unwrap());
    gpu.lose();
}

#[test]
fn what_a_worker_could_not_measure_is_explained_with_its_reason() {
    let inputs = tempfile::tempdir().unwrap();
    let experiment = Experiment::new(inputs.path(), "refused", "['*.weight']", 64);
    requiring(&experiment, "{ device: cuda }");
    let cluster = Cluster::new(None);
    let gpu = GpuNode::join_as(&cluster, |gpu| Box::new(FullGpu(gpu)));

    let id = cluster.submit(&experiment);
    let explained = || cluster.ask(&["explain", &id]).ok().out;
    await_that("it gives the trial back", || explained().contains("given back"));

    let explained = explained();
    let expected = "1 of its open trials were given back; worker `gpu-node` on `gpu-0` could not measure it: \
                    the device cannot be used: no memory is left";
    let rests = "`gpu-node`: its device could not measure it, and is not asked again now";
    for said in ["waiting", expected, rests] {
        assert!(explained.contains(said), "{explained}");
    }
    gpu.lose();
}

/// Goal: whoever measures a config compares it with the baseline that its own class of devices measures.
#[test]
fn a_gpu_and_a_processor_share_a_float_experiment_and_what_the_gpu_leaves_is_measured() {
    let inputs = tempfile::tempdir().unwrap();
    let experiment = Experiment::new(inputs.path(), "shared", "all", 3000);
    let of_processor = String::from_utf8(reference(inputs.path(), &experiment)).unwrap();
    let [of_processor, of_gpu] = [of_processor, gpu_alone(&experiment)].map(|csv| losses_of_one_class(&csv));
    let differ = |config: &String| (of_processor[config][0] - of_gpu[config][0]).abs() > 1e-3;
    assert!(of_processor.keys().all(differ), "the baselines of the two cannot be taken for each other");
    let cluster = Cluster::new(None);
    let _processor = cluster.worker(1);
    let gpu = GpuNode::join(&cluster);
    await_that("both are there", || cluster.workers().len() == 2);

    let id = cluster.submit(&experiment);
    // One of them may be the preparation, which is compared with nothing.
    await_that("the GPU has measured a config", || told_of(&cluster, "committed") > 1);
    assert!(gpu.lose_at_work(&cluster) > 0);
    cluster.ask(&["watch", &id]).ok();

    let summary = cluster.summary(&id);
    assert_eq!((&summary["status"], &summary["failed"]), (&"finished".into(), &0.into()));
    let results = cluster.ask(&["results", &id]).ok().out;
    assert!(results.contains(CLASS), "both classes of devices are named: {results}");
    let shared = losses(&cluster.ask(&["results", &id, "--format", "csv"]).ok().out);
    let measured_by = |class: &BTreeMap<String, [f64; 2]>| {
        shared.iter().filter(|(config, losses)| class.get(*config) == Some(losses)).count()
    };
    let by = [measured_by(&of_processor), measured_by(&of_gpu)];
    assert!(by[0] > 0 && by[1] > 0 && by[0] + by[1] == shared.len(), "{by:?} of {}", shared.len());
}

/// What the GPU makes of an experiment that it does not share.
fn gpu_alone(experiment: &Experiment) -> String {
    let cluster = Cluster::new(None);
    let gpu = GpuNode::join(&cluster);
    let id = cluster.submit(experiment);
    cluster.ask(&["watch", &id]).ok();
    let csv = cluster.ask(&["results", &id, "--format", "csv"]).ok().out;
    gpu.lose();
    csv
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
