use bitloop_core::qkeras::ParseError;

use super::Implementation;

/// Why a network's energy cannot be told.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EnergyError {
    /// A quantizer cannot be read.
    #[error("the layer `{layer}` has a quantizer that cannot be read: {error}")]
    Quantizer {
        /// The layer.
        layer: String,
        /// What is wrong in it.
        error: ParseError,
    },
    /// QTools does not know a quantizer.
    #[error(
        "QTools does not know the quantizer `{quantizer}` of the layer `{layer}`; price it without `qkeras`"
    )]
    UnknownQuantizer {
        /// The layer.
        layer: String,
        /// The quantizer.
        quantizer: String,
    },
    /// QTools fails at a layer.
    #[error("QTools cannot price the layer `{layer}` of class `{class}`; price it without `qkeras`")]
    QtoolsFails {
        /// The layer.
        layer: String,
        /// Its class.
        class: String,
    },
    /// A layer of a class that has no price here.
    #[error("the layer `{layer}` of class `{class}` has no price; leave it out of the network")]
    NoPriceOfLayer {
        /// The layer.
        layer: String,
        /// Its class.
        class: String,
    },
    /// QTools has no price of an operation on floats.
    #[error(
        "QTools has no price of {0:?} with floats as results; give another accumulator, or leave out `qkeras`"
    )]
    NoPrice(Implementation),
    /// A layer takes the output of one that is not before it.
    #[error("the layer `{layer}` takes the output of `{inbound}`, which does not stand before it")]
    UnknownInbound {
        /// The layer.
        layer: String,
        /// What it names.
        inbound: String,
    },
    /// A layer's description lacks something.
    #[error("the layer `{layer}` does not say its {missing}")]
    Incomplete {
        /// The layer.
        layer: String,
        /// What is missing.
        missing: &'static str,
    },
    /// There are as many source types as inputs, or one for all.
    #[error("there are {given} source types for {inputs} inputs; give one for each, or one for all")]
    Sources {
        /// Types that were given.
        given: usize,
        /// Input layers.
        inputs: usize,
    },
}
