//! The scores of AIMET's automatic mixed precision by our own evaluation
//! (`../shared/reference/aimet/net_*/amp.json` on the images of `eval512.safetensors`): uniform widths, every group
//! alone, and the points of the curve. What the search makes of such scores is tested where searches are.
//!
//! The tool calibrates activations again for every profile, with its weights on their grids, and so does this test.
//! Preparing finds the encodings of all widths in one walk of the float network instead; what that changes is printed.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bitloop_core::bits::{Bits, Choice};
use bitloop_core::digest::Digest;
use bitloop_core::graph::{INPUT, Point, PointKind};
use bitloop_core::placement::Placement;
use bitloop_core::trial::{
    ActivationRule, Calibration, Candidates, Guard, ImageRange, PrepareSpec, Scheme, WeightRule,
};
use bitloop_quant::calibration::{Batches, Statistics, calibrate_blocks};
use bitloop_quant::data::Images;
use bitloop_quant::evaluate;
use bitloop_quant::model::Model;
use bitloop_quant::prepare::{Materials, Prepared, prepare};
use bitloop_quant::quantizer::{Detail, Encoding, fake_quantize};
use candle_core::{DType, Tensor};
use common::{FOLDED, Net, list, nets, read_json, read_tensors, text, values};
use serde_json::Value;

/// Absolute, of scores: they depend on single images, as the data's README states.
const SCORE_TOLERANCE: f64 = 0.01;
/// How many images of noise there are for what calibration finds, which the given encodings replace.
const NOISE_IMAGES: usize = 8;

/// A pair of widths: of activations and of weights.
type Widths = [Bits; 2];

/// What every point has; points not named are in float.
type Profile = BTreeMap<usize, Bits>;

/// A network with what it is evaluated on.
struct Bench {
    model: Model,
    points: Vec<Point>,
    batches: Vec<Tensor>,
    /// Of the float network.
    statistics: Statistics,
    weights: WeightRule,
    activations: ActivationRule,
    images: Tensor,
    labels: Vec<u32>,
}

/// The largest difference of scores, and how many were compared.
#[derive(Default)]
struct Compared {
    scores: usize,
    equal: usize,
    worst: f64,
    /// The largest difference where activations were calibrated in the float network.
    worst_of_float: f64,
}

impl Bench {
    /// The folded network with the tool's rules of a config, calibrated on its calibration images by minima and maxima.
    fn new(net: &Net, config: &str) -> Self {
        let file = Path::new(config).with_extension("yaml");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/rules").join(file);
        let rules =
            std::fs::read_to_string(&path).expect("every config of the reference data has its rules file");
        let placement = Placement::parse(&rules).expect("the rules file has no mistake");
        let model = net.model(FOLDED);
        let points = placement.points(&model.graph).expect("the network is right");
        let calibration = Calibration::MinMax;
        let granularity = placement.weights.granularity;
        let batches = net.x_calib();
        let statistics = statistics(&model, &points, &batches);
        let tensors = read_tensors(&net.folder.join("eval512.safetensors"));
        let labels = tensors["y"].to_dtype(DType::U32).and_then(|labels| labels.to_vec1());
        Self {
            model,
            points,
            batches,
            statistics,
            weights: WeightRule { scheme: Scheme::Symmetric, granularity, calibration },
            activations: ActivationRule { scheme: Scheme::Asymmetric, calibration },
            images: tensors["x"].clone(),
            labels: labels.expect("labels are whole numbers"),
        }
    }

    /// The point of a quantizer such as `output relu1`.
    fn point(&self, slot: &Value) -> usize {
        let name = slot[1].as_str().expect("a slot has a name");
        let is_of = |point: &Point| match (slot[0].as_str(), point.kind) {
            (Some("weight"), PointKind::Weight) => point.node == name,
            (Some("output"), PointKind::Activation) => point.tensors.iter().any(|tensor| tensor == name),
            (Some("input"), PointKind::Activation) => point.tensors.iter().any(|tensor| tensor == INPUT),
            _ => false,
        };
        self.points.iter().position(is_of).unwrap_or_else(|| panic!("no point for {slot}"))
    }

    /// The points of a group.
    fn group(&self, group: &Value) -> Vec<usize> {
        list(group).iter().map(|slot| self.point(slot)).collect()
    }

    /// Gives points the widths of a candidate.
    fn apply(&self, profile: &mut Profile, points: &[usize], [activation, weight]: Widths) {
        for point in points {
            let is_weight = self.points[*point].kind == PointKind::Weight;
            profile.insert(*point, if is_weight { weight } else { activation });
        }
    }

    /// What the tool calibrates activations from: the network with the weights of a profile on their grids.
    fn again(&self, profile: &Profile) -> Statistics {
        let mut model = self.model.clone();
        for (index, bits) in profile {
            let point = &self.points[*index];
            if let Some(weight) = model.weights.get_mut(&point.name) {
                let encoding = self.encoding(point, *bits, &self.statistics);
                *weight = fake_quantize(weight, &encoding).expect("the encoding fits");
            }
        }
        statistics(&model, &self.points, &self.batches)
    }

