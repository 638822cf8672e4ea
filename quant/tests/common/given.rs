//! Simulates networks that come with their encodings, through preparation, its artifact and evaluation.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bitloop_core::bits::{Bits, Choice};
use bitloop_core::digest::Digest;
use bitloop_core::graph::{Point, PointKind};
use bitloop_core::trial::{Candidates, Guard, ImageRange, PrepareSpec};
use bitloop_quant::data::Images;
use bitloop_quant::evaluate;
use bitloop_quant::model::Model;
use bitloop_quant::prepare::{Materials, Prepared, prepare};
use candle_core::Tensor;

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
