/// Sets of tensors that are on one grid; a union-find over their numbers.
pub(super) struct Classes {
    parents: Vec<usize>,
}

impl Classes {
    /// Every tensor alone.
    pub(super) fn new(tensors: usize) -> Self {
        Self { parents: (0..tensors).collect() }
    }

    /// Puts the classes of two tensors together; the earliest tensor stands for the class.
    pub(super) fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.of(one), self.of(other));
        self.parents[one.max(other)] = one.min(other);
    }

    /// The tensor that stands for the class of `tensor`.
    pub(super) fn of(&mut self, tensor: usize) -> usize {
        let mut at = tensor;
        while self.parents[at] != at {
            // Halving the path keeps it short however long a chain of reshapes is.
            self.parents[at] = self.parents[self.parents[at]];
            at = self.parents[at];
        }
        at
    }
}
