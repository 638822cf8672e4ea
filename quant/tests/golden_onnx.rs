//! ONNX files that another tool exported (`../shared/reference/aimet/net_*/export`): plain ones give the outputs that
//! ONNX Runtime gave, ones with quantizers also when the encodings found in them are simulated.

#![expect(clippy::unwrap_used, reason = "a reference that cannot be read must fail the test")]

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use bitloop_core::graph::Node;
use bitloop_quant::executor::{FloatPass, Pass, forward};
use bitloop_quant::onnx::{ImportOptions, Imported, ImportedEncoding, import_file};
use candle_core::{Device, Result, Tensor};

/// Absolute, of outputs, as the data's README states.
const TOLERANCE: f32 = 1e-4;
/// The same of networks with activations of 16 bit.
const FINE_TOLERANCE: f32 = 1e-3;
/// Share of outputs that must lie within the tolerance; rounding at ties moves the others by steps.
const SHARE: f64 = 0.95;

fn exports() -> Vec<(PathBuf, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/reference/aimet");
    let list = |folder: &Path| -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let is_net =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("net_"));
    let mut found = Vec::new();
    for net in list(&root).into_iter().filter(is_net) {
        let files = list(&net.join("export")).into_iter();
        found.extend(
            files
                .filter(|path| path.extension().is_some_and(|e| e == "onnx"))
                .map(|path| (net.clone(), path)),
        );
    }
    if found.is_empty() {
        drop(writeln!(std::io::stderr(), "skipped: {} has no exported networks", root.display()));
    }
    found
}

/// Rounds to the grid, as the quantizers in the file do.
fn simulated(x: &Tensor, encoding: &ImportedEncoding, axis: Option<usize>) -> Result<Tensor> {
    let inner: usize = axis.map_or(1, |axis| x.dims()[axis + 1..].iter().product());
    let bits = encoding.element.bits();
    let (low, high) = match encoding.element.is_signed() {
        true => (-(1_i64 << (bits - 1)), (1_i64 << (bits - 1)) - 1),
        false => (0, (1_i64 << bits) - 1),
    };
    let values = x.flatten_all()?.to_vec1::<f32>()?;
    let rounded = values.iter().enumerate().map(|(index, value)| {
        let channel = index / inner % encoding.scale.len();
        let (scale, zero) = (encoding.scale[channel], i64::from(encoding.zero_point[channel]));
        let code = ((value / scale).round_ties_even() as i64 + zero).clamp(low, high);
        (code - zero) as f32 * scale
    });
    Tensor::from_vec(rounded.collect::<Vec<_>>(), x.dims(), &Device::Cpu)
}

struct Simulation<'a> {
    float: FloatPass<'a>,
    encodings: &'a BTreeMap<String, ImportedEncoding>,
}

impl Pass for Simulation<'_> {
    fn weight(&mut self, node: &Node) -> Result<Tensor> {
        let weight = self.float.weight(node)?;
        match self.encodings.get(&format!("{}.weight", node.name)) {
            Some(encoding) => simulated(&weight, encoding, encoding.axis),
            None => Ok(weight),
        }
    }

    fn bias(&mut self, node: &Node) -> Result<Option<Tensor>> {
        self.float.bias(node)
    }

    fn parameter(&mut self, node: &Node, part: &str) -> Result<Tensor> {
        self.float.parameter(node, part)
    }

    fn batch_norm(&mut self, node: &Node, eps: f64, x: &Tensor) -> Result<Tensor> {
        self.float.batch_norm(node, eps, x)
    }

    fn output(&mut self, node: &str, x: Tensor) -> Result<Tensor> {
        match self.encodings.get(&format!("{node}.output")) {
            Some(encoding) => simulated(&x, encoding, encoding.axis.map(|axis| axis + 1)),
            None => Ok(x),
        }
    }
}

fn output(imported: &Imported, input: &Tensor) -> Vec<f32> {
    let model = &imported.model;
    let mut pass =
        Simulation { float: FloatPass { weights: &model.weights }, encodings: &imported.encodings };
    let last = &model.graph.output().unwrap().name;
    forward(&model.graph, input, last, &mut pass).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn golden_exports_import_and_give_the_outputs_of_onnx_runtime() {
    let mut compared = 0;
    for (net, path) in exports() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let imported = import_file(&path, &ImportOptions::default()).unwrap();
        let is_quantized = name.contains("qdq");
        assert_eq!(is_quantized, !imported.encodings.is_empty(), "{name}");
        let tensors: HashMap<String, Tensor> =
            candle_core::safetensors::load(net.join("tensors.safetensors"), &Device::Cpu).unwrap();
        let Some(expected) = tensors.get(&format!("60_ort/{name}")) else {
            drop(writeln!(std::io::stderr(), "skipped: {name} has no reference output"));
            continue;
        };
        let expected: Vec<f32> = expected.flatten_all().unwrap().to_vec1().unwrap();
        let ours = output(&imported, &tensors["x_eval"]);
        assert_eq!(ours.len(), expected.len(), "{name}");
        let differences: Vec<f32> = ours.iter().zip(&expected).map(|(a, b)| (a - b).abs()).collect();
        let worst = differences.iter().copied().fold(0.0, f32::max);
        let last = &imported.model.graph.output().unwrap().name;
        let step = imported.encodings.get(&format!("{last}.output")).map_or(0.0, |e| e.scale[0]);
        let tolerance = if name.contains("a16") { FINE_TOLERANCE } else { TOLERANCE };
        let near = differences.iter().filter(|difference| **difference <= tolerance).count();
        eprintln!("{name}: {near} of {} outputs within {tolerance}, worst {worst}", ours.len());
        assert!(near as f64 >= SHARE * ours.len() as f64, "{name}");
        assert!(worst <= tolerance.max(2.0 * step + TOLERANCE), "{name}: {worst}, a step is {step}");
        compared += 1;
    }
    assert!(compared > 0 || exports().is_empty(), "nothing was compared");
}

#[test]
fn golden_exports_name_layers_and_points_as_the_tool_does() {
    for (net, path) in exports() {
        let imported = import_file(&path, &ImportOptions::default()).unwrap();
        let text = std::fs::read_to_string(net.join("net.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let nodes = json["structure"]["nodes"].as_array().unwrap();
        let is_layer =
            |node: &&serde_json::Value| ["Conv2d", "Linear"].contains(&node["op"].as_str().unwrap());
        let layers: Vec<&str> =
            nodes.iter().filter(is_layer).map(|node| node["name"].as_str().unwrap()).collect();
        for layer in layers {
            assert!(imported.model.weights.contains_key(&format!("{layer}.weight")), "{layer}");
            let has_encoding = imported.encodings.contains_key(&format!("{layer}.weight"));
            assert_eq!(has_encoding, !imported.encodings.is_empty(), "{layer}");
        }
        assert_eq!(imported.encodings.contains_key("input.output"), !imported.encodings.is_empty());
    }
}
