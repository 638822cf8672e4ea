//! Demotion: which groups of points can be lowered from a high to a low width while the score stays at its target.
//!
//! [`Published`] is the procedure as it was published, with its known flaw. [`Demotion`] is what to use: rounds of
//! measurements side by side, chosen by what the sets measured so far let expect of all others.
//! Start reading at [`Lowering`].

mod belief;
mod candidates;
mod compat;
mod outcome;

mod search;
mod set;

use crate::set_search::Group;

pub use self::compat::{Lowered, Promotion, Published, Reason, Shuffle};
pub use self::outcome::{End, Found, Statement, Tradeoff};
pub use self::search::{Demotion, Objective, Pace};

/// Groups that are lowered or not, and the two assignments between which they move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lowering {
    groups: Vec<Group>,
    high: Vec<u8>,
    low: Vec<u8>,
}

/// Groups and assignments that do not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoweringError {
    /// The assignments are of different spaces.
    #[error("one assignment is of {high} variables and the other of {low}; give both in the same space")]
    Lengths {
        /// Variables of the high assignment.
        high: usize,
        /// Variables of the low one.
        low: usize,
    },
    /// A variable that is not there.
    #[error("group {group} names variable {variable}, but there are only {variables}")]
    UnknownVariable {
        /// The group.
        group: String,
        /// The variable.
        variable: usize,
        /// Variables of the space.
        variables: usize,
    },
    /// A variable in two groups.
    #[error("variable {variable} is in group {first} and in group {second}; a variable moves with one group")]
    Shared {
        /// The variable.
        variable: usize,
        /// One of its groups.
        first: String,
        /// The other.
        second: String,
    },
    /// Lowering the group changes nothing.
    #[error("group {0} has the same levels in both assignments; leave it out")]
    Unchanged(String),
}

impl Lowering {
    /// Checks groups, in the model's order, and the assignments between which they move: `high` with none lowered and
    /// `low` with all. Variables in no group keep their high level.
    ///
    /// Errors: see [`LoweringError`].
    pub fn new(groups: Vec<Group>, high: Vec<u8>, low: Vec<u8>) -> Result<Self, LoweringError> {
        if high.len() != low.len() {
            return Err(LoweringError::Lengths { high: high.len(), low: low.len() });
        }
        let variables = high.len();
        let mut owner: Vec<Option<&Group>> = vec![None; variables];
        for group in &groups {
            for variable in group.variables.iter().copied() {
                let name = group.name.clone();
                let Some(place) = owner.get_mut(variable) else {
                    return Err(LoweringError::UnknownVariable { group: name, variable, variables });
                };
                if let Some(other) = place.replace(group) {
                    return Err(LoweringError::Shared { variable, first: other.name.clone(), second: name });
                }
            }
            if group.variables.iter().all(|variable| high[*variable] == low[*variable]) {
                return Err(LoweringError::Unchanged(group.name.clone()));
            }
        }
        Ok(Self { groups, high, low })
    }

    /// The groups, in the model's order.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The assignment with exactly these groups lowered.
    ///
    /// Panics: a group is not there.
    pub fn levels(&self, lowered: impl IntoIterator<Item = usize>) -> Vec<u8> {
        let mut levels = self.high.clone();
        for group in lowered {
            for variable in self.groups[group].variables.iter().copied() {
                levels[variable] = self.low[variable];
            }
        }
        levels
    }
}

#[cfg(test)]
mod tests;
