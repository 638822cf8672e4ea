use bitloop_core::graph::Graph;

use super::ZooError;
use super::net::{Filter, Head, Net, Rectifier, Style, Wire, Zeros};
use super::registry::{Normalization, ZooArchitecture};

pub(super) const MOBILENET_V2: ZooArchitecture = ZooArchitecture {
    name: "mobilenet_v2",
    size: 224,
    normalization: Normalization::IMAGENET,
    style: Style { eps: 1e-5, zeros: Zeros::Symmetric, rectifier: Rectifier::Relu6 },
    stem: "features.0.0",
    classifier: HEAD.linear,
    build,
};

const HEAD: Head = Head { pool: "avgpool", dropout: Some(("classifier.0", 0.2)), linear: "classifier.1" };

const STEM: usize = 32;
const LAST: usize = 1280;

struct Stage {
    /// Channels inside a block, per channel that enters it.
    expansion: usize,
    channels: usize,
    blocks: usize,
    /// Of the first block.
    stride: usize,
}

const STAGES: [Stage; 7] = [
    Stage { expansion: 1, channels: 16, blocks: 1, stride: 1 },
    Stage { expansion: 6, channels: 24, blocks: 2, stride: 2 },
    Stage { expansion: 6, channels: 32, blocks: 3, stride: 2 },
    Stage { expansion: 6, channels: 64, blocks: 4, stride: 2 },
    Stage { expansion: 6, channels: 96, blocks: 3, stride: 1 },
    Stage { expansion: 6, channels: 160, blocks: 3, stride: 2 },
    Stage { expansion: 6, channels: 320, blocks: 1, stride: 1 },
];

/// Appends MobileNetV2 at full width.
///
/// Names are torchvision's module paths: `features.0.{0,1,2}`, `features.N.conv.0.{0,1,2}`, ..., `classifier.1`.
/// Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018, table 2.
fn build(mut net: Net, image: &Wire, classes: usize) -> Result<Graph, ZooError> {
    let stride = net.halving();
    let mut wire = net.block(names("features.0"), image, Filter::dense(STEM, 3, stride));
    let mut feature = 1;
    for stage in &STAGES {
        for block in 0..stage.blocks {
            let stride = if block == 0 { net.stride(stage.stride) } else { 1 };
            wire = inverted_residual(&mut net, &wire, &Place { feature, stage, stride });
            feature += 1;
        }
    }
    let wire = net.block(names(&format!("features.{feature}")), &wire, Filter::pointwise(LAST));
    net.classifier(&wire, &HEAD, classes)
}

struct Place<'a> {
    feature: usize,
    stage: &'a Stage,
    stride: usize,
}

fn inverted_residual(net: &mut Net, input: &Wire, place: &Place<'_>) -> Wire {
    let Place { feature, stage, stride } = place;
    let mut wire = input.clone();
    let mut part = 0;
    let mut next = || {
        part += 1;
        format!("features.{feature}.conv.{}", part - 1)
    };
    if stage.expansion > 1 {
        wire = net.block(names(&next()), &wire, Filter::pointwise(input.channels * stage.expansion));
    }
    let filter = Filter::depthwise(&wire, 3, *stride);
    wire = net.block(names(&next()), &wire, filter);
    wire = net.block([next(), next()], &wire, Filter::pointwise(stage.channels));
    if *stride > 1 || input.channels != wire.channels {
        return wire;
    }
    net.add(format!("features.{feature}.add"), input, &wire)
}

fn names(prefix: &str) -> [String; 3] {
    ["0", "1", "2"].map(|part| format!("{prefix}.{part}"))
}
