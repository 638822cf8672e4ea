use bitloop_core::graph::{Graph, Input, Shape};

use super::net::{Net, Style, Wire};
use super::{ZooError, efficientnet_lite, mobilenet_v1, mobilenet_v2, residual, shufflenet_v2};

/// Classes of ImageNet, which published weights tell apart.
const CLASSES: usize = 1000;
/// Channels of the images that published networks take.
pub(super) const COLOURS: usize = 3;

/// Every published architecture, in the order in which messages name them.
static ARCHITECTURES: [ZooArchitecture; 12] = [
    residual::RESNET18,
    residual::RESNET34,
    residual::RESNET50,
    mobilenet_v1::MOBILENET_V1,
    mobilenet_v2::MOBILENET_V2,
    shufflenet_v2::X0_5,
    shufflenet_v2::X1_0,
    efficientnet_lite::LITE0,
    efficientnet_lite::LITE1,
    efficientnet_lite::LITE2,
    efficientnet_lite::LITE3,
    efficientnet_lite::LITE4,
];

/// A published architecture: how it is built, and what its published weights were trained for.
#[derive(Debug)]
pub struct ZooArchitecture {
    /// What users call it.
    pub name: &'static str,
    /// Height and width of the images that it was published for.
    pub size: usize,
    /// The published preprocessing.
    pub normalization: Normalization,
    pub(super) style: Style,
    /// The convolution that sees the image.
    pub(super) stem: &'static str,
    /// The layer that gives the logits.
    pub(super) classifier: &'static str,
    /// Appends everything behind the image.
    pub(super) build: Build,
}

/// Appends a network for a number of classes to the image.
pub(super) type Build = fn(Net, &Wire, usize) -> Result<Graph, ZooError>;

/// How the values of red, green and blue are normalized, in units of the 0..1 scaled value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalization {
    /// What is subtracted.
    pub mean: [f32; 3],
    /// What is divided by.
    pub std: [f32; 3],
}

impl Normalization {
    /// ImageNet's statistics, as torchvision's weights expect them.
    pub(super) const IMAGENET: Self = Self { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
}

impl ZooArchitecture {
    /// Returns the input for images of a shape `(channels, height, width)`: the published normalization for three channels.
    ///
    /// Published statistics are those of colour images, so any other number of channels is passed on in 0..1; set
    /// `mean` and `std` to what the weights were trained with.
    pub fn input(&self, shape: Shape) -> Input {
        let Normalization { mean, std } = self.normalization;
        match shape.channels() {
            COLOURS => Input { shape, mean: mean.to_vec(), std: std.to_vec() },
            channels => Input { shape, mean: vec![0.0; channels], std: vec![1.0; channels] },
        }
    }
}

/// Returns the architecture of a name.
///
/// Errors: `UnknownArchitecture` with every name there is.
pub fn architecture(name: &str) -> Result<&'static ZooArchitecture, ZooError> {
    ARCHITECTURES.iter().find(|architecture| architecture.name == name).ok_or_else(|| {
        ZooError::UnknownArchitecture { name: name.to_owned(), known: architectures().collect() }
    })
}

/// Returns the names of all architectures.
pub fn architectures() -> impl Iterator<Item = &'static str> {
    ARCHITECTURES.iter().map(|architecture| architecture.name)
}

/// Where a network lowers the resolution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strides {
    /// As published: the image is halved five times, so one of 32x32 ends as a single pixel.
    #[default]
    Published,
    /// The first two halvings are left out, so images of 32x32 and 28x28 end as 4x4.
    ///
    /// These are the first convolution and what halves next: the max pooling of ResNet and ShuffleNet (which is then
    /// left out), the second block with another width in MobileNet and EfficientNet. Kernels, and so the shapes
    /// of all weights, stay the same.
    SmallImages,
}

/// A published architecture with everything chosen that a user may choose.
#[derive(Clone, Debug)]
pub struct Zoo {
    /// Which one.
    pub architecture: &'static ZooArchitecture,
    /// Outputs of the classifier; those of ImageNet if left out.
    pub classes: Option<usize>,
    /// The images and their normalization; what it was published for if left out.
    ///
    /// An image of one channel goes through the *shim* first, a 1x1 convolution with bias that makes three channels of
    /// it, named `shim`. With any other number of channels than one or three, the first layer takes as many.
    pub input: Option<Input>,
    /// Where the resolution is lowered.
    pub strides: Strides,
}

impl Zoo {
    /// An architecture as it was published.
    pub fn published(architecture: &'static ZooArchitecture) -> Self {
        Self { architecture, classes: None, input: None, strides: Strides::Published }
    }

    /// Returns the graph.
    ///
    /// Errors: `NoImage`, or what the graph's own check finds, such as an image that is too small.
    pub fn graph(&self) -> Result<Graph, ZooError> {
        let size = self.architecture.size;
        let published = || self.architecture.input(Shape::image(COLOURS, size, size));
        let input = self.input.clone().unwrap_or_else(published);
        let stem = if input.shape.channels() == 1 { Stem::Shim } else { Stem::Direct };
        self.graph_of(input, stem)
    }

    pub(super) fn graph_of(&self, input: Input, stem: Stem) -> Result<Graph, ZooError> {
        let architecture = self.architecture;
        let graph = Graph::new(architecture.name, input);
        let (mut net, mut image) = Net::new(graph, self.strides, architecture.style)?;
        if stem == Stem::Shim {
            image = net.shim(&image);
        }
        (architecture.build)(net, &image, self.classes.unwrap_or(CLASSES))
    }
}

/// What sees the image first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stem {
    /// The layer that widens one channel to three.
    Shim,
    /// The architecture's first layer.
    Direct,
}
