//! Where points stand, against aimet-torch 2.42.0 and against the variables of the pairwise-correlation method.
//!
//! The data lies outside the repository (`../shared/reference`; its READMEs say how it was made). Without it the tests
//! say so and pass.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use bitloop_core::graph::{Conv2d, Graph, INPUT, Input, Linear, Op, Padding, Point, PointKind, Pool, Shape};
use bitloop_core::placement::Placement;
use bitloop_core::trial::Granularity;
use serde_json::Value;

fn reference(folder: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/reference").join(folder);
    if folder.is_dir() {
        return Some(folder);
    }
    drop(writeln!(std::io::stderr(), "skipped: there is no {}", folder.display()));
    None
}

fn json(path: &Path) -> Value {
    let text = fs::read_to_string(path).expect("reference data can be read");
    serde_json::from_str(&text).expect("reference data is JSON")
}

/// The files of a reference folder whose paths below it end in `ending`.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the reference folder can be listed");
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.expect("the entry can be read").path()) {
        let inner = path.join("net.json");
        files.extend([path, inner].into_iter().filter(|path| {
            path.is_file() && path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(ending))
        }));
    }
    files.sort();
    assert!(!files.is_empty(), "{} holds no *{ending}", folder.display());
    files
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn size(value: &Value, key: &str) -> usize {
    value[key].as_u64().and_then(|number| usize::try_from(number).ok()).expect("a size")
}

fn input(shape: Vec<usize>) -> Input {
    let channels = shape[0];
    Input { shape: Shape(shape), mean: vec![0.0; channels], std: vec![1.0; channels] }
}

fn convolution(node: &Value) -> Op {
    Op::Conv2d(Conv2d {
        padding: Padding::all(size(node, "padding")),
        ..square(size(node, "out_channels"), size(node, "kernel"), size(node, "stride"), size(node, "groups"))
    })
}

/// A convolution that keeps the size of the image but for its stride.
fn square(out_channels: usize, kernel: usize, stride: usize, groups: usize) -> Conv2d {
    Conv2d {
        out_channels,
        kernel: [kernel, kernel],
        stride: [stride, stride],
        padding: Padding::all(kernel / 2),
        dilation: [1, 1],
        groups,
        bias: false,
    }
}

fn pool(kernel: usize, stride: usize, padding: usize) -> Pool {
    Pool {
        kernel: [kernel, kernel],
        stride: [stride, stride],
        padding: Padding::all(padding),
        count_padding: false,
    }
}

/// The network of a `net.json` as `base` has it: with its batch norms, or with the folded ones gone.
fn network(net: &Value, base: &str) -> Graph {
    let structure = &net["structure"];
    let shape = list(structure, "input").iter().map(|extent| extent.as_u64().expect("an extent") as usize);
    let mut graph = Graph::new(text(structure, "name"), input(shape.collect()));
    let folded: BTreeSet<&str> = list(net, "stages")
        .iter()
        .flat_map(|stage| list(stage, "folded"))
        .filter_map(|pair| pair[1].as_str())
        .filter(|_| base != "raw")
        .collect();
    let mut renamed: BTreeMap<&str, String> = BTreeMap::new();
    for node in list(structure, "nodes") {
        let inputs: Vec<String> = list(node, "inputs")
            .iter()
            .map(|input| input.as_str().expect("a name"))
            .map(|input| renamed.get(input).cloned().unwrap_or_else(|| input.to_owned()))
            .collect();
        if folded.contains(text(node, "name")) {
            renamed.insert(text(node, "name"), inputs[0].clone());
            continue;
        }
        let op = match text(node, "op") {
            "Conv2d" => convolution(node),
            "Linear" => Op::Linear(Linear { out_features: size(node, "out_features"), bias: false }),
            "BatchNorm2d" | "BatchNorm1d" => Op::BatchNorm { eps: 1e-5 },
            "ReLU" => Op::Relu,
            "ReLU6" if base == "cle_hbf" => Op::Relu,
            "ReLU6" => Op::Relu6,
            "Add" => Op::Add,
            "AdaptiveAvgPool2d" if size(node, "output") == 1 => Op::GlobalAveragePool,
            "AdaptiveAvgPool2d" => {
                let before = graph.shapes().expect("the network so far is right").pop().expect("a node");
                let window = before.0[1] / size(node, "output");
                Op::AveragePool(pool(window, window, 0))
            }
            "Flatten" => Op::Flatten,
            other => panic!("the reference network has a {other}, which this test does not know"),
        };
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        graph.push(text(node, "name"), op, &inputs);
    }
    graph
}

fn rules(config: &str) -> Placement {
    let file = Path::new(config).with_extension("yaml");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules").join(file);
    let text = fs::read_to_string(&path).expect("every config of the reference data has its rules file here");
    Placement::parse(&text).expect("the rules file has no mistake")
}

