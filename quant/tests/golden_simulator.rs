//! The whole way from calibration images to the outputs of a quantized network, against the simulator of AIMET
//! (`../shared/reference/aimet/net_*/net.json`, `quantsim`): every scale and offset, then what the network gives.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use bitloop_core::bits::Bits;
use bitloop_core::graph::{Graph, INPUT, Node, Op, Point, PointKind};
use bitloop_core::placement::Placement;
use bitloop_core::trial::{ActivationRule, Calibration, Granularity, Scheme, WeightRule};
use bitloop_quant::calibration::{Batches, calibrate_blocks};
use bitloop_quant::executor::{self, FloatPass, Pass};
use bitloop_quant::model::Model;
use bitloop_quant::quantizer::{Detail, Encoding, Grid, Observer, fake_quantize};
use candle_core::{Result, Tensor};
use common::{FOLDED, Net, RAW, list, nets, number, text, values};
use serde_json::Value;

/// Relative, of scales, as the data's README states.
const SCALE_TOLERANCE: f64 = 1e-5;
/// Absolute, of outputs, likewise; and the share of them that must be that close, as rounding at ties cascades.
const OUTPUT_TOLERANCE: f64 = 1e-4;
const OUTPUT_SHARE: f64 = 0.95;
/// The same of networks with activations of 16 bit.
const FINE_TOLERANCE: f64 = 1e-3;
/// How far the other outputs may be, in steps of the output's grid.
const OUTPUT_STEPS: f64 = 2.0;

/// What was compared, and the largest differences.
#[derive(Default)]
struct Compared {
    entries: usize,
    quantizers: usize,
    scales: usize,
    elements: usize,
    beyond: usize,
    scale_difference: f64,
    output_steps: f64,
    /// By width and scheme.
    distance_to_float: BTreeMap<String, f64>,
}

/// One simulation of the reference, with the network it is about.
struct Simulation<'a> {
    context: String,
    entry: &'a Value,
    model: Model,
    points: Vec<Point>,
    weights: WeightRule,
    activations: ActivationRule,
}

impl<'a> Simulation<'a> {
    fn new(net: &Net, entry: &'a Value) -> Self {
        let stage = match text(entry, "base") {
            "raw" => RAW,
            "folded" => FOLDED,
            "cle_hbf" => "40_hbf",
            other => panic!("the simulation starts from {other}, which this test does not know"),
        };
        let calibration = match text(entry, "scheme") {
            "min_max" => Calibration::MinMax,
            "post_training_tf_enhanced" => Calibration::TfEnhanced,
            other => panic!("the simulation calibrates by {other}, which this test does not know"),
        };
        let placement = rules(text(entry, "config"));
        let model = net.model(stage);
        let points = placement.points(&model.graph).expect("the network is right");
        let granularity = placement.weights.granularity;
        Self {
            context: format!("{} {}", net.name, text(entry, "name")),
            entry,
            model,
            points,
            weights: WeightRule { scheme: Scheme::Symmetric, granularity, calibration },
            activations: ActivationRule { scheme: Scheme::Asymmetric, calibration },
        }
    }

    fn bits(&self, key: &str) -> Bits {
        u8::try_from(number(self.entry, key)).ok().and_then(|bits| Bits::new(bits).ok()).expect("a width")
    }

    /// The encodings of weights by node.
    fn weight_encodings(&self) -> BTreeMap<String, Encoding> {
        let weight = |name: &str, rule| {
            let weight = self.model.weights.get(name).expect("the weight is there");
            Encoding::of_weight(weight, rule, self.bits("param_bits")).expect("the weight has a range")
        };
        let points = self.points.iter().filter(|point| point.kind == PointKind::Weight);
        let mut weights: BTreeMap<String, Encoding> =
            points.map(|point| (point.node.clone(), weight(&point.name, self.weights))).collect();
        // The tool also quantizes the factors of batch norms that cannot be folded, with one scale; our rules do not,
        // so that the test has to do it.
        let per_tensor = WeightRule { granularity: Granularity::PerTensor, ..self.weights };
        let norms = self.slots().filter(|slot| slot["kind"] == "param" && self.is_norm(slot));
        let norms = norms.map(|slot| text(slot, "module").to_owned());
        weights.extend(norms.map(|node| (node.clone(), weight(&format!("{node}.gamma"), per_tensor))));
        weights
    }

