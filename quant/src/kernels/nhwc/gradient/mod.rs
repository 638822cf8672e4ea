//! Gradients of the layers whose forward passes are the kernels beside this folder, over the same slices.
//!
//! As there, every kernel runs on the calling thread and gives the same bits with every [`Isa`](super::Isa): a sum adds its
//! products one after another in one order, each with one rounding. Gradients to weights are sums over the images given;
//! who spreads images over threads adds up the parts in an order of its own.

mod activation;
mod depthwise;
mod input;
mod lanes;
mod norm;
mod outer;
mod pool;
#[cfg(test)]
mod tests;
mod weight;

pub(crate) use activation::{Activation, FixedPoint};
pub(crate) use depthwise::depthwise_weight_gradient;
pub(crate) use input::InputGradient;
pub(crate) use norm::{Affine, Moments, NormGradient, channel_sums, rectify};
pub(crate) use pool::MaxPool;
pub(crate) use weight::{from_taps_first, weight_gradient};
