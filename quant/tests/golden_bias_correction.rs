//! Bias correction against aimet-torch 2.12.0, layer by layer, with the encodings that it used.
//!
//! The data lies outside the repository (`../shared/reference/aimet/net_*`); without it the tests say so and pass.

mod common;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::AtomicBool;

use bitloop_core::graph::Op;
use bitloop_quant::quantizer::{Encoding, Grid};
use bitloop_quant::transforms::{
    BiasCorrection, Mode, Transformed, bias_correction, fold_batch_norm, with_biases,
};
use candle_core::{Device, Tensor};
use serde_json::Value;

use common::{FOLDED, Net, RAW, assert_close, list, nets, read_json, read_tensors, text, values};

/// Tolerances as the data's README states them: closed form, measured on equal inputs, measured behind roundings.
const ANALYTIC: f64 = 1e-5;
const FIRST: f64 = 1e-4;
const LATER: f64 = 2e-3;
const PREFIX: &str = "70_bias_correction";

struct Golden {
    net: Net,
    json: Value,
    tensors: BTreeMap<String, Tensor>,
}

fn golden() -> Vec<Golden> {
    let mut golden = Vec::new();
    for net in nets() {
        let path = net.folder.join("bias_correction.json");
        if !path.is_file() {
            drop(writeln!(std::io::stderr(), "skipped: {} has no bias correction", net.name));
            continue;
        }
        let tensors = read_tensors(&net.folder.join("bias_correction.safetensors"));
        golden.push(Golden { json: read_json(&path), tensors, net });
    }
    golden
}

impl Golden {
    fn folded(&self) -> Transformed {
        let raw = Transformed::new(self.net.model(RAW));
        fold_batch_norm(&raw).expect("batch norms fold").0
    }

    /// The reference's numbers for the mean input behind a forward fold: the batch norm's beta, although the folded
    /// layer reads what that batch norm read. The formula is compared with its numbers, not ours.
    fn with_means_of_reference(&self, mut network: Transformed) -> Transformed {
        for (layer, norm) in self.net.folded() {
            if let Some(mean) = network.norms.input_means.get_mut(&layer) {
                *mean = values(self.net.tensor(&format!("{RAW}/{norm}.bias")));
            }
        }
        network
    }

    fn corrected(&self, network: &Transformed, run: &Value) -> BTreeMap<String, Tensor> {
        let input = input_encoding(&network.model.graph, &run["encodings_in_use"]);
        let request = BiasCorrection {
            network,
            quantized: &self.quantized_weights(network, run),
            input: input.as_ref(),
            mode: if text(run, "mode") == "analytic" { Mode::Analytic } else { Mode::Empirical },
        };
        let biases = bias_correction(&request, self.net.x_calib(), 2, &AtomicBool::new(false));
        biases.expect("the network runs").expect("nothing stops it")
    }

    /// Whether a run computes the correction of a layer rather than measuring it; the first layer's is zero anyway.
    fn is_closed_form(&self, run: &Value, layer: &str) -> bool {
        text(run, "mode") == "analytic" && !self.json["layer_info"][layer]["input_bn"].is_null()
    }

    /// The weights that a run quantizes, rounded as the reference does: by division where it computes a correction, with
    /// the reciprocal in its simulator.
    fn quantized_weights(&self, network: &Transformed, run: &Value) -> BTreeMap<String, Tensor> {
        let slots = run["encodings_in_use"].as_object().expect("a map of encodings");
        let nodes = slots.keys().filter_map(|slot| slot.strip_suffix(".weight"));
        let quantized = nodes.map(|node| {
            let rounding =
                if self.is_closed_form(run, node) { Rounding::Division } else { Rounding::Reciprocal };
            quantized_weight(network, run, node, rounding)
        });
        quantized.collect()
    }

    /// Whether a run computes a layer's correction with other weights than it simulates it with.
    ///
    /// Weights that lie on a tie differ by a step between the roundings; its TF-enhanced candidates cause some.
    fn has_two_weights(&self, network: &Transformed, run: &Value, layer: &str) -> bool {
        let [(_, divided), (_, multiplied)] = [Rounding::Division, Rounding::Reciprocal]
            .map(|rounding| quantized_weight(network, run, layer, rounding));
        let apart = values(&divided).iter().zip(values(&multiplied)).any(|(a, b)| (a - b).abs() > 1e-6);
        self.is_closed_form(run, layer) && apart
    }

    /// Whether the analytic mode of the reference reads the parameters of a standalone batch norm behind its conversion.
    fn is_wrong_in_reference(&self, layer: &str) -> bool {
        let stage = self.net.stage(FOLDED).expect("every network has a folded stage");
        list(&stage["standalone_bn"]).contains(&self.json["layer_info"][layer]["input_bn"])
    }
}

#[derive(Clone, Copy)]
enum Rounding {
    Division,
    Reciprocal,
}

fn quantized_weight(network: &Transformed, run: &Value, node: &str, rounding: Rounding) -> (String, Tensor) {
    let encoding = &run["encodings_in_use"][format!("{node}.weight")];
    let (part, factor) = match network.model.graph.node(node).map(|node| &node.op) {
        // That release kept a standalone batch norm's weight without this factor.
        Some(Op::BatchNorm { eps }) => ("gamma", (1.0 + *eps as f32).sqrt()),
        _ => ("weight", 1.0),
    };
    let name = format!("{node}.{part}");
    let weight = &network.model.weights[&name];
    let scale = floats(&encoding["scale"]);
    let per_channel = weight.elem_count() / scale.len();
    let end = |key: &str| encoding[key].as_f64().expect("a number") as f32;
    let nearest = values(weight).into_iter().enumerate().map(|(index, value)| {
        let (value, scale) = (value / factor, scale[index / per_channel]);
        let steps = match rounding {
            Rounding::Division => value / scale,
            Rounding::Reciprocal => value * (1.0 / scale),
        };
        steps.round_ties_even().clamp(end("qmin"), end("qmax")) * scale * factor
    });
    let tensor = Tensor::from_vec(nearest.collect(), weight.dims(), &Device::Cpu);
    (name, tensor.expect("as many values as before"))
}

