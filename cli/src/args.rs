//! The command line.

mod autoscale;
mod bench;
mod doctor;
mod inspect;
mod labels;
mod logs;
mod probes;
mod report;
mod search;
mod security;
mod store;
mod telemetry;
mod top;
mod worker;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use autoscale::AutoscaleArguments;
pub(crate) use bench::{
    BenchCommand, DispatchArguments, EncodingsArguments, EvalArguments, KernelsArguments, Network,
    StepsArguments, SubmissionArguments, SweepArguments, WorkersArguments,
};
pub(crate) use doctor::DoctorArguments;
pub(crate) use inspect::{EnergyArguments, InspectArguments};
pub(crate) use logs::{EventsArguments, LogsArguments, Since};
pub(crate) use probes::Probes;
pub(crate) use report::{ReportArguments, ReportFormat};
pub(crate) use search::{Compat, FitArguments, Measured, Searched, SolveArguments, Solver};
pub(crate) use security::{
    IdentityFolder, InitArguments, JoinArguments, JoinTokenFile, RevokeArguments, TokenArguments, TokenUse,
};
pub(crate) use store::{StoreArguments, StoreCommand};
pub(crate) use telemetry::{LogFormat, Telemetry as TelemetryArguments};
pub(crate) use top::TopArguments;
pub(crate) use worker::WorkerArguments;

