//! `bitloop export`: an experiment's prepared or trained network, in the formats of other programs.

use std::collections::BTreeMap;
use std::fs;

use bitloop_core::bits::{Bits, Choice};
use bitloop_core::graph::Graph;
use bitloop_core::report::{FoundNetwork, Report};
use bitloop_core::trial::NodeQuantizers;
use bitloop_quant::export::{self, EncodingsVersion, Exported};
use bitloop_quant::model::Model;
use bitloop_quant::prepare::Prepared;
use bitloop_search::network::{Kind, Network, QuantizerDictionary, QuantizerEntry};

use super::local;
use crate::args::{ExportArguments, ExportFormat};
use crate::client::Client;
use crate::failure::{Exit, Failure, Outcome};
use crate::show;

pub(super) async fn execute(arguments: &ExportArguments) -> Outcome {
    // What is wrong with the command line is said before anything is fetched.
    let version = arguments.encodings_version.parse::<EncodingsVersion>();
    let version = version.map_err(|error| Failure::usage(format!("--encodings-version: {error}")))?;
    if arguments.out.is_none() {
        match arguments.format {
            ExportFormat::Onnx => {
                return Err(Failure::usage("an ONNX file is not text; name the file with --out"));
            }
            ExportFormat::Checkpoint => {
                return Err(Failure::usage("a checkpoint is not text; name the file with --out"));
            }
            ExportFormat::Encodings | ExportFormat::Bitconfig | ExportFormat::Qkeras => {}
        }
    }
    let (bytes, report) = fetch(arguments).await?;
    let content = match report.trained.is_empty() {
        true => measured(arguments, &bytes, (&report, version))?,
        false => trained(arguments, bytes, &report)?,
    };
    match &arguments.out {
        None => show::data(String::from_utf8_lossy(&content).trim_end()),
        Some(path) => {
            let failed = |error| Failure::usage(format!("cannot write {}: {error}", path.display()));
            fs::write(path, content).map_err(failed)
        }
    }
}

/// A prepared network at the widths that were asked for.
fn measured(
    arguments: &ExportArguments,
    bytes: &[u8],
    (report, version): (&Report, EncodingsVersion),
) -> Result<Vec<u8>, Failure> {
    let prepared = Prepared::from_bytes(bytes)?;
    let exported = Exported::new(&prepared, choices(arguments, &prepared, report)?)?;
    Ok(match arguments.format {
        ExportFormat::Onnx => export::onnx(&exported)?,
        ExportFormat::Encodings => export::encodings(&exported, version)?.into_bytes(),
        ExportFormat::Bitconfig => export::bitconfig(&exported).into_bytes(),
        ExportFormat::Checkpoint | ExportFormat::Qkeras => {
            return Err(Failure::usage(
                "--format: only searches that train have this; write `onnx`, `encodings` or `bitconfig`",
            ));
        }
    })
}

/// The network that a search that trains came to.
fn trained(arguments: &ExportArguments, bytes: Vec<u8>, report: &Report) -> Result<Vec<u8>, Failure> {
    let found = found_network(report)?;
    Ok(match arguments.format {
        ExportFormat::Checkpoint => bytes,
        ExportFormat::Qkeras => {
            let dictionary = dictionary(&Model::from_bytes(&bytes)?.graph, &found.quantizers)?;
            format!("{}\n", serde_json::to_string_pretty(&dictionary)?).into_bytes()
        }
        ExportFormat::Onnx => {
            export::trained_onnx(&Model::from_bytes(&bytes)?, &found.quantizers, found.compat)?
        }
        ExportFormat::Encodings | ExportFormat::Bitconfig => {
            return Err(Failure::usage(
                "--format: a search that trains has no such file; write `checkpoint`, `qkeras` or `onnx`",
            ));
        }
    })
}

/// What QKeras's `model_quantize` takes.
///
/// Kernels' quantizers are spelled out as their layers promote them, which leaves them as they are.
fn dictionary(
    graph: &Graph,
    quantizers: &BTreeMap<String, NodeQuantizers>,
) -> Result<QuantizerDictionary, Failure> {
    let network = Network::of_graph(graph)?;
    let entry = |(node, quantizers): (&String, &NodeQuantizers)| {
        let NodeQuantizers { kernel, bias, activation } = quantizers;
        if let (None, None, Some(activation)) = (kernel, bias, activation) {
            return (node.clone(), QuantizerEntry::Activation(activation.spelling()));
        }
        let of_kernel = match network.layer(node).map(|layer| &layer.class.kind) {
            Some(Kind::DepthwiseConv2D) => "depthwise_quantizer",
            _ => "kernel_quantizer",
        };
        let named = [(of_kernel, kernel), ("bias_quantizer", bias), ("activation_quantizer", activation)];
        let given = named.into_iter().filter_map(|(name, quantizer)| {
            quantizer.as_ref().map(|quantizer| (name.to_owned(), Some(quantizer.spelling())))
        });
        (node.clone(), QuantizerEntry::Fields(given.collect()))
    };
    Ok(QuantizerDictionary { entries: quantizers.iter().map(entry).collect() })
}

fn found_network(report: &Report) -> Result<&FoundNetwork, Failure> {
    let found = report.trained.iter().rev().find_map(|search| search.found.as_ref());
    found.ok_or_else(|| {
        let message = format!(
            "experiment {} has found no network yet; `bitloop watch` says when its search is over",
            report.experiment
        );
        Failure::new(Exit::Failed, message)
    })
}

/// Asks a coordinator, or the data directory, for the results and the bytes of the prepared or the found network.
async fn fetch(arguments: &ExportArguments) -> Result<(Vec<u8>, Report), Failure> {
    let experiment = &arguments.on.experiment;
    let Some(data_dir) = &arguments.data_dir else {
        let mut client = Client::connect(&arguments.on.remote).await?;
        return fetch_from(&mut client, experiment).await;
    };
    local::asked(data_dir, async |client| fetch_from(client, experiment).await).await
}

async fn fetch_from(client: &mut Client, experiment: &str) -> Result<(Vec<u8>, Report), Failure> {
    let (report, _) = client.results(experiment).await?;
    if !report.trained.is_empty() {
        let model = found_network(&report)?.model;
        return Ok((client.artifact(model).await?, report));
    }
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
    match search.top.get(rank as usize - 1).map(|top| (top, top.objection())) {
        Some((_, Some(objection))) => Err(Failure::usage(format!(
            "the config of rank {rank} is not recommended: {objection}; name another one with --rank, or write its widths down and \
             export those with --bitconfig"
        ))),
        Some((top, None)) => Ok(&top.row.changes),
        None => Err(missing(format!("search {index} has found {} configs", search.top.len()))),
    }
}
