//! `bitloop list`, `show`, `workers` and `results`.

use crate::args::{Format, OnExperiment, Output, Remote, ResultsArguments};
use crate::client::Client;
use crate::failure::Outcome;
use crate::show;

pub(super) async fn list(remote: &Remote, output: Output) -> Outcome {
    let experiments = Client::connect(&remote.coordinator).await?.list().await?;
    match output {
        Output::Json => show::json(&experiments.iter().map(show::summary_json).collect::<Vec<_>>()),
        Output::Text => show::data(&show::experiments_table(&experiments)),
    }
}

pub(super) async fn workers(remote: &Remote, output: Output) -> Outcome {
    let workers = Client::connect(&remote.coordinator).await?.workers().await?;
    match output {
        Output::Json => show::json(&workers.iter().map(show::worker_json).collect::<Vec<_>>()),
        Output::Text => show::data(&show::workers_table(&workers)),
    }
}

pub(super) async fn show(on: &OnExperiment, output: Output) -> Outcome {
    let (summary, plan, sources) =
        Client::connect(&on.remote.coordinator).await?.show(&on.experiment).await?;
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
    let (report, effort) =
        Client::connect(&results.on.remote.coordinator).await?.results(&results.on.experiment).await?;
    let format = if output == Output::Json { Format::Json } else { results.format };
    match format {
        Format::Table => show::data(&show::results_table(&report, &effort)),
        Format::Csv => show::data(&report.to_csv()),
        Format::Json => show::json(&report),
    }
}
