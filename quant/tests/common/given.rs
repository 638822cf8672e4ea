//! Simulates networks that come with their encodings, through preparation, its artifact and evaluation.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bitloop_core::bits::{BitConfig, Bits, Choice, PointIndex};
use bitloop_core::digest::Digest;
use bitloop_core::graph::{INPUT, Point, PointKind};
use bitloop_core::trial::{Candidates, EvaluateContext, Guard, ImageRange, Numerics, PrepareSpec};
use bitloop_quant::data::Images;
use bitloop_quant::evaluate::{self, Evaluator};
use bitloop_quant::model::Model;
use bitloop_quant::prepare::{Materials, Prepared, prepare};
use candle_core::{Device, Tensor};

use super::values;

/// How many images of noise there are for what calibration finds, which the given encodings replace.
const IMAGES: usize = 8;

/// A model prepared with the encodings that it came with, one for each point.
pub(crate) struct Given {
    prepared: Prepared,
    weight: Bits,
    activation: Bits,
}

impl Given {
    /// Prepares a model without transforms and asserts that every encoding stays as it is, also in the artifact.
    pub(crate) fn new(context: &str, model: &Model, points: Vec<Point>) -> Self {
        let bits = |kind: PointKind| {
            let point = points.iter().find(|point| point.kind == kind).expect("a point of the kind");
            let encoding = model.encoding(point);
            let encoding =
                encoding.unwrap_or_else(|| panic!("{context}: no encoding is given for {}", point.name));
            encoding.grid().bits().expect("a width")
        };
        let (weight, activation) = (bits(PointKind::Weight), bits(PointKind::Activation));
        let prepared = prepared(model, points, [weight, activation]);
        let given = Self { prepared, weight, activation };
        for (index, point) in given.prepared.points.iter().enumerate() {
            let theirs = model.encoding(point);
            let theirs =
                theirs.unwrap_or_else(|| panic!("{context}: no encoding is given for {}", point.name));
            let ours = given.prepared.encoding(index, given.bits(index)).expect("it was prepared");
            assert_eq!(ours, theirs, "{context}: {}", point.name);
        }
        given
    }

    fn bits(&self, index: usize) -> Bits {
        match self.prepared.points[index].kind {
            PointKind::Weight => self.weight,
            PointKind::Activation => self.activation,
        }
    }

    /// Returns the logits `(n, classes)` that integer arithmetic gives for images `(n, channels, height, width)`,
    /// normalized; none if the input's grid has more values than a pixel.
    ///
    /// Pixels are the codes of the input, so that they become the same values again.
    pub(crate) fn exact_logits(&self, images: &Tensor) -> Option<Vec<f32>> {
        let is_input = |point: &Point| point.tensors.iter().any(|tensor| tensor == INPUT);
        let input = self.prepared.points.iter().position(is_input).expect("the input is quantized");
        let encoding = self.prepared.encoding(input, self.activation).expect("it was prepared");
        let (grid, scale) = (encoding.grid(), encoding.scale()[0]);
        let lowest = grid.qmin() + encoding.offset()[0];
        let highest = u8::try_from(grid.qmax() - grid.qmin()).ok()?;
        let code =
            |value: f32| ((value / scale).round_ties_even() - lowest as f32).clamp(0.0, highest.into());
        let pixels: Vec<u8> = values(images).into_iter().map(|value| code(value) as u8).collect();
        let mut prepared = self.prepared.clone();
        let input = &mut prepared.model.graph.input;
        input.mean.fill(-lowest as f32 / 255.0);
        input.std.fill(1.0 / (255.0 * scale));
        let (shape, count) = (input.shape.clone(), images.dims()[0]);
        let images = Images { shape, pixels, labels: vec![0; count], classes: 1 };
        Some(self.logits(prepared, images))
    }

    fn logits(&self, prepared: Prepared, images: Images) -> Vec<f32> {
        let whole = ImageRange { start: 0, len: images.labels.len() as u64 };
        let any = Digest::of(b"any");
        let baseline = Choice::Bits(self.activation);
        let names = prepared.points.iter().map(|point| point.name.clone());
        let context = EvaluateContext {
            prepared: any,
            data: any,
            images: whole,
            numerics: Numerics::Exact,
            baseline,
            points: names.collect(),
        };
        let choices = (0..prepared.points.len()).map(|index| (index as u32, Choice::Bits(self.bits(index))));
        let choices = choices.map(|(index, choice)| (PointIndex(index), choice));
        let config = BitConfig::against(baseline, choices);
        let (prepared, images) = (Arc::new(prepared), Arc::new(images));
        let materials = evaluate::Materials { prepared, images, context };
        let evaluator = Evaluator::new(materials, 2, &Device::Cpu).expect("network and images fit");
        let logits = evaluator.logits(&config, whole, &AtomicBool::new(false));
        logits.expect("the network runs").expect("nobody says stop")
    }

    /// Returns what the quantized network gives, `(n, ...)` for images `(n, channels, height, width)`, normalized.
    pub(crate) fn output(&self, images: &Tensor) -> Tensor {
        let choice = |index| Choice::Bits(self.bits(index));
        evaluate::output(&self.prepared, choice, images).expect("the network runs")
    }
}

fn prepared(model: &Model, points: Vec<Point>, [weight, activation]: [Bits; 2]) -> Prepared {
    let shape = model.graph.input.shape.clone();
    let pixels = (0..IMAGES * shape.elements()).map(|index| (index * 89 % 251) as u8).collect();
    let images = Arc::new(Images { shape, pixels, labels: vec![0; IMAGES], classes: 4 });
    let range = ImageRange { start: 0, len: IMAGES as u64 };
    let any = Digest::of(b"any");
    let spec = PrepareSpec {
        model: any,
        data: any,
        images: range,
        transforms: Vec::new(),
        guard: Guard { data: any, images: range, drop_max_ppm: 0 },
        candidates: Candidates::with_default_rules(vec![weight], vec![activation], activation),
        points,
    };
    let materials = Materials { model, calibration: &images, guard: &images, spec: &spec };
    let prepared = prepare(&materials, 2, &AtomicBool::new(false)).expect("the network can be prepared");
    let bytes = prepared.expect("nobody says stop").0.to_bytes().expect("it has bytes");
    Prepared::from_bytes(&bytes).expect("they can be read")
}
