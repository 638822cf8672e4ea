//! A cluster in virtual time: the real rules of the coordinator, the real searchers and the real protocol of workers, on a
//! network that loses, delays, repeats and reorders messages, with parties that crash, hang, run out of disk and lose artifacts.
//!
//! Start at [`simulate`]: everything that happens follows from one seed. After each step the invariants are checked
//! (`oracle.rs`); at the end the results must be those of a calm cluster with the same artifacts. What is not real is what stands around: the
//! driver's rounds (`coordinator.rs`), the worker's program (`host.rs`), disks (`disk.rs`), network and clocks (`world.rs`).

mod coordinator;
mod disk;
pub mod experiment;
mod faults;
mod host;
mod message;
mod oracle;
mod world;

pub use faults::Sabotage;
pub use world::{Report, Settings, simulate};
