//! AutoQKeras: search for the quantizers, filter counts and learning rate of a network that is trained anew in every trial.
//!
//! [`SearchSpace::of`] goes through a network as QKeras does and notes what is to be chosen; an assignment of its levels
//! gives a network ([`SearchSpace::network`]), whose size and score others know. [`schedule()`] takes a network apart in
//! blocks that are searched one after another, and [`tuners`] say which assignments are tried. Where QKeras does not do
//! what it says, [`Compat`] decides. Nothing here trains or measures. Start reading at [`SearchSpace`].

mod block_search;
mod collect;
mod device;
mod error;
mod forecast;
mod learning_rate;
mod limit;
mod lookup;
mod pattern;
mod schedule;
mod space;
mod training;
mod trial_network;
pub mod tuners;

pub use bitloop_core::autoqkeras::{
    BlockOrder, BlockSettings, Bound, Compat, DEFAULT, Entry, Limit, Ordered, QuantizationConfig, Settings,
    TuneFilters,
};
pub use block_search::{BlockSearch, BlockSearchError};
pub use device::{DeviceCodes, NotExecuted};
pub use error::{SpaceError, SpaceWarning};
pub use forecast::{BlockForecast, SearchForecast};
pub use learning_rate::LEARNING_RATE;
pub use limit::padded;
pub use pattern::PatternError;
pub use schedule::{Block, LayerCosts, Schedule, ScheduleError, ScheduleWarning, schedule};
pub use space::{FILTER_FACTORS, Hyperparameter, SearchSpace, Value};
pub use training::Changes;
pub use trial_network::TrialError;

#[cfg(test)]
mod tests;
