use serde::{Deserialize, Serialize};

use crate::probe::t_quantile;

/// A network with what it is predicted from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// One, the sum of its units, the values it converts between widths.
    pub(super) features: [f64; 3],
    /// What was measured.
    pub(super) value: f64,
    /// One over its error squared.
    pub(super) weight: f64,
    /// Whether its own layers had no part in the sum, which they would come to in any case.
    pub(super) is_unseen: bool,
}

/// Which terms a corrected sum has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Terms {
    /// The sum as it is.
    #[default]
    Plain,
    /// The same for all: the sum says nothing.
    Mean,
    /// The sum times a factor.
    Scaled,
    /// And something that every network takes.
    Affine,
    /// And a price of values between layers of different widths.
    Changes,
}

impl Terms {
    /// From the fewest numbers to the most.
    const ALL: [Self; 5] = [Self::Plain, Self::Mean, Self::Scaled, Self::Affine, Self::Changes];

    fn columns(self) -> &'static [usize] {
        match self {
            Self::Plain => &[],
            Self::Mean => &[0],
            Self::Scaled => &[1],
            Self::Affine => &[0, 1],
            Self::Changes => &[0, 1, 2],
        }
    }
}

/// `fixed + scale * sum + per_change * converted values`, with what it leaves unexplained.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Correction {
    /// Which of the terms were fitted.
    pub terms: Terms,
    /// What every network takes, in the quantity's unit.
    pub fixed: f64,
    /// Times the sum.
    pub scale: f64,
    /// For each value that goes from a layer to one of another width.
    pub per_change: f64,
    /// How far one more network may be from its prediction, with 95 %: each of the measured ones predicted from the others
    /// says so, of those that the layers were not measured in if there are two. None of fewer than two networks.
    pub half_width: Option<f64>,
    /// Networks that it was fitted to.
    pub configs: u64,
    /// Of them those in which values go from a layer to one of another width.
    #[serde(default)]
    pub with_changes: u64,
}

/// A simpler correction is kept unless a richer one errs less than this part of it.
const WORTH_A_TERM: f64 = 0.95;

/// And unless it errs less by this part of what is predicted: what is left of a perfect sum is rounding.
const WORTH_PREDICTING: f64 = 1e-6;

impl Correction {
    /// Fits every set of terms that there are networks enough for, and keeps the one that predicts networks it has not seen
    /// best. Gives with it what each network is predicted as from all others. `is_plain` says whether the sum is in the unit
    /// of what is predicted.
    pub(super) fn fit(samples: &[Sample], is_plain: bool) -> (Self, Vec<f64>) {
        let plain = Self { scale: 1.0, ..Self::of(samples) };
        let values: f64 = samples.iter().map(|sample| sample.value.abs()).sum();
        let worth = WORTH_PREDICTING * values / samples.len().max(1) as f64;
        let mut best: Option<(f64, Self, Vec<f64>)> = None;
        for terms in Terms::ALL.into_iter().filter(|terms| is_plain || *terms != Terms::Plain) {
            let Some((correction, left_out)) = fitted(samples, terms) else { continue };
            let error = mean_square(samples, &left_out).sqrt();
            if best.as_ref().is_none_or(|(known, ..)| error < WORTH_A_TERM * known && known - error > worth) {
                best = Some((error, correction, left_out));
            }
        }
        let without_choice = match is_plain {
            true => plain,
            false => {
                let mean = least_squares(samples, Terms::Mean).map_or(0.0, |[fixed, ..]| fixed);
                Self { terms: Terms::Mean, fixed: mean, scale: 0.0, ..plain }
            }
        };
        best.map_or((without_choice, Vec::new()), |(_, correction, left_out)| (correction, left_out))
    }

    /// Without any number yet.
    fn of(samples: &[Sample]) -> Self {
        let with_changes = samples.iter().filter(|sample| sample.features[2] > 0.0).count() as u64;
        Self { configs: samples.len() as u64, with_changes, ..Self::default() }
    }

    /// Its value for the features of a network.
    pub(super) fn value(&self, [one, sum, changes]: [f64; 3]) -> f64 {
        self.fixed * one + self.scale * sum + self.per_change * changes
    }
}

fn mean_square(samples: &[Sample], predicted: &[f64]) -> f64 {
    let squares = samples.iter().zip(predicted).map(|(sample, predicted)| (sample.value - predicted).powi(2));
    squares.sum::<f64>() / samples.len() as f64
}

