//! Sets of groups as bits.

/// A set of small numbers, ordered by its largest members.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Set {
    words: Vec<u64>,
}

impl Set {
    /// The set without members, of numbers below `size`.
    pub(crate) fn empty(size: usize) -> Self {
        Self { words: vec![0; size.div_ceil(64)] }
    }

    /// All numbers below `size`.
    pub(crate) fn full(size: usize) -> Self {
        (0..size).fold(Self::empty(size), |set, member| set.with(member))
    }

    pub(crate) fn with(mut self, member: usize) -> Self {
        self.words[member / 64] |= 1 << (member % 64);
        self
    }

    pub(crate) fn without(mut self, member: usize) -> Self {
        self.words[member / 64] &= !(1 << (member % 64));
        self
    }

    pub(crate) fn contains(&self, member: usize) -> bool {
        self.words[member / 64] >> (member % 64) & 1 == 1
    }

    pub(crate) fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The members, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        (0..self.words.len() * 64).filter(|member| self.contains(*member))
    }

    fn common_words(&self, other: &Self) -> impl Iterator<Item = u64> {
        self.words.iter().zip(&other.words).map(|(a, b)| a & b)
    }

    /// How many members both have.
    pub(crate) fn common(&self, other: &Self) -> usize {
        self.common_words(other).map(|word| word.count_ones() as usize).sum()
    }

    /// How many members both have for which they have the number `distance` above it too; at most 63.
    pub(crate) fn common_pairs(&self, other: &Self, distance: usize) -> usize {
        let above = self.common_words(other).skip(1).chain([0]);
        let pairs = self.common_words(other).zip(above).map(|(word, above)| {
            let shifted = word >> distance | above << (64 - distance);
            (word & shifted).count_ones() as usize
        });
        pairs.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_at_a_distance_are_counted_across_words() {
        let members = [0, 3, 60, 62, 63, 64, 66, 127, 128, 130];
        let of = |members: &[usize]| members.iter().fold(Set::empty(131), |set, member| set.with(*member));
        let (set, other) = (of(&members).with(5), of(&members).with(6));

        for distance in 1..64 {
            let expected = members.iter().filter(|member| members.contains(&(**member + distance))).count();
            assert_eq!(set.common_pairs(&other, distance), expected, "distance {distance}");
        }
        assert_eq!(set.common(&other), members.len());
        assert_eq!(of(&members).iter().collect::<Vec<_>>(), members);
        assert_eq!(set.without(63).len(), members.len());
    }
}
