use bitloop_core::graph::Graph;

use super::ZooError;
use super::net::{Filter, Head, Net, Rectifier, Style, Wire, Zeros};
use super::registry::{Build, Normalization, ZooArchitecture};

pub(super) const X0_5: ZooArchitecture =
    shufflenet("shufflenet_v2_x0_5", |net, image, classes| build(net, image, [48, 96, 192], classes));
pub(super) const X1_0: ZooArchitecture =
    shufflenet("shufflenet_v2_x1_0", |net, image, classes| build(net, image, [116, 232, 464], classes));

const HEAD: Head = Head { pool: "avgpool", dropout: None, linear: "fc" };

const fn shufflenet(name: &'static str, build: Build) -> ZooArchitecture {
    ZooArchitecture {
        name,
        size: 224,
        normalization: Normalization::IMAGENET,
        style: Style { eps: 1e-5, zeros: Zeros::Symmetric, rectifier: Rectifier::Relu },
        stem: "conv1.0",
        classifier: HEAD.linear,
        build,
    }
}

const STEM: usize = 24;
const LAST: usize = 1024;
/// Units of the three stages.
const UNITS: [usize; 3] = [4, 8, 4];
/// Halves of the channels that are shuffled into each other.
const GROUPS: usize = 2;

/// Appends a ShuffleNetV2 with the channels of its three stages.
///
/// Names are torchvision's module paths: `conv1.{0,1,2}`, `stage2.0.branch1.0`, ..., `conv5.{0,1,2}`, `fc`. A channel
/// split is two slices, `chunk` and `chunk_1`; a shuffle is `shuffle_split`, `shuffle_swap` and `shuffle`.
/// Source: Ma et al., "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design", 2018, table 5 and
/// figure 3 (c), (d).
fn build(mut net: Net, image: &Wire, channels: [usize; 3], classes: usize) -> Result<Graph, ZooError> {
    let stride = net.halving();
    let stem = net.block(names("conv1", [0, 1, 2]), image, Filter::dense(STEM, 3, stride));
    let mut wire = net.halving_max_pool("maxpool", stem);
    for ((stage, channels), units) in channels.into_iter().enumerate().zip(UNITS) {
        for unit in 0..units {
            let prefix = format!("stage{}.{unit}", stage + 2);
            wire = if unit == 0 {
                halving_unit(&mut net, &wire, &prefix, channels / 2)
            } else {
                unit_of_equal_shape(&mut net, &wire, &prefix)
            };
        }
    }
    wire = net.block(names("conv5", [0, 1, 2]), &wire, Filter::pointwise(LAST));
    net.classifier(&wire, &HEAD, classes)
}

/// One half of the channels passes, the other half is convolved.
fn unit_of_equal_shape(net: &mut Net, input: &Wire, prefix: &str) -> Wire {
    let half = input.channels / 2;
    let passing = net.channels(format!("{prefix}.chunk"), input, 0..half);
    let other = net.channels(format!("{prefix}.chunk_1"), input, half..input.channels);
    let convolved = right_branch(net, &other, prefix, (half, 1));
    joined(net, prefix, [&passing, &convolved])
}

/// Both branches see all channels and give `half` each, so their number doubles.
fn halving_unit(net: &mut Net, input: &Wire, prefix: &str, half: usize) -> Wire {
    let stride = net.halving();
    let branch = format!("{prefix}.branch1");
    let depthwise = Filter::depthwise(input, 3, stride);
    let left = net.block(names(&branch, [0, 1]), input, depthwise);
    let left = net.block(names(&branch, [2, 3, 4]), &left, Filter::pointwise(half));
    let right = right_branch(net, input, prefix, (half, stride));
    joined(net, prefix, [&left, &right])
}

fn right_branch(net: &mut Net, input: &Wire, prefix: &str, (half, stride): (usize, usize)) -> Wire {
    let branch = format!("{prefix}.branch2");
    let wire = net.block(names(&branch, [0, 1, 2]), input, Filter::pointwise(half));
    let wire = net.block(names(&branch, [3, 4]), &wire, Filter::depthwise(&wire, 3, stride));
    net.block(names(&branch, [5, 6, 7]), &wire, Filter::pointwise(half))
}

fn joined(net: &mut Net, prefix: &str, branches: [&Wire; 2]) -> Wire {
    let wire = net.concat(format!("{prefix}.concat"), branches);
    net.shuffle(&format!("{prefix}.shuffle"), &wire, GROUPS)
}

fn names<const N: usize>(prefix: &str, parts: [usize; N]) -> [String; N] {
    parts.map(|part| format!("{prefix}.{part}"))
}
