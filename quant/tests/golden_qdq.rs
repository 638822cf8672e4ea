//! Networks that come with quantizers (`../shared/reference/aimet/net_*/export/*_qdq.onnx`): their encodings go through
//! import, model file, preparation and its artifact unchanged, and simulated they give the outputs of ONNX Runtime.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bitloop_core::bits::Bits;
use bitloop_core::digest::Digest;
use bitloop_core::graph::{Node, PointKind};
use bitloop_core::placement::Placement;
use bitloop_core::trial::{Candidates, Guard, ImageRange, PrepareSpec};
use bitloop_quant::data::Images;
use bitloop_quant::executor::{self, FloatPass, Pass};
use bitloop_quant::model::Model;
use bitloop_quant::onnx::{ImportOptions, Imported, import_file};
use bitloop_quant::prepare::{Materials, Prepared, prepare};
use bitloop_quant::quantizer::{Encoding, fake_quantize};
use candle_core::{Result, Tensor};
use common::{nets, values};

/// Absolute, of outputs, as the data's README states; more for activations of 16 bit.
const TOLERANCE: f32 = 1e-4;
const FINE_TOLERANCE: f32 = 1e-3;
/// Share of outputs that must lie within the tolerance; rounding at ties moves the others by up to two steps.
const SHARE: f64 = 0.95;

const RULES: &str = include_str!("../../core/tests/rules/default_config.yaml");

/// Prepares a model without transforms, at the width of the encodings it came with, on images of noise.
fn prepared(model: &Model) -> Prepared {
    let points = Placement::parse(RULES).expect("the rules file has no mistake").points(&model.graph);
    let width = |name: &str| model.encodings[name].grid().bits().expect("a width");
    let weight =
        model.encodings.keys().find(|name| name.ends_with(".weight")).expect("a weight is quantized");
    let (weight, activation) = (width(weight), width("input.output"));
    let shape = model.graph.input.shape.clone();
    let pixels = (0..8 * shape.elements()).map(|index| (index * 89 % 251) as u8).collect();
    let images = Arc::new(Images { shape, pixels, labels: vec![0; 8], classes: 4 });
    let range = ImageRange { start: 0, len: 8 };
    let any = Digest::of(b"any");
    let eight = Bits::new(8).expect("8 is a width");
    let spec = PrepareSpec {
        model: any,
        data: any,
        images: range,
        transforms: Vec::new(),
        guard: Guard { data: any, images: range, drop_max_ppm: 0 },
        candidates: Candidates::with_default_rules(vec![weight], vec![activation], eight),
        points: points.expect("the network is right"),
    };
    let materials = Materials { model, calibration: &images, guard: &images, spec: &spec };
    let prepared = prepare(&materials, 2, &AtomicBool::new(false)).expect("the network can be prepared");
    let bytes = prepared.expect("nobody says stop").0.to_bytes().expect("it has bytes");
    Prepared::from_bytes(&bytes).expect("they can be read")
}

/// The encodings that a file came with, by weight's node and by tensor, as a preparation has them.
fn kept(model: &Model, prepared: &Prepared, name: &str) -> [BTreeMap<String, Encoding>; 2] {
    let (mut weights, mut activations) = (BTreeMap::new(), BTreeMap::new());
    for (index, point) in prepared.points.iter().enumerate() {
        let own = model.encodings.get(&point.name);
        let own = own.unwrap_or_else(|| panic!("{name}: the file has no encoding of {}", point.name));
        let bits = own.grid().bits().expect("a width");
        assert_eq!(prepared.encoding(index, bits).expect("it was prepared"), own, "{name}: {}", point.name);
        match point.kind {
            PointKind::Weight => drop(weights.insert(point.node.clone(), own.clone())),
            PointKind::Activation => {
                activations.extend(point.tensors.iter().map(|tensor| (tensor.clone(), own.clone())));
            }
        }
    }
    [weights, activations]
}

struct Quantized<'a> {
    float: FloatPass<'a>,
    weights: &'a BTreeMap<String, Encoding>,
    activations: &'a BTreeMap<String, Encoding>,
}

impl Pass for Quantized<'_> {
    fn weight(&mut self, node: &Node) -> Result<Tensor> {
        fake_quantize(&self.float.weight(node)?, &self.weights[&node.name]).map_err(candle_core::Error::wrap)
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

/// Asserts that every encoding of the file is in the model, but for those that are named with a reason.
fn check_import(imported: &Imported, name: &str) {
    for (point, theirs) in &imported.encodings {
        if let Some(reason) = imported.left_out.get(point) {
            eprintln!("{name}: {point} is left out: {reason}");
            assert!(point.ends_with(".bias"), "{name}: {point} is left out: {reason}");
            continue;
        }
        let ours = &imported.model.encodings[point];
        assert_eq!(ours.scale(), theirs.scale, "{name}: {point}");
        let zero_points: Vec<i32> = ours.offset().iter().map(|offset| -offset).collect();
        assert_eq!(zero_points, theirs.zero_point, "{name}: {point}");
        assert_eq!(ours.grid().bits().map(Bits::get), Some(theirs.element.bits()), "{name}: {point}");
    }
}

#[test]
fn golden_encodings_of_a_file_are_those_that_are_simulated() {
    for net in nets() {
        let Ok(folder) = std::fs::read_dir(net.folder.join("export")) else {
            eprintln!("skipped: {} has no exports", net.name);
            continue;
        };
        let paths = folder.map(|entry| entry.expect("the folder can be listed").path());
        for path in paths.filter(|path| path.to_string_lossy().ends_with("_qdq.onnx")) {
            let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
            let imported = import_file(&path, &ImportOptions::default()).expect("the file is read");
            check_import(&imported, &name);
            let bytes = imported.model.to_bytes().expect("the model is valid");
            let model = Model::from_bytes(&bytes).expect("its file is read");
            assert_eq!(model.encodings, imported.model.encodings, "{name}");

            let prepared = prepared(&model);

            let [weights, activations] = kept(&model, &prepared, &name);
            let float = FloatPass { weights: &prepared.model.weights };
            let mut pass = Quantized { float, weights: &weights, activations: &activations };
            let output = &model.graph.output().expect("the graph has nodes").name;
            let ours = executor::forward(&model.graph, &net.x_eval(), output, &mut pass).expect("it runs");
            let (ours, theirs) = (values(&ours), values(net.tensor(&format!("60_ort/{name}"))));
            let differences: Vec<f32> = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).collect();
            let fine = activations[output].grid().bits().is_some_and(|bits| bits.get() == 16);
            let tolerance = if fine { FINE_TOLERANCE } else { TOLERANCE };
            let near = differences.iter().filter(|difference| **difference <= tolerance).count();
            let worst = differences.iter().copied().fold(0.0, f32::max);
            eprintln!(
                "{name}: {} encodings kept, {near} of {} outputs within {tolerance}, worst {worst}",
                model.encodings.len(),
                ours.len()
            );
            assert!(near as f64 >= SHARE * ours.len() as f64, "{name}");
            assert!(worst <= 2.0 * activations[output].scale()[0] + TOLERANCE, "{name}: {worst}");
        }
    }
}
