//! `bitloop completions`.

use clap::CommandFactory;

use crate::args::Arguments;
use crate::failure::Outcome;
use crate::show;

pub(super) fn execute(shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "bitloop", &mut script);
    show::data(&String::from_utf8(script)?)
}
