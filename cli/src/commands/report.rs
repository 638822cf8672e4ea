//! `bitloop report`: what is known of an experiment, put together and laid out for people.

mod attempts;

use std::io::IsTerminal;
use std::path::Path;

use bitloop_proto::v1::{ClusterEvent, EventsRequest, ExperimentSummary};
use bitloop_report::{Chronicle, Document, Event, Made, Material, Standing};

use super::local;
use crate::args::{Output, ReportArguments, ReportFormat};
use crate::client::Client;
use crate::clock;
use crate::failure::{Failure, Outcome};
use crate::show::{self, moment};
use crate::whole_file;

/// The name of a file that stands for standard output.
const STANDARD_OUTPUT: &str = "-";

pub(super) async fn execute(arguments: &ReportArguments, output: Output) -> Outcome {
    let path = arguments.out.as_deref().filter(|path| *path != Path::new(STANDARD_OUTPUT));
    let format = format(arguments, path, output);
    if format == ReportFormat::Html && path.is_none() && std::io::stdout().is_terminal() {
        let hint = "name a file with --out report.html, or write text with --format md";
        return Err(Failure::usage(format!("a page is not for a terminal; {hint}")));
    }
    // What cannot be written is said before anything is asked for.
    if let Some(path) = path {
        writable(path)?;
    }
    let experiment = &arguments.on.experiment;
    let material = match &arguments.data_dir {
        None => gather(&mut Client::connect(&arguments.on.remote).await?, experiment).await?,
        Some(data_dir) => {
            local::asked(data_dir, async |client: &mut Client| gather(client, experiment).await).await?
        }
    };
    let document = Document::new(&material);
    let content = match format {
        ReportFormat::Html => bitloop_report::html(&document),
        ReportFormat::Md => bitloop_report::markdown(&document),
        ReportFormat::Json => document.to_json(),
        ReportFormat::Svg => bitloop_report::svg(&document)?,
    };
    match path {
        None => show::data(&content),
        Some(path) => {
            let written = whole_file::write(path, content.as_bytes(), whole_file::READABLE);
            written.map_err(|cause| unwritable(path, &cause.kind().to_string()))?;
            show::note(&format!("report: {}", path.display()));
            Ok(())
        }
    }
}

/// What is asked for, by option or by the file's ending.
fn format(arguments: &ReportArguments, path: Option<&Path>, output: Output) -> ReportFormat {
    let ending = path.and_then(Path::extension).and_then(|ending| ending.to_str());
    match (arguments.format, output) {
        (Some(format), _) => format,
        (None, Output::Json) => ReportFormat::Json,
        (None, Output::Text) => ending.and_then(ReportFormat::of_ending).unwrap_or(ReportFormat::Html),
    }
}

fn unwritable(path: &Path, reason: &str) -> Failure {
    Failure::usage(format!("cannot write {}: {reason}", path.display()))
}

/// Whether there can be a file; it is not touched.
fn writable(path: &Path) -> Outcome {
    match std::fs::metadata(path) {
        // A device would become a file.
        Ok(known) if !known.is_file() => {
            Err(unwritable(path, "it is there and is no file; name one, or `-`"))
        }
        Ok(_) | Err(_) => {
            let tried = tempfile::NamedTempFile::new_in(whole_file::folder(path));
            // The whole message names a file that nobody asked for.
            tried.map(|_| ()).map_err(|cause| unwritable(path, &cause.kind().to_string()))
        }
    }
}

/// Asks a coordinator for all there is to know.
async fn gather(client: &mut Client, experiment: &str) -> Result<Material, Failure> {
    let (summary, plan, sources) = client.show(experiment).await?;
    // The whole id, as nothing may come between that makes a beginning of it fit another one.
    let (report, effort) = client.results(&summary.id).await?;
    let (events, missed) = events(client, &summary.id).await?;
    let asked = attempts::ask(client, &plan, &report).await;
    Ok(Material {
        standing: standing(&summary),
        chronicle: Chronicle { events, missed, attempts: asked.attempts, asked: asked.asked, of: asked.of },
        made: Made {
            by: format!("bitloop {}", env!("CARGO_PKG_VERSION")),
            at: moment(clock::unix_seconds() * 1_000).unwrap_or_default(),
        },
        report,
        effort,
        plan,
        sources: sources.into_iter().collect(),
    })
}

fn standing(summary: &ExperimentSummary) -> Standing {
    Standing {
        reason: summary.reason.clone(),
        stage: summary.stage.clone(),
        total: summary.total,
        settled: summary.settled,
        failed: summary.failed,
        reused: summary.reused,
        conflicts: summary.conflicts,
    }
}

/// All events that are kept, and how many are not. Those of workers name no experiment.
async fn events(client: &mut Client, experiment: &str) -> Result<(Vec<Event>, u64), Failure> {
    let mut stream = client.events(EventsRequest::default()).await?;
    let (mut events, mut missed) = (Vec::new(), 0);
    while let Some(answer) = stream.message().await.map_err(|status| client.failure(status))? {
        missed += answer.missed;
        events.extend(answer.events.into_iter().map(|event| own(event, experiment)));
    }
    Ok((events, missed))
}

fn own(event: ClusterEvent, experiment: &str) -> Event {
    Event {
        unix_ms: event.unix_ms,
        time: moment(event.unix_ms).unwrap_or_default(),
        kind: event.kind,
        worker: event.worker,
        is_own: event.experiments.iter().any(|known| known == experiment),
        text: event.text,
    }
}
