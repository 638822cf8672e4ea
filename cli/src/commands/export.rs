//! `bitloop export`: an experiment's prepared network, in the formats of other programs.

use std::collections::BTreeMap;
use std::fs;

use bitloop_core::bits::{Bits, Choice};
use bitloop_core::report::Report;
use bitloop_quant::export::{self, EncodingsVersion, Exported};
use bitloop_quant::prepare::Prepared;

use super::local;
use crate::args::{ExportArguments, ExportFormat};
use crate::client::Client;
use crate::failure::{Exit, Failure, Outcome};
use crate::show;

pub(super) async fn execute(arguments: &ExportArguments) -> Outcome {
    // What is wrong with the command line is said before anything is fetched.
    let version = arguments.encodings_version.parse::<EncodingsVersion>();
    let version = version.map_err(|error| Failure::usage(format!("--encodings-version: {error}")))?;
    if arguments.format == ExportFormat::Onnx && arguments.out.is_none() {
        return Err(Failure::usage("an ONNX file is not text; name the file with --out"));
    }
    let (bytes, report) = fetch(arguments).await?;
    let prepared = Prepared::from_bytes(&bytes)?;
    let exported = Exported::new(&prepared, choices(arguments, &prepared, &report)?)?;
    let content = match arguments.format {
        ExportFormat::Onnx => export::onnx(&exported)?,
        ExportFormat::Encodings => export::encodings(&exported, version)?.into_bytes(),
        ExportFormat::Bitconfig => export::bitconfig(&exported).into_bytes(),
    };
    match &arguments.out {
        None => show::data(String::from_utf8_lossy(&content).trim_end()),
        Some(path) => {
            let failed = |error| Failure::usage(format!("cannot write {}: {error}", path.display()));
            fs::write(path, content).map_err(failed)
        }
    }
}

/// Asks a coordinator, or the data directory, for the prepared network's bytes and the results.
async fn fetch(arguments: &ExportArguments) -> Result<(Vec<u8>, Report), Failure> {
    let experiment = &arguments.on.experiment;
    let Some(data_dir) = &arguments.data_dir else {
        let mut client = Client::connect(&arguments.on.remote.coordinator).await?;
        return fetch_from(&mut client, experiment).await;
    };
    local::asked(data_dir, async |client| fetch_from(client, experiment).await).await
}

async fn fetch_from(client: &mut Client, experiment: &str) -> Result<(Vec<u8>, Report), Failure> {
    let (report, _) = client.results(experiment).await?;
    let Some(digest) = report.prepared else {
        let message = format!(
            "experiment {} has no prepared network yet; `bitloop watch` says when it is made",
            report.experiment
        );
        return Err(Failure::new(Exit::Failed, message));
    };
    Ok((client.artifact(digest).await?, report))
}

fn choices(
    arguments: &ExportArguments,
    prepared: &Prepared,
    report: &Report,
) -> Result<Vec<Choice>, Failure> {
    let baseline = Choice::Bits(report.baseline_bits);
    if let Some(rank) = arguments.rank {
        let changes = found(report, arguments.search, rank)?;
        let choice = |name: &String| changes.get(name).map_or(baseline, |bits| Choice::Bits(*bits));
        return Ok(prepared.points.iter().map(|point| choice(&point.name)).collect());
    }
    let Some(path) = &arguments.bitconfig else {
        return Ok(vec![baseline; prepared.points.len()]);
    };
    let wrong = |error: &dyn std::fmt::Display| Failure::usage(format!("{}: {error}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| wrong(&error))?;
    export::choices_of(prepared, &text, baseline).map_err(|error| wrong(&error))
}

/// The widths of a config that a search found, by point.
fn found(report: &Report, search: Option<u32>, rank: u32) -> Result<&BTreeMap<String, Bits>, Failure> {
    let searches = &report.searches;
    let index = search.map_or(searches.len(), |search| search as usize);
    let missing =
        |what: String| Failure::usage(format!("{what}; `bitloop results {}` lists them", report.experiment));
    let Some(search) = index.checked_sub(1).and_then(|index| searches.get(index)) else {
        return Err(missing(format!("there are {} searches in the experiment", searches.len())));
    };
    match search.top.get(rank as usize - 1) {
        Some(top) => Ok(&top.row.changes),
        None => Err(missing(format!("search {index} has found {} configs", search.top.len()))),
    }
}