    fn encoding(&self, point: &Point, bits: Bits, statistics: &Statistics) -> Encoding {
        match point.kind {
            PointKind::Weight => {
                let weight = self.model.weights.get(&point.name).expect("the weight is there");
                Encoding::of_weight(weight, self.weights, bits).expect("the weight has a range")
            }
            PointKind::Activation => {
                let encoding = statistics.encoding(&point.name, self.activations, bits);
                encoding.expect("the point was calibrated")
            }
        }
    }

    /// The scores of a profile with activations calibrated again, and calibrated once in the float network.
    fn scores(&self, profile: &Profile) -> [f64; 2] {
        [self.score(profile, &self.again(profile)), self.score(profile, &self.statistics)]
    }

    /// The share of images that the network gets right with these widths.
    fn score(&self, profile: &Profile, statistics: &Statistics) -> f64 {
        let mut model = self.model.clone();
        for (index, bits) in profile {
            let point = &self.points[*index];
            let encoding = self.encoding(point, *bits, statistics);
            let names = match point.kind {
                PointKind::Weight => vec![point.name.clone()],
                PointKind::Activation => {
                    point.tensors.iter().map(|tensor| format!("{tensor}.output")).collect()
                }
            };
            model.encodings.extend(names.into_iter().map(|name| (name, encoding.clone())));
        }
        let prepared = self.prepared(&model, profile, statistics);
        let choice = |index: usize| profile.get(&index).map_or(Choice::Float, |bits| Choice::Bits(*bits));
        let logits = evaluate::output(&prepared, choice, &self.images).expect("the network runs");
        let logits = values(&logits);
        let classes = logits.len() / self.labels.len();
        let is_right = |(logits, label): (&[f32], &u32)| {
            let top = (0..classes).reduce(|best, next| if logits[next] > logits[best] { next } else { best });
            top == usize::try_from(*label).ok()
        };
        let right =
            logits.chunks(classes).zip(&self.labels).filter(|pair| is_right((pair.0, pair.1))).count();
        right as f64 / self.labels.len() as f64
    }

    /// The network made ready without transforms, its encodings those that stand in the model.
    fn prepared(&self, model: &Model, profile: &Profile, statistics: &Statistics) -> Prepared {
        let shape = model.graph.input.shape.clone();
        let pixels = (0..NOISE_IMAGES * shape.elements()).map(|index| (index * 89 % 251) as u8).collect();
        let images = Arc::new(Images { shape, pixels, labels: vec![0; NOISE_IMAGES], classes: 4 });
        let range = ImageRange { start: 0, len: NOISE_IMAGES as u64 };
        let any = Digest::of(b"any");
        let widths = |kind| {
            let of_kind = profile.iter().filter(|(index, _)| self.points[**index].kind == kind);
            of_kind.map(|(_, bits)| *bits).collect::<BTreeSet<Bits>>().into_iter().collect::<Vec<_>>()
        };
        let baseline = Bits::new(8).expect("a width");
        let spec = PrepareSpec {
            model: any,
            data: any,
            images: range,
            transforms: Vec::new(),
            guard: Guard { data: any, images: range, drop_max_ppm: 0 },
            candidates: Candidates::with_default_rules(
                widths(PointKind::Weight),
                widths(PointKind::Activation),
                baseline,
            ),
            points: self.points.clone(),
        };
        let materials = Materials { model, calibration: &images, guard: &images, spec: &spec };
        let prepared = prepare(&materials, 2, &AtomicBool::new(false)).expect("the network can be prepared");
        let (prepared, _) = prepared.expect("nobody says stop");
        for (index, bits) in profile {
            let found = prepared.encoding(*index, *bits).expect("it was prepared");
            let given = self.encoding(&self.points[*index], *bits, statistics);
            assert_eq!(found, &given, "{}", self.points[*index].name);
        }
        prepared
    }
}

fn statistics(model: &Model, points: &[Point], batches: &[Tensor]) -> Statistics {
    let batches = Batches { blocks: batches, detail: Detail::of(Calibration::MinMax) };
    let statistics = calibrate_blocks(model, points, batches, 2, &AtomicBool::new(false));
    statistics.expect("the network runs").expect("nobody says stop")
}

fn bits(text: &str) -> Option<Bits> {
    text.trim().parse().ok().and_then(|bits| Bits::new(bits).ok())
}

/// `((8, <..int: 1>), (4, <..int: 1>))` to 8 and 4.
fn widths(candidate: &Value) -> Widths {
    let text = candidate.as_str().expect("a candidate is a text");
    let widths: Vec<Bits> = text.split(['(', ',']).filter_map(bits).collect();
    widths.try_into().unwrap_or_else(|widths| panic!("{text} has the widths {widths:?}"))
}

/// `(act, param) bits: 16/16, 16/8 (all int)` to the pairs.
fn candidates(run: &Value) -> Vec<Widths> {
    let pairs = text(run, "candidates").split([' ', ',']).filter_map(|part| part.split_once('/'));
    pairs.map(|(a, w)| [bits(a), bits(w)].map(|bits| bits.expect("a width"))).collect()
}

