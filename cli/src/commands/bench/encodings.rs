//! `bitloop bench encodings`: TF-enhanced encodings of random tensors as many and as large as MobileNetV2's, and beside
//! them the search as it is written down: every candidate over every bin, in f64.

use bitloop_core::bits::Bits;
use bitloop_core::trial::{Calibration, Granularity, Scheme, WeightRule};
use bitloop_quant::quantizer::{Detail, Encoding, Grid, Observer};
use bitloop_quant::rng::{Rng, rng};
use serde_json::json;

use super::median;
use crate::args::{EncodingsArguments, Output};
use crate::clock::Stopwatch;
use crate::failure::{Failure, Outcome};
use crate::show;

const WIDTHS: [u8; 5] = [2, 3, 4, 6, 8];
/// MobileNetV2's stages: expansion, channels, repetitions. Source: Sandler et al., "MobileNetV2", 2018, table 2.
const STAGES: [[usize; 3]; 7] =
    [[1, 16, 1], [6, 24, 2], [6, 32, 3], [6, 64, 4], [6, 96, 3], [6, 160, 3], [6, 320, 1]];
/// Activation points, and values that each sees in one of two batches.
const ACTIVATIONS: usize = 53;
const ACTIVATION_VALUES: usize = 50_000;
/// The plain search is timed on one channel in so many, and on one activation in so many.
const SAMPLED: usize = 16;
const RULE: WeightRule = WeightRule {
    scheme: Scheme::Symmetric,
    granularity: Granularity::PerChannel,
    calibration: Calibration::TfEnhanced,
};

/// One layer's weight, channel by channel.
struct Weight {
    channels: usize,
    values: Vec<f32>,
}

struct Seconds {
    weights: f64,
    activations: f64,
    plain: f64,
}

pub(in crate::commands) fn execute(arguments: &EncodingsArguments, output: Output) -> Outcome {
    let mut rng = rng(0, 0);
    let weights: Vec<Weight> = layers().into_iter().map(|shape| weight(shape, &mut rng)).collect();
    let observers = observers(&mut rng)?;
    let widths = WIDTHS.map(Bits::new).into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut measured = Vec::new();
    for _ in 0..arguments.repetitions {
        measured.push(measure(&weights, &observers, &widths)?);
    }
    let middle = |part: fn(&Seconds) -> f64| median(measured.iter().map(part).collect());
    let (in_weights, in_activations) = (middle(|s| s.weights), middle(|s| s.activations));
    let plain = middle(|s| s.plain);
    let channels: usize = weights.iter().map(|weight| weight.channels).sum();
    match output {
        Output::Json => show::json(&json!({
            "channels": channels,
            "activations": ACTIVATIONS,
            "widths": WIDTHS,
            "repetitions": arguments.repetitions,
            "weights_seconds": in_weights,
            "activations_seconds": in_activations,
            "plain_search_seconds": plain,
        })),
        Output::Text => show::data(&show::fields(&[
            ("setting", format!("{channels} channels and {ACTIVATIONS} activations at 5 widths")),
            ("repetitions", format!("median of {}", arguments.repetitions)),
            ("weights", format!("{in_weights:.2} s")),
            ("activations", format!("{in_activations:.2} s")),
            ("plain search", format!("{plain:.1} s on one thread (one tensor in {SAMPLED}, extrapolated)")),
        ])),
    }
}

/// Output channels and values per channel of every layer.
fn layers() -> Vec<[usize; 2]> {
    let mut layers = vec![[32, 27]];
    let mut input = 32;
    for [expansion, channels, repetitions] in STAGES {
        for _ in 0..repetitions {
            let hidden = input * expansion;
            if expansion > 1 {
                layers.push([hidden, input]);
            }
            layers.extend([[hidden, 9], [channels, hidden]]);
            input = channels;
        }
    }
    layers.extend([[1280, 320], [1000, 1280]]);
    layers
}

fn weight([channels, per_channel]: [usize; 2], rng: &mut Rng) -> Weight {
    let values = (0..channels * per_channel).map(|_| rng.normal() as f32 * 0.1).collect();
    Weight { channels, values }
}

fn observers(rng: &mut Rng) -> Result<Vec<Observer>, Failure> {
    let mut observers = Vec::new();
    for point in 0..ACTIVATIONS {
        let mut observer = Observer::new(Detail::ALL);
        for _ in 0..2 {
            // Half of the points lie behind a rectifier.
            let floor = if point % 2 == 0 { 0.0 } else { f32::NEG_INFINITY };
            let values: Vec<f32> = (0..ACTIVATION_VALUES).map(|_| (rng.normal() as f32).max(floor)).collect();
            observer.observe(&values)?;
        }
        observers.push(observer);
    }
    Ok(observers)
}

fn measure(weights: &[Weight], observers: &[Observer], widths: &[Bits]) -> Result<Seconds, Failure> {
    let watch = Stopwatch::start();
    for weight in weights {
        Encoding::of_channels(&weight.values, weight.channels, RULE, widths)?;
    }
    let in_weights = watch.seconds();
    let watch = Stopwatch::start();
    for width in widths {
        for observer in observers {
            let observer = std::slice::from_ref(observer);
            Encoding::calibrated(observer, Grid::asymmetric(*width), Calibration::TfEnhanced)?;
        }
    }
    let activations = watch.seconds();
    let watch = Stopwatch::start();
    let mut sum = 0.0;
    for weight in weights {
        let per_channel = weight.values.len() / weight.channels;
        for channel in weight.values.chunks(per_channel).step_by(SAMPLED) {
            sum += widths.iter().map(|width| plain_search(channel, *width)).sum::<f64>();
        }
    }
    // Used, so that the search is not left out.
    if !sum.is_finite() {
        return Err(Failure::usage("the plain search found no range"));
    }
    Ok(Seconds { weights: in_weights, activations, plain: watch.seconds() * SAMPLED as f64 })
}

/// The symmetric search as it is written down: 101 candidates over all 512 bins.
fn plain_search(values: &[f32], bits: Bits) -> f64 {
    const BINS: usize = 512;
    let n = f64::from((1_u32 << bits.get()) - 1);
    let (lo, hi) = values
        .iter()
        .fold((0.0_f64, 0.0_f64), |(lo, hi), value| (lo.min(f64::from(*value)), hi.max(f64::from(*value))));
    let width = (hi - lo) / BINS as f64;
    let mut counts = [0.0_f64; BINS];
    for value in values {
        counts[(((f64::from(*value) - lo) / width) as usize).min(BINS - 1)] += 1.0;
    }
    let covering = 2.0 * hi.max(-lo) / n;
    let offset = (-n / 2.0).floor();
    let mut best = (f64::INFINITY, 0.0);
    for k in 1..=101 {
        let delta = covering * f64::from(k) / 100.0;
        let noise = counts.iter().enumerate().map(|(bin, count)| {
            let middle = lo + (bin as f64 + 0.5) * width;
            let code = (middle / delta - offset).round_ties_even();
            let error = (code.clamp(0.0, n) + offset) * delta - middle;
            let weight = if code < 0.0 || code > n { 3.0 } else { 1.0 };
            error * error * count * weight
        });
        let noise: f64 = noise.sum();
        if noise < best.0 {
            best = (noise, delta);
        }
    }
    best.1
}