/// The tensor whose activation slot this is.
fn tensor(graph: &Graph, slot: &Value) -> String {
    let module = text(slot, "module");
    match text(slot, "kind") {
        "input" => {
            let key = slot["key"].as_u64().expect("inputs are numbered") as usize;
            graph.node(module).expect("the module is a node").inputs[key].clone()
        }
        _ => module.to_owned(),
    }
}

/// Compares the points of a network with the slots that the tool enables.
fn check_simulation(graph: &Graph, simulation: &Value, context: &str) {
    let placement = rules(text(simulation, "config"));
    let points = placement.points(graph).expect("the network is right");
    let enabled = list(simulation, "quantizers").iter().filter(|slot| slot["enabled"] == true);
    let (weights, activations): (Vec<_>, Vec<_>) = enabled.partition(|slot| slot["kind"] == "param");
    // The tool also quantizes the factors of batch norms that cannot be folded; ours stay float.
    let is_layer = |module: &str| graph.node(module).is_some_and(|node| node.op.has_weight());
    let weights: Vec<_> = weights.into_iter().filter(|slot| is_layer(text(slot, "module"))).collect();
    for slot in &weights {
        assert_eq!(text(slot, "key"), "weight", "{context}: biases stay float");
        let per_tensor = list(slot, "shape").is_empty();
        assert_eq!(per_tensor, placement.weights.granularity == Granularity::PerTensor, "{context}");
    }
    let expected: BTreeSet<String> =
        weights.iter().map(|slot| format!("{}.weight", text(slot, "module"))).collect();
    let of_kind = |kind: PointKind| points.iter().filter(move |point| point.kind == kind);
    let placed: BTreeSet<String> = of_kind(PointKind::Weight).map(|point| point.name.clone()).collect();
    assert_eq!(placed, expected, "{context}");

    let encodings: BTreeMap<String, String> = activations
        .iter()
        .map(|slot| (tensor(graph, slot), format!("scale {} offset {}", slot["scale"], slot["offset"])))
        .collect();
    let placed: Vec<&String> = of_kind(PointKind::Activation).flat_map(|point| &point.tensors).collect();
    let expected: BTreeSet<&String> = encodings.keys().collect();
    assert_eq!(placed.len(), expected.len(), "{context}: a tensor has one quantizer");
    assert_eq!(placed.into_iter().collect::<BTreeSet<_>>(), expected, "{context}");
    let mut seen = BTreeMap::new();
    for point in of_kind(PointKind::Activation) {
        let shared: BTreeSet<&String> = point.tensors.iter().map(|tensor| &encodings[tensor]).collect();
        assert_eq!(
            shared.len(),
            1,
            "{context}: {} has one encoding for all of {:?}",
            point.name,
            point.tensors
        );
        let other = seen.insert(shared, &point.name);
        assert_eq!(other, None, "{context}: {} has another's encoding, so they are one point", point.name);
    }
}

#[test]
fn golden_placement_of_aimet() {
    let Some(folder) = reference("aimet") else { return };
    for path in files(&folder, "net.json") {
        let net = json(&path);
        let simulations = list(&net, "quantsim");
        assert!(!simulations.is_empty(), "{} has no simulation", path.display());
        for simulation in simulations {
            let base = text(simulation, "base");
            let name = text(simulation, "name");
            check_simulation(&network(&net, base), simulation, &format!("{} {name}", path.display()));
        }
    }
}

/// Builds the network that a `*_layers.json` lists, with a batch norm and a rectifier behind each convolution.
struct Builder<'a> {
    graph: Graph,
    layers: &'a [Value],
    /// Height of the image at each node so far.
    heights: BTreeMap<String, usize>,
    rectifier: Op,
}

impl Builder<'_> {
    /// The layer's name: that of its variable, or one after its place for those without.
    fn name(&self, index: usize) -> String {
        match self.layers[index]["weight_variable"].as_str() {
            Some(variable) => variable.to_owned(),
            None if index == 0 => "features.init_block.conv".to_owned(),
            None if index + 1 == self.layers.len() => "output".to_owned(),
            None if index + 2 == self.layers.len() => "features.final_block.conv".to_owned(),
            None => format!("shortcut{index}.conv"),
        }
    }

    /// Appends layer `index` with its batch norm, and a rectifier if `rectified`.
    fn layer(&mut self, index: usize, from: &str, rectified: bool) -> String {
        let layer = &self.layers[index];
        let name = self.name(index);
        let height = size(layer, "hw_true_output").isqrt();
        let stride = self.heights[from] / height;
        let op = square(size(layer, "c_out"), size(layer, "k"), stride, size(layer, "groups"));
        let conv = self.graph.push(&name, Op::Conv2d(op), &[from]);
        let mut last = self.graph.push(format!("{name}.bn"), Op::BatchNorm { eps: 1e-5 }, &[&conv]);
        if rectified {
            last = self.graph.push(format!("{name}.relu"), self.rectifier.clone(), &[&last]);
        }
        self.heights.insert(last.clone(), height);
        last
    }

    fn sum(&mut self, one: &str, other: &str) -> String {
        let sum = self.graph.push(format!("{one}.sum"), Op::Add, &[one, other]);
        self.heights.insert(sum.clone(), self.heights[one]);
        sum
    }
}

