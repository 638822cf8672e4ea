//! All pairs of items of different variables.

use super::{Change, Design, Items};

/// One config per pair of items of different variables.
///
/// Pairs are in the order of their later item and, within it, of their earlier one. So the pairs of some variables are
/// a prefix of those of more variables, and items that are added at the end leave all indices as they were.
///
/// Takes 8 bytes per variable beyond the items; a config is found in the logarithm of the variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairs {
    items: Items,
    /// Variable -> how many pairs have their later item in a variable before it; all pairs at the end.
    before: Box<[u64]>,
}

impl Pairs {
    /// The design over some items.
    pub fn new(items: Items) -> Self {
        let mut before = vec![0];
        let mut sum = 0;
        for (group, start) in items.groups.iter().enumerate() {
            sum += items.levels_of(group).len() as u64 * u64::from(start.first);
            before.push(sum);
        }
        Self { items, before: before.into() }
    }
}

impl Design for Pairs {
    fn len(&self) -> u64 {
        self.before[self.items.groups.len()]
    }

    fn get(&self, index: u64) -> Option<Vec<Change>> {
        if index >= self.len() {
            return None;
        }
        let group = self.before.partition_point(|before| *before <= index) - 1;
        let rest = index - self.before[group];
        // All items of the variables before this one are partners of each of its levels.
        let partners = u64::from(self.items.groups[group].first);
        let earlier = self.items.get((rest % partners) as usize);
        let later = self.items.get((partners + rest / partners) as usize);
        Some(vec![earlier, later])
    }
}
