use bitloop_core::graph::Graph;

use super::ZooError;
use super::net::{Filter, Head, Net, Rectifier, Style, Wire, Zeros};
use super::registry::{Build, Normalization, ZooArchitecture};

pub(super) const RESNET18: ZooArchitecture = resnet("resnet18", |net, image, classes| {
    let depth = Depth { units: [2, 2, 2, 2], bottleneck: false };
    build(net, image, &depth, classes)
});
pub(super) const RESNET34: ZooArchitecture = resnet("resnet34", |net, image, classes| {
    let depth = Depth { units: [3, 4, 6, 3], bottleneck: false };
    build(net, image, &depth, classes)
});
pub(super) const RESNET50: ZooArchitecture = resnet("resnet50", |net, image, classes| {
    let depth = Depth { units: [3, 4, 6, 3], bottleneck: true };
    build(net, image, &depth, classes)
});

const HEAD: Head = Head { pool: "avgpool", dropout: None, linear: "fc" };

const fn resnet(name: &'static str, build: Build) -> ZooArchitecture {
    ZooArchitecture {
        name,
        size: 224,
        normalization: Normalization::IMAGENET,
        style: Style { eps: 1e-5, zeros: Zeros::Symmetric, rectifier: Rectifier::Relu },
        stem: "conv1",
        classifier: HEAD.linear,
        build,
    }
}

/// Channels of the first stage; each later one has twice as many.
const WIDTH: usize = 64;
/// Channels that leave a bottleneck, per channel inside it.
const EXPANSION: usize = 4;

/// What a residual network of 18 to 152 layers is made of.
struct Depth {
    /// Units of the four stages.
    units: [usize; 4],
    /// Units of 1x1, 3x3 and 1x1 convolutions rather than of two 3x3 ones.
    bottleneck: bool,
}

/// Appends a residual network for ImageNet.
///
/// A bottleneck halves the resolution in its 3x3 convolution, as torchvision's do. Names are torchvision's module
/// paths; a unit's one ReLU module, which runs several times, gives `relu`, `relu_1`, `relu_2` in order of use.
/// Source: He et al., "Deep Residual Learning for Image Recognition", 2016, table 1.
fn build(mut net: Net, image: &Wire, depth: &Depth, classes: usize) -> Result<Graph, ZooError> {
    let stride = net.halving();
    let names = ["conv1", "bn1", "relu"].map(str::to_owned);
    let stem = net.block(names, image, Filter::dense(WIDTH, 7, stride));
    let mut wire = net.halving_max_pool("maxpool", stem);
    for (stage, units) in depth.units.into_iter().enumerate() {
        for unit in 0..units {
            let stride = if stage > 0 && unit == 0 { net.halving() } else { 1 };
            let place = Place { prefix: format!("layer{}.{unit}", stage + 1), width: WIDTH << stage, stride };
            wire = if depth.bottleneck {
                bottleneck(&mut net, &wire, &place)
            } else {
                basic(&mut net, &wire, &place)
            };
        }
    }
    net.classifier(&wire, &HEAD, classes)
}

struct Place {
    prefix: String,
    width: usize,
    stride: usize,
}

impl Place {
    fn name(&self, part: &str) -> String {
        format!("{}.{part}", self.prefix)
    }

    fn names<const N: usize>(&self, parts: [&str; N]) -> [String; N] {
        parts.map(|part| self.name(part))
    }
}

fn basic(net: &mut Net, input: &Wire, place: &Place) -> Wire {
    let first = Filter::dense(place.width, 3, place.stride);
    let wire = net.block(place.names(["conv1", "bn1", "relu"]), input, first);
    let wire = net.block(place.names(["conv2", "bn2"]), &wire, Filter::dense(place.width, 3, 1));
    let shortcut = shortcut(net, input, place, wire.channels);
    let sum = net.add(place.name("add"), &wire, &shortcut);
    net.rectifier(place.name("relu_1"), &sum)
}

fn bottleneck(net: &mut Net, input: &Wire, place: &Place) -> Wire {
    let width = place.width;
    let wire = net.block(place.names(["conv1", "bn1", "relu"]), input, Filter::pointwise(width));
    let middle = Filter::dense(width, 3, place.stride);
    let wire = net.block(place.names(["conv2", "bn2", "relu_1"]), &wire, middle);
    let wire = net.block(place.names(["conv3", "bn3"]), &wire, Filter::pointwise(width * EXPANSION));
    let shortcut = shortcut(net, input, place, wire.channels);
    let sum = net.add(place.name("add"), &wire, &shortcut);
    net.rectifier(place.name("relu_2"), &sum)
}

/// The input itself, or a 1x1 convolution of it where the shape changes.
fn shortcut(net: &mut Net, input: &Wire, place: &Place, channels: usize) -> Wire {
    if place.stride == 1 && input.channels == channels {
        return input.clone();
    }
    let filter = Filter { stride: place.stride, ..Filter::pointwise(channels) };
    net.block(place.names(["downsample.0", "downsample.1"]), input, filter)
}
