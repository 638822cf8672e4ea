use std::path::Path;
use std::sync::Arc;

use bitloop_core::trial::Numerics;
use bitloop_quant::export::CodeTypes;
use bitloop_quant::import::torch;
use bitloop_quant::zoo::{Zoo, architecture, keys};

use crate::networks::{bits, blocks, config, labelled, noise, normalized, prepared, simulated};
use crate::{SETTING, Written, adapter};

/// Images of random pixels.
const NOISE: usize = 64;
/// Of the labelled images one in so many is evaluated, and the next one is for calibration.
const EVERY: usize = 7;
/// Part of the images on which the largest logit is the same one. We add a bias to a product in one rounding, ONNX Runtime adds it
/// to the codes' sum: what lies next to the middle of two codes may become either, and behind fifty layers two fifths of the
/// logits are another code.
const AGREEMENT: f64 = 0.95;
/// Part of the labelled images that may be recognized on one side alone.
const RIGHT: f64 = 0.02;

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

fn largest(logits: &[f32]) -> usize {
    (0..logits.len()).max_by(|left, right| logits[*left].total_cmp(&logits[*right])).unwrap()
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
    let input = normalized(&model, &images);
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
            assert!(compared.agreeing >= AGREEMENT, "weights {weight}, activations {activation}: {compared}");
        }
    }
}

#[test]
fn labelled_images_are_recognized_as_simulated() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    if !data.join("efficientnet_lite0").is_dir() {
        eprintln!("skipped: {} has no efficientnet_lite0", data.display());
        return;
    }
    let Some(mut adapter) = adapter(CodeTypes::Int8) else { return };
    let checkpoint = data.join("efficientnet_lite0/efficientnet_lite0.safetensors");
    let zoo = Zoo::published(architecture("efficientnet_lite0").unwrap());
    let model = keys::load(&zoo, torch::read(&checkpoint).unwrap()).unwrap();
    let folder = data.join("imagenet_sample");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_suffix(".jpg")?.to_owned()))
        .collect();
    names.sort();
    let part = |rest: usize| {
        let chosen = names.iter().enumerate().filter(|(index, _)| index % EVERY == rest);
        let chosen: Vec<String> = chosen.map(|(_, name)| name.clone()).collect();
        Arc::new(labelled(&model, &folder, &chosen))
    };
    let (images, calibration) = (part(0), part(1));
    let prepared = prepared(&model, &calibration, [&[4, 8], &[4, 8]]);
    let input = normalized(&model, &images);
    for [weight, activation] in [[8, 8], [4, 8], [8, 4]] {
        let config = config(&prepared, bits(weight), bits(activation));
        let ours = simulated(&prepared, &images, &config, Numerics::Exact);
        let written = Written::new(&prepared, &config, CodeTypes::Int8);
        let mut loaded = adapter.load(&written.network(), SETTING).unwrap();

        let theirs = written.infer(loaded.as_mut(), &input, images.len() as u64, &[]);

        let right = |logits: &[f32]| {
            let rows = logits.chunks(1000).zip(&images.labels);
            rows.filter(|(logits, label)| largest(logits) == **label as usize).count()
        };
        let compared = compared(&ours, &theirs, 1000);
        let (simulated, measured, count) = (right(&ours), right(&theirs), images.len());
        eprintln!("W{weight}A{activation}: {simulated} and {measured} of {count} right, {compared}");
        assert!(compared.agreeing >= AGREEMENT, "W{weight}A{activation}: {compared}");
        assert!(simulated.abs_diff(measured) as f64 <= RIGHT * count as f64, "W{weight}A{activation}");
    }
}
