//! `bitloop run`: an experiment here, from the file to the results.

use std::path::Path;
use std::thread::available_parallelism;

use bitloop_core::spec::ExperimentSpec;
use bitloop_proto::v1::{ExperimentAction, ExperimentStatus, ExperimentSummary};
use tokio::signal;

use super::local::Local;
use super::worker::{executor, options};
use super::{submit, watch};
use crate::args::{Output, RunArguments};
use crate::client::Client;
use crate::failure::{Exit, Failure, Outcome};
use crate::inputs::{self, Prepared};
use crate::show;

pub(super) async fn execute(arguments: &RunArguments, output: Output) -> Outcome {
    let data_dir = &arguments.data.data_dir;
    let is_file = arguments.experiment.exists();
    if !is_file && !data_dir.exists() {
        return Err(no_such_experiment(&arguments.experiment));
    }
    // A file with mistakes touches no data directory, unless that may know more about a missing input.
    let prepared = match inputs::prepare(&arguments.experiment, &arguments.datasets) {
        Err(failure) if is_file && !data_dir.exists() => return Err(failure),
        prepared => prepared,
    };
    let mut local = Local::open(data_dir)?;
    let ended = tokio::select! {
        ended = measure(&mut local, arguments, prepared) => ended,
        interrupted = interrupted() => interrupted,
    };
    let mut client = local.client().await?;
    let ended = match ended {
        Ok(summary) => show_results(&mut client, arguments, &summary, output).await,
        Err(failure) if failure.exit == Exit::Failed => Err(explain(&mut client, arguments, failure).await),
        Err(failure) => Err(failure),
    };
    drop(client);
    let closed = local.close().await;
    ended.and(closed)
}

/// Submits (or finds) the experiment, starts workers and follows it to its end.
async fn measure(
    local: &mut Local,
    arguments: &RunArguments,
    prepared: Result<Prepared, Failure>,
) -> Result<ExperimentSummary, Failure> {
    let mut client = local.client().await?;
    let mut summary = match prepared {
        Ok(prepared) => submit::hand_in(&mut client, &prepared).await?.1,
        Err(failure) => known_experiment(&mut client, arguments, failure).await?,
    };
    if summary.status() == ExperimentStatus::Paused || summary.status() == ExperimentStatus::Cancelled {
        // Whoever types `run` wants it to run.
        summary = client.act(&summary.id, ExperimentAction::Resume).await?;
    }
    let workers = match arguments.workers {
        Some(workers) => usize::from(workers),
        None => available_parallelism()?.get(),
    };
    let left = summary.total.saturating_sub(summary.settled);
    for _ in 0..workers.min(usize::try_from(left)?) {
        local.add_worker(executor(&arguments.device, arguments.threads)?, options(arguments.threads));
    }
    tokio::select! {
        followed = watch::follow(&mut client, &summary.id) => followed,
        failure = local.worker_ended() => Err(failure),
    }
}

/// When a file is missing or wrong: the experiment that was typed, if it is an id, or else what is known of the inputs.
async fn known_experiment(
    client: &mut Client,
    arguments: &RunArguments,
    failure: Failure,
) -> Result<ExperimentSummary, Failure> {
    let typed = arguments.experiment.display().to_string();
    if !arguments.experiment.exists() {
        return match client.show(&typed).await {
            Ok((summary, _, _)) => {
                let (settled, total) = (summary.settled, summary.total);
                show::note(&format!("resumed: {settled} of {total} trials already measured"));
                Ok(summary)
            }
            Err(_) => Err(no_such_experiment(&arguments.experiment)),
        };
    }
    let mut message = format!("{:#}", failure.error);
    let name = name_of(&arguments.experiment);
    for summary in client.list().await?.into_iter().filter(|summary| name.as_ref() == Some(&summary.name)) {
        let (_, _, sources) = client.show(&summary.id).await?;
        message.push_str(&format!(
            "\nthe data directory holds {} with {} of {} trials measured, made from",
            summary.id, summary.settled, summary.total
        ));
        for (path, digest) in sources {
            message.push_str(&format!("\n  {digest}  {path}"));
        }
        let command = continuing(arguments, &summary.id);
        message.push_str(&format!("\nits inputs are stored; `{command}` continues it without the files"));
    }
    Err(Failure::new(failure.exit, message))
}

fn name_of(path: &Path) -> Option<String> {
    let text = inputs::read_text(path).ok()?;
    ExperimentSpec::parse(&text).ok().map(|spec| spec.name)
}

fn no_such_experiment(typed: &Path) -> Failure {
    let typed = typed.display();
    Failure::usage(format!(
        "there is no experiment file {typed}, and no experiment of that id in the data directory; start in the \
         repository's folder, or name a file"
    ))
}

async fn show_results(
    client: &mut Client,
    arguments: &RunArguments,
    summary: &ExperimentSummary,
    output: Output,
) -> Outcome {
    let report = client.results(&summary.id).await?;
    match output {
        Output::Json => show::json(&report)?,
        Output::Text => show::data(&show::results_table(&report))?,
    }
    if summary.status() == ExperimentStatus::Finished {
        let csv = arguments.data.data_dir.join("results").join(format!("{}.csv", summary.id));
        show::note(&format!("results: {}", csv.display()));
    }
    if summary.conflicts > 0 {
        show::note(&format!(
            "warning: {} repeated measurements differed from the first; results may depend on the machine",
            summary.conflicts
        ));
    }
    watch::verdict(summary)
}

/// Resolves on Ctrl-C or a request to terminate.
async fn interrupted() -> Result<ExperimentSummary, Failure> {
    stop_signal().await?;
    Err(Failure::new(Exit::Failed, "interrupted"))
}

/// Waits for Ctrl-C or SIGTERM.
pub(super) async fn stop_signal() -> Result<(), Failure> {
    let mut terminate = signal::unix::signal(signal::unix::SignalKind::terminate())?;
    tokio::select! {
        pressed = signal::ctrl_c() => pressed?,
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Adds to a failure how to go on.
async fn explain(client: &mut Client, arguments: &RunArguments, failure: Failure) -> Failure {
    let typed = arguments.experiment.display().to_string();
    let command = continuing(arguments, &typed);
    let known = client.list().await.unwrap_or_default();
    let active = known.iter().rev().find(|summary| summary.status() == ExperimentStatus::Active);
    let done =
        active.map(|summary| format!("{} of {} trials are measured; ", summary.settled, summary.total));
    let message = format!("{:#}\n{}`{command}` continues", failure.error, done.unwrap_or_default());
    Failure::new(failure.exit, message)
}

/// The command that goes on with an experiment.
fn continuing(arguments: &RunArguments, experiment: &str) -> String {
    let mut command = format!("bitloop run {experiment}");
    if arguments.data.data_dir != Path::new("bitloop-data") {
        command.push_str(&format!(" --data-dir {}", arguments.data.data_dir.display()));
    }
    command
}
