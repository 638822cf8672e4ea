//! The command line of `bitloop init`, `join` and `token`, and how commands name an identity.

use std::path::PathBuf;
use std::time::Duration;

use bitloop_coordinator::security::{HostName, USES_MAX};
use bitloop_proto::identity::Role;
use clap::Args;

use bitloop_core::duration;

use super::{DataDir, Remote};

/// What to prove oneself with to a coordinator that speaks TLS.
#[derive(Clone, Debug, Args)]
pub(crate) struct IdentityFolder {
    /// Folder of the identity for https; by default the administrator's in `bitloop-data`, or a worker's own.
    #[arg(long, env = "BITLOOP_IDENTITY", value_name = "DIR")]
    pub(crate) identity: Option<PathBuf>,
}

/// The token to join with. There is no option for the token itself, as everyone can list processes.
#[derive(Debug, Args)]
pub(crate) struct JoinTokenFile {
    /// File that holds a join token; the variable BITLOOP_JOIN_TOKEN may hold the token itself.
    #[arg(long, value_name = "FILE")]
    pub(crate) join_token_file: Option<PathBuf>,
}

/// What a new token is good for.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct TokenUse {
    /// How many may join with the token.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(USES_MAX)))]
    pub(crate) uses: u32,

    /// How long the token is good for.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration::parse)]
    pub(crate) valid: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct InitArguments {
    #[command(flatten)]
    pub(crate) data: DataDir,

    /// Name or address that clients write between `https://` and the port; may be repeated. This machine's loopback
    /// is always one.
    #[arg(long = "name", value_name = "HOST")]
    pub(crate) names: Vec<HostName>,

    #[command(flatten)]
    pub(crate) token: TokenUse,
}

#[derive(Debug, Args)]
pub(crate) struct JoinArguments {
    #[command(flatten)]
    pub(crate) remote: Remote,

    /// File that holds a join token; the variable BITLOOP_JOIN_TOKEN may hold the token itself.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeArguments {
    /// Who is to be shut out: the name that `bitloop join` said, or that of one of its workers.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Args)]
pub(crate) struct TokenArguments {
    /// What those may do who join with it: admin, submit, read or worker.
    #[arg(long)]
    pub(crate) role: Role,

    #[command(flatten)]
    pub(crate) token: TokenUse,

    #[command(flatten)]
    pub(crate) remote: Remote,
}
