//! Pairs of items with the least damage first.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::{Change, Design, DesignError, Items};

/// Pairs of items of different variables by the sum of their single damages, the least first.
///
/// Pairs of equal sums are in the order of their items by damage. Takes 16 bytes per item, and 8 for every two items
/// of one variable. A config is found by bisecting its sum, each step a walk over the items; to go through many configs
/// in order, [`Self::iter_from`] is faster.
#[derive(Clone, Debug, PartialEq)]
pub struct Promising {
    /// The items by damage.
    items: Box<[(f64, Change)]>,
    /// Positions of two items of one variable, the earlier first: what is no pair.
    same: Box<[(u32, u32)]>,
    len: u64,
}

impl Promising {
    /// The design over items with what each loses alone.
    ///
    /// Errors: [`DesignError::Damages`], [`DesignError::NotFinite`].
    pub fn new(items: &Items, damages: &[f64]) -> Result<Self, DesignError> {
        items.check(damages)?;
        // Adding 0 makes both zeros one number, so that equal sums have equal bits.
        let mut sorted: Vec<(f64, Change)> =
            damages.iter().map(|damage| damage + 0.0).zip(items.iter()).collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut by_variable: Vec<(u32, u32)> =
            sorted.iter().enumerate().map(|(position, (_, item))| (item.0, position as u32)).collect();
        by_variable.sort_unstable();
        let mut same = Vec::new();
        for group in by_variable.chunk_by(|a, b| a.0 == b.0) {
            for (count, (_, later)) in group.iter().enumerate() {
                same.extend(group[..count].iter().map(|(_, earlier)| (*earlier, *later)));
            }
        }
        same.sort_unstable();
        let count = sorted.len() as u64;
        let len = count * count.saturating_sub(1) / 2 - same.len() as u64;
        Ok(Self { items: sorted.into(), same: same.into(), len })
    }

    /// Goes through the configs in order from the one at `index` on, each in the logarithm of the items; holds one
    /// pair per item.
    pub fn iter_from(&self, index: u64) -> PromisingIter<'_> {
        let count = self.items.len();
        let first = self.locate(index).map(|(first, second)| {
            let key = self.key(first, second);
            // Equal sums are in the order of the earlier item: of items before this one all of them have been.
            let start = |earlier: usize| match earlier.cmp(&first) {
                Ordering::Less => self.below(earlier, key + 1),
                Ordering::Equal => second,
                Ordering::Greater => self.below(earlier, key),
            };
            let rows = (0..count).map(|earlier| (earlier, start(earlier)));
            let open = rows.filter(|(_, later)| *later < count);
            open.map(|(earlier, later)| Reverse((self.key(earlier, later), earlier, later))).collect()
        });
        PromisingIter { design: self, next: first.unwrap_or_default() }
    }

    /// The pair at an index.
    fn locate(&self, index: u64) -> Option<(usize, usize)> {
        if index >= self.len {
            return None;
        }
        let last = self.items.len() - 1;
        let (mut low, mut high) = (self.key(0, 1), self.key(last - 1, last));
        // The least key up to which there are more than `index` pairs.
        while low < high {
            let middle = low + (high - low) / 2;
            if self.at_most(middle) > index { high = middle } else { low = middle + 1 }
        }
        let before = low.checked_sub(1).map_or(0, |key| self.at_most(key));
        self.tied(low, index - before)
    }

    /// A number that orders sums of damages.
    fn key(&self, earlier: usize, later: usize) -> u64 {
        ordered(self.items[earlier].0 + self.items[later].0)
    }

    fn config(&self, earlier: usize, later: usize) -> Vec<Change> {
        let mut config = vec![self.items[earlier].1, self.items[later].1];
        config.sort_unstable();
        config
    }

    /// How many pairs have at most this key.
    fn at_most(&self, key: u64) -> u64 {
        let mut end = self.items.len();
        let mut count = 0;
        for earlier in 0..self.items.len() {
            // Sums rise with both positions, so that what was too much for an earlier item stays too much.
            while end > earlier + 1 && self.key(earlier, end - 1) > key {
                end -= 1;
            }
            if end <= earlier + 1 {
                break;
            }
            count += (end - earlier - 1) as u64;
        }
        let fits = |(earlier, later): &&(u32, u32)| self.key(*earlier as usize, *later as usize) <= key;
        count - self.same.iter().filter(fits).count() as u64
    }

    /// The pair at a position among those of one key.
    fn tied(&self, key: u64, mut position: u64) -> Option<(usize, usize)> {
        for earlier in 0..self.items.len() {
            let (start, end) = (self.below(earlier, key), self.below(earlier, key + 1));
            let different = (end - start - self.same_in(earlier, start, end)) as u64;
            if position < different {
                let mut partners = (start..end).filter(|later| !self.is_same(earlier, *later));
                return partners.nth(position as usize).map(|later| (earlier, later));
            }
            position -= different;
        }
        None
    }

    /// The first later item whose sum with this one has at least a key.
    fn below(&self, earlier: usize, key: u64) -> usize {
        let smaller = |(damage, _): &(f64, Change)| ordered(self.items[earlier].0 + damage) < key;
        earlier + 1 + self.items[earlier + 1..].partition_point(smaller)
    }

    /// How many of some later items are of the same variable.
    fn same_in(&self, earlier: usize, start: usize, end: usize) -> usize {
        let before = |end: usize| self.same.partition_point(|pair| *pair < (earlier as u32, end as u32));
        before(end) - before(start)
    }

    fn is_same(&self, earlier: usize, later: usize) -> bool {
        self.items[earlier].1.0 == self.items[later].1.0
    }
}

impl Design for Promising {
    fn len(&self) -> u64 {
        self.len
    }

    fn get(&self, index: u64) -> Option<Vec<Change>> {
        self.locate(index).map(|(earlier, later)| self.config(earlier, later))
    }
}

/// The configs of [`Promising`] in order.
#[derive(Clone, Debug)]
pub struct PromisingIter<'a> {
    design: &'a Promising,
    /// The next pair of each earlier item.
    next: BinaryHeap<Reverse<(u64, usize, usize)>>,
}

impl Iterator for PromisingIter<'_> {
    type Item = Vec<Change>;

    fn next(&mut self) -> Option<Vec<Change>> {
        loop {
            let Reverse((_, earlier, later)) = self.next.pop()?;
            if later + 1 < self.design.items.len() {
                self.next.push(Reverse((self.design.key(earlier, later + 1), earlier, later + 1)));
            }
            if !self.design.is_same(earlier, later) {
                return Some(self.design.config(earlier, later));
            }
        }
    }
}

/// Maps numbers to integers that are in the same order.
fn ordered(number: f64) -> u64 {
    let bits = number.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}
