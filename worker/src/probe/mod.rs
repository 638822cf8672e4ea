//! Probes as a worker sees them: processes that measure what networks take on devices.
//!
//! A probe says how long a network takes ([`Request`], [`Answer`]); what both sides say is `protocol`. This program is a probe
//! itself for each device adapter that is built in, see [`crate::adapter`], which nothing here needs; others are programs of the
//! worker's own file. `registered` says which probes a worker has and `command` how one is started; a [`Probe`] (`handle`) asks a
//! process (`process`, `lines`), believes what can be (`checks`), and starts another one where it has to (`restarts`, `error`).
//! Start at `trial`, which makes an outcome of a trial: networks become files (`staged`), and what a device computes is compared
//! with the simulation (`fidelity`).

mod checks;
mod command;
mod error;
mod fidelity;
mod handle;
mod lines;
mod process;
pub(crate) mod protocol;
mod registered;
mod restarts;
mod staged;
mod trial;
mod unburied;
pub(crate) mod values;

pub use checks::Layered;
pub use command::{Limits, ProbeCommand};
pub use error::{Breakage, ProbeError, Suspect};
pub use handle::{Inference, Probe, Timing};
pub use protocol::{
    Ability, Answer, Ask, EnergyReading, Hello, Network, PROTOCOL, Reply, Request,
    Setting as InferenceSetting, Timed,
};
pub use registered::{ProbeOption, ProbeOptionError, RegistrationError, registered};
pub(crate) use trial::Probes;
