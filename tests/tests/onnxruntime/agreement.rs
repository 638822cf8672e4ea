use std::sync::Arc;

use bitloop_core::trial::Numerics;
use bitloop_quant::export::CodeTypes;

use crate::labelled::{CLASSES, Labelled, largest};
use crate::networks::{bits, blocks, config, noise, normalized, prepared, simulated};
use crate::{SETTING, Written, adapter};

/// Images of random pixels.
const NOISE: usize = 64;
/// Labelled images that are computed at a time: as floats they take four times the memory.
const BLOCK: usize = 100;
/// Part of the labelled images on which the largest logit is the same one. ONNX Runtime adds a bias to the codes' sum as an integer
/// and rounds the product; we add it to the product in one rounding. Of a million values that a layer computes about one lies so
/// close to the middle of two codes that it becomes the other one, and behind fifty layers two fifths of the logits are another
/// code: so the class is another one where two are about as likely.
const AGREEMENT: f64 = 0.96;
/// Part of the labelled images by which the numbers of recognized ones may differ: half a point.
const RIGHT: f64 = 0.005;

/// How two networks' logits compare.
struct Compared {
    /// Part of the images whose largest logit is the same one.
    agreeing: f64,
    /// Largest difference of two logits, and the range of all.
    worst: f32,
    range: f32,
    /// Part of the logits that are equal.
    equal: f64,
}

impl std::fmt::Display for Compared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { agreeing, worst, range, equal } = self;
        write!(
            f,
            "{agreeing:.4} agree, {equal:.4} of the logits are equal, the worst is off by {worst} of {range}"
        )
    }
}

fn compared(ours: &[f32], theirs: &[f32], classes: usize) -> Compared {
    assert_eq!(ours.len(), theirs.len());
    let rows = ours.chunks(classes).zip(theirs.chunks(classes));
    let agreeing = rows.filter(|(ours, theirs)| largest(ours) == largest(theirs)).count();
    let differences = ours.iter().zip(theirs).map(|(ours, theirs)| (ours - theirs).abs());
    let (low, high) = ours.iter().fold((f32::MAX, f32::MIN), |(low, high), x| (low.min(*x), high.max(*x)));
    let equal = differences.clone().filter(|difference| *difference == 0.0).count();
    Compared {
        agreeing: agreeing as f64 * classes as f64 / ours.len() as f64,
        worst: differences.fold(0.0, f32::max),
        range: high - low,
        equal: equal as f64 / ours.len() as f64,
    }
}

#[test]
fn every_width_computes_what_is_simulated() {
    let Some(mut adapter) = adapter(CodeTypes::Int8) else { return };
    let model = blocks(3);
    let images = Arc::new(noise(&model.graph.input.shape, NOISE));
    let widths: Vec<u8> = (2..=8).collect();
    let prepared = prepared(&model, &images, [&widths, &widths]);
    let input = normalized(&model, &images.pixels);
    for width in widths {
        let mut pairs = vec![[width, width], [width, 8], [8, width]];
        pairs.dedup();
        for [weight, activation] in pairs {
            let config = config(&prepared, bits(weight), bits(activation));
            let ours = simulated(&prepared, &images, &config, Numerics::Exact);
            let written = Written::new(&prepared, &config, CodeTypes::Int8);
            let mut loaded = adapter.load(&written.network(), SETTING).unwrap();

            let theirs = written.infer(loaded.as_mut(), &input, NOISE as u64, &[]);

            let compared = compared(&ours, &theirs, 10);
            eprintln!("weights {weight}, activations {activation}: {compared}");
            assert_eq!(compared.equal, 1.0, "weights {weight}, activations {activation}: {compared}");
        }
    }
}

#[test]
fn labelled_images_are_recognized_as_simulated() {
    let Some(labelled) = Labelled::found() else { return };
    let Some(mut adapter) = adapter(CodeTypes::Int8) else { return };
    let [calibration, images] = labelled.parts();
    let prepared = prepared(&labelled.model, &calibration, [&[4, 8], &[4, 8]]);
    for [weight, activation] in [[8, 8], [4, 8], [8, 4]] {
        let config = config(&prepared, bits(weight), bits(activation));
        let ours = simulated(&prepared, &images, &config, Numerics::Exact);
        let written = Written::new(&prepared, &config, CodeTypes::Int8);
        let mut loaded = adapter.load(&written.network(), SETTING).unwrap();

        let blocks = images.pixels.chunks(BLOCK * images.shape.elements());
        let theirs: Vec<f32> = blocks
            .flat_map(|pixels| {
                let input = normalized(&labelled.model, pixels);
                let count = pixels.len() / images.shape.elements();
                written.infer(loaded.as_mut(), &input, count as u64, &[])
            })
            .collect();

        let right = |logits: &[f32]| {
            let rows = logits.chunks(CLASSES as usize).zip(&images.labels);
            rows.filter(|(logits, label)| largest(logits) == **label as usize).count()
        };
        let compared = compared(&ours, &theirs, CLASSES as usize);
        let (simulated, measured, count) = (right(&ours), right(&theirs), images.len());
        eprintln!("W{weight}A{activation}: {simulated} and {measured} of {count} right, {compared}");
        assert!(compared.agreeing >= AGREEMENT, "W{weight}A{activation}: {compared}");
        assert!(simulated.abs_diff(measured) as f64 <= RIGHT * count as f64, "W{weight}A{activation}");
    }
}
