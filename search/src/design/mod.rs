//! Which bit configs to measure: designs, as sequences whose configs follow from their index.
//!
//! A design is never held in memory: it takes a few bytes per item, however many configs it has. An *item* is one
//! variable lowered alone to one level; [`Items`] is where to start. Which images a config is measured on, and what is
//! made of it, is not known here.

mod pairs;
mod permutation;
mod promising;
mod singles;
mod subsets;

pub use self::pairs::Pairs;
pub use self::promising::{Promising, PromisingIter};
pub use self::singles::Singles;
pub use self::subsets::{SubsetSizes, Subsets};
use crate::predict::statistics::quantile;
use crate::space::Space;

/// A variable that is not at its reference, with its level.
pub type Change = (u32, u8);

/// Bit configs by their index.
pub trait Design: Send + Sync {
    /// How many configs there are.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the config at `index` changes, by ascending variable; none behind the last config.
    fn get(&self, index: u64) -> Option<Vec<Change>>;
}

/// What designs lower: variables with the levels that each may take, by ascending variable and level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Items {
    groups: Box<[Group]>,
    levels: Box<[u8]>,
}

/// A variable and where its levels begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Group {
    variable: u32,
    first: u32,
}

/// A design that can't be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DesignError {
    /// There is not one damage per item.
    #[error("{damages} damages for {items} items; give one for each item, in their order")]
    Damages {
        /// Numbers given.
        damages: usize,
        /// Items.
        items: usize,
    },
    /// A damage is not a finite number.
    #[error("the damage of item {0} is not a finite number; leave out what could not be measured")]
    NotFinite(usize),
    /// A quantile is not between 0 and 1.
    #[error("the quantile is {0}; give a number between 0 and 1")]
    Quantile(f64),
    /// Sizes of subsets that make no sense.
    #[error("subsets of {min} to {max} variables in steps of {step}; sizes and steps begin at 1")]
    Sizes {
        /// The smallest size.
        min: u32,
        /// The largest size.
        max: u32,
        /// Distance between sizes.
        step: u32,
    },
    /// No subset has one of the sizes.
    #[error(
        "there is no subset of {min} to {max} points: damage alone leaves {points}; ask for fewer points at a time, or \
         raise the quantile"
    )]
    NoSubsets {
        /// The smallest size.
        min: u32,
        /// The largest size.
        max: u32,
        /// Points that may be in one.
        points: usize,
    },
}

impl Items {
    /// Every variable of a space at every level but its reference.
    pub fn all(space: &Space) -> Self {
        let levels = |(index, variable): (usize, &crate::space::Variable)| {
            (0..variable.reference()).map(move |level| (index as u32, level))
        };
        Self::sorted(space.variables.iter().enumerate().flat_map(levels))
    }

    /// These items, in any order; none may stand twice.
    pub fn of(items: impl IntoIterator<Item = Change>) -> Self {
        let mut items: Vec<Change> = items.into_iter().collect();
        items.sort_unstable();
        Self::sorted(items.into_iter())
    }

    /// Items that ascend by variable and level.
    fn sorted(items: impl Iterator<Item = Change>) -> Self {
        let (mut groups, mut levels) = (Vec::<Group>::new(), Vec::new());
        for (variable, level) in items {
            if groups.last().is_none_or(|group| group.variable != variable) {
                groups.push(Group { variable, first: levels.len() as u32 });
            }
            levels.push(level);
        }
        Self { groups: groups.into(), levels: levels.into() }
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.levels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }

    /// How many variables have an item.
    pub fn variables(&self) -> usize {
        self.groups.len()
    }

    /// The item at a position.
    ///
    /// Panics: there is none there.
    pub fn get(&self, index: usize) -> Change {
        let group = self.groups.partition_point(|group| group.first as usize <= index) - 1;
        (self.groups[group].variable, self.levels[index])
    }

    /// The items in order.
    pub fn iter(&self) -> impl Iterator<Item = Change> + '_ {
        (0..self.groups.len()).flat_map(move |group| {
            self.levels_of(group).iter().map(move |level| (self.groups[group].variable, *level))
        })
    }

    /// The items whose damage is below this quantile of all damages.
    ///
    /// Shapes: `damages` `(items,)`: what each item loses alone. A damage that equals the quantile is not below it.
    ///
    /// Errors: [`DesignError::Damages`], [`DesignError::NotFinite`], [`DesignError::Quantile`].
    pub fn below_quantile(&self, damages: &[f64], at: f64) -> Result<Self, DesignError> {
        self.check(damages)?;
        if !(0.0..=1.0).contains(&at) {
            return Err(DesignError::Quantile(at));
        }
        let threshold = quantile(damages, at);
        let below = self.iter().zip(damages).filter(|(_, damage)| **damage < threshold);
        Ok(Self::sorted(below.map(|(item, _)| item)))
    }

    fn check(&self, damages: &[f64]) -> Result<(), DesignError> {
        if damages.len() != self.len() {
            return Err(DesignError::Damages { damages: damages.len(), items: self.len() });
        }
        match damages.iter().position(|damage| !damage.is_finite()) {
            Some(item) => Err(DesignError::NotFinite(item)),
            None => Ok(()),
        }
    }

    /// The levels of the variable at a position among those that have items.
    fn levels_of(&self, group: usize) -> &[u8] {
        let end = self.groups.get(group + 1).map_or(self.levels.len(), |next| next.first as usize);
        &self.levels[self.groups[group].first as usize..end]
    }
}

#[cfg(test)]
mod tests;
