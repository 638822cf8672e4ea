//! A fitted quadratic regression: the predictor that [`super::quadratic`] and [`super::ridge`] share.

use bitloop_core::rng::rng;

use crate::form::Form;
use crate::measurements::Row;

use super::singles::PerLevel;
use super::solver::{COARSE, Equations, FINE, LANES, Lane};
use super::spread::Spread;
use super::structure::{Features, Rows, Structure, for_pairs};
use super::tuning::{Criterion, Scales, tune};
use super::{FitError, Prediction, Predictor, Uncertainty, intervals};

/// Rows that scales are tuned on: of three and more changes, and of two. More of them take longer and say the same.
const TUNED_ON: [usize; 2] = [180, 60];

/// Subsets of three and more changes from which on residuals of pairs do not count for intervals.
const ENOUGH: usize = 20;

/// Subsets from which on the noise is what predicts held-out ones best.
const HELD_OUT_FROM: usize = 300;

/// Seed of what is drawn here: tuning rows and folds.
const SEED: u64 = 0x7072_6564;

/// What rows deviate from a regression by.
#[derive(Clone, Debug)]
pub(crate) struct Noise {
    /// Standard deviation of every row.
    pub(crate) base: f64,
    /// Standard deviation as a share of the loss.
    pub(crate) per_loss: f64,
    /// What each level's loss exceeds the range that weights follow by: half of it may be missing in a row, as large
    /// losses saturate.
    pub(crate) excess: PerLevel,
}

impl Noise {
    fn variance(&self, changes: &[(u32, u8)], loss: f64) -> f64 {
        let square = |value: f64| value * value;
        square(self.base) + square(self.per_loss * loss) + square(0.5 * self.excess(changes))
    }

    fn excess(&self, changes: &[(u32, u8)]) -> f64 {
        changes.iter().map(|(variable, level)| self.excess[*variable as usize][*level as usize]).sum()
    }
}

/// A regression fitted to rows.
pub(crate) struct Regression {
    structure: Structure,
    noise: Noise,
    dense: Vec<f64>,
    pairs: Vec<f64>,
    spread: Spread,
    /// On standard deviations, for intervals.
    factor: f64,
    notes: Vec<String>,
}

/// A regression whose scales are known, before coefficients.
struct Tuned<'a> {
    structure: Structure,
    noise: Noise,
    used: Vec<&'a Row>,
    rows: Rows,
    spread: Spread,
    scales: Scales,
}

impl<'a> Tuned<'a> {
    fn new(
        mut structure: Structure,
        mut noise: Noise,
        used: Vec<&'a Row>,
        criterion: Criterion,
    ) -> Result<Self, FitError> {
        let mut scales = tune(&structure, &tuning_rows(&structure, &noise, &used), criterion);
        structure.scale(scales.effects, scales.pairs);
        let rows = flat(&structure, &noise, &used);
        if let Some(factor) = held_out_noise(&structure, &rows, &used)? {
            scales.noise = factor;
        }
        noise.base *= scales.noise;
        noise.per_loss *= scales.noise;
        let rows = flat(&structure, &noise, &used);
        let spread = Spread::new(&structure, &rows).ok_or(FitError::TooFarApart)?;
        Ok(Self { structure, noise, used, rows, spread, scales })
    }
}