    /// The network's weights, those with an encoding on their grids.
    fn quantized(&self, encodings: &BTreeMap<String, Encoding>) -> BTreeMap<String, Tensor> {
        let mut quantized = self.model.weights.clone();
        for (node, encoding) in encodings {
            let part = if quantized.contains_key(&format!("{node}.gamma")) { "gamma" } else { "weight" };
            let weight = quantized.get_mut(&format!("{node}.{part}")).expect("the weight is there");
            *weight = fake_quantize(weight, encoding).expect("the encoding fits");
        }
        quantized
    }

    /// The encodings of activations by tensor, calibrated as the tool does it: see [`Calibrating`].
    fn activation_encodings(
        &self,
        net: &Net,
        quantized: &BTreeMap<String, Tensor>,
    ) -> BTreeMap<String, Encoding> {
        let detail = Detail::of(self.activations.calibration);
        let activations = self.points.iter().filter(|point| point.kind == PointKind::Activation);
        let activations: Vec<&Point> = activations.collect();
        let mut pass = Calibrating {
            float: FloatPass { weights: quantized },
            tensors: tensors(&activations),
            observers: vec![Observer::new(detail); activations.len()],
            rule: self.activations,
            bits: self.bits("act_bits"),
        };
        let output = &self.model.graph.output().expect("the graph has nodes").name;
        for batch in net.x_calib() {
            executor::forward(&self.model.graph, &batch, output, &mut pass).expect("the network runs");
        }
        let encodings: Vec<Encoding> = pass.observers.iter().map(|seen| pass.encoding(seen)).collect();
        let tensors = tensors(&activations).into_iter();
        tensors.map(|(tensor, point)| (tensor.to_owned(), encodings[point].clone())).collect()
    }

    /// How far the scales of activations are, relatively, from those that a walk of the float network gives.
    fn distance_to_float(&self, net: &Net, encodings: &BTreeMap<String, Encoding>) -> f64 {
        let detail = Detail::of(self.activations.calibration);
        let batches = Batches { blocks: &net.x_calib(), detail };
        let statistics = calibrate_blocks(&self.model, &self.points, batches, 2, &AtomicBool::new(false));
        let statistics = statistics.expect("the network runs").expect("nobody says stop");
        assert_eq!(statistics.images(), net.tensor("x_calib").dims()[0] as u64);
        let activations = self.points.iter().filter(|point| point.kind == PointKind::Activation);
        let distances = activations.map(|point| {
            let ours = statistics.encoding(&point.name, self.activations, self.bits("act_bits"));
            let ours = f64::from(ours.expect("the point was calibrated").scale()[0]);
            let theirs = f64::from(encodings[&point.tensors[0]].scale()[0]);
            let distance = (ours - theirs).abs() / theirs;
            // The input is the same for both.
            assert!(point.node != INPUT || distance <= SCALE_TOLERANCE, "{}: the input", self.context);
            distance
        });
        distances.fold(0.0, f64::max)
    }

