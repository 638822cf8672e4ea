//! What tuners ask for.

use serde::{Deserialize, Serialize};

use super::Comparison;

/// Where a trial stands in its tuner's plan; none stands at the same place as another.
///
/// Its order is canonical: it does not depend on when trials were asked for or settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The group of trials that compete; 0 where there is but one.
    pub bracket: u32,
    /// How often the trial's assignment was promoted to more epochs.
    pub rung: u32,
    /// The number of the assignment in its bracket; a promoted one keeps it.
    pub slot: u32,
}

impl Place {
    /// The place of the trial whose weights this one goes on from; none if it starts anew.
    pub fn before(self) -> Option<Self> {
        self.rung.checked_sub(1).map(|rung| Self { rung, ..self })
    }
}

/// The epochs that a trial trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epochs {
    /// How many its assignment was trained before: 0, or what the trial at [`Place::before`] came to.
    pub from: u32,
    /// How many it is trained afterwards, all together.
    pub to: u32,
}

/// A trial that is to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Where it stands.
    pub place: Place,
    /// The level of each hyperparameter.
    pub levels: Vec<u8>,
    /// How long it trains; none if that is not the tuner's to say.
    pub epochs: Option<Epochs>,
}

/// What a trial of a search that trains is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// The float network on the device where sizes are measured: says which class of device that is, and what sizes are compared
    /// with.
    Survey,
    /// A network on that device, before trials of it are trained.
    Measured,
    /// The float network on the selection images, which drops are counted from.
    Float,
    /// A tuner asked for it, in a search of one block.
    Search {
        /// The block, in the order of the searches; 0 where all is searched at once.
        block: u32,
        /// The block's pattern.
        pattern: String,
        /// What was asked for.
        ask: Ask,
    },
    /// What the search came to, on the device: measured anew, since it was chosen by what was measured before.
    FoundOnDevice,
    /// What the search came to is trained on.
    FineTuning,
    /// The float network on the report images.
    FloatOnReport,
    /// What the search came to, on the report images.
    FoundOnReport,
}

impl Purpose {
    /// Whether a device measures it, and nothing is trained.
    pub fn is_measured(&self) -> bool {
        match self {
            Self::Survey | Self::Measured | Self::FoundOnDevice => true,
            Self::Float
            | Self::Search { .. }
            | Self::FineTuning
            | Self::FloatOnReport
            | Self::FoundOnReport => false,
        }
    }
}

/// What a trial is for, and what its network costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// What it is for.
    pub purpose: Purpose,
    /// The network's size beside the reference's; nothing where it is measured to find out.
    pub size: Comparison,
    /// Least share of the selection images that it is to recognize; see [`super::objective`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least: Option<f64>,
}
