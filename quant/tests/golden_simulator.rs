//! The whole way from calibration images to the outputs of a quantized network, against the simulator of AIMET
//! (`../shared/reference/aimet/net_*/net.json`, `quantsim`): every scale and offset, then what the network gives.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use bitloop_core::bits::Bits;
use bitloop_core::graph::{Graph, INPUT, Op, Point, PointKind};
use bitloop_core::placement::Placement;
use bitloop_core::trial::{ActivationRule, Calibration, Granularity, Scheme, WeightRule};
use bitloop_quant::calibration::{Batches, calibrate_blocks};
use bitloop_quant::model::Model;
use bitloop_quant::quantizer::{Detail, Encoding, Grid, fake_quantize};
use candle_core::Tensor;
use common::given::Given;
use common::{FOLDED, Net, RAW, list, nets, number, text, values};
use serde_json::Value;

/// Relative, of scales, as the data's README states.
const SCALE_TOLERANCE: f64 = 1e-5;
/// Relative, of a scale that a search over a histogram ended at instead; such are counted, and the tool's is used on.
const CANDIDATE_DISTANCE: f64 = 1e-2;
/// How many such there may be, of all quantizers.
const CANDIDATE_SHARE: f64 = 2e-3;
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
    /// The same by integer arithmetic, which adds in another order and scales once, so that other halves are not reached.
    exact_elements: usize,
    exact_beyond: usize,
    exact_steps: f64,
    scale_difference: f64,
    output_steps: f64,
    other_candidates: usize,
    /// Weights that division puts on another code than the tool; outputs that are more than half a step off by it, and
    /// by how many steps.
    other_weights: usize,
    beyond_by_division: usize,
    steps_by_division: f64,
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

    /// The network with the weights that have an encoding on their grids; `round` puts them there.
    fn quantized(
        &self,
        encodings: &BTreeMap<String, Encoding>,
        round: impl Fn(&Tensor, &Encoding) -> Tensor,
    ) -> Model {
        let mut quantized = self.model.clone();
        for (node, encoding) in encodings {
            let is_norm = quantized.weights.contains_key(&format!("{node}.gamma"));
            let name = format!("{node}.{}", if is_norm { "gamma" } else { "weight" });
            let weight = quantized.weights.get_mut(&name).expect("the weight is there");
            *weight = round(weight, encoding);
        }
        quantized
    }

    /// The encodings of activations by tensor, as the activations of `model` give them.
    fn activation_encodings(&self, net: &Net, model: &Model) -> BTreeMap<String, Encoding> {
        let detail = Detail::of(self.activations.calibration);
        let batches = Batches { blocks: &net.x_calib(), detail };
        let statistics = calibrate_blocks(model, &self.points, batches, 2, &AtomicBool::new(false));
        let statistics = statistics.expect("the network runs").expect("nobody says stop");
        assert_eq!(statistics.images(), net.tensor("x_calib").dims()[0] as u64);
        let mut encodings = BTreeMap::new();
        for point in self.points.iter().filter(|point| point.kind == PointKind::Activation) {
            let encoding = statistics.encoding(&point.name, self.activations, self.bits("act_bits"));
            let encoding = encoding.expect("the point was calibrated");
            encodings.extend(point.tensors.iter().map(|tensor| (tensor.clone(), encoding.clone())));
        }
        encodings
    }

    /// Number of weights whose codes differ; they do by one.
    fn other_weights(&self, a: &Model, b: &Model, encodings: &BTreeMap<String, Encoding>) -> usize {
        let mut others = 0;
        for (node, encoding) in encodings {
            let name = format!("{node}.weight");
            let (Some(a), Some(b)) = (a.weights.get(&name), b.weights.get(&name)) else { continue };
            let step = encoding.scale().iter().copied().fold(0.0, f32::max);
            let differences = values(a).into_iter().zip(values(b)).map(|(a, b)| (a - b).abs());
            let differences: Vec<f32> = differences.filter(|difference| *difference > 0.01 * step).collect();
            assert!(
                differences.iter().all(|difference| *difference < 1.01 * step),
                "{}: {name}",
                self.context
            );
            others += differences.len();
        }
        others
    }

    /// How far scales are, relatively, from those that the activations of the float network give.
    fn distance_to_float(&self, net: &Net, encodings: &BTreeMap<String, Encoding>) -> f64 {
        let float = self.activation_encodings(net, &self.model);
        assert_eq!(float[INPUT], encodings[INPUT], "{}: the input is the same", self.context);
        let scales = encodings.iter().map(|(tensor, encoding)| [&float[tensor], encoding]);
        let scales = scales.map(|pair| pair.map(|encoding| f64::from(encoding.scale()[0])));
        scales.map(|[ours, theirs]| (ours - theirs).abs() / theirs).fold(0.0, f64::max)
    }

    /// The quantizers that the tool switched on.
    fn slots(&self) -> impl Iterator<Item = &'a Value> {
        list(&self.entry["quantizers"]).iter().filter(|slot| slot["enabled"] == true)
    }

    /// Whether a search over a histogram ended at a neighbour: candidates of nearly equal cost lie close by.
    fn is_other_candidate(&self, ours: &Encoding, slot: &Value) -> bool {
        let theirs = slot["scale"][0].as_f64().expect("a scale is a number");
        let difference = (f64::from(ours.scale()[0]) - theirs).abs() / theirs;
        let is_searched = self.activations.calibration == Calibration::TfEnhanced;
        is_searched && difference > SCALE_TOLERANCE && difference < CANDIDATE_DISTANCE
    }

    fn is_norm(&self, slot: &Value) -> bool {
        let node = self.model.graph.node(text(slot, "module")).expect("the module is a node");
        matches!(node.op, Op::BatchNorm { .. })
    }

    fn check(&self, net: &Net, compared: &mut Compared) {
        let weights = self.weight_encodings();
        // The tool calibrates activations with the weights on their grids already. Preparing watches the float network,
        // so that one walk serves all widths.
        let as_the_tool = self.quantized(&weights, by_reciprocal);
        let quantized =
            self.quantized(&weights, |x, encoding| fake_quantize(x, encoding).expect("the encoding fits"));
        compared.other_weights += self.other_weights(&as_the_tool, &quantized, &weights);
        let mut activations = self.activation_encodings(net, &as_the_tool);
        let mut used = [weights.len(), activations.len()];
        for slot in self.slots() {
            let what = format!("{}: {} {}", self.context, text(slot, "module"), text(slot, "kind"));
            let unknown = || panic!("{what} has no encoding");
            if text(slot, "kind") == "param" {
                let ours = weights.get(text(slot, "module")).unwrap_or_else(unknown);
                check_encoding(&what, ours, slot, compared);
                used[0] -= 1;
                continue;
            }
            let tensor = tensor(&self.model.graph, slot);
            let ours = activations.get(&tensor).unwrap_or_else(unknown);
            used[1] -= 1;
            if self.is_other_candidate(ours, slot) {
                eprintln!(
                    "{what}: the tool's search ends at scale {}, ours at {}",
                    slot["scale"],
                    ours.scale()[0]
                );
                compared.other_candidates += 1;
                activations.insert(tensor, given(ours.grid(), slot));
                continue;
            }
            check_encoding(&what, ours, slot, compared);
        }
        assert_eq!(used, [0, 0], "{}: every quantizer of ours is one of the tool's", self.context);
        let output = &self.model.graph.output().expect("the graph has nodes").name;
        let step = f64::from(activations[output].scale()[0]);
        let simulated = self.given(&as_the_tool, [&weights, &activations]);
        let differences = self.differences(net, &values(&simulated.output(&net.x_eval())));
        let (beyond, worst) = self.check_output("in floats", &differences, step);
        compared.elements += differences.len();
        compared.beyond += beyond;
        if self.bits("act_bits").get() < 16 {
            compared.output_steps = compared.output_steps.max(worst);
        }
        if let Some(exact) = simulated.exact_logits(&net.x_eval()) {
            let differences = self.differences(net, &exact);
            let (beyond, worst) = self.check_output("in integers", &differences, step);
            compared.exact_elements += differences.len();
            compared.exact_beyond += beyond;
            compared.exact_steps = compared.exact_steps.max(worst);
        }
        // At 16 bit, steps are so fine that every difference is many of them.
        if self.bits("act_bits").get() < 16 {
            let by_division = self.given(&quantized, [&weights, &activations]).output(&net.x_eval());
            let by_division = self.differences(net, &values(&by_division));
            compared.beyond_by_division += by_division.iter().filter(|d| **d > step / 2.0).count();
            compared.steps_by_division =
                by_division.iter().fold(compared.steps_by_division, |worst, d| worst.max(d / step));
        }
        let distance = self.distance_to_float(net, &activations);
        let bits = self.bits("act_bits").to_string() + " bit " + text(self.entry, "scheme");
        let farthest = compared.distance_to_float.entry(bits).or_default();
        *farthest = farthest.max(distance);
        compared.entries += 1;
    }

    /// The network with the weights of `model` and these encodings.
    fn given(&self, model: &Model, [weights, activations]: [&BTreeMap<String, Encoding>; 2]) -> Given {
        let mut model = model.clone();
        let layers = self.points.iter().filter(|point| point.kind == PointKind::Weight);
        let weights = layers.map(|point| (point.name.clone(), weights[&point.node].clone()));
        model.encodings.extend(weights);
        let activations = activations.iter();
        let activations =
            activations.map(|(tensor, encoding)| (format!("{tensor}.output"), encoding.clone()));
        model.encodings.extend(activations);
        Given::new(&self.context, &model, self.points.clone())
    }

    /// How far outputs are from the reference's.
    fn differences(&self, net: &Net, ours: &[f32]) -> Vec<f64> {
        let theirs = values(net.tensor(text(self.entry, "output")));
        assert_eq!(ours.len(), theirs.len(), "{}", self.context);
        ours.iter().zip(&theirs).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs()).collect()
    }

    /// Returns how many outputs are beyond the tolerance, and the largest difference in steps.
    fn check_output(&self, arithmetic: &str, differences: &[f64], step: f64) -> (usize, f64) {
        let is_fine = self.bits("act_bits").get() == 16;
        let tolerance = if is_fine { FINE_TOLERANCE } else { OUTPUT_TOLERANCE };
        let beyond = differences.iter().filter(|difference| **difference > tolerance).count();
        let worst = differences.iter().copied().fold(0.0, f64::max);
        let allowed = if is_fine { 0.0 } else { 1.0 - OUTPUT_SHARE };
        let share = beyond as f64 / differences.len() as f64;
        eprintln!(
            "{} {arithmetic}: {beyond} of {} outputs differ, worst {:.3} steps",
            self.context,
            differences.len(),
            worst / step
        );
        assert!(share <= allowed, "{}: {beyond} of {} outputs", self.context, differences.len());
        let limit = if is_fine { FINE_TOLERANCE } else { OUTPUT_STEPS * step + OUTPUT_TOLERANCE };
        assert!(worst <= limit, "{}: {worst}, a step is {step}", self.context);
        (beyond, worst / step)
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

/// The nearest values on a symmetric grid as the tool finds them: it multiplies by the reciprocal of the scale, where we
/// divide as ONNX does. At ties the two may come to different codes.
fn by_reciprocal(weight: &Tensor, encoding: &Encoding) -> Tensor {
    let (grid, scales) = (encoding.grid(), encoding.scale());
    let mut rounded = values(weight);
    let per_channel = rounded.len().div_ceil(scales.len()).max(1);
    for (values, scale) in rounded.chunks_mut(per_channel).zip(scales) {
        for value in values {
            let code = (*value * (1.0 / scale)).round_ties_even();
            *value = code.clamp(grid.qmin() as f32, grid.qmax() as f32) * scale;
        }
    }
    Tensor::from_vec(rounded, weight.dims(), weight.device()).expect("as many values as before")
}

/// The tool's encoding on the same grid.
fn given(grid: Grid, slot: &Value) -> Encoding {
    let scale = list(&slot["scale"]).iter().map(|scale| scale.as_f64().expect("a number") as f32);
    let offset = list(&slot["offset"]).iter().map(|offset| offset.as_i64().expect("a whole number") as i32);
    Encoding::given(grid, scale.collect(), offset.collect()).expect("the tool's encodings are encodings")
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
    eprintln!(
        "in integers {} outputs, {} beyond the tolerance, worst {:.3} steps",
        compared.exact_elements, compared.exact_beyond, compared.exact_steps
    );
    assert!(nets.is_empty() || compared.exact_elements > 0, "nothing was computed in integers");
    eprintln!("{} scales are those of another candidate of the search", compared.other_candidates);
    assert!(compared.other_candidates as f64 <= CANDIDATE_SHARE * quantizers as f64);
    eprintln!(
        "by division {} weights are on another code, and {} outputs on another step, by up to {:.3}",
        compared.other_weights, compared.beyond_by_division, compared.steps_by_division
    );
    for (bits, distance) in compared.distance_to_float {
        eprintln!("{bits}: scales from the float network differ by up to {distance:.1e}");
    }
}
