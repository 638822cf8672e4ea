//! `bitloop watch`, and following an experiment in general.

use bitloop_core::report::TrainedSearch;
use bitloop_proto::v1::{ExperimentStatus, ExperimentSummary};

use crate::args::{OnExperiment, Output};
use crate::client::Client;
use crate::failure::{Exit, Failure, Outcome};
use crate::show::{self, Progress};

pub(super) async fn execute(on: &OnExperiment, output: Output) -> Outcome {
    let mut client = Client::connect(&on.remote).await?;
    let last = follow(&mut client, &on.experiment).await?;
    match output {
        Output::Json => show::json(&show::summary_json(&last))?,
        Output::Text => show::data(&show::experiments_table(std::slice::from_ref(&last)))?,
    }
    verdict(&mut client, &last).await
}

/// Shows an experiment's progress until it is over or paused, and returns how it ended.
pub(super) async fn follow(client: &mut Client, experiment: &str) -> Result<ExperimentSummary, Failure> {
    let mut stream = client.watch(experiment).await?;
    let mut progress: Option<Progress> = None;
    let mut last = None;
    while let Some(summary) = stream.message().await.map_err(|status| client.failure(status))? {
        let is_over = !matches!(summary.status(), ExperimentStatus::Active | ExperimentStatus::Paused);
        // Of an experiment that was over before anyone looked there is no progress to see.
        if progress.is_some() || !is_over {
            progress.get_or_insert_with(|| Progress::new(&summary)).update(&summary);
        }
        let idle = summary.status() == ExperimentStatus::Paused && summary.leased == 0;
        last = Some(summary);
        if idle {
            break;
        }
    }
    if let Some(progress) = progress {
        progress.finish();
    }
    last.ok_or_else(|| Failure::new(Exit::Failed, "the coordinator ended the stream without an answer"))
}

/// The exit code that an experiment's end deserves.
///
/// A measurement that failed is missing in the results; a search that trains passes trials over that fail.
pub(super) async fn verdict(client: &mut Client, summary: &ExperimentSummary) -> Outcome {
    let id = &summary.id;
    match summary.status() {
        ExperimentStatus::Finished if summary.failed == 0 => Ok(()),
        ExperimentStatus::Finished => {
            let trained = client.results(id).await?.0.trained;
            let is_found =
                |search: &TrainedSearch| search.found.as_ref().is_some_and(|found| found.report.is_some());
            if !trained.is_empty() && trained.iter().all(is_found) {
                return Ok(());
            }
            let message = format!("{} trials of {id} failed; the results say why", summary.failed);
            Err(Failure::new(Exit::Failed, message))
        }
        ExperimentStatus::Failed => {
            Err(Failure::new(Exit::Failed, format!("experiment {id} failed: {}", summary.reason)))
        }
        ExperimentStatus::Cancelled => {
            let message = format!("experiment {id} was cancelled; `bitloop resume {id}` revives it");
            Err(Failure::new(Exit::Failed, message))
        }
        ExperimentStatus::Paused => {
            let message = format!("experiment {id} is paused; `bitloop resume {id}` continues it");
            Err(Failure::new(Exit::Failed, message))
        }
        ExperimentStatus::Active | ExperimentStatus::Unspecified => {
            let message = format!("the coordinator stopped; `bitloop watch {id}` follows on when it is back");
            Err(Failure::new(Exit::Unreachable, message))
        }
    }
}
