//! The quantizers of QKeras as values: their parameters, the strings that name them, and what can be said of them
//! without a tensor.
//!
//! Start at [`Quantizer`] (one variant for each of the 14) and [`Quantizer::parse`]; [`Activation`] is what a layer's
//! `activation` names: a quantizer or a float function. The arithmetic is not here, and neither are tensors.

mod activation;
mod attributes;
mod display;
mod error;
mod grammar;
mod literal;
mod parameters;
mod quantizer;
#[cfg(test)]
mod tests;

pub use activation::{Activation, FloatActivation};
pub use attributes::{LinearGrid, Po2Exponents};
pub use error::{ParseError, Problem};
pub use grammar::Grammar;
pub use literal::Literal;
pub use parameters::{
    Alpha, Axes, Bernoulli, Binary, Log2Rounding, QuantizedBits, QuantizedHswish, QuantizedLinear,
    QuantizedPo2, QuantizedRelu, QuantizedReluPo2, QuantizedSigmoid, QuantizedTanh, QuantizedUlaw,
    StochasticBinary, StochasticTernary, Ternary,
};
pub use quantizer::Quantizer;
