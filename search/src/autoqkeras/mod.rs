//! AutoQKeras: search for the quantizers, filter counts and learning rate of a network that is trained anew in every trial.
//!
//! Start reading at [`tuners`].

pub mod tuners;

use serde::{Deserialize, Serialize};

/// Whose behaviour is followed where QKeras does not do what it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compat {
    /// What QKeras's tutorial promises.
    #[default]
    Bitloop,
    /// What QKeras 0.9.0 does, for results that can be compared with it.
    Qkeras,
}
