//! `bitloop list`, `show`, `workers` and `results`.

use bitloop_core::plan::{Metric, Plan};
use bitloop_core::report::{Effort, Report};
use bitloop_proto::v1::ExplainResponse;
use bitloop_search::priced::{self, priced};

use serde_json::json;

use super::local;
use crate::args::{ExplainArguments, Format, OnExperiment, Output, Remote, ResultsArguments};
use crate::client::Client;
use crate::failure::{Failure, Outcome};
use crate::show;

pub(super) async fn list(remote: &Remote, output: Output) -> Outcome {
    let experiments = Client::connect(remote).await?.list().await?;
    match output {
        Output::Json => show::json(&experiments.iter().map(show::summary_json).collect::<Vec<_>>()),
        Output::Text => show::data(&show::experiments_table(&experiments)),
    }
}

pub(super) async fn workers(remote: &Remote, output: Output) -> Outcome {
    let workers = Client::connect(remote).await?.workers().await?;
    match output {
        Output::Json => show::json(&workers.iter().map(show::worker_json).collect::<Vec<_>>()),
        Output::Text => show::data(&show::workers_table(&workers)),
    }
}

pub(super) async fn explain(arguments: &ExplainArguments, output: Output) -> Outcome {
    let mut client = Client::connect(&arguments.remote).await?;
    let ExplainResponse { subject, standing, reasons } = client.explain(&arguments.subject).await?;
    match output {
        Output::Json => show::json(&json!({ "subject": subject, "standing": standing, "reasons": reasons })),
        Output::Text => {
            let lines = std::iter::once(format!("{subject}: {standing}"));
            let reasons = reasons.iter().map(|reason| format!("  {reason}"));
            show::data(&lines.chain(reasons).collect::<Vec<_>>().join("\n"))
        }
    }
}

pub(super) async fn show(on: &OnExperiment, output: Output) -> Outcome {
    let (summary, plan, sources) = Client::connect(&on.remote).await?.show(&on.experiment).await?;
    if output == Output::Json {
        let mut value = show::summary_json(&summary);
        value["plan"] = serde_json::to_value(&plan)?;
        value["sources"] = serde_json::to_value(&sources)?;
        return show::json(&value);
    }
    let widths = |bits: &[bitloop_core::bits::Bits]| {
        bits.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    let mut fields = vec![
        ("id", summary.id.clone()),
        ("status", show::status(&summary).to_owned()),
        ("trials", format!("{} of {} done, {} failed", summary.settled, summary.total, summary.failed)),
        ("reused", format!("{} trials measured by other experiments", summary.reused)),
        ("leased", format!("{} trials; {} workers that can measure them", summary.leased, summary.workers)),
        ("model", format!("{} ({})", plan.model, plan.graph.name)),
        ("numerics", plan.numerics.as_str().to_owned()),
        ("baseline", format!("{} bits", plan.candidates.baseline)),
        ("weights", format!("{} bits", widths(&plan.candidates.weight_bits))),
        ("activations", format!("{} bits", widths(&plan.candidates.activation_bits))),
    ];
    if !summary.reason.is_empty() {
        fields.insert(2, ("reason", summary.reason));
    }
    let inputs = sources.iter().map(|(path, digest)| ("input", format!("{digest}  {path}")));
    fields.extend(inputs);
    show::data(&show::fields(&fields))
}

pub(super) async fn results(results: &ResultsArguments, output: Output) -> Outcome {
    let Gathered { report, effort, plan } = gather(results).await?;
    let format = if output == Output::Json { Format::Json } else { results.format };
    if let Some(cost) = &results.pareto {
        let known = Metric::ALL.into_iter().find(|metric| metric.as_str() == results.loss);
        let metric =
            known.ok_or_else(|| Failure::usage(format!("--loss: there is no `{}`", results.loss)))?;
        let rows = priced(&plan, &report, cost, metric)
            .map_err(|error| Failure::usage(format!("--pareto: {error}")))?;
        return match format {
            Format::Table => show::data(&show::pareto_table(&rows, cost, metric)),
            Format::Csv => show::data(&priced::to_csv(&rows, cost, metric)),
            Format::Json => show::json(&rows),
        };
    }
    match format {
        Format::Table => show::data(&show::results_table(&report, &effort)),
        Format::Csv => show::data(&report.to_csv()),
        Format::Json => show::json(&report),
    }
}

/// All that is known of an experiment's results.
struct Gathered {
    report: Report,
    effort: Effort,
    plan: Plan,
}

/// Asks a coordinator, or the data directory.
async fn gather(results: &ResultsArguments) -> Result<Gathered, Failure> {
    let experiment = &results.on.experiment;
    let ask = async |client: &mut Client| {
        let (report, effort) = client.results(experiment).await?;
        let (_, plan, _) = client.show(experiment).await?;
        Ok(Gathered { report, effort, plan })
    };
    match &results.data_dir {
        None => ask(&mut Client::connect(&results.on.remote).await?).await,
        Some(data_dir) => local::asked(data_dir, ask).await,
    }
}
