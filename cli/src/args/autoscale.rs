//! The command line of `bitloop autoscale`.

use std::path::PathBuf;

use clap::Args;

use super::Remote;

#[derive(Debug, Args)]
pub(crate) struct AutoscaleArguments {
    /// Autoscale file: which workers, in which numbers, by which engine.
    #[arg(value_name = "FILE.yaml")]
    pub(crate) file: PathBuf,

    #[command(flatten)]
    pub(crate) remote: Remote,

    /// Print what would be submitted and cancelled now, in full, and do neither.
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Look once, act, and end.
    #[arg(long)]
    pub(crate) once: bool,

    /// File to keep what is known of submissions in, so that the next start goes on with its pauses and counts.
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
}
