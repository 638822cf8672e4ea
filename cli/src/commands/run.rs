//! `bitloop run`: an experiment here, from the file to the results.

use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use bitloop_core::device::Unmet;
use bitloop_core::plan::ExperimentId;
use bitloop_core::spec::ExperimentSpec;
use bitloop_core::state::WorkerInfo;
use bitloop_proto::v1::{ExperimentAction, ExperimentStatus, ExperimentSummary};
use bitloop_quant::device::KERNELS_VARIABLE;
use bitloop_worker::probe::Probe;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;

use super::local::Local;
use super::probes;
use super::worker::{executor, options};
use super::{submit, watch};
use crate::args::{DatasetFolder, Output, RunArguments};
use crate::client::Client;
use crate::failure::{Exit, Failure, Outcome};
use crate::inputs::{self, Prepared};
use crate::show;

pub(super) async fn execute(arguments: &RunArguments, output: Output) -> Outcome {
    let mut stop = StopSignal::listen()?;
    let probes = tokio::select! {
        probes = probes::start(&arguments.probes) => probes?,
        () = stop.received() => return Err(continued(arguments, "", interrupted())),
    };
    let given = (arguments.experiment.clone(), arguments.datasets.clone(), arguments.data.data_dir.clone());
    let opening = spawn_blocking(move || open(&given.0, &given.1, &given.2));
    let (prepared, mut local) = tokio::select! {
        opened = opening => opened??,
        () = stop.received() => return Err(continued(arguments, "", interrupted())),
    };
    let ended = tokio::select! {
        ended = measure(&mut local, arguments, prepared, probes) => ended,
        () = stop.received() => Err(interrupted()),
    };
    let ended = conclude(&local, arguments, ended, output).await;
    match local.close().await {
        Ok(()) => ended,
        // Why the coordinator stopped says more than that it did.
        Err(cause) => Err(continued(arguments, "", cause)),
    }
}

/// Reads the experiment's inputs and opens the data directory; both may take a while.
fn open(
    experiment: &Path,
    datasets: &DatasetFolder,
    data_dir: &Path,
) -> Result<(Result<Prepared, Failure>, Local), Failure> {
    let is_file = experiment.exists();
    if !is_file && !data_dir.exists() {
        return Err(no_such_experiment(experiment));
    }
    // A file with mistakes touches no data directory, unless that may know more about a missing input.
    let prepared = match inputs::prepare(experiment, datasets) {
        Err(failure) if is_file && !data_dir.exists() => return Err(failure),
        prepared => prepared,
    };
    Ok((prepared, Local::open(data_dir)?))
}

/// Shows the results, or says how to go on.
async fn conclude(
    local: &Local,
    arguments: &RunArguments,
    ended: Result<ExperimentSummary, Failure>,
    output: Output,
) -> Outcome {
    let mut client = local.client().await?;
    match ended {
        Ok(summary) => show_results(&mut client, arguments, &summary, output).await,
        Err(failure) if failure.exit == Exit::Failed => Err(explain(&mut client, arguments, failure).await),
        Err(failure) => Err(failure),
    }
}

/// Submits (or finds) the experiment, starts workers and follows it to its end.
async fn measure(
    local: &mut Local,
    arguments: &RunArguments,
    prepared: Result<Prepared, Failure>,
    mut probes: Vec<Probe>,
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
    if summary.status() == ExperimentStatus::Active {
        pause_others(&mut client, arguments, &summary.id).await?;
    }
    let workers = match arguments.workers {
        Some(workers) => usize::from(workers),
        None => available_parallelism()?.get(),
    };
    // What is left is a guess, and of an active experiment never nothing: a stage may ask for more than it announced.
    let left = summary.total.saturating_sub(summary.settled);
    let left = left.max(u64::from(summary.status() == ExperimentStatus::Active));
    for number in 0..workers.min(usize::try_from(left)?) {
        let mut executor = executor(&arguments.device, arguments.threads)?;
        // No two workers measure with one device.
        executor.take_probes(std::mem::take(&mut probes));
        let options = options(arguments.threads);
        // The first one has everything that any of them has.
        if number == 0 {
            require_measurable(&mut client, &summary.id, &options.offer(executor.as_ref())).await?;
        }
        local.add_worker(executor, options);
    }
    let unwritable = local.results_unwritable(ExperimentId(summary.id.clone()));
    tokio::select! {
        followed = watch::follow(&mut client, &summary.id) => followed,
        failure = local.worker_ended() => Err(failure),
        () = unwritable => Err(unwritten(&results_file(arguments, &summary.id))),
    }
}

