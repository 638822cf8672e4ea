//! What a device takes, from times of many short repetitions.
//!
//! A session is what one process measures in one go: rounds, in each of which the config and the baseline have a turn.
//! [`Pacing`] says what is timed next and when it is enough, [`Session`] what came of it, [`merged`] what several sessions say
//! together. Whoever times reads the clock; nothing here does.

mod environment;
mod estimate;
mod pacing;
mod quiet;
mod session;

pub use environment::Environment;
pub use estimate::{Estimate, merged};
pub(crate) use estimate::{median, t_quantile};
pub use pacing::{Pacing, Patience, Side, Step};
pub use session::{Round, Session, Unsteady};

#[cfg(test)]
mod tests;
