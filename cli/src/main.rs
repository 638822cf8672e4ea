//! The `bitloop` program: arguments in, exit code out.
//!
//! `args` is what can be typed, `commands` has a file per command, `client` speaks to a coordinator, `identity` is
//! what it proves itself with, `inputs` turns
//! an experiment file into a plan, `open_files` is the system's limit of them, `telemetry` is what is said meanwhile, `show` turns
//! answers into tables and JSON. Standard output is data; everything
//! else goes to standard error.

mod args;
mod client;
mod clock;
mod commands;
mod failure;
mod identity;
mod inputs;
mod open_files;
mod show;
mod telemetry;
mod whole_file;

use std::process::ExitCode;

use clap::Parser;

use args::Arguments;
use telemetry::Telemetry;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (telemetry, done) = match Telemetry::start(&arguments.telemetry, arguments.command.reader()) {
        Ok(telemetry) => (Some(telemetry), commands::execute(&arguments)),
        Err(failure) => (None, Err(failure)),
    };
    let code = match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            show::error(&failure);
            failure.exit.into()
        }
    };
    // The last that is said is said before it ends.
    if let Some(telemetry) = telemetry {
        telemetry.end();
    }
    code
}
