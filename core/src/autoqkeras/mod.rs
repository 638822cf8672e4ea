//! AutoQKeras's search as an experiment describes it: goal, candidates and their limits, blocks, tuner; and what a tuner asks
//! for.
//!
//! Data alone: what a network's size is, what may be chosen in it and what a tuner asks for are found in `bitloop-search`.
//! Names are those of AutoQKeras's arguments. Start reading at [`Settings`] and [`Goal`].

mod ask;
mod factor;
mod goal;
mod limit;
mod measured;
mod ordered;
mod score;
mod settings;
mod tuner;

pub use ask::{Ask, Asked, Epochs, Place, Purpose};
pub use factor::{Comparison, FactorError, ForgivingFactor, Size};
pub use goal::{
    BitsGoal, EnergyGoal, Goal, MeasuredEnergy, Part, Placement, PlainNumber, Process, SourceNumber,
};
pub use limit::{Bound, DEFAULT, Entry, Limit, QuantizationConfig};
pub use measured::{MeasuredCost, MeasuredGoal, activation_codes, image_codes, kernel_codes};
pub use ordered::Ordered;
pub use score::{best, objective};
pub use settings::{BlockOrder, BlockSettings, Compat, Settings, TuneFilters};
pub use tuner::{Order, TooSmall, TunerSettings};
