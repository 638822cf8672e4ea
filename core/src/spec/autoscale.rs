use std::collections::BTreeMap;
use std::time::Duration;

use crate::device::DeviceKind;

/// The label that tells whose workers are: its value is the name of the file that asked for them.
pub const AUTOSCALE_LABEL: &str = "autoscale";

/// Which workers to have a cluster's engine start, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutoscaleSpec {
    /// Part of the name of everything submitted, so that it is found again.
    pub name: String,
    /// The coordinator as workers reach it; as the command reaches it if none.
    pub coordinator: Option<String>,
    /// Folder of the identity that all workers show to a coordinator that speaks https; they are given none if none.
    pub identity: Option<String>,
    /// The program on the machines of the workers.
    pub program: String,
    /// Folder of the engine's commands; those on `PATH` if none.
    pub commands: Option<String>,
    /// Folder for what workers say; where the engine puts it if none.
    pub log_dir: Option<String>,
    /// Time between two looks at backlog and engine.
    pub every: Duration,
    /// When to stop submitting for a while.
    pub pause: PauseSpec,
    /// In order of preference.
    pub classes: Vec<WorkerClass>,
}

/// What happens when submissions fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PauseSpec {
    /// Failures in a row before a pause.
    pub after: u32,
    /// The first pause; each further one is twice as long.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
}

/// Workers that are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerClass {
    /// Its name.
    pub name: String,
    /// What its workers have.
    pub offers: Offers,
    /// Fewest workers, also without work.
    pub workers_min: u32,
    /// Most workers, running or waiting in the engine's queue.
    pub workers_max: u32,
    /// Most submissions that wait in the engine's queue.
    pub waiting_max: u32,
    /// Workers that one submission starts at most.
    pub per_submission: u32,
    /// Work that is worth a worker.
    pub target: Duration,
    /// After how long without work a worker leaves.
    pub idle_exit: Duration,
    /// Longest life of a submission; the engine's default if none.
    pub time: Option<Duration>,
    /// How it is submitted.
    pub submission: SubmissionSpec,
}

/// What workers have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offers {
    /// What they compute on.
    pub device: DeviceKind,
    /// Memory of their GPU.
    pub gpu_memory_bytes: u64,
    /// Labels that they carry.
    pub labels: BTreeMap<String, String>,
    /// What they measure devices with: by the names of probes, the values of `--probe` that have workers offer them.
    pub probes: BTreeMap<String, String>,
}

/// What an engine is told of a class beside the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubmissionSpec {
    /// For `sbatch`.
    Slurm(SlurmSpec),
    /// For `qsub`.
    Pbs(PbsSpec),
}

/// What `sbatch` is told; nothing of what is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlurmSpec {
    /// Partition.
    pub partition: Option<String>,
    /// Account.
    pub account: Option<String>,
    /// Quality of service.
    pub qos: Option<String>,
    /// Generic resources, such as `gpu:1`.
    pub gres: Option<String>,
    /// Processors of a worker, and so its threads.
    pub cpus: Option<u32>,
    /// Memory of a node, in MiB.
    pub memory_mib: Option<u64>,
    /// Further arguments, as they are.
    pub arguments: Vec<String>,
}

/// What `qsub` is told; nothing of what is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PbsSpec {
    /// Queue.
    pub queue: Option<String>,
    /// Account.
    pub account: Option<String>,
    /// What a worker's chunk has beside its processors, such as `ngpus=1:mem=16gb`.
    pub chunk: Option<String>,
    /// Processors of a worker, and so its threads.
    pub cpus: Option<u32>,
    /// Further arguments, as they are.
    pub arguments: Vec<String>,
}