/// Refuses what would wait for ever: stages that no worker of this process can measure.
async fn require_measurable(client: &mut Client, id: &str, worker: &WorkerInfo) -> Result<(), Failure> {
    let (_, plan, _) = client.show(id).await?;
    for (index, stage) in (0..).zip(&plan.stages) {
        let asked = plan.all_required(index);
        let unmet = asked.iter().find_map(|asked| worker.unmet(asked, plan.numerics_of(index)));
        let hint = match unmet {
            None => continue,
            Some(Unmet::ExactArithmetic) => format!(
                "`numerics: exact` needs bitloop's own kernels on a CPU, and on {} candle's operators compute; \
                 write `numerics: float`, or measure on a CPU with {KERNELS_VARIABLE} unset",
                worker.device.class
            ),
            Some(Unmet::Probe(probe)) => format!(
                "this process's worker does not offer the probe `{probe}`; start it with `--probe {probe}`, or submit the \
                 experiment to a coordinator with workers that do"
            ),
            Some(Unmet::Label { key, wanted, .. }) if asked.iter().any(|asked| asked.probe.is_some()) => {
                format!(
                    "`on` asks for a worker with the label {key}={wanted}, and this process's has no labels; remove `on`, or \
                 submit the experiment to a coordinator with such a worker"
                )
            }
            Some(unmet) => format!(
                "this process's worker does not meet it: {unmet}; submit the experiment to a coordinator with other \
                 workers, or change `requires`"
            ),
        };
        return Err(Failure::usage(format!("stage `{}` cannot be measured here: {hint}", stage.as_str())));
    }
    Ok(())
}

/// Pauses what else is active in the data directory: trials are measured in the order of their submission, so an
/// experiment that was interrupted earlier would hold this one up.
async fn pause_others(client: &mut Client, arguments: &RunArguments, id: &str) -> Result<(), Failure> {
    let others = client.list().await?.into_iter();
    for other in others.filter(|other| other.id != id && other.status() == ExperimentStatus::Active) {
        client.act(&other.id, ExperimentAction::Pause).await?;
        let command = continuing(arguments, &other.id);
        show::note(&format!(
            "paused: {} with {} of {} trials measured; `{command}` continues it",
            other.id, other.settled, other.total
        ));
    }
    Ok(())
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

fn results_file(arguments: &RunArguments, id: &str) -> PathBuf {
    arguments.data.data_dir.join("results").join(format!("{id}.csv"))
}

fn unwritten(csv: &Path) -> Failure {
    let csv = csv.display();
    let message = format!(
        "{csv} cannot be written although every trial is measured; check that the disk has space and that nothing else is there"
    );
    Failure::new(Exit::Failed, message)
}

async fn show_results(
    client: &mut Client,
    arguments: &RunArguments,
    summary: &ExperimentSummary,
    output: Output,
) -> Outcome {
    let (report, effort) = client.results(&summary.id).await?;
    match output {
        Output::Json => show::json(&report)?,
        Output::Text => show::data(&show::results_table(&report, &effort))?,
    }
    if summary.status() == ExperimentStatus::Finished {
        let csv = results_file(arguments, &summary.id);
        if !csv.is_file() {
            return Err(continued(arguments, "", unwritten(&csv)));
        }
        show::note(&format!("results: {}", csv.display()));
    }
    if summary.conflicts > 0 {
        show::note(&format!(
            "warning: {} repeated measurements differed from the first; results may depend on the machine",
            summary.conflicts
        ));
    }
    watch::verdict(client, summary).await
}

/// Ctrl-C and requests to terminate, noticed from [`StopSignal::listen`] on.
pub(super) struct StopSignal {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignal {
    pub(super) fn listen() -> Result<Self, Failure> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    pub(super) async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

pub(super) fn interrupted() -> Failure {
    Failure::new(Exit::Failed, "interrupted")
}

/// Adds to a failure how far the experiment is and how to go on.
async fn explain(client: &mut Client, arguments: &RunArguments, failure: Failure) -> Failure {
    let known = client.list().await.unwrap_or_default();
    // All others were paused.
    let active = known.iter().find(|summary| summary.status() == ExperimentStatus::Active);
    let done =
        active.map(|summary| format!("{} of {} trials are measured; ", summary.settled, summary.total));
    continued(arguments, &done.unwrap_or_default(), failure)
}

/// Adds to a failure the command that goes on.
fn continued(arguments: &RunArguments, done: &str, failure: Failure) -> Failure {
    let command = continuing(arguments, &arguments.experiment.display().to_string());
    Failure::new(failure.exit, format!("{:#}\n{done}`{command}` continues", failure.error))
}

/// The command that goes on with an experiment.
fn continuing(arguments: &RunArguments, experiment: &str) -> String {
    let mut command = format!("bitloop run {}", quoted(experiment));
    if arguments.data.data_dir != Path::new("bitloop-data") {
        let data_dir = arguments.data.data_dir.display().to_string();
        command.push_str(&format!(" --data-dir {}", quoted(&data_dir)));
    }
    command
}

/// A word as a shell needs it.
fn quoted(word: &str) -> String {
    let is_plain = |char: char| char.is_alphanumeric() || "/._-+:@%=,".contains(char);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_can_be_pasted_into_a_shell() {
        assert_eq!(quoted("data/x-1.yaml"), "data/x-1.yaml");
        assert_eq!(quoted("my data"), "'my data'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
