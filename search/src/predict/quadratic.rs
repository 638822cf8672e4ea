//! Losses as a quadratic function whose terms are shrunk towards what single losses lead to expect.
//!
//! The sum of single losses is the mean a priori. Layers together differ from it by a constant (sweeps do), by terms in
//! the number of changes and the summed loss that all share, by an effect of each level, and by an interaction of each
//! pair, which is the larger the more either layer hurts by itself: a Bayesian linear regression, whose expectation
//! a posteriori is the prediction. All scales are in units of the typical single loss, so that metric and network do not
//! matter, and are then corrected by what makes the measured rows most probable. Rows of any size fit at once, pairs and
//! subsets alike; singles are in the mean. Predictions are what rows of several changes would have measured: where those are
//! offset from singles, so are predictions, even of one change or none.

use std::collections::BTreeMap;

use crate::measurements::{Measurements, Row};

use super::regression::{Noise, Regression};
use super::singles::{PerLevel, Singles};
use super::statistics::quantile;
use super::structure::{Basis, Structure, Term};
use super::tuning::Criterion;
use super::{FitError, offset};

/// Standard deviation of the constant, in typical single losses.
const CONSTANT: f64 = 20.0;

/// Standard deviation of the coefficients of summed loss and number of changes: as large as what they stand beside.
const LINEAR: f64 = 1.0;

/// Standard deviation of the coefficients of products of those, in units of the typical loss.
const PRODUCTS: f64 = 0.02;

/// Standard deviation of a level's effect: in typical losses, and as a share of its own loss.
const EFFECT: [f64; 2] = [0.4, 0.4];

/// Standard deviation of a pair's interaction as a share of the product of both losses over the typical one.
const PAIR: f64 = 0.07;

/// What is added to a loss, in typical ones, before it weighs interactions: harmless layers interact too.
const WEIGHT_LEAST: f64 = 0.2;

/// Standard deviation of noise: in typical losses, and as a share of the row's loss.
const NOISE: [f64; 2] = [0.2, 0.007];

/// Fits the regression to rows of two and more changes.
pub(super) fn fit(measurements: &Measurements) -> Result<Regression, FitError> {
    let (structure, noise, mut notes) = prior(measurements);
    if let Some(offset) = offset::offset(measurements).filter(offset::Offset::is_suspicious) {
        notes.push(offset.to_string());
    }
    Regression::fit(structure, noise, several(measurements), (Criterion::Evidence, notes))
}

/// Fits what says how unsure it is.
pub(super) fn uncertainty(measurements: &Measurements) -> Result<Regression, FitError> {
    let (structure, noise, _) = prior(measurements);
    Regression::uncertainty(structure, noise, several(measurements), Criterion::Evidence)
}

fn several(measurements: &Measurements) -> Vec<&Row> {
    measurements.rows.iter().filter(|row| row.changes.len() > 1).collect()
}

fn prior(measurements: &Measurements) -> (Structure, Noise, Vec<String>) {
    let singles = Singles::of(measurements);
    let ranges = Ranges::of(measurements, &singles.loss);
    let typical = ranges.typical();
    let zeros: PerLevel = singles.loss.iter().map(|levels| vec![0.0; levels.len()]).collect();
    let (mut weight, mut expected, mut excess) = (zeros.clone(), zeros.clone(), zeros);
    for (variable, levels) in singles.loss.iter().enumerate() {
        let reference = usize::from(measurements.space.variables[variable].reference());
        for (level, loss) in levels.iter().enumerate().take(reference) {
            let range = ranges.of_level(variable, level);
            let loss = loss.max(0.0);
            weight[variable][level] = loss.min(range.highest) + WEIGHT_LEAST * range.typical;
            excess[variable][level] = (loss - range.highest).max(0.0);
            expected[variable][level] = range.typical;
        }
    }
    // Between single losses there is no offset: without other rows nothing is known of one, and nothing is to have it.
    let constant = if several(measurements).is_empty() { 0.0 } else { CONSTANT };
    let terms = vec![
        (Term::One, constant * typical),
        (Term::Linear(0), LINEAR),
        (Term::Linear(1), LINEAR),
        (Term::Product(0, 0), PRODUCTS / typical),
        (Term::Product(0, 1), PRODUCTS / typical),
        (Term::Product(1, 1), PRODUCTS / typical),
    ];
    let basis = Basis { indices: vec![weight.clone(), expected.clone()], terms, table: Vec::new() };
    let mut structure = Structure::new(&measurements.space, singles.loss, singles.share, basis);
    for (variable, levels) in weight.iter().enumerate() {
        for (level, weight) in levels.iter().enumerate() {
            structure.own[variable][level] = EFFECT[0] * expected[variable][level];
            structure.together[variable][level] = EFFECT[1] * (weight + excess[variable][level]);
            structure.weight[variable][level] = weight * (PAIR / typical).sqrt();
        }
    }
    let noise = Noise { base: NOISE[0] * typical, per_loss: NOISE[1], excess };
    (structure, noise, singles.notes)
}

/// What losses are usual among levels that drop as many bits.
struct Ranges<'a> {
    measurements: &'a Measurements,
    by_dropped: BTreeMap<u32, Range>,
}

#[derive(Clone, Copy)]
struct Range {
    /// Median of the positive losses.
    typical: f64,
    /// Losses above this are outliers: 1.5 interquartile ranges above the upper quartile.
    ///
    /// Source: Tukey, "Exploratory Data Analysis", 1977 (the upper fence).
    highest: f64,
}

impl<'a> Ranges<'a> {
    fn of(measurements: &'a Measurements, losses: &PerLevel) -> Self {
        let mut groups: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
        for (variable, levels) in losses.iter().enumerate() {
            let reference = usize::from(measurements.space.variables[variable].reference());
            for (level, loss) in levels.iter().enumerate().take(reference) {
                groups.entry(dropped(measurements, variable, level)).or_default().push(loss.max(0.0));
            }
        }
        // Where every loss is 0 or a gain, sizes of what was measured say what is small.
        let largest = measurements.rows.iter().map(|row| row.loss.abs()).fold(0.0, f64::max);
        let fallback = if largest > 0.0 { 0.1 * largest } else { 1.0 };
        let range = |losses: Vec<f64>| {
            let positive: Vec<f64> = losses.iter().copied().filter(|loss| *loss > 0.0).collect();
            let typical = if positive.is_empty() { fallback } else { quantile(&positive, 0.5) };
            let (low, high) = (quantile(&losses, 0.25), quantile(&losses, 0.75));
            Range { typical, highest: (high + 1.5 * (high - low)).max(typical) }
        };
        let by_dropped = groups.into_iter().map(|(dropped, losses)| (dropped, range(losses))).collect();
        Self { measurements, by_dropped }
    }

    fn of_level(&self, variable: usize, level: usize) -> Range {
        self.by_dropped[&dropped(self.measurements, variable, level)]
    }

    /// The median over numbers of dropped bits.
    fn typical(&self) -> f64 {
        let all: Vec<f64> = self.by_dropped.values().map(|range| range.typical).collect();
        if all.is_empty() { 1.0 } else { quantile(&all, 0.5) }
    }
}

fn dropped(measurements: &Measurements, variable: usize, level: usize) -> u32 {
    let widths = &measurements.space.variables[variable].widths;
    widths[widths.len() - 1].get() - widths[level].get()
}
