//! Reads the reference networks of `../shared/reference/aimet/net_*` as models of ours.

#![allow(dead_code, reason = "every test program uses another part")]

pub(crate) mod given;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use bitloop_core::graph::{Conv2d, Graph, INPUT, Input, Linear, Op, Padding, Pool, Shape};
use bitloop_quant::executor::{self, FloatPass};
use bitloop_quant::model::{Model, expected_tensors};
use candle_core::{Device, Tensor};
use serde_json::Value;

/// The network as trained, with its batch norms.
pub(crate) const RAW: &str = "00_raw";
/// Batch norms folded.
pub(crate) const FOLDED: &str = "10_bn_folded";
/// From here on ReLU6 is ReLU, but for the one stage below.
const RELU6_REPLACED: &str = "20_";
/// A branch off the folded network.
const RELU6_KEPT: &str = "25_";

/// A reference network: its description and every tensor.
pub(crate) struct Net {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    pub(crate) json: Value,
    pub(crate) tensors: BTreeMap<String, Tensor>,
}

/// Returns every reference network; none, with the reason printed, where the data is absent.
pub(crate) fn nets() -> Vec<Net> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/reference/aimet"));
    let Ok(entries) = std::fs::read_dir(&folder) else {
        drop(writeln!(std::io::stderr(), "skipped: there is no {}", folder.display()));
        return Vec::new();
    };
    let mut folders: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    folders.retain(|folder| folder.join("net.json").is_file());
    folders.sort();
    if folders.is_empty() {
        drop(writeln!(std::io::stderr(), "skipped: {} has no net_*/net.json", folder.display()));
    }
    folders.into_iter().map(Net::read).collect()
}

impl Net {
    fn read(folder: PathBuf) -> Self {
        let name = folder.file_name().expect("a folder has a name").to_string_lossy().into_owned();
        let json = read_json(&folder.join("net.json"));
        let tensors = read_tensors(&folder.join("tensors.safetensors"));
        Self { name, folder, json, tensors }
    }

    /// Returns the network at a stage: its graph from the description, its weights from the tensors.
    ///
    /// A stage without tensors of its own has those of the folded network.
    pub(crate) fn model(&self, stage: &str) -> Model {
        let graph = self.graph(stage);
        let mut weights = BTreeMap::new();
        for (name, _) in expected_tensors(&graph).expect("the description is a valid graph") {
            let theirs = match graph.node(name.rsplit_once('.').expect("a weight has a node").0) {
                Some(node) if matches!(node.op, Op::BatchNorm { .. }) => {
                    name.replace(".gamma", ".weight").replace(".beta", ".bias")
                }
                _ => name.clone(),
            };
            let tensor = self.tensors.get(&format!("{stage}/{theirs}"));
            let tensor = tensor.or_else(|| self.tensors.get(&format!("{FOLDED}/{theirs}")));
            weights.insert(name, tensor.unwrap_or_else(|| panic!("no tensor {stage}/{theirs}")).clone());
        }
        Model::new(graph, weights).expect("description and tensors fit")
    }

    /// Returns the graph of a stage, built from the description alone.
    pub(crate) fn graph(&self, stage: &str) -> Graph {
        let structure = &self.json["structure"];
        let shape = Shape(numbers(&structure["input"]));
        let channels = shape.channels();
        let input = Input { shape, mean: vec![0.0; channels], std: vec![1.0; channels] };
        let mut graph = Graph::new(text(structure, "name"), input);
        let folded = if stage < FOLDED { Vec::new() } else { self.folded() };
        let mut read_instead: BTreeMap<String, String> = BTreeMap::new();
        for node in list(&structure["nodes"]) {
            let name = text(node, "name");
            let inputs = list(&node["inputs"]).iter().map(|input| {
                let mut input = input.as_str().expect("inputs are names");
                while let Some(instead) = read_instead.get(input) {
                    input = instead;
                }
                input.to_owned()
            });
            let inputs: Vec<String> = inputs.collect();
            if folded.iter().any(|(_, norm)| norm == name) {
                read_instead.insert(name.to_owned(), inputs[0].clone());
                continue;
            }
            let mut op = operator(node, &graph, &inputs);
            let has_bias = folded.iter().any(|(layer, _)| layer == name);
            match &mut op {
                Op::Conv2d(conv) => conv.bias |= has_bias,
                Op::Linear(linear) => linear.bias |= has_bias,
                Op::Relu6 if stage >= RELU6_REPLACED && !stage.starts_with(RELU6_KEPT) => op = Op::Relu,
                _ => {}
            }
            graph.push(name, op, &inputs.iter().map(String::as_str).collect::<Vec<_>>());
        }
        graph
    }