/// A correction with these terms, and each network as predicted from the others; none where there are too few of them or they
/// are too much alike.
fn fitted(samples: &[Sample], terms: Terms) -> Option<(Correction, Vec<f64>)> {
    let columns = terms.columns();
    // One more than numbers to fit, when one is left out; where nothing is fitted, any will do.
    let samples_min = if columns.is_empty() { 1 } else { columns.len() + 2 };
    if samples.len() < samples_min {
        return None;
    }
    let [fixed, scale, per_change] = least_squares(samples, terms)?;
    let mut left_out = Vec::with_capacity(samples.len());
    for index in 0..samples.len() {
        let others: Vec<Sample> = [&samples[..index], &samples[index + 1..]].concat();
        let numbers = least_squares(&others, terms)?;
        left_out.push(
            numbers.iter().zip(samples[index].features).map(|(number, feature)| number * feature).sum(),
        );
    }
    let half_width = (samples.len() >= 2).then(|| reach(samples, &left_out, columns.len()));
    Some((Correction { terms, fixed, scale, per_change, half_width, ..Correction::of(samples) }, left_out))
}

/// How far one more network may be from its prediction, after so many numbers were fitted.
fn reach(samples: &[Sample], left_out: &[f64], numbers: usize) -> f64 {
    let all = samples.iter().copied().zip(left_out.iter().copied());
    let unseen: (Vec<Sample>, Vec<f64>) = all.filter(|(sample, _)| sample.is_unseen).unzip();
    let (samples, left_out) = match unseen.0.len() {
        0 | 1 => (samples, left_out),
        _ => (unseen.0.as_slice(), unseen.1.as_slice()),
    };
    let freedom = samples.len().saturating_sub(numbers).max(1);
    t_quantile(freedom) * mean_square(samples, left_out).sqrt()
}

/// Pivots below this part of the largest are those of columns that say the same.
const PIVOT_MIN: f64 = 1e-9;

/// The numbers of the terms that fit best; none where they cannot be told apart, or would say that more work takes less.
fn least_squares(samples: &[Sample], terms: Terms) -> Option<[f64; 3]> {
    let columns = terms.columns();
    if columns.is_empty() {
        return Some([0.0, 1.0, 0.0]);
    }
    // Columns of very different sizes would make every pivot look small.
    let sizes: Vec<f64> = columns
        .iter()
        .map(|column| samples.iter().map(|sample| sample.features[*column].abs()).fold(0.0, f64::max))
        .collect();
    if sizes.iter().any(|size| *size <= 0.0) {
        return None;
    }
    let count = columns.len();
    let mut rows = vec![vec![0.0; count + 1]; count];
    for sample in samples {
        let feature = |at: usize| sample.features[columns[at]] / sizes[at];
        for (row, sums) in rows.iter_mut().enumerate() {
            for (column, sum) in sums.iter_mut().enumerate() {
                let other = if column == count { sample.value } else { feature(column) };
                *sum += sample.weight * feature(row) * other;
            }
        }
    }
    let solved = eliminated(rows)?;
    let mut numbers = [0.0; 3];
    for (at, column) in columns.iter().enumerate() {
        numbers[*column] = solved[at] / sizes[at];
    }
    let is_sensible =
        numbers.iter().all(|number| number.is_finite()) && numbers[1] >= 0.0 && numbers[2] >= 0.0;
    is_sensible.then_some(numbers)
}

/// Solves equations whose last column is the right side; none where they do not say one thing.
fn eliminated(mut rows: Vec<Vec<f64>>) -> Option<Vec<f64>> {
    let count = rows.len();
    let largest = rows.iter().enumerate().map(|(at, row)| row[at].abs()).fold(0.0, f64::max);
    for pivot in 0..count {
        let best = (pivot..count).max_by(|a, b| rows[*a][pivot].abs().total_cmp(&rows[*b][pivot].abs()))?;
        rows.swap(pivot, best);
        if rows[pivot][pivot].abs() <= PIVOT_MIN * largest {
            return None;
        }
        let leading = rows[pivot].clone();
        for (at, row) in rows.iter_mut().enumerate().filter(|(at, _)| *at != pivot) {
            debug_assert_ne!(at, pivot);
            let factor = row[pivot] / leading[pivot];
            row.iter_mut().zip(&leading).for_each(|(value, lead)| *value -= factor * lead);
        }
    }
    Some((0..count).map(|at| rows[at][count] / rows[at][at]).collect())
}
