//! The command line of `bitloop bench`.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bitloop_core::duration;
use clap::{Args, Subcommand, ValueEnum};
use tempfile::TempDir;

use super::DatasetFolder;

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Processor time that a trial costs the coordinator: workers that evaluate nothing, every outcome committed durably.
    Dispatch(DispatchArguments),
    /// Time until all trials of a large sweep wait for workers, and the coordinator's memory for each.
    Submit(SubmissionArguments),
    /// How busy the coordinator keeps workers that sleep for every trial, a thousand of them if wanted, and what they cost it.
    Workers(WorkersArguments),
    /// Images per second of a model file, in float and quantized, with either arithmetic.
    Eval(EvalArguments),
    /// Time of a sensitivity sweep whose configs share what they agree in, beside configs evaluated one by one.
    Sweep(SweepArguments),
    /// Seconds that TF-enhanced encodings of a network as large as MobileNetV2 take at five widths.
    Encodings(EncodingsArguments),
    /// Depthwise convolutions and max poolings beside their plain forms, in billions of steps per second.
    Kernels(KernelsArguments),
    /// Images per second of training steps: forward, back and update.
    Train(StepsArguments),
}

/// Where a benchmark makes its files.
#[derive(Debug, Args)]
pub(crate) struct BenchFolder {
    /// Folder on the disk to measure; what is written there is removed. By default the system's folder for temporary files.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

impl BenchFolder {
    /// A new folder there, which goes with the value.
    pub(crate) fn create(&self) -> io::Result<TempDir> {
        match &self.folder {
            Some(folder) => tempfile::tempdir_in(folder),
            None => tempfile::tempdir(),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct DispatchArguments {
    /// Trials to dispatch, at least.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) trials: u32,

    /// Workers.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) workers: u16,

    #[command(flatten)]
    pub(crate) folder: BenchFolder,
}

#[derive(Debug, Args)]
pub(crate) struct SubmissionArguments {
    /// Trials to submit, at least.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) trials: u32,

    #[command(flatten)]
    pub(crate) folder: BenchFolder,
}

#[derive(Debug, Args)]
pub(crate) struct WorkersArguments {
    /// Workers, each with connections and threads of its own.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=2_000))]
    pub(crate) workers: u16,

    /// How long a worker sleeps for a trial, such as 100ms or 1s; 0ms for not at all.
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = duration::parse)]
    pub(crate) trial_time: Duration,

    /// Trials, at least; by default as many as keep every worker busy for half a minute.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) trials: Option<u32>,

    #[command(flatten)]
    pub(crate) folder: BenchFolder,
}

#[derive(Debug, Args)]
pub(crate) struct EvalArguments {
    /// Model file.
    #[arg(long, default_value = "configs/quickstart/convblock.safetensors")]
    pub(crate) model: PathBuf,

    /// Width of all weights and activations of the quantized network.
    #[arg(long, default_value_t = 8)]
    pub(crate) bits: u8,

    /// Images, drawn at random.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) images: u32,

    /// Threads.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: u16,

    /// Repetitions; the median is what counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) repetitions: u16,
}

#[derive(Debug, Args)]
pub(crate) struct SweepArguments {
    /// Experiment file; its sweep's points are lowered to their smallest width.
    #[arg(value_name = "EXPERIMENT.yaml", default_value = "configs/quickstart.yaml")]
    pub(crate) experiment: PathBuf,

    #[command(flatten)]
    pub(crate) datasets: DatasetFolder,

    /// Points lowered at once: each alone, or every pair of them.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub(crate) points: u8,

    /// Selection images to evaluate on; all of them if not given.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) images: Option<u32>,

    /// Configs that are also evaluated one by one, spread over the depth.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) alone: u16,

    /// Threads.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: u16,

    /// Repetitions; the median is what counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) repetitions: u16,
}

#[derive(Debug, Args)]
pub(crate) struct EncodingsArguments {
    /// Repetitions; the median is what counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) repetitions: u16,
}

#[derive(Debug, Args)]
pub(crate) struct KernelsArguments {
    /// Images, drawn at random.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) images: u16,

    /// Threads.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: u16,

    /// Repetitions; the median is what counts.
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) repetitions: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Network {
    /// Four convolutions with biases.
    Plain,
    /// Four convolutions with batch norms.
    Bn,
    /// Four depthwise and four 1x1 convolutions with batch norms.
    Depthwise,
}

#[derive(Debug, Args)]
pub(crate) struct StepsArguments {
    /// What learns: 16, 32, 48 and 64 filters of 3x3 on images of 28x28, pooled behind every second one.
    #[arg(long, value_enum, default_value_t = Network::Bn)]
    pub(crate) network: Network,

    /// Training file whose network and optimizer are measured instead.
    #[arg(long, conflicts_with = "network")]
    pub(crate) training: Option<PathBuf>,

    /// With QKeras's quantizers of 4 bits: quantized_bits(4,0,1) of kernels, quantized_bits(4) of biases, quantized_relu(4).
    #[arg(long)]
    pub(crate) quantized: bool,

    /// Images per step; 128, or what the training file says.
    #[arg(long, value_parser = clap::value_parser!(u16).range(2..=4096))]
    pub(crate) batch: Option<u16>,

    /// Threads.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: u16,

    /// Steps of a repetition.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) steps: u16,

    /// Repetitions; the median is what counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) repetitions: u16,
}