fn input_encoding(graph: &bitloop_core::graph::Graph, encodings: &Value) -> Option<Encoding> {
    let encoding = &encodings[format!("{}.input.0", graph.nodes[0].name)];
    let scale = *floats(&encoding["scale"]).first()?;
    let offset = encoding["offset"][0].as_f64().expect("an offset") as f32;
    let end = |key: &str| encoding[key].as_i64().expect("a whole number") as i32;
    let grid = Grid::new(end("qmin"), end("qmax"), false).expect("a valid grid");
    let range = ((offset + grid.qmin() as f32) * scale, (offset + grid.qmax() as f32) * scale);
    Some(Encoding::from_stored(&[range], grid).expect("a finite range"))
}

fn floats(value: &Value) -> Vec<f32> {
    list(value).iter().map(|v| v.as_f64().expect("a number") as f32).collect()
}

#[test]
fn golden_corrected_biases_equal_the_reference() {
    for golden in golden() {
        let network = golden.with_means_of_reference(golden.folded());
        let name = &golden.net.name;
        let layers: Vec<_> = network.model.graph.nodes.iter().filter(|node| node.op.has_weight()).collect();
        for run in list(&golden.json["runs"]) {
            let (id, analytic) = (text(run, "name"), text(run, "mode") == "analytic");

            let biases = golden.corrected(&network, run);

            assert_eq!(biases.len(), layers.len(), "{id}");
            let mut compared = Vec::new();
            let mut two_weights = None;
            for (index, layer) in layers.iter().map(|layer| &layer.name).enumerate() {
                if analytic && golden.is_wrong_in_reference(layer) {
                    eprintln!(
                        "{name} {id}: nothing compared from {layer} on, which the reference gets wrong"
                    );
                    break;
                }
                let tolerance = match (index, golden.is_closed_form(run, layer)) {
                    (_, true) => ANALYTIC,
                    (0, false) => FIRST,
                    (_, false) => LATER,
                };
                if let (Some(before), LATER) = (two_weights, tolerance) {
                    eprintln!(
                        "{name} {id}: {layer} not compared, as the reference has two weights for {before}"
                    );
                    continue;
                }
                let expected = &golden.tensors[&format!("{id}/{layer}.bias")];
                let what = format!("{name} {id}/{layer}");
                let apart = assert_close(&what, &biases[layer], expected, tolerance);
                compared.push(format!("{layer} {apart:.0e}"));
                if golden.has_two_weights(&network, run, layer) {
                    two_weights = Some(layer);
                }
            }
            eprintln!("{name} {id}: {}", compared.join(", "));
            assert!(!compared.is_empty(), "{id}: nothing was compared");
        }
    }
}

#[test]
fn golden_float_networks_with_corrected_biases_equal_the_reference() {
    for golden in golden() {
        let network = golden.folded();
        for run in list(&golden.json["runs"]) {
            let id = text(run, "name");
            let of_layer = |name: &String| {
                let layer = name.strip_prefix(&format!("{id}/"))?.strip_suffix(".bias")?;
                Some((layer.to_owned(), golden.tensors[name].clone()))
            };
            let theirs: BTreeMap<String, Tensor> = golden.tensors.keys().filter_map(of_layer).collect();

            let corrected = with_biases(&network.model, &theirs).expect("the biases fit");

            let expected = &golden.tensors[&format!("{id}/float_output")];
            assert_close(
                &format!("{} {id}", golden.net.name),
                &golden.net.output(&corrected),
                expected,
                1e-4,
            );
        }
    }
}

#[test]
fn golden_before_correction_biases_are_those_of_folding() {
    for golden in golden() {
        let network = golden.folded();
        let prefix = format!("{PREFIX}/before/");
        let before =
            golden.tensors.iter().filter_map(|(name, bias)| Some((name.strip_prefix(&prefix)?, bias)));
        let mut compared = 0;
        for (name, bias) in before {
            assert_close(&format!("{} {name}", golden.net.name), &network.model.weights[name], bias, 1e-6);
            compared += 1;
        }
        assert!(compared > 0, "{}: nothing was compared", golden.net.name);
    }
}

#[test]
fn golden_the_running_mean_behind_a_forward_fold_is_nearer_to_the_measured_correction() {
    for golden in golden() {
        let network = golden.folded();
        for run in list(&golden.json["runs"]).iter().filter(|run| text(run, "mode") == "analytic") {
            let id = text(run, "name");
            let ours = golden.corrected(&network, run);
            for layer in network.norms.input_means.keys() {
                let measured =
                    &golden.tensors[&format!("{}/{layer}.bias", id.replace("analytic", "empirical"))];
                let theirs = &golden.tensors[&format!("{id}/{layer}.bias")];
                let (ours, theirs) = (distance(&ours[layer], measured), distance(theirs, measured));
                eprintln!(
                    "{} {id}/{layer}: {ours:.1e} from the measured one, the reference {theirs:.1e}",
                    golden.net.name
                );
                assert!(ours < theirs, "{id}/{layer}: {ours} is not nearer than {theirs}");
            }
        }
    }
}

fn distance(left: &Tensor, right: &Tensor) -> f32 {
    values(left).iter().zip(values(right)).map(|(left, right)| (left - right).abs()).fold(0.0, f32::max)
}
