//! The command line of `bitloop store`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Compare journal and store fact by fact, or read all of a database; exit code 1 if anything is damaged.
    Verify(StoreArguments),
    /// Make the store anew from the journal; what was there is moved aside.
    Rebuild(StoreArguments),
    /// Write the store anew, so that it takes less space.
    Compact(StoreArguments),
}

#[derive(Debug, Args)]
pub(crate) struct StoreArguments {
    /// Data directory that no coordinator has open; to verify, also a database, postgres://USER@HOST/DATABASE, in use
    /// or not.
    #[arg(value_name = "DIR|URL")]
    pub(crate) data_dir: PathBuf,
}
