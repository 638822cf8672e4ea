//! Every item alone.

use super::{Change, Design, Items};

/// One config per item, in the order of the items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Singles(Items);

impl Singles {
    /// The design over some items.
    pub fn new(items: Items) -> Self {
        Self(items)
    }
}

impl Design for Singles {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn get(&self, index: u64) -> Option<Vec<Change>> {
        (index < self.len()).then(|| vec![self.0.get(index as usize)])
    }
}
