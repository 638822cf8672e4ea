//! The domain of bitloop: nouns and rules, without async, IO, clock or tensors.
//!
//! Start at [`spec`] (what the user writes), [`plan`] (what is to be measured), [`trial`] (one measurement) and
//! [`state`] (what has happened so far, and what is owed).

pub mod autoqkeras;
pub mod bits;
pub mod canonical;
pub mod device;
pub mod digest;
pub mod duration;
pub mod evaluation;
pub mod graph;
pub mod placement;
pub mod plan;
pub mod qkeras;
pub mod report;
pub mod rng;
pub mod selection;
pub mod spec;
pub mod state;
pub mod sweep;
pub mod trial;
