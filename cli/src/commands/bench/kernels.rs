//! `bitloop bench kernels`: kernels beside their plain forms, on layers as networks have them.

use bitloop_quant::bench::Pair;
use serde_json::json;

use super::median;
use crate::args::{KernelsArguments, Output};
use crate::clock::Stopwatch;
use crate::failure::{Failure, Outcome};
use crate::show;

/// Channels, side, kernel and stride of depthwise convolutions of EfficientNet-Lite0.
const DEPTHWISE: [[usize; 4]; 8] = [
    [32, 112, 3, 1],
    [96, 112, 3, 2],
    [144, 56, 3, 1],
    [144, 56, 5, 2],
    [240, 28, 5, 1],
    [480, 14, 3, 1],
    [672, 14, 5, 1],
    [1152, 7, 5, 1],
];
/// The same of max poolings: of ResNet and ShuffleNet, and of SqueezeNet.
const POOLING: [[usize; 4]; 2] = [[64, 112, 3, 2], [128, 55, 3, 2]];

struct Row {
    name: String,
    /// Steps, products or comparisons, per nanosecond.
    fast: f64,
    plain: f64,
}

pub(in crate::commands) fn execute(arguments: &KernelsArguments, output: Output) -> Outcome {
    let images = usize::from(arguments.images);
    let mut pairs = Vec::new();
    for [channels, side, kernel, stride] in DEPTHWISE {
        let name = format!("depthwise {kernel}x{kernel}/{stride} on {channels}x{side}x{side}");
        pairs.push((name, Pair::depthwise([images, channels, side, side], kernel, stride)));
    }
    for [channels, side, kernel, stride] in POOLING {
        let name = format!("max pool {kernel}x{kernel}/{stride} on {channels}x{side}x{side}");
        pairs.push((name, Pair::max_pool([images, channels, side, side], kernel, stride)));
    }
    let mut rows = Vec::new();
    for (name, pair) in pairs {
        rows.push(measure(name, &pair?, arguments)?);
    }
    match output {
        Output::Json => show::json(&json!({
            "images": images,
            "threads": arguments.threads,
            "repetitions": arguments.repetitions,
            "kernels": rows.iter().map(|row| json!({
                "name": row.name,
                "fast_giga_per_second": row.fast,
                "plain_giga_per_second": row.plain,
            })).collect::<Vec<_>>(),
        })),
        Output::Text => {
            let fields: Vec<(&str, String)> = rows
                .iter()
                .map(|row| {
                    let times = row.fast / row.plain;
                    (row.name.as_str(), format!("{:.2} G/s, plain {:.2} ({times:.1}x)", row.fast, row.plain))
                })
                .collect();
            show::data(&show::fields(&fields))
        }
    }
}

fn measure(name: String, pair: &Pair, arguments: &KernelsArguments) -> Result<Row, Failure> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(usize::from(arguments.threads)).build()?;
    pool.install(|| {
        let (mut fast, mut plain) = (Vec::new(), Vec::new());
        let rate = |watch: Stopwatch| pair.steps() as f64 / watch.seconds() / 1e9;
        for _ in 0..arguments.repetitions {
            // Alternating, so that a noisy neighbour disturbs both alike.
            let watch = Stopwatch::start();
            pair.fast()?;
            fast.push(rate(watch));
            let watch = Stopwatch::start();
            pair.plain()?;
            plain.push(rate(watch));
        }
        Ok(Row { name, fast: median(fast), plain: median(plain) })
    })
}
