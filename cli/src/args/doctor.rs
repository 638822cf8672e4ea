//! The command line of `bitloop doctor`.

use std::path::PathBuf;

use clap::Args;

use super::IdentityFolder;

#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    /// The URL of a coordinator to reach; several with commas between them.
    #[arg(long, env = "BITLOOP_COORDINATOR", value_name = "URL,..")]
    pub(crate) coordinator: Option<String>,

    #[command(flatten)]
    pub(crate) identity: IdentityFolder,

    /// Data directory of a coordinator, or the database that one keeps its facts in, postgres://USER@HOST/DATABASE; by
    /// default `bitloop-data` if it is there.
    #[arg(long, value_name = "DIR|URL")]
    pub(crate) store: Option<String>,

    /// Folder or bucket that a coordinator keeps its artifacts in.
    #[arg(long, value_name = "DIR|URL")]
    pub(crate) artifacts: Option<String>,

    /// Folder that a worker keeps artifacts in; by default the user's, where decoded images are kept.
    #[arg(long, value_name = "DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
}
