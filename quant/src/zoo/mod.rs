//! Networks as graphs: those that can be trained from scratch, and published ones that bring their weights.
//!
//! To add a family to be trained: one file with a function that returns a [`Graph`], one variant of
//! [`bitloop_core::spec::Architecture`], one arm in [`build`], one golden test. To add a published architecture: one file
//! with a constant [`ZooArchitecture`], one line in the registry, one line in the table of the tests. Start there at
//! [`architecture`] and [`Zoo`]; [`keys`] maps trained weights by their names.

mod conv_block;
mod efficientnet_lite;
mod error;
mod initial;
pub mod keys;
mod mobilenet_v1;
mod mobilenet_v2;
mod net;
#[cfg(test)]
mod published_tests;
mod registry;
mod residual;
mod resnet;
mod shufflenet_v2;
#[cfg(test)]
mod tests;

use bitloop_core::graph::{Graph, Input};
use bitloop_core::spec::{Architecture, Initializer};

pub use conv_block::conv_block;
pub use error::ZooError;
pub use initial::initial_weights;
pub use registry::{Normalization, Strides, Zoo, ZooArchitecture, architecture, architectures};
pub use resnet::resnet;

/// Returns the graph of a network.
///
/// Errors: [`ZooError`], saying what cannot be built.
pub fn build(
    architecture: &Architecture,
    name: &str,
    input: Input,
    classes: usize,
) -> Result<Graph, ZooError> {
    match architecture {
        Architecture::ConvBlock(spec) => conv_block(spec, name, input, classes),
        Architecture::ResNet(spec) => resnet(spec, name, input, classes),
    }
}

/// Returns the distribution that the network's first weights are drawn from.
pub fn initializer(architecture: &Architecture) -> Initializer {
    match architecture {
        Architecture::ConvBlock(spec) => spec.initializer,
        Architecture::ResNet(_) => Initializer::HeNormal,
    }
}
