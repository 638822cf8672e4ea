//! The `bitloop` program: arguments in, exit code out.
//!
//! `args` is what can be typed, `commands` has a file per command, `client` speaks to a coordinator, `identity` is
//! what it proves itself with, `inputs` turns
//! an experiment file into a plan, `show` turns answers into tables and JSON. Standard output is data; everything
//! else goes to standard error.

mod args;
mod client;
mod clock;
mod commands;
mod failure;
mod identity;
mod inputs;
mod show;

use std::io::{IsTerminal, stderr};
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use args::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log_to_stderr(&arguments);
    match commands::execute(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            show::error(&failure);
            failure.exit.into()
        }
    }
}

fn log_to_stderr(arguments: &Arguments) {
    let default = if arguments.verbose { "info,bitloop=debug" } else { "warn" };
    let filter = EnvFilter::try_from_env("BITLOOP_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let colours = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let format = tracing_subscriber::fmt().with_writer(stderr).with_ansi(colours).with_target(false);
    format.with_env_filter(filter).init();
}
