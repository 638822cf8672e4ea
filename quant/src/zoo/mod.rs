//! Networks that can be trained from scratch, as graphs, and the weights they start from.
//!
//! To add a family: one file with a function that returns a [`Graph`], one variant of
//! [`bitloop_core::spec::Architecture`], one arm in [`build`], one golden test.

mod conv_block;
mod error;
mod initial;
mod resnet;
#[cfg(test)]
mod tests;

use bitloop_core::graph::{Graph, Input};
use bitloop_core::spec::{Architecture, Initializer};

pub use conv_block::conv_block;
pub use error::ZooError;
pub use initial::initial_weights;
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