    /// Returns the pairs of layer and folded batch norm, in the reference's order.
    pub(crate) fn folded(&self) -> Vec<(String, String)> {
        let stage = self.stage(FOLDED).expect("every network has a folded stage");
        list(&stage["folded"]).iter().map(|pair| (string(&pair[0]), string(&pair[1]))).collect()
    }

    /// Returns what is written about a stage.
    pub(crate) fn stage(&self, name: &str) -> Option<&Value> {
        list(&self.json["stages"]).iter().find(|stage| stage["name"] == name)
    }

    /// Returns a tensor by its name in the reference.
    pub(crate) fn tensor(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("{} has no tensor {name}", self.name))
    }

    /// Returns the images that outputs are given for, `(n, channels, height, width)`, normalized.
    pub(crate) fn x_eval(&self) -> Tensor {
        self.tensor("x_eval").clone()
    }

    /// Returns the calibration images in batches of 32, as the reference saw them.
    pub(crate) fn x_calib(&self) -> Vec<Tensor> {
        let images = self.tensor("x_calib");
        let count = images.dims()[0];
        let batch = |start| images.narrow(0, start, 32.min(count - start)).expect("the range is inside");
        (0..count).step_by(32).map(batch).collect()
    }

    /// Returns what the float network gives for [`Net::x_eval`].
    pub(crate) fn output(&self, model: &Model) -> Tensor {
        let output = &model.graph.output().expect("the graph has nodes").name;
        let mut pass = FloatPass { weights: &model.weights };
        executor::forward(&model.graph, &self.x_eval(), output, &mut pass).expect("the network runs")
    }
}

fn operator(node: &Value, graph: &Graph, inputs: &[String]) -> Op {
    match text(node, "op") {
        "Conv2d" => Op::Conv2d(Conv2d {
            out_channels: number(node, "out_channels"),
            kernel: [number(node, "kernel"); 2],
            stride: [number(node, "stride"); 2],
            padding: Padding::all(number(node, "padding")),
            dilation: [1, 1],
            groups: number(node, "groups"),
            bias: node["bias"].as_bool().expect("bias is a boolean"),
        }),
        "Linear" => Op::Linear(Linear {
            out_features: number(node, "out_features"),
            bias: node["bias"].as_bool().expect("bias is a boolean"),
        }),
        "BatchNorm2d" | "BatchNorm1d" => {
            Op::BatchNorm { eps: node["eps"].as_f64().expect("eps is a number") }
        }
        "ReLU" => Op::Relu,
        "ReLU6" => Op::Relu6,
        "Add" => Op::Add,
        "Flatten" => Op::Flatten,
        "AdaptiveAvgPool2d" => adaptive_pool(number(node, "output"), graph, &inputs[0]),
        other => panic!("the description has an operator {other} that this reader does not know"),
    }
}

fn adaptive_pool(output: usize, graph: &Graph, input: &str) -> Op {
    if output == 1 {
        return Op::GlobalAveragePool;
    }
    let shapes = graph.shapes().expect("the graph so far is valid");
    let position = graph.nodes.iter().position(|node| node.name == input && input != INPUT);
    let size = shapes[position.expect("a pool reads an earlier node")].0[1];
    assert_eq!(size % output, 0, "an adaptive pool with unequal windows");
    let kernel = [size / output; 2];
    Op::AveragePool(Pool { kernel, stride: kernel, padding: Padding::default(), count_padding: false })
}

/// Asserts that every element is within an absolute tolerance, and returns the largest difference.
pub(crate) fn assert_close(what: &str, ours: &Tensor, theirs: &Tensor, tolerance: f64) -> f64 {
    assert_eq!(ours.dims(), theirs.dims(), "{what}: shapes");
    let (ours, theirs) = (values(ours), values(theirs));
    let mut largest = 0.0_f64;
    for (index, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        let difference = (f64::from(*ours) - f64::from(*theirs)).abs();
        assert!(difference <= tolerance, "{what}: element {index} is {ours}, expected {theirs}");
        largest = largest.max(difference);
    }
    largest
}

pub(crate) fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("a tensor of f32 on the CPU")
}

pub(crate) fn read_json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn read_tensors(path: &Path) -> BTreeMap<String, Tensor> {
    let tensors = candle_core::safetensors::load(path, &Device::Cpu);
    tensors.unwrap_or_else(|error| panic!("{}: {error}", path.display())).into_iter().collect()
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no text `{key}` in {value}"))
}

pub(crate) fn string(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

pub(crate) fn number(value: &Value, key: &str) -> usize {
    value[key].as_u64().unwrap_or_else(|| panic!("no number `{key}` in {value}")) as usize
}

fn numbers(value: &Value) -> Vec<usize> {
    list(value).iter().map(|v| v.as_u64().expect("a whole number") as usize).collect()
}
