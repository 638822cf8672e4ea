//! Starts the probes that a command line names.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bitloop_worker::Executor;
use bitloop_worker::adapter::this_program;
use bitloop_worker::probe::{Probe, RegistrationError, registered};
use tokio::task::spawn_blocking;

use crate::args::Probes;
use crate::failure::Failure;
use crate::show;

/// Becomes true with the end of whoever waits.
struct StopWhenDropped(Arc<AtomicBool>);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Starts every probe once, so that what does not work is said at once; ends them when nobody waits any more.
pub(super) async fn start(arguments: &Probes) -> Result<Vec<Probe>, Failure> {
    if arguments.options.is_empty() {
        return Ok(Vec::new());
    }
    let options = arguments.options.clone();
    let stop = Arc::new(AtomicBool::new(false));
    let until = StopWhenDropped(Arc::clone(&stop));
    let started = spawn_blocking(move || start_all(&options, &stop)).await?;
    drop(until);
    started
}

fn start_all(
    options: &[bitloop_worker::probe::ProbeOption],
    stop: &AtomicBool,
) -> Result<Vec<Probe>, Failure> {
    let commands = registered(options, &this_program()?).map_err(|error| match error {
        RegistrationError::Mistakes { path, error } => Failure::in_file(&path, &error),
        error @ (RegistrationError::File { .. }
        | RegistrationError::TooMany(_)
        | RegistrationError::Twice(_)) => Failure::usage(error.to_string()),
    })?;
    let started = commands.into_iter().map(|(name, command)| {
        let probe = Probe::start(&name, command, stop).map_err(|error| Failure::usage(error.to_string()))?;
        let hello = probe.hello();
        show::note(&format!("probe {name}: {}, {}", hello.class, hello.runtime));
        Ok(probe)
    });
    started.collect()
}

/// Gives probes to one worker of a process: no two of them measure with one device.
pub(super) fn hand_to_first(executors: &mut [Box<dyn Executor>], probes: Vec<Probe>) {
    if let Some(first) = executors.first_mut() {
        first.take_probes(probes);
    }
}
