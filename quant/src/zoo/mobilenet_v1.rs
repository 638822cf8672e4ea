use bitloop_core::graph::Graph;

use super::ZooError;
use super::net::{Filter, Head, Net, Rectifier, Style, Wire, Zeros};
use super::registry::{Normalization, ZooArchitecture};

pub(super) const MOBILENET_V1: ZooArchitecture = ZooArchitecture {
    name: "mobilenet_v1",
    size: 224,
    normalization: Normalization::IMAGENET,
    style: Style { eps: 1e-5, zeros: Zeros::Symmetric, rectifier: Rectifier::Relu6 },
    stem: "stem.conv",
    classifier: HEAD.linear,
    build,
};

const HEAD: Head = Head { pool: "avgpool", dropout: None, linear: "fc" };

const STEM: usize = 32;
/// Channels and stride of each depthwise-separable block.
const BLOCKS: [(usize, usize); 13] = [
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
];

/// Appends MobileNetV1 at full width.
///
/// torchvision has no such network, so the names are ours: `stem.{conv,bn,relu}`,
/// `blocks.N.{depthwise,pointwise}.{conv,bn,relu}` for N from 0 to 12, `fc`. ReLU6 as in the published checkpoints
/// (the paper says ReLU); padding and batch-norm eps as PyTorch's layers have them. The last block has stride 1:
/// the paper's table says 2 but keeps the size.
/// Source: Howard et al., "MobileNets", 2017, table 1.
fn build(mut net: Net, image: &Wire, classes: usize) -> Result<Graph, ZooError> {
    let stride = net.halving();
    let mut wire = net.block(names("stem"), image, Filter::dense(STEM, 3, stride));
    for (block, (channels, stride)) in BLOCKS.into_iter().enumerate() {
        let filter = Filter::depthwise(&wire, 3, net.stride(stride));
        wire = net.block(names(&format!("blocks.{block}.depthwise")), &wire, filter);
        wire = net.block(names(&format!("blocks.{block}.pointwise")), &wire, Filter::pointwise(channels));
    }
    net.classifier(&wire, &HEAD, classes)
}

fn names(prefix: &str) -> [String; 3] {
    ["conv", "bn", "relu"].map(|part| format!("{prefix}.{part}"))
}
