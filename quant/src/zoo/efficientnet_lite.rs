use bitloop_core::graph::Graph;

use super::ZooError;
use super::net::{Filter, Head, Net, Rectifier, Style, Wire, Zeros};
use super::registry::{Build, Normalization, ZooArchitecture};

pub(super) const LITE0: ZooArchitecture = lite("efficientnet_lite0", 224, |net, image, classes| {
    let scale = Scale { width: 1.0, depth: 1.0, dropout: 0.2 };
    build(net, image, &scale, classes)
});
pub(super) const LITE1: ZooArchitecture = lite("efficientnet_lite1", 240, |net, image, classes| {
    let scale = Scale { width: 1.0, depth: 1.1, dropout: 0.2 };
    build(net, image, &scale, classes)
});
pub(super) const LITE2: ZooArchitecture = lite("efficientnet_lite2", 260, |net, image, classes| {
    let scale = Scale { width: 1.1, depth: 1.2, dropout: 0.3 };
    build(net, image, &scale, classes)
});
pub(super) const LITE3: ZooArchitecture = lite("efficientnet_lite3", 280, |net, image, classes| {
    let scale = Scale { width: 1.2, depth: 1.4, dropout: 0.3 };
    build(net, image, &scale, classes)
});
pub(super) const LITE4: ZooArchitecture = lite("efficientnet_lite4", 300, |net, image, classes| {
    let scale = Scale { width: 1.4, depth: 1.8, dropout: 0.3 };
    build(net, image, &scale, classes)
});

const LAST_LAYER: &str = "_fc";

const fn lite(name: &'static str, size: usize, build: Build) -> ZooArchitecture {
    ZooArchitecture {
        name,
        size,
        // `(value - 127) / 128`.
        normalization: Normalization { mean: [127.0 / 255.0; 3], std: [128.0 / 255.0; 3] },
        style: Style { eps: 1e-3, zeros: Zeros::Same, rectifier: Rectifier::Relu6 },
        stem: "_conv_stem",
        classifier: LAST_LAYER,
        build,
    }
}

const STEM: usize = 32;
const LAST: usize = 1280;
/// Scaled numbers of channels are multiples of this.
const CHANNELS_STEP: usize = 8;

/// How a member of the family is scaled up from Lite0.
struct Scale {
    width: f64,
    depth: f64,
    dropout: f32,
}

struct Stage {
    kernel: usize,
    blocks: usize,
    /// Channels inside a block, per channel that enters it.
    expansion: usize,
    channels: usize,
    /// Of the first block.
    stride: usize,
}

const STAGES: [Stage; 7] = [
    Stage { kernel: 3, blocks: 1, expansion: 1, channels: 16, stride: 1 },
    Stage { kernel: 3, blocks: 2, expansion: 6, channels: 24, stride: 2 },
    Stage { kernel: 5, blocks: 2, expansion: 6, channels: 40, stride: 2 },
    Stage { kernel: 3, blocks: 3, expansion: 6, channels: 80, stride: 2 },
    Stage { kernel: 5, blocks: 3, expansion: 6, channels: 112, stride: 1 },
    Stage { kernel: 5, blocks: 4, expansion: 6, channels: 192, stride: 2 },
    Stage { kernel: 3, blocks: 1, expansion: 6, channels: 320, stride: 1 },
];

/// Appends an EfficientNet-Lite.
///
/// Stem, head and the depth of the first and last stage are the same for all scales. TensorFlow's "same" padding. Names
/// are those of the PyTorch port of EfficientNet: `_conv_stem`, `_blocks.N._expand_conv`, ..., `_fc`; a block's
/// rectifiers are `_relu0` and `_relu1`, behind the batch norms of these numbers.
/// Source: the model card in tensorflow/tpu, `models/official/efficientnet/lite`; Tan and Le, "EfficientNet", 2019,
/// table 1 and section 3.3.
fn build(mut net: Net, image: &Wire, scale: &Scale, classes: usize) -> Result<Graph, ZooError> {
    let stride = net.halving();
    let stem = ["_conv_stem", "_bn0", "_relu0"].map(str::to_owned);
    let mut wire = net.block(stem, image, Filter::dense(STEM, 3, stride));
    let mut index = 0;
    for (nth, stage) in STAGES.iter().enumerate() {
        let is_at_an_end = nth == 0 || nth + 1 == STAGES.len();
        let channels = scaled_channels(stage.channels, scale.width);
        for block in 0..if is_at_an_end { stage.blocks } else { scaled_blocks(stage.blocks, scale.depth) } {
            let stride = if block == 0 { net.stride(stage.stride) } else { 1 };
            wire = block_at(&mut net, &wire, &Place { index, stage, channels, stride });
            index += 1;
        }
    }
    let head = ["_conv_head", "_bn1", "_relu1"].map(str::to_owned);
    wire = net.block(head, &wire, Filter::pointwise(LAST));
    let dropout = Some(("_dropout", scale.dropout));
    net.classifier(&wire, &Head { pool: "_avg_pooling", dropout, linear: LAST_LAYER }, classes)
}

struct Place<'a> {
    index: usize,
    stage: &'a Stage,
    channels: usize,
    stride: usize,
}

fn block_at(net: &mut Net, input: &Wire, place: &Place<'_>) -> Wire {
    let Place { index, stage, channels, stride } = place;
    let name = |part: &str| format!("_blocks.{index}.{part}");
    let mut wire = input.clone();
    if stage.expansion > 1 {
        let expand = Filter::pointwise(input.channels * stage.expansion);
        wire = net.block(["_expand_conv", "_bn0", "_relu0"].map(name), &wire, expand);
    }
    let filter = Filter::depthwise(&wire, stage.kernel, *stride);
    wire = net.block(["_depthwise_conv", "_bn1", "_relu1"].map(name), &wire, filter);
    wire = net.block(["_project_conv", "_bn2"].map(name), &wire, Filter::pointwise(*channels));
    if *stride > 1 || input.channels != wire.channels {
        return wire;
    }
    net.add(name("add"), &wire, input)
}

/// The multiple of eight that is nearest, or the next one where that would lose more than a tenth.
fn scaled_channels(channels: usize, width: f64) -> usize {
    let exact = channels as f64 * width;
    let step = CHANNELS_STEP as f64;
    let nearest = ((exact / step + 0.5).floor() * step).max(step);
    let rounded = if nearest < 0.9 * exact { nearest + step } else { nearest };
    rounded as usize
}

fn scaled_blocks(blocks: usize, depth: f64) -> usize {
    (blocks as f64 * depth).ceil() as usize
}
