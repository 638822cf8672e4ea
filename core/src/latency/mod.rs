//! What a device takes for bit configs that were not measured, learned from those that were.
//!
//! Nothing is assumed to add up: a table has what each layer takes at each width, and whole networks say how far the sum of
//! it is off. Start at [`Model::fit`]; [`Readings`] is what it is fitted to, [`Additivity`] and [`Correction`] are what it
//! says of itself. It computes from outcomes alone, so the same outcomes give the same model, and nobody has to store it.

mod additivity;
mod layout;
mod model;
mod probed;
mod quantity;
mod readings;
mod regression;
mod table;
mod usual;

pub use additivity::Additivity;
pub use layout::{Edge, Layout, Unit};
pub use model::{Known, Model, ModelError};
pub use probed::{ENERGY_MODEL, Probed, counter_before, energy_source};
pub use quantity::Quantity;
pub(crate) use readings::is_quantized;
pub use readings::{LayerReadings, NetworkReadings, Readings};
pub use regression::{Correction, Terms};
pub use table::{LayerTable, LayerTime, Source};
pub use usual::Usual;

/// Width of a tensor without a quantizer.
pub const FLOAT_BITS: u32 = 32;

#[cfg(test)]
mod tests;