/// The config of the simulations whose scores the uniform ones of the searches are.
fn config(net: &Net, runs: &[Value]) -> String {
    let calls = list(&runs[0]["eval_calls"]);
    let uniform: Vec<(Widths, &Value)> = candidates(&runs[0]).into_iter().zip(&calls[1..]).collect();
    let simulations = list(&net.json["quantsim"]).iter();
    let simulations = simulations.filter(|entry| entry["base"] == "folded" && entry["scheme"] == "min_max");
    let mut agreeing: BTreeMap<&str, Vec<bool>> = BTreeMap::new();
    for entry in simulations {
        let of_entry = ["act_bits", "param_bits"].map(|key| bits(&entry[key].to_string()).expect("a width"));
        let same = uniform.iter().filter(|(widths, _)| *widths == of_entry);
        let same = same.map(|(_, score)| **score == entry["accuracy_512"]);
        agreeing.entry(text(entry, "config")).or_default().extend(same);
    }
    let config = agreeing.iter().find(|(_, same)| !same.is_empty() && same.iter().all(|same| *same));
    config.expect("the searches start from simulations of the reference").0.to_string()
}

impl Compared {
    fn check(&mut self, context: &str, [ours, of_float]: [f64; 2], theirs: &Value) {
        let theirs = theirs.as_f64().expect("a score is a number");
        let difference = (ours - theirs).abs();
        assert!(difference <= SCORE_TOLERANCE, "{context}: {ours}, not {theirs}");
        self.scores += 1;
        self.equal += usize::from(difference == 0.0);
        self.worst = self.worst.max(difference);
        self.worst_of_float = self.worst_of_float.max((of_float - theirs).abs());
    }
}

/// Compares the scores of a search; those of profiles that another had too are in `known`.
fn check(
    context: &str,
    bench: &Bench,
    run: &Value,
    known: &mut BTreeMap<Profile, [f64; 2]>,
) -> [Compared; 3] {
    let mut score =
        |profile: &Profile| *known.entry(profile.clone()).or_insert_with(|| bench.scores(profile));
    let [mut uniform, mut alone, mut curve] = [(); 3].map(|()| Compared::default());
    let entries = list(&run["accuracy_list"]);
    let all: Vec<usize> = (0..bench.points.len()).collect();
    let grouped: BTreeSet<usize> = entries.iter().flat_map(|entry| bench.group(&entry[0])).collect();
    assert!(
        grouped.iter().eq(&all),
        "{context}: every point of ours is in a group of the tool, and no other"
    );
    let calls = list(&run["eval_calls"]);
    uniform.check(&format!("{context} in float"), score(&Profile::new()), &calls[0]);
    let mut levels = Profile::new();
    for (at, widths) in candidates(run).into_iter().enumerate().rev() {
        bench.apply(&mut levels, &all, widths);
        uniform.check(&format!("{context} at {widths:?}"), score(&levels), &calls[1 + at]);
    }
    // The first candidate has the best score, and so the curve begins there.
    let points = list(&run["pareto_list"]);
    for entry in entries {
        let (group, widths) = (bench.group(&entry[0]), widths(&entry[1]));
        let mut only = Profile::new();
        bench.apply(&mut only, &group, widths);
        alone.check(&format!("{context}: {} alone at {widths:?}", entry[0]), score(&only), &entry[2]);
        bench.apply(&mut levels, &group, widths);
        if let Some(point) = points.iter().find(|point| point[2] == entry[0] && point[3] == entry[1]) {
            curve.check(&format!("{context}: after {} at {widths:?}", entry[0]), score(&levels), &point[1]);
        }
    }
    [uniform, alone, curve]
}

#[test]
fn golden_mixed_precision_has_the_scores_of_the_reference() {
    for net in nets() {
        let files = ["amp.json", "eval512.safetensors"].map(|file| net.folder.join(file));
        if let Some(absent) = files.iter().find(|file| !file.is_file()) {
            drop(writeln!(std::io::stderr(), "skipped: {} has no {}", net.name, absent.display()));
            continue;
        }
        let json = read_json(&files[0]);
        let runs = list(&json["runs"]);
        assert!(!runs.is_empty(), "{} has no search", net.name);
        let bench = Bench::new(&net, &config(&net, runs));
        let mut known = BTreeMap::new();
        for run in runs {
            let context = format!("{} {} {}", net.name, text(run, "search"), run["allowed_drop"]);
            let compared = check(&context, &bench, run, &mut known);
            for (what, compared) in ["uniform", "alone", "on the curve"].into_iter().zip(&compared) {
                let Compared { scores, equal, worst, worst_of_float } = compared;
                assert!(*scores > 0, "{context}: nothing was compared {what}");
                eprintln!(
                    "{context}: {scores} scores {what}, {equal} equal, worst {worst:.4}; calibrated in floats {worst_of_float:.4}"
                );
            }
        }
        eprintln!("{}: {} profiles evaluated", net.name, known.len());
    }
}
