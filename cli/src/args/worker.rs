use std::path::PathBuf;
use std::time::Duration;

use bitloop_core::duration;
use clap::Args;

use super::{DEFAULT_COORDINATOR, IdentityFolder, JoinTokenFile, Probes, labels};

#[derive(Debug, Args)]
pub(crate) struct WorkerArguments {
    /// The coordinator's URL; with commas between them also those of coordinators that may take over.
    #[arg(long, env = "BITLOOP_COORDINATOR", default_value = DEFAULT_COORDINATOR, value_name = "URL,..")]
    pub(crate) coordinator: String,

    #[command(flatten)]
    pub(crate) identity: IdentityFolder,

    /// Device to measure on: `cpu`, `cuda:N`, or `cuda:all` for a worker on every GPU.
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,

    /// The worker's part of its device in ten-thousandths, so that several workers may share a GPU; by default all of a GPU.
    #[arg(long, value_name = "PARTS", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(crate) share: Option<u16>,

    /// A label that stages may ask for, such as `board=orin`; may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = labels::label)]
    pub(crate) labels: Vec<(String, String)>,

    #[command(flatten)]
    pub(crate) probes: Probes,

    /// Name of the machine, the same for all workers that share its processor; by default the kernel tells.
    #[arg(long, value_name = "NAME", value_parser = labels::name)]
    pub(crate) machine: Option<String>,

    /// Threads to evaluate with; by default all cores.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: Option<u16>,

    /// Folder to keep artifacts and unsent outcomes in between starts; by default a temporary one.
    #[arg(long, value_name = "DIR")]
    pub(crate) cache_dir: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) join: JoinTokenFile,

    /// Give up when the coordinator has not answered for so long (such as `30s` or `5m`); by default never.
    #[arg(long, value_parser = duration::parse)]
    pub(crate) connect_timeout: Option<Duration>,

    /// Leave when no work has come for so long (such as `10m`), as on machines that others wait for; by default never.
    #[arg(long, value_parser = duration::parse)]
    pub(crate) idle_exit: Option<Duration>,
}