impl Regression {
    /// Fits a regression to rows; `notes` are what is known of it already.
    pub(crate) fn fit(
        structure: Structure,
        noise: Noise,
        used: Vec<&Row>,
        (criterion, mut notes): (Criterion, Vec<String>),
    ) -> Result<Self, FitError> {
        let tuned = Tuned::new(structure, noise, used, criterion)?;
        let folds = folds(tuned.rows.len());
        let weights =
            folds.iter().zip(&tuned.rows.noise).map(|(fold, noise)| without(*fold, *noise)).collect();
        let equations =
            Equations::new(&tuned.structure, &tuned.rows, weights).ok_or(FitError::TooFarApart)?;
        let solution = equations.solve(FINE);
        let mut factor = intervals::factor(&tuned.residuals(&folds, &equations.predictions(&solution)));
        if !tuned.has_large() {
            // Residuals of pairs say little of larger subsets.
            factor = factor.max(intervals::NORMAL);
        }
        let (dense, pairs) = solution.of_all();
        let Scales { effects, pairs: on_pairs, noise: on_noise } = tuned.scales;
        notes.push(format!(
            "scales chosen on the rows: effects x{effects:.2}, pairs x{on_pairs:.2}, noise x{on_noise:.2}; intervals are \
             {factor:.2} standard deviations to either side"
        ));
        let variables = tuned.structure.space.variables.len();
        if tuned.rows.len() < variables {
            notes.push(format!(
                "{} rows of several changes for {variables} variables: effects lean on single losses, and intervals are wide",
                tuned.rows.len()
            ));
        }
        let Tuned { structure, noise, spread, .. } = tuned;
        Ok(Self { structure, noise, dense, pairs, spread, factor, notes })
    }

    /// Adds a note.
    pub(crate) fn noted(mut self, note: &str) -> Self {
        self.notes.push(note.to_owned());
        self
    }

    /// Fits all but the coefficients, which say nothing about variances.
    pub(crate) fn uncertainty(
        structure: Structure,
        noise: Noise,
        used: Vec<&Row>,
        criterion: Criterion,
    ) -> Result<Self, FitError> {
        let Tuned { structure, noise, spread, .. } = Tuned::new(structure, noise, used, criterion)?;
        let (dense, pairs) = (vec![0.0; structure.dense_len()], vec![0.0; structure.pair_len()]);
        Ok(Self { structure, noise, dense, pairs, spread, factor: 1.0, notes: Vec::new() })
    }

    fn changes(&self, levels: &[u8]) -> Vec<(u32, u8)> {
        changes(&self.structure, levels)
    }

    fn value(&self, row: &Features) -> f64 {
        let columns: f64 = row.columns.iter().zip(&self.dense).map(|(column, b)| column * b).sum();
        let effects: f64 = row.levels.iter().map(|(feature, _)| self.dense[*feature]).sum();
        let mut pairs = 0.0;
        for_pairs(&self.structure, &row.variables, &row.levels, |pair, factor| {
            pairs += factor * self.pairs[pair]
        });
        row.mean + columns + effects + pairs
    }
}

impl Predictor for Regression {
    fn predict(&self, levels: &[u8]) -> Prediction {
        let changes = self.changes(levels);
        let row = self.structure.features(&changes);
        let value = self.value(&row);
        let variance = self.spread.variance(&self.structure, &row) + self.noise.variance(&changes, value);
        let half = self.factor * variance.sqrt();
        Prediction { value, low: value - half, high: value + half }
    }

    fn form(&self) -> Form {
        self.structure.form(&self.dense, &self.pairs)
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }
}

impl Uncertainty for Regression {
    fn variance(&self, levels: &[u8]) -> f64 {
        self.spread.variance(&self.structure, &self.structure.features(&self.changes(levels)))
    }

    fn most_informative(&self, candidates: &[Vec<u8>], count: usize) -> Vec<usize> {
        let changes: Vec<_> = candidates.iter().map(|levels| self.changes(levels)).collect();
        let rows: Vec<Features> = changes.iter().map(|changes| self.structure.features(changes)).collect();
        // The reference is what losses are counted from: measuring it tells nothing.
        let noise = |(changes, row): (&Vec<(u32, u8)>, &Features)| match changes.is_empty() {
            true => f64::INFINITY,
            false => self.noise.variance(changes, row.mean),
        };
        let noise: Vec<f64> = changes.iter().zip(&rows).map(noise).collect();
        self.spread.most_informative(&self.structure, &rows, &noise, count)
    }
}