/// Three convolutions a block; the identity is added where shapes agree, or goes through a layer of its own.
fn blocks(layers: &[Value], residual: bool) -> Graph {
    let rectifier = if residual { Op::Relu } else { Op::Relu6 };
    let graph = Graph::new("listed", input(vec![3, 224, 224]));
    let heights = BTreeMap::from([(INPUT.to_owned(), 224)]);
    let mut net = Builder { graph, layers, heights, rectifier };
    let mut last = net.layer(0, INPUT, true);
    if residual {
        last = net.graph.push("pool", Op::MaxPool(pool(3, 2, 1)), &[&last]);
        net.heights.insert(last.clone(), 56);
    }
    let mut index = 1;
    while layers.get(index).is_some_and(|layer| !layer["weight_variable"].is_null()) {
        let start = last;
        last = net.layer(index, &start, true);
        last = net.layer(index + 1, &last, true);
        last = net.layer(index + 2, &last, false);
        let same =
            layers[index]["c_in"] == layers[index + 2]["c_out"] && net.heights[&start] == net.heights[&last];
        index += 3;
        if residual && !same {
            let shortcut = net.layer(index, &start, false);
            last = net.sum(&last, &shortcut);
            index += 1;
        } else if same {
            last = net.sum(&last, &start);
        }
        if residual {
            let height = net.heights[&last];
            last = net.graph.push(format!("{last}.relu"), Op::Relu, &[&last]);
            net.heights.insert(last.clone(), height);
        }
    }
    if !residual {
        last = net.layer(index, &last, true);
    }
    let last = net.graph.push("average", Op::GlobalAveragePool, &[&last]);
    net.graph.push("output", Op::Linear(Linear { out_features: 1000, bias: true }), &[&last]);
    net.graph
}

#[test]
fn golden_placement_of_the_pairwise_method() {
    let Some(folder) = reference("pairwise_mpq") else { return };
    let placement = Placement::preset("pairwise_mpq").expect("the preset is built in");
    for path in files(&folder, "_layers.json") {
        let listed = json(&path);
        let context = path.display();
        let graph = blocks(list(&listed, "layers"), path.to_string_lossy().contains("resnet"));

        let points = placement.points(&graph).expect("the network is right");

        let costs = graph.layer_costs_with(&points).expect("the network is right");
        let input_of: BTreeMap<&str, &str> = costs
            .iter()
            .map(|cost| (cost.node.as_str(), cost.input_point.as_deref().expect("layers read points")))
            .collect();
        // Even variables are activations, each odd one is the weight of the layer that reads the one before it.
        let variables: Vec<&str> = list(&listed, "variables").iter().filter_map(Value::as_str).collect();
        let expected: Vec<String> = variables
            .chunks_exact(2)
            .flat_map(|pair| [input_of[pair[1]].to_owned(), format!("{}.weight", pair[1])])
            .collect();
        let searchable: Vec<&Point> = points.iter().filter(|point| !point.fixed).collect();
        let names: Vec<String> = searchable.iter().map(|point| point.name.clone()).collect();
        assert_eq!(names, expected, "{context}");
        for layer in list(&listed, "layers") {
            if let Some(variable) = layer["weight_variable"].as_str() {
                let name = format!("{variable}.weight");
                let point = points.iter().find(|point| point.name == name).expect("the weight has a point");
                let k = size(layer, "k");
                let weights = size(layer, "c_out") * size(layer, "c_in") / size(layer, "groups") * k * k;
                assert_eq!(point.elements, weights, "{context}: {name}");
            }
        }
        let fixed = points.iter().filter(|point| point.fixed && point.kind == PointKind::Weight).count();
        let fixed_layers = list(&listed, "layers").iter().filter(|layer| layer["fixed_8bit"] == true);
        // The classifier of one of the tables is a size only.
        let output_only = usize::from(listed["extra_fixed_params"].as_u64().is_some_and(|extra| extra > 0));
        assert_eq!(fixed, fixed_layers.count() + output_only, "{context}");
    }
}
