//! Mixed precision by a sensitivity list and its curve, as AIMET's automatic mixed precision does it.
//!
//! The order of the list, the points that are looked at and where a search ends are those of aimet-torch 2.42, as
//! recorded searches show them.
//!
//! Each group is quantized alone at each pair of widths; sorted by what that costs in score, these are applied one
//! after another to the best uniform assignment, which gives a curve of falling cost. [`Walk`] says how the curve is
//! measured: as the tool does, or all of it at once with steps that raise widths again left out.
//! Start reading at [`Problem`].

mod curve;
mod list;
mod probe;
mod search;

use bitloop_core::bits::Bits;
use bitloop_core::graph::PointKind;

pub use self::curve::{Point, Skipped};
pub use self::list::Entry;
pub use self::search::{Amp, End, Mixed, Order, Rule};
use crate::cost::Cost;
use crate::form::{Form, Two};
use crate::set_search::{FLOAT, Group};
use crate::space::Space;

/// A pair of widths that a group can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Of its activations.
    pub activation: Bits,
    /// Of its weights.
    pub weight: Bits,
}

/// How the curve is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// Point after point, up to the first below what is allowed.
    BruteForce,
    /// By halving, as though scores only fell.
    Binary,
    /// By straight lines between the last good and the first bad point, likewise.
    Interpolation,
    /// All points side by side, of a curve without entries that raise a width again.
    Complete,
}

/// What is searched: every group at every candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    space: Space,
    groups: Vec<Group>,
    candidates: Vec<Candidate>,
    cost: Cost,
}

/// A problem that cannot be searched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProblemError {
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
    #[error("variable {0} is in two groups; a variable moves with one group")]
    Shared(String),
    /// No candidate fits every group, so there is nothing to start from.
    #[error("no candidate has widths that all groups offer; give one that fits all of them")]
    NoUniform,
}

impl Problem {
    /// Checks groups, in the model's order, and the candidates they may have, best first; a group leaves out the
    /// candidates that its variables' widths do not offer. `cost` is what is to fall.
    ///
    /// Errors: see [`ProblemError`].
    pub fn new(
        space: Space,
        groups: Vec<Group>,
        candidates: Vec<Candidate>,
        cost: Cost,
    ) -> Result<Self, ProblemError> {
        let mut is_taken = vec![false; space.variables.len()];
        for group in &groups {
            for variable in group.variables.iter().copied() {
                let variables = space.variables.len();
                let Some(is_taken) = is_taken.get_mut(variable) else {
                    let group = group.name.clone();
                    return Err(ProblemError::UnknownVariable { group, variable, variables });
                };
                if std::mem::replace(is_taken, true) {
                    return Err(ProblemError::Shared(space.variables[variable].name.clone()));
                }
            }
        }
        let problem = Self { space, groups, candidates, cost };
        let has_uniform = (0..problem.candidates.len()).any(|candidate| problem.uniform(candidate).is_some());
        if has_uniform { Ok(problem) } else { Err(ProblemError::NoUniform) }
    }

    /// The groups.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The candidates.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// The space.
    pub fn space(&self) -> &Space {
        &self.space
    }

    fn level(&self, variable: usize, candidate: usize) -> Option<u8> {
        let Candidate { activation, weight } = self.candidates[candidate];
        let variable = &self.space.variables[variable];
        let wanted = match variable.kind {
            PointKind::Activation => activation,
            PointKind::Weight => weight,
        };
        variable.widths.iter().position(|width| *width == wanted).map(|level| level as u8)
    }

    /// Gives a group a candidate; `false`, and nothing is changed, where its variables do not offer it.
    fn apply(&self, levels: &mut [u8], group: usize, candidate: usize) -> bool {
        let variables = &self.groups[group].variables;
        let offered: Option<Vec<u8>> =
            variables.iter().map(|variable| self.level(*variable, candidate)).collect();
        let Some(offered) = offered else { return false };
        for (variable, level) in variables.iter().zip(offered) {
            levels[*variable] = level;
        }
        true
    }

    /// Nothing quantized.
    fn float(&self) -> Vec<u8> {
        vec![FLOAT; self.space.variables.len()]
    }

    /// All groups at a candidate, variables of no group at their reference.
    fn uniform(&self, candidate: usize) -> Option<Vec<u8>> {
        let mut levels = self.space.reference();
        (0..self.groups.len()).all(|group| self.apply(&mut levels, group, candidate)).then_some(levels)
    }

    /// One group at a candidate, and nothing else quantized.
    fn alone(&self, group: usize, candidate: usize) -> Option<Vec<u8>> {
        let mut levels = self.float();
        self.apply(&mut levels, group, candidate).then_some(levels)
    }

    fn cost(&self, levels: &[u8]) -> f64 {
        self.cost.value(&self.space, levels)
    }
}

/// The bit operations that the tool counts, `sum of MACs * activation bits * weight bits`.
///
/// Weights are counted with the activation of their own group. In a group without one, activations count as `alone`
/// bits wide, whatever their own group has: that is how the tool does it. Shapes: `macs` has one number per variable,
/// 0 for activations. Units: bit operations.
/// Source: recorded searches of aimet-torch 2.42, whose costs a golden test repeats.
pub fn group_bit_operations(space: &Space, groups: &[Group], macs: &[f64], alone: Bits) -> Cost {
    let mut form = Form::constant(0.0, space);
    let bits = |variable: usize| space.variables[variable].widths.iter().map(|width| f64::from(width.get()));
    let is_weight = |variable: &usize| space.variables[*variable].kind == PointKind::Weight;
    for group in groups {
        let activation = group.variables.iter().copied().find(|variable| !is_weight(variable));
        for weight in group.variables.iter().copied().filter(is_weight) {
            match activation {
                Some(activation) => {
                    let values = bits(activation)
                        .flat_map(|a| bits(weight).map(move |w| a * w))
                        .map(|product| product * macs[weight])
                        .collect();
                    form.two.push(Two { a: activation, b: weight, values });
                }
                None => {
                    form.one[weight] =
                        bits(weight).map(|w| f64::from(alone.get()) * w * macs[weight]).collect();
                }
            }
        }
    }
    Cost { name: "bit_operations".to_owned(), rows: vec![form] }
}

#[cfg(test)]
mod tests;
