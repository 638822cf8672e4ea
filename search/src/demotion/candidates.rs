//! Sets worth a thought: those with the least expected loss for what they save, and the neighbours of the best.

use std::collections::{BTreeMap, BTreeSet};

use super::belief::Belief;
use super::set::Set;

/// About how many sets are kept in all sizes together.
const KEPT: usize = 1024;
/// At most this many of a size, and at least [`NARROWEST`].
const WIDEST: usize = 60;
const NARROWEST: usize = 8;

/// Looks for sets.
pub(crate) struct Candidates<'a> {
    pub(crate) belief: &'a Belief,
    pub(crate) groups: usize,
    /// What lowering a set saves.
    pub(crate) saving: &'a dyn Fn(&Set) -> f64,
    /// How much loss a unit of saving is worth, when sets of a size are compared.
    pub(crate) exchange: f64,
}

impl Candidates<'_> {
    /// The sets that a beam through all sizes keeps, and those that are one group more than `best` or another one.
    pub(crate) fn around(&self, best: &Set) -> BTreeSet<Set> {
        let mut found = self.neighbours(best);
        let width = (KEPT / self.groups.max(1)).clamp(NARROWEST, WIDEST);
        let mut beam = vec![(Set::empty(self.groups), 0.0)];
        for _ in 0..self.groups {
            beam = self.grow(&beam, width);
            found.extend(beam.iter().map(|(set, _)| set.clone()));
        }
        found
    }

    /// The best sets with one group more than those of the beam.
    fn grow(&self, beam: &[(Set, f64)], width: usize) -> Vec<(Set, f64)> {
        let mut grown = BTreeMap::new();
        for (set, loss) in beam {
            for member in (0..self.groups).filter(|member| !set.contains(*member)) {
                let larger = set.clone().with(member);
                grown.entry(larger).or_insert_with(|| loss + self.belief.increase(set, member));
            }
        }
        let ranked =
            grown.into_iter().map(|(set, loss)| (loss - self.exchange * (self.saving)(&set), set, loss));
        let mut ranked: Vec<(f64, Set, f64)> = ranked.collect();
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
        ranked.truncate(width);
        ranked.into_iter().map(|(_, set, loss)| (set, loss)).collect()
    }

    fn neighbours(&self, best: &Set) -> BTreeSet<Set> {
        let outside: Vec<usize> = (0..self.groups).filter(|member| !best.contains(*member)).collect();
        let more = outside.iter().map(|member| best.clone().with(*member));
        let swapped = best.iter().flat_map(|out| {
            let rest = best.clone().without(out);
            outside.iter().map(move |member| rest.clone().with(*member))
        });
        more.chain(swapped).collect()
    }
}
