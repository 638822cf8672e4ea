//! The domain of bitloop: nouns and rules, without async, IO, clock or tensors.
//!
//! Start at [`spec`] (what the user writes), [`plan`] (what is to be measured), [`trial`] (one measurement),
//! [`state`] (what has happened so far, and what is owed) and [`worker`] (what a worker says to its coordinator).

pub mod autoqkeras;
pub mod bits;
pub mod canonical;
pub mod checked;
pub mod device;
pub mod digest;
pub mod duration;
pub mod evaluation;
pub mod graph;
pub mod latency;
pub mod placement;
pub mod plan;
pub mod probe;
pub mod qkeras;
pub mod report;
pub mod rng;
pub mod selection;
pub mod spec;
pub mod state;
pub mod sweep;
pub mod trial;
pub mod worker;
