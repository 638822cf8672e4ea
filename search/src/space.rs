//! What may be chosen: the searchable points with their widths.

use bitloop_core::bits::Bits;
use bitloop_core::graph::PointKind;

/// A point whose width is searched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// The point's name.
    pub name: String,
    /// Whether it is a weight or an activation.
    pub kind: PointKind,
    /// Its widths, ascending and at least one; the last is the reference that losses and changes are counted from.
    pub widths: Vec<Bits>,
}

impl Variable {
    /// The level of the reference: the last width.
    pub fn reference(&self) -> u8 {
        (self.widths.len() - 1) as u8
    }
}

/// All searchable points, in the model's order.
///
/// An *assignment* is a slice of levels, one per variable: indices into its `widths`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// The points.
    pub variables: Vec<Variable>,
}

impl Space {
    /// The assignment that gives every variable its reference width.
    pub fn reference(&self) -> Vec<u8> {
        self.variables.iter().map(Variable::reference).collect()
    }

    /// How many variables are not at their reference.
    pub fn changed(&self, levels: &[u8]) -> usize {
        self.variables.iter().zip(levels).filter(|(variable, level)| variable.reference() != **level).count()
    }

    /// The width that a variable has in an assignment.
    pub fn width(&self, variable: usize, levels: &[u8]) -> Bits {
        self.variables[variable].widths[levels[variable] as usize]
    }

    /// Finds a variable by its name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.variables.iter().position(|variable| variable.name == name)
    }
}