    /// The quantizers that the tool switched on.
    fn slots(&self) -> impl Iterator<Item = &'a Value> {
        list(&self.entry["quantizers"]).iter().filter(|slot| slot["enabled"] == true)
    }

    fn is_norm(&self, slot: &Value) -> bool {
        let node = self.model.graph.node(text(slot, "module")).expect("the module is a node");
        matches!(node.op, Op::BatchNorm { .. })
    }

    fn check(&self, net: &Net, compared: &mut Compared) {
        let weights = self.weight_encodings();
        let quantized = self.quantized(&weights);
        let activations = self.activation_encodings(net, &quantized);
        let mut used = [weights.len(), activations.len()];
        for slot in self.slots() {
            let (index, ours) = match text(slot, "kind") {
                "param" => (0, weights.get(text(slot, "module"))),
                _ => (1, activations.get(&tensor(&self.model.graph, slot))),
            };
            let what = format!("{}: {} {}", self.context, text(slot, "module"), text(slot, "kind"));
            check_encoding(&what, ours.unwrap_or_else(|| panic!("{what} has no encoding")), slot, compared);
            used[index] -= 1;
        }
        assert_eq!(used, [0, 0], "{}: every quantizer of ours is one of the tool's", self.context);
        self.check_output(net, (&quantized, &activations), compared);
        let distance = self.distance_to_float(net, &activations);
        let bits = self.bits("act_bits").to_string() + " bit " + text(self.entry, "scheme");
        let farthest = compared.distance_to_float.entry(bits).or_default();
        *farthest = farthest.max(distance);
        compared.entries += 1;
    }

    fn check_output(
        &self,
        net: &Net,
        (quantized, activations): (&BTreeMap<String, Tensor>, &BTreeMap<String, Encoding>),
        compared: &mut Compared,
    ) {
        let output = &self.model.graph.output().expect("the graph has nodes").name;
        let step = f64::from(activations[output].scale()[0]);
        let mut pass = Quantized { float: FloatPass { weights: quantized }, activations };
        let ours = executor::forward(&self.model.graph, &net.x_eval(), output, &mut pass);
        let (ours, theirs) =
            (values(&ours.expect("it runs")), values(net.tensor(text(self.entry, "output"))));
        assert_eq!(ours.len(), theirs.len(), "{}", self.context);
        let differences = ours.iter().zip(&theirs).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs());
        let differences: Vec<f64> = differences.collect();
        let is_fine = self.bits("act_bits").get() == 16;
        let tolerance = if is_fine { FINE_TOLERANCE } else { OUTPUT_TOLERANCE };
        let beyond = differences.iter().filter(|difference| **difference > tolerance).count();
        let worst = differences.iter().copied().fold(0.0, f64::max);
        let allowed = if is_fine { 0.0 } else { 1.0 - OUTPUT_SHARE };
        let share = beyond as f64 / ours.len() as f64;
        eprintln!(
            "{}: {beyond} of {} outputs differ, worst {:.3} steps",
            self.context,
            ours.len(),
            worst / step
        );
        assert!(share <= allowed, "{}: {beyond} of {} outputs", self.context, ours.len());
        assert!(
            worst <= OUTPUT_STEPS * step + OUTPUT_TOLERANCE,
            "{}: {worst}, a step is {step}",
            self.context
        );
        compared.elements += ours.len();
        compared.beyond += beyond;
        if !is_fine {
            compared.output_steps = compared.output_steps.max(worst / step);
        }
    }
}

/// The rules of a config of the tool, as core's tests have them.
fn rules(config: &str) -> Placement {
    let file = Path::new(config).with_extension("yaml");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/rules").join(file);
    let text = std::fs::read_to_string(&path).expect("every config of the reference data has its rules file");
    Placement::parse(&text).expect("the rules file has no mistake")
}

/// The tensor whose activation slot this is.
fn tensor(graph: &Graph, slot: &Value) -> String {
    let module = text(slot, "module");
    match text(slot, "kind") {
        "input" => graph.node(module).expect("the module is a node").inputs[number(slot, "key")].clone(),
        _ => module.to_owned(),
    }
}

