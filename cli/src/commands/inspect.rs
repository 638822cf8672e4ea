//! `bitloop inspect`: a model file's graph.

mod energy;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bitloop_core::digest::Digest;
use bitloop_core::graph::{Graph, INPUT, LayerCost, Node, Point, Shape};
use bitloop_core::spec::PlacementSource;
use bitloop_quant::model::Model;
use bitloop_quant::quantizer::Encoding;
use serde_json::json;

use crate::args::{InspectArguments, Output};
use crate::failure::{Failure, Outcome};
use crate::inputs;
use crate::show;

/// Width of a weight in cost columns of a float network.
const FLOAT_BITS: u64 = 32;

pub(super) fn execute(arguments: &InspectArguments, output: Output) -> Outcome {
    let path = &arguments.model;
    let bytes =
        fs::read(path).map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
    let model =
        Model::from_bytes(&bytes).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    let graph = &model.graph;
    if arguments.energy {
        return energy::execute(graph, &Digest::of(&bytes), &arguments.settings, output);
    }
    let source = arguments.placement.parse::<PlacementSource>();
    let source = source.map_err(|error| Failure::usage(format!("--placement: {error}")))?;
    let placement = inputs::placement(&source, Path::new(""))?;
    let (shapes, points) = (graph.shapes()?, placement.points(graph)?);
    let costs = graph.layer_costs_with(&points)?;
    let parameters = graph.parameters()?;
    if output == Output::Json {
        let layers: Vec<_> = costs
            .iter()
            .map(|layer| json!({ "node": layer.node, "macs": layer.macs, "weights": layer.weights, "biases": layer.biases, "input_point": layer.input_point }))
            .collect();
        return show::json(&json!({
            "digest": Digest::of(&bytes),
            "graph": graph,
            "layers": layers,
            "points": points,
            "encodings": encodings_json(&model, &points),
            "fused": placement.fused(graph)?,
            "parameters": parameters,
            "macs": costs.iter().map(|layer| layer.macs).sum::<u64>(),
            "file_bytes": bytes.len(),
        }));
    }
    if arguments.points {
        return show::data(&points_text(&model, &points, &placement.fused(graph)?));
    }
    let rows = graph.nodes.iter().zip(&shapes).map(|(node, shape)| layer_row(node, shape, &costs));
    let header = ["node", "operator", "inputs", "output", ">weights", ">MACs"];
    let summary = summary(graph, &Digest::of(&bytes), &costs, parameters, points.len());
    show::data(&format!("{}\n\n{}", show::table(&header, rows), show::fields(&summary)))
}

/// The points, what shares their quantizers, and what has none.
fn points_text(model: &Model, points: &[Point], fused: &BTreeMap<String, String>) -> String {
    let graph = &model.graph;
    let rows = points.iter().map(|point| {
        let tied: Vec<&str> =
            point.tensors.iter().map(String::as_str).filter(|tensor| *tensor != point.node).collect();
        let is_fused = |node: &Node| fused.get(&node.name).is_some_and(|last| point.tensors.contains(last));
        let into = graph.nodes.iter().filter(|node| is_fused(node));
        let into: Vec<&str> = into.map(|node| node.name.as_str()).collect();
        vec![
            point.name.clone(),
            point.kind.as_str().to_owned(),
            show::with_thousands(point.elements as u64),
            if point.fixed { "fixed" } else { "free" }.to_owned(),
            into.join(", "),
            tied.join(", "),
            point.passed_on.join(", "),
            model.encoding(point).map(encoding_text).unwrap_or_default(),
        ]
    });
    let header =
        ["point", "kind", ">values", "width", "fused into it", "tied to it", "passed on by", "came with"];
    let columns = if model.encodings.is_empty() { header.len() - 1 } else { header.len() };
    let table = show::table(&header[..columns], rows.map(|row| row[..columns].to_vec()));
    let float: Vec<&str> = std::iter::once(INPUT)
        .chain(graph.nodes.iter().map(|node| node.name.as_str()))
        .filter(|node| !fused.contains_key(*node) && !points.iter().any(|point| point.covers(node)))
        .collect();
    match float.as_slice() {
        [] => table,
        float => format!("{table}\n\n{}", show::fields(&[("float outputs", float.join(", "))])),
    }
}

/// The encodings that came with a network, by point.
fn encodings_json(model: &Model, points: &[Point]) -> BTreeMap<String, serde_json::Value> {
    let with_encoding = points.iter().filter_map(|point| Some((point.name.clone(), model.encoding(point)?)));
    let described = with_encoding.map(|(name, encoding)| {
        let grid = encoding.grid();
        let json = json!({
            "qmin": grid.qmin(),
            "qmax": grid.qmax(),
            "symmetric": grid.is_symmetric(),
            "scale": encoding.scale(),
            "offset": encoding.offset(),
        });
        (name, json)
    });
    described.collect()
}

/// The encoding that came with a network, in a few words.
fn encoding_text(encoding: &Encoding) -> String {
    let (grid, scales) = (encoding.grid(), encoding.scale());
    let codes = format!("codes {}..{}", grid.qmin(), grid.qmax());
    let least = scales.iter().copied().fold(f32::INFINITY, f32::min);
    let most = scales.iter().copied().fold(0.0_f32, f32::max);
    match encoding.offset() {
        [offset] => format!("{codes}, scale {most:.3e}, offset {offset}"),
        _ => format!("{codes}, {} scales {least:.3e}..{most:.3e}", scales.len()),
    }
}

fn layer_row(node: &Node, shape: &Shape, costs: &[LayerCost]) -> Vec<String> {
    let cost = costs.iter().find(|cost| cost.node == node.name);
    let of = |number: Option<u64>| number.map(show::with_thousands).unwrap_or_default();
    vec![
        node.name.clone(),
        node.op.kind().to_owned(),
        node.inputs.join(", "),
        shape.to_string(),
        of(cost.map(|cost| cost.weights as u64)),
        of(cost.map(|cost| cost.macs)),
    ]
}

fn summary(
    graph: &Graph,
    digest: &Digest,
    costs: &[LayerCost],
    parameters: usize,
    points: usize,
) -> [(&'static str, String); 7] {
    let macs: u64 = costs.iter().map(|layer| layer.macs).sum();
    let weights: u64 = costs.iter().map(|layer| layer.weights as u64).sum();
    let kib = |bits: u64| {
        format!(
            "{:.1} KiB of weights in float, {:.1} KiB at 8 bits",
            bits as f64 * 4.0 / 1024.0,
            bits as f64 / 1024.0
        )
    };
    let bops = |bits: u64| macs as f64 * (bits * bits) as f64 / 1e9;
    [
        ("model", format!("{} ({digest})", graph.name)),
        ("input", graph.input.shape.to_string()),
        ("points", points.to_string()),
        ("parameters", show::with_thousands(parameters as u64)),
        ("size", kib(weights)),
        ("MACs", show::with_thousands(macs)),
        ("GBOPs", format!("{:.3} in float, {:.3} at 8 bits", bops(FLOAT_BITS), bops(8))),
    ]
}