/// Finds how few bits each layer of a network can do with, measured on your data and machines.
#[derive(Debug, Parser)]
#[command(name = "bitloop", version, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Form of what goes to standard output.
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,

    #[command(flatten)]
    pub(crate) telemetry: TelemetryArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run an experiment here: coordinator and workers in one process; continues what was interrupted.
    Run(RunArguments),
    /// Say what an experiment would measure, and run nothing.
    Check(CheckArguments),
    /// Prepare a coordinator that other machines may use: TLS, an administrator's identity, a token for workers.
    Init(InitArguments),
    /// Exchange a join token for an identity.
    Join(JoinArguments),
    /// Make a join token.
    Token(TokenArguments),
    /// Shut a member out before its certificate ends, as when its key is in the wrong hands.
    Revoke(RevokeArguments),
    /// Serve experiments to workers.
    Coordinator(CoordinatorArguments),
    /// Measure for a coordinator.
    Worker(WorkerArguments),
    /// Have Slurm or PBS start workers, as many as there is work for.
    Autoscale(AutoscaleArguments),
    /// Hand an experiment to a coordinator and print its id.
    Submit(SubmitArguments),
    /// List a coordinator's experiments.
    List(Remote),
    /// Show one experiment.
    Show(OnExperiment),
    /// Follow an experiment until it is over.
    Watch(OnExperiment),
    /// Print an experiment's results.
    Results(ResultsArguments),
    /// Write a report on an experiment: charts and tables on one page, or as Markdown, JSON or SVG.
    Report(ReportArguments),
    /// List a coordinator's workers.
    Workers(Remote),
    /// Watch a coordinator: experiments, workers, rates, failures.
    Top(TopArguments),
    /// Say why an experiment or a trial is measured or not.
    Explain(ExplainArguments),
    /// Print a trial's attempts, and what workers wrote while they worked on it.
    Logs(LogsArguments),
    /// Print what happened on the cluster.
    Events(EventsArguments),
    /// Stop handing out an experiment's trials.
    Pause(OnExperiment),
    /// Go on with a paused or cancelled experiment.
    Resume(OnExperiment),
    /// Give an experiment up; what is measured stays.
    Cancel(OnExperiment),
    /// Train a float network from scratch; continues what was interrupted.
    Train(TrainArguments),
    /// Make a model file from an ONNX file, or from the weights of a known architecture.
    Import(ImportArguments),
    /// Print a model file: layers, points, parameters, multiply-accumulates, sizes, energy.
    Inspect(InspectArguments),
    /// Write an experiment's prepared network for other programs.
    Export(ExportArguments),
    /// Fit predictors to measurements, and judge them by losses that they have not seen.
    Fit(FitArguments),
    /// Find the best bit config by measurements or indicators within limits, without a coordinator.
    Solve(Box<SolveArguments>),
    /// Look for what is wrong with this machine, a data directory, an identity or the way to a coordinator.
    Doctor(DoctorArguments),
    /// Check or mend a data directory that no coordinator has open.
    #[command(subcommand)]
    Store(StoreCommand),
    /// Measure bitloop itself.
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Be a probe: answer a worker's requests on standard input, a line of JSON each.
    #[command(hide = true)]
    Probe {
        /// Which, with its options, such as integer=cpus=0-1.
        #[arg(value_name = "NAME[=OPTIONS]")]
        probe: String,
    },
    /// Print a completion script for a shell.
    Completions {
        /// Which shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

/// Where data sets are looked up.
#[derive(Clone, Debug, Args)]
pub(crate) struct DatasetFolder {
    /// Folder with data sets, looked in first.
    #[arg(long, value_name = "DIR")]
    pub(crate) dataset_dir: Option<PathBuf>,

    /// Folder with data sets, looked in second.
    #[arg(long = "datasets-variable", env = "BITLOOP_DATASETS", hide = true)]
    pub(crate) from_environment: Option<PathBuf>,

    /// Folder to keep decoded images in between starts; by default one in the user's cache folder.
    #[arg(long, env = "BITLOOP_IMAGE_CACHE", value_name = "DIR", hide_env_values = true)]
    pub(crate) image_cache: Option<PathBuf>,
}

impl DatasetFolder {
    /// Where decoded images are kept, if the system has a place for such things.
    pub(crate) fn cache(&self) -> Option<PathBuf> {
        let of_user = || {
            let named =
                std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
            let folder = named.or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
            folder.map(|folder| folder.join("bitloop/images"))
        };
        self.image_cache.clone().or_else(of_user)
    }
}

#[derive(Debug, Args)]
pub(crate) struct DataDir {
    /// Folder for the store, artifacts and results.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR)]
    pub(crate) data_dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// Experiment file, or the id of an experiment in the data directory.
    #[arg(default_value = "configs/quickstart.yaml", value_name = "EXPERIMENT.yaml")]
    pub(crate) experiment: PathBuf,

    /// Workers in this process; by default one per core.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) workers: Option<u16>,

    /// Threads of each worker.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: u16,

    /// Device of the workers: `cpu` or `cuda:N`.
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,

    #[command(flatten)]
    pub(crate) probes: Probes,

    #[command(flatten)]
    pub(crate) data: DataDir,

    #[command(flatten)]
    pub(crate) datasets: DatasetFolder,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// Experiment file.
    #[arg(value_name = "EXPERIMENT.yaml")]
    pub(crate) experiment: PathBuf,

    #[command(flatten)]
    pub(crate) datasets: DatasetFolder,
}

#[derive(Debug, Args)]
pub(crate) struct CoordinatorArguments {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = DEFAULT_LISTEN)]
    pub(crate) listen: SocketAddr,

    /// Address to serve `/metrics` and `/healthz` on, for monitoring; nowhere without it. Beyond loopback over https.
    #[arg(long, value_name = "ADDR")]
    pub(crate) http: Option<SocketAddr>,

    /// Allow an address that other machines reach without TLS: whoever reaches it may do everything.
    #[arg(long)]
    pub(crate) insecure: bool,

    /// Keep facts in a database, postgres://USER@HOST/DATABASE, instead of the data directory; the password comes from
    /// PGPASSWORD or PGPASSFILE.
    #[arg(long, value_name = "URL")]
    pub(crate) store: Option<String>,

    /// Wait until no other coordinator works on the database, then take over from it.
    #[arg(long, requires = "store")]
    pub(crate) standby: bool,

    /// Keep artifacts in this folder or bucket (s3://BUCKET/PREFIX) instead of the data directory.
    #[arg(long, value_name = "DIR|URL")]
    pub(crate) artifacts: Option<String>,

    #[command(flatten)]
    pub(crate) data: DataDir,
}

pub(crate) const DEFAULT_DATA_DIR: &str = "bitloop-data";
pub(crate) const DEFAULT_LISTEN: &str = "127.0.0.1:7717";
const DEFAULT_COORDINATOR: &str = "http://127.0.0.1:7717";

/// Which coordinator.
#[derive(Debug, Args)]
pub(crate) struct Remote {
    /// The coordinator's URL; with commas between them also those of coordinators that may take over.
    #[arg(long, env = "BITLOOP_COORDINATOR", default_value = DEFAULT_COORDINATOR, value_name = "URL,..")]
    pub(crate) coordinator: String,

    #[command(flatten)]
    pub(crate) identity: IdentityFolder,
}

#[derive(Debug, Args)]
pub(crate) struct SubmitArguments {
    /// Experiment file.
    #[arg(value_name = "EXPERIMENT.yaml")]
    pub(crate) experiment: PathBuf,

    #[command(flatten)]
    pub(crate) remote: Remote,

    #[command(flatten)]
    pub(crate) datasets: DatasetFolder,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArguments {
    /// An experiment's id or name, or the first digits of a trial's key.
    #[arg(value_name = "ID|TRIAL")]
    pub(crate) subject: String,

    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Args)]