impl Tuned<'_> {
    /// Whether subsets of three and more changes suffice to judge intervals by.
    fn has_large(&self) -> bool {
        self.used.iter().filter(|row| row.changes.len() > 2).count() >= ENOUGH
    }

    /// Residual and expected scale of each row that counts for intervals, from the fit that did not see it.
    fn residuals(&self, folds: &[usize], predictions: &[[f64; LANES]]) -> Vec<(f64, f64)> {
        let large = self.has_large();
        let mut residuals = Vec::new();
        for (row, used) in self.used.iter().enumerate() {
            if large && used.changes.len() <= 2 {
                continue;
            }
            let features = self.structure.features(&used.changes);
            let noise = self.rows.noise[row];
            let variance = self.spread.variance_without(&self.structure, &features, noise) + noise;
            residuals.push((self.rows.targets[row] - predictions[row][folds[row]], variance.sqrt()));
        }
        residuals
    }
}

/// The factor on the deviation of noise with which four fifths of the rows predict the others best; none of few rows.
///
/// The evidence of some rows says little of it: what many rows are needed to see, such as interactions of three layers,
/// is noise to a fit of all of them.
fn held_out_noise(structure: &Structure, rows: &Rows, used: &[&Row]) -> Result<Option<f64>, FitError> {
    let mut large: Vec<usize> = (0..used.len()).filter(|row| used[*row].changes.len() > 2).collect();
    if large.len() < HELD_OUT_FROM {
        return Ok(None);
    }
    rng(SEED, 2).shuffle(&mut large);
    large.truncate(large.len() / 5);
    let factors: Lane = std::array::from_fn(|lane| libm::exp2(0.5 * (lane as f64 - 1.0)));
    let mut weights: Vec<Lane> =
        rows.noise.iter().map(|noise| factors.map(|factor| 1.0 / (factor * factor * noise))).collect();
    for row in &large {
        weights[*row] = [0.0; LANES];
    }
    let equations = Equations::new(structure, rows, weights).ok_or(FitError::TooFarApart)?;
    let predictions = equations.predictions(&equations.solve(COARSE));
    let error = |lane: usize| -> f64 {
        large.iter().map(|row| rows.targets[*row] - predictions[*row][lane]).map(|rest| rest * rest).sum()
    };
    let best = (0..LANES).min_by(|a, b| error(*a).total_cmp(&error(*b)));
    Ok(best.map(|lane| factors[lane]))
}

/// The weights of a row that the fit of its fold does not see.
fn without(fold: usize, noise: f64) -> Lane {
    std::array::from_fn(|lane| if lane == fold { 0.0 } else { 1.0 / noise })
}

/// The changes that an assignment consists of.
fn changes(structure: &Structure, levels: &[u8]) -> Vec<(u32, u8)> {
    let variables = structure.space.variables.iter().zip(levels).enumerate();
    let changed = variables.filter(|(_, (variable, level))| variable.reference() != **level);
    changed.map(|(index, (_, level))| (index as u32, *level)).collect()
}

fn flat(structure: &Structure, noise: &Noise, rows: &[&Row]) -> Rows {
    let variance = |row: &&Row| {
        let error = row.error.unwrap_or(0.0);
        noise.variance(&row.changes, row.loss) + error * error
    };
    Rows::of(structure, rows, rows.iter().map(variance).collect())
}

/// Some rows of either kind, without those whose losses saturate.
fn tuning_rows(structure: &Structure, noise: &Noise, used: &[&Row]) -> Rows {
    let mut order: Vec<usize> = (0..used.len()).collect();
    rng(SEED, 0).shuffle(&mut order);
    let mut left = TUNED_ON;
    let mut taken = Vec::new();
    for index in order {
        let row = used[index];
        let left = &mut left[usize::from(row.changes.len() == 2)];
        if *left > 0 && noise.excess(&row.changes) == 0.0 {
            *left -= 1;
            taken.push(row);
        }
    }
    flat(structure, noise, &taken)
}

/// A fold for each row: 1 and up, of equal sizes.
fn folds(rows: usize) -> Vec<usize> {
    let mut folds: Vec<usize> = (0..rows).map(|row| 1 + row % (LANES - 1)).collect();
    rng(SEED, 1).shuffle(&mut folds);
    folds
}
