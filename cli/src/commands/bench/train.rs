//! `bitloop bench train`: images per second of training steps: forward, back and update.

use std::collections::BTreeMap;

use bitloop_core::graph::{Graph, Node, Op, Shape};
use bitloop_core::qkeras::Quantizer;
use bitloop_core::spec::{
    Architecture, Augmentation, ConvBlock, Dataset, Initializer, Optimizer, Separable, TrainData, TrainSpec,
};
use bitloop_core::trial::NodeQuantizers;
use bitloop_quant::data::Images;
use bitloop_quant::rng::rng;
use bitloop_quant::train::{Steps, TrainError};
use serde_json::json;

use super::median;
use crate::args::{Network, Output, StepsArguments};
use crate::clock::{self, Stopwatch};
use crate::failure::{Failure, Outcome};
use crate::inputs;
use crate::show;

/// Batches that the steps go through in turn.
const BATCHES: usize = 4;
/// What AutoQKeras's networks are quantized with: kernels, biases, activations.
const FOUR_BITS: [&str; 3] = ["quantized_bits(4,0,1)", "quantized_bits(4)", "quantized_relu(4)"];
/// Steps before the first that counts: memory is taken and touched there.
const UNCOUNTED: usize = 2;

pub(in crate::commands) fn execute(arguments: &StepsArguments, output: Output) -> Outcome {
    let spec = spec(arguments)?;
    let images = images(&spec);
    let threads = usize::from(arguments.threads);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let mut images_per_s = Vec::new();
    let mut cpu_s_per_image = Vec::new();
    pool.install(|| -> Result<(), TrainError> {
        let quantizers = |graph: &Graph| if arguments.quantized { four_bits(graph) } else { BTreeMap::new() };
        let mut steps = Steps::new(&spec, &images, &quantizers)?;
        for _ in 0..UNCOUNTED {
            steps.step()?;
        }
        for _ in 0..arguments.repetitions {
            let (watch, cpu) = (Stopwatch::start(), clock::cpu_seconds());
            for _ in 0..arguments.steps {
                steps.step()?;
            }
            let count = (usize::from(arguments.steps) * spec.batch) as f64;
            images_per_s.push(count / watch.seconds());
            cpu_s_per_image.extend(clock::cpu_seconds().zip(cpu).map(|(end, start)| (end - start) / count));
        }
        Ok(())
    })
    .map_err(|error| Failure::usage(error.to_string()))?;

    let speed = median(images_per_s.clone());
    // The system may not tell.
    let cpu = (!cpu_s_per_image.is_empty()).then(|| median(cpu_s_per_image));
    match output {
        Output::Json => show::json(&json!({
            "network": spec.name,
            "quantized": arguments.quantized,
            "batch": spec.batch,
            "threads": threads,
            "steps": arguments.steps,
            "repetitions": arguments.repetitions,
            "images_per_s": speed,
            "cpu_s_per_image": cpu,
            "runs": images_per_s,
        })),
        Output::Text => show::data(&show::fields(&[
            ("network", spec.name.clone()),
            ("weights", if arguments.quantized { "4 bits" } else { "float" }.to_owned()),
            ("batch", spec.batch.to_string()),
            ("threads", threads.to_string()),
            ("images/s", format!("{speed:.0}")),
            ("CPU us/image", cpu.map_or("-".to_owned(), |cpu| format!("{:.1}", cpu * 1e6))),
            ("median of", format!("{} times {} steps", arguments.repetitions, arguments.steps)),
        ])),
    }
}

/// Quantizers of every layer and rectifier.
fn four_bits(graph: &Graph) -> BTreeMap<String, NodeQuantizers> {
    let [kernel, bias, activation] =
        FOUR_BITS.map(|text| text.parse::<Quantizer>().expect("a quantizer of ours"));
    let of = |node: &Node| {
        let has_bias = match &node.op {
            Op::Conv2d(conv) => conv.bias,
            Op::Linear(linear) => linear.bias,
            _ => false,
        };
        NodeQuantizers {
            kernel: node.op.has_weight().then(|| kernel.as_kernel()),
            bias: has_bias.then(|| bias.clone()),
            activation: (node.op == Op::Relu).then(|| activation.clone()),
        }
    };
    graph
        .nodes
        .iter()
        .map(|node| (node.name.clone(), of(node)))
        .filter(|(_, of)| *of != NodeQuantizers::default())
        .collect()
}

/// The training of a file, or one of a network of its own.
fn spec(arguments: &StepsArguments) -> Result<TrainSpec, Failure> {
    let spec = match &arguments.training {
        Some(path) => {
            TrainSpec::parse(&inputs::read_text(path)?).map_err(|error| Failure::in_file(path, &error))?
        }
        None => built_in(arguments.network),
    };
    let batch = arguments.batch.map_or(spec.batch, usize::from);
    let data = TrainData { validation: 1, ..spec.data };
    Ok(TrainSpec { batch, data, ..spec })
}

fn built_in(network: Network) -> TrainSpec {
    let (name, batch_norm, separable) = match network {
        Network::Plain => ("plain", false, Separable::None),
        Network::Bn => ("bn", true, Separable::None),
        Network::Depthwise => ("depthwise", true, Separable::Mobilenet),
    };
    TrainSpec {
        name: name.to_owned(),
        architecture: Architecture::ConvBlock(ConvBlock {
            filters: vec![vec![16, 32], vec![48, 64]],
            kernel: 3,
            max_pooling: true,
            separable,
            xnornet_trick: false,
            batch_norm,
            all_conv: false,
            dropout: 0.0,
            initializer: Initializer::HeNormal,
        }),
        data: TrainData { dataset: Dataset::FashionMnist, validation: 1 },
        optimizer: Optimizer::Sgd { learning_rate: 0.01, momentum: 0.9, weight_decay: 5e-4 },
        epochs: 1000,
        warmup_epochs: 0.0,
        batch: 128,
        label_smoothing: 0.05,
        augmentation: Augmentation { shift: 0, flip: false },
        seed: 1,
        out: "unused".to_owned(),
    }
}

/// Noise in the shape of the data set's images.
fn images(spec: &TrainSpec) -> Images {
    let (shape, classes) = match spec.data.dataset {
        Dataset::FashionMnist | Dataset::Mnist | Dataset::Kmnist => (Shape::image(1, 28, 28), 10),
        Dataset::Cifar10 => (Shape::image(3, 32, 32), 10),
        Dataset::Cifar100Coarse => (Shape::image(3, 32, 32), 20),
        Dataset::Cifar100 => (Shape::image(3, 32, 32), 100),
    };
    let count = spec.batch * BATCHES + spec.data.validation;
    let mut rng = rng(0, 0);
    let pixels = (0..count * shape.elements()).map(|_| rng.below(256) as u8).collect();
    let labels = (0..count).map(|_| rng.below(classes) as u32).collect();
    Images { shape, pixels, labels, classes: classes as u32 }
}
