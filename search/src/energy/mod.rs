//! QTools's model of the energy that one inference takes: number types through the network, then a price of each layer.
//!
//! [`types`] follows the types of all tensors from the source through every layer, and says which circuits multiply and add
//! them; [`TypedNetwork::profile`] prices operations and the traffic between layers and memories. The model is an estimate
//! of relative worth, not of a device: it knows neither caches nor reuse. It knows nothing of searching.
//!
//! With `qkeras` set everything is as in QTools of QKeras 0.9.0, its mistakes included, and what makes it crash or stop is an
//! error. Without, these differ:
//! - a quantizer that QTools does not know is fixed point of its width, and its types are marked `assumed`;
//! - average pooling adds every value of a window in fixed point of `ceil(log2 window)` more bits, whose results go on; the
//!   division is a constant that the next layer takes in. `Subtract` costs what `Add` costs. `Conv1D` is a convolution
//!   with one axis less, `Conv2DTranspose` (0 in QTools) multiplies every input with the whole kernel of it, a depthwise
//!   convolution counts all its outputs (QTools leaves out the depth multiplier);
//! - a type stays what it is through layers that only move values, where QTools turns some into `stochastic_ternary`;
//! - operations that QTools prices for bits only cost that with floats as results too;
//! - division by a binary or ternary deviation is done in floats.
//!
//! Start reading at [`EnergyOptions`] and [`types`]. Source: specification of QTools's energy model, checked against its
//! results (`search/tests/golden_energy.rs`).

mod constants;
mod error;
mod layer;
mod number;
mod operator;
mod profile;
mod traffic;
mod typed;

pub use bitloop_core::autoqkeras::{Placement, Process};
pub use constants::Circuit;
pub use error::EnergyError;
pub use layer::{LayerOperator, LayerTypes, Parameter, Role};
pub use number::{NumberKind, NumberType};
pub use operator::{Implementation, Operator};
pub use profile::{LayerEnergy, Profile};
pub use traffic::Memory;
pub use typed::{EnergyOptions, TypedNetwork, ValueCounts, View, types};

#[cfg(test)]
mod tests;