pub(crate) struct OnExperiment {
    /// The experiment's id, or a start of it that fits no other.
    #[arg(value_name = "ID")]
    pub(crate) experiment: String,

    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Args)]
pub(crate) struct ResultsArguments {
    #[command(flatten)]
    pub(crate) on: OnExperiment,

    /// Data directory to look in, instead of asking a coordinator; none may be using it.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Print loss against this cost (such as `size_kib`) of everything measured, with what is on the Pareto front.
    #[arg(long, value_name = "COST")]
    pub(crate) pareto: Option<String>,

    /// The loss of `--pareto`: `top1_drop` or `loss_increase`.
    #[arg(long, value_name = "LOSS", default_value = "top1_drop", requires = "pareto")]
    pub(crate) loss: String,

    /// Form of the results.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// By damage, for people.
    Table,
    /// The results file.
    Csv,
    /// The whole report.
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct TrainArguments {
    /// Training file.
    #[arg(value_name = "TRAIN.yaml")]
    pub(crate) training: PathBuf,

    /// Threads; by default all cores.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: Option<u16>,

    #[command(flatten)]
    pub(crate) datasets: DatasetFolder,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArguments {
    /// ONNX file, PyTorch checkpoint (.pth, .pt) or safetensors file.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// Architecture that the weights are for, such as resnet18 or mobilenet_v2; not for ONNX.
    #[arg(long, value_name = "NAME")]
    pub(crate) architecture: Option<String>,

    /// Channels, height and width of an image, where the file leaves them open or others are wanted.
    #[arg(long, value_name = "CxHxW")]
    pub(crate) input: Option<ImageShape>,

    /// Strides of the architecture's early layers.
    #[arg(long, value_enum, default_value_t = Early::Published)]
    pub(crate) strides: Early,

    /// Mean per channel of the 0..1 scaled image, or one for all.
    #[arg(long, value_delimiter = ',', value_name = "M,..", allow_negative_numbers = true)]
    pub(crate) mean: Vec<f32>,

    /// Standard deviation per channel, likewise.
    #[arg(long, value_delimiter = ',', value_name = "S,..")]
    pub(crate) std: Vec<f32>,

    /// The model file to write.
    #[arg(long, value_name = "MODEL")]
    pub(crate) out: PathBuf,
}

/// What the early layers of an architecture do to the resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Early {
    /// As published, for images of 224x224.
    Published,
    /// Keep it, for images of 32x32 or 28x28.
    SmallImages,
}

/// Channels, height and width.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ImageShape(pub(crate) [usize; 3]);

impl std::str::FromStr for ImageShape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let extents: Result<Vec<usize>, _> = text.split('x').map(str::parse).collect();
        let extents = extents.ok().and_then(|extents| <[usize; 3]>::try_from(extents).ok());
        let usable = extents.filter(|extents| extents.iter().all(|extent| (1..=1 << 14).contains(extent)));
        usable.map(Self).ok_or_else(|| "write channels, height and width such as 3x224x224".to_owned())
    }
}

#[derive(Debug, Args)]
pub(crate) struct ExportArguments {
    #[command(flatten)]
    pub(crate) on: OnExperiment,

    /// Data directory to look in, instead of asking a coordinator; none may be using it.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// What to write.
    #[arg(long, value_enum)]
    pub(crate) format: ExportFormat,

    /// Version of an encodings file: 0.6.1, 1.0.0 or 2.0.0.
    #[arg(long, value_name = "VERSION", default_value = "1.0.0")]
    pub(crate) encodings_version: String,

    /// JSON file with bits by point (32 is float); points that it does not name have the baseline's width.
    #[arg(long, value_name = "FILE")]
    pub(crate) bitconfig: Option<PathBuf>,

    /// Take the config that the experiment's last search ranks so (1 is the best), instead of a file.
    #[arg(long, value_name = "RANK", conflicts_with = "bitconfig", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rank: Option<u32>,

    /// Take it from this search, counted from 1 in the order of the file.
    #[arg(long, value_name = "N", requires = "rank", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) search: Option<u32>,

    /// File to write; text goes to standard output without one.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// ONNX with QuantizeLinear and DequantizeLinear, opset 21.
    Onnx,
    /// Encodings by tensor, as SNPE and QNN read them.
    Encodings,
    /// Bits by point, as JSON.
    Bitconfig,
    /// The weights that a search that trains came to, as a checkpoint of bitloop's.
    Checkpoint,
    /// The quantizers that a search that trains came to, as the JSON dictionary that QKeras's `model_quantize` takes.
    Qkeras,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
