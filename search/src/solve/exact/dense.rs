//! Terms of two groups as one matrix over choices.

use crate::solve::groups::Compiled;

/// A symmetric matrix over the choices of a problem; 0 within groups and where two groups have no term.
#[derive(Clone, Debug)]
pub(super) struct Dense {
    pub(super) size: usize,
    pub(super) values: Vec<f64>,
}

impl Dense {
    pub(super) fn of(compiled: &Compiled) -> Self {
        let size = compiled.value.len();
        let mut values = vec![0.0; size * size];
        for pair in &compiled.pairs {
            let across = compiled.choices(pair.b).len();
            for (at, value) in pair.values.iter().enumerate() {
                let (first, second) =
                    (compiled.start[pair.a] + at / across, compiled.start[pair.b] + at % across);
                values[first * size + second] = *value;
                values[second * size + first] = *value;
            }
        }
        Self { size, values }
    }

    /// The terms of a choice with all others.
    pub(super) fn row(&self, choice: usize) -> &[f64] {
        &self.values[choice * self.size..(choice + 1) * self.size]
    }

    /// The rows and columns of some choices, in their order.
    pub(super) fn gathered(&self, kept: &[usize]) -> Self {
        let row = |at: &usize| {
            let row = self.row(*at);
            kept.iter().map(|column| row[*column])
        };
        Self { size: kept.len(), values: kept.iter().flat_map(row).collect() }
    }
}