fn check_encoding(what: &str, ours: &Encoding, slot: &Value, compared: &mut Compared) {
    let grid = ours.grid();
    let ends = [i64::from(grid.qmin()), i64::from(grid.qmax())];
    assert_eq!([slot["qmin"].as_i64(), slot["qmax"].as_i64()], ends.map(Some), "{what}: grid");
    assert_eq!(slot["symmetric"].as_bool(), Some(grid.is_symmetric()), "{what}: grid");
    let offsets: Vec<Option<i64>> = list(&slot["offset"]).iter().map(Value::as_i64).collect();
    let own: Vec<Option<i64>> = ours.offset().iter().map(|offset| Some(i64::from(*offset))).collect();
    assert_eq!(own, offsets, "{what}: offsets");
    let scales = list(&slot["scale"]);
    assert_eq!(ours.scale().len(), scales.len(), "{what}: number of scales");
    for (channel, (ours, theirs)) in ours.scale().iter().zip(scales).enumerate() {
        let theirs = theirs.as_f64().expect("a scale is a number");
        let difference = (f64::from(*ours) - theirs).abs() / theirs;
        assert!(difference <= SCALE_TOLERANCE, "{what}: scale {channel} is {ours}, expected {theirs}");
        compared.scale_difference = compared.scale_difference.max(difference);
    }
    compared.scales += scales.len();
    compared.quantizers += 1;
}

/// The points of tensors, by position.
fn tensors<'a>(points: &[&'a Point]) -> BTreeMap<&'a str, usize> {
    let tensors = points.iter().enumerate();
    tensors
        .flat_map(|(index, point)| point.tensors.iter().map(move |tensor| (tensor.as_str(), index)))
        .collect()
}

/// The tool's way to calibrate: weights are on their grids, and every activation is passed on as it is on the grid of
/// the batch at hand alone. Ours watches the float network, so that one walk serves all widths.
struct Calibrating<'a> {
    float: FloatPass<'a>,
    tensors: BTreeMap<&'a str, usize>,
    /// By position of the point.
    observers: Vec<Observer>,
    rule: ActivationRule,
    bits: Bits,
}

impl Calibrating<'_> {
    fn encoding(&self, seen: &Observer) -> Encoding {
        let grid = Grid::of(self.rule.scheme, self.bits);
        let encoding = Encoding::calibrated(std::slice::from_ref(seen), grid, self.rule.calibration);
        encoding.expect("something was seen")
    }
}

impl Pass for Calibrating<'_> {
    fn weight(&mut self, node: &Node) -> Result<Tensor> {
        self.float.weight(node)
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
        let Some(&point) = self.tensors.get(node) else { return Ok(x) };
        let values = values(&x);
        self.observers[point].observe(&values).map_err(candle_core::Error::wrap)?;
        let mut batch = Observer::new(self.observers[point].detail());
        batch.observe(&values).map_err(candle_core::Error::wrap)?;
        fake_quantize(&x, &self.encoding(&batch)).map_err(candle_core::Error::wrap)
    }
}

/// A walk over weights on their grids that puts activations on theirs.
struct Quantized<'a> {
    float: FloatPass<'a>,
    activations: &'a BTreeMap<String, Encoding>,
}

impl Pass for Quantized<'_> {
    fn weight(&mut self, node: &Node) -> Result<Tensor> {
        self.float.weight(node)
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
        match self.activations.get(node) {
            Some(encoding) => fake_quantize(&x, encoding).map_err(candle_core::Error::wrap),
            None => Ok(x),
        }
    }
}

#[test]
fn golden_simulations_have_the_scales_and_outputs_of_the_reference() {
    let mut compared = Compared::default();
    let nets = nets();
    for net in &nets {
        let entries = list(&net.json["quantsim"]);
        assert!(!entries.is_empty(), "{} has no simulation", net.name);
        for entry in entries {
            Simulation::new(net, entry).check(net, &mut compared);
        }
    }
    let Compared { entries, quantizers, scales, elements, beyond, .. } = compared;
    eprintln!(
        "{entries} simulations, {quantizers} quantizers with {scales} scales, worst {:.1e} relative",
        compared.scale_difference
    );
    eprintln!(
        "{elements} outputs, {beyond} beyond the tolerance, worst {:.3} steps at 8 bit or fewer",
        compared.output_steps
    );
    for (bits, distance) in compared.distance_to_float {
        eprintln!("{bits}: scales from the float network differ by up to {distance:.1e}");
    }
}
