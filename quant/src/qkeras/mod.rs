//! QKeras's quantizers on slices of f32, to the bit: forward, the gradient that passes straight through, and the scale.
//!
//! Start at [`fit`]: it finds what depends on all values (scales, random draws), and gives a [`Fitted`] that maps values
//! one by one, so that a training step can write into its own buffers. A file per family of
//! quantizers holds how one value is mapped. [`Operator`] is the same for candle's tensors. Nothing here knows of layers.

mod bits;
mod curves;
mod drawn;
mod element;
mod error;
mod fitted;
mod groups;
mod linear;
mod math;
mod operator;
mod powers;
mod relu;
mod scales;
mod signs;
mod ternary;
#[cfg(test)]
mod tests;
mod uniform;

pub use error::FitError;
pub use fitted::{Arithmetic, Channel, Fitted, Fitting, Phase, Scale, Values, fit};
pub use operator::{Operator, OperatorError};
pub use uniform::{Seeded, Uniform};
