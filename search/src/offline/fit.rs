use std::collections::BTreeMap;

use bitloop_core::graph::PointKind;
use bitloop_core::rng::rng;
use serde::Serialize;

use super::OfflineError;
use crate::measurements::{Measurements, Row};
use crate::predict::statistics::{pearson, pearson_within, r2, rmse, spearman};
use crate::predict::{Method, Predictor, fit};

/// Version of the JSON form of [`FitReport`].
pub const FIT_FORMAT: u32 = 1;

/// Fewer rows of a size than this say nothing about predictions when they are held out.
const HELD_OUT_FROM: usize = 10;

/// How predictors are judged.
#[derive(Clone, Debug, PartialEq)]
pub struct FitOptions {
    /// The predictors; the first one is also fitted to all rows, for its notes.
    pub methods: Vec<Method>,
    /// Share of the largest rows that is held out, above 0 and below 1.
    pub held_out: f64,
    /// How often other rows are held out, at least 1.
    pub splits: u64,
    /// Seed of the draws.
    pub seed: u64,
}

/// Measurements, and how well predictors foresee those that they have not seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FitReport {
    /// [`FIT_FORMAT`].
    pub format: u32,
    /// What was measured.
    pub metric: &'static str,
    /// Number of searchable weights.
    pub weights: usize,
    /// Number of searchable activations.
    pub activations: usize,
    /// Number of rows by number of changes.
    pub rows: BTreeMap<usize, usize>,
    /// Changes of the rows that are held out; none if there are too few of any size above 1.
    pub held_out_from: Option<usize>,
    /// The predictors, in the order in which they were asked for.
    pub predictors: Vec<FittedPredictor>,
    /// What the first predictor says about these measurements, as sentences.
    pub notes: Vec<String>,
}

/// How well one predictor foresees.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FittedPredictor {
    /// Its name.
    pub name: &'static str,
    /// Its figures on held-out rows, the mean over all splits; none if nothing could be held out.
    pub held_out: Option<HeldOut>,
}

/// Figures on rows that a predictor was not fitted to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct HeldOut {
    /// Held-out rows of a split.
    pub rows: usize,
    /// Pearson's correlation of predicted and measured losses.
    pub pearson: f64,
    /// Mean of the same within rows of one number of changes.
    pub pearson_within: f64,
    /// Spearman's rank correlation.
    pub spearman: f64,
    /// Root of the mean squared difference, in the metric's unit.
    pub rmse: f64,
    /// Share of the variance that is explained.
    pub r2: f64,
    /// Share of losses within their interval; meant to be [`CONFIDENCE`](crate::predict::CONFIDENCE).
    pub coverage: f64,
}

impl HeldOut {
    fn mean(splits: &[Self]) -> Option<Self> {
        let of = |value: fn(&Self) -> f64| splits.iter().map(value).sum::<f64>() / splits.len() as f64;
        Some(Self {
            rows: splits.first()?.rows,
            pearson: of(|split| split.pearson),
            pearson_within: of(|split| split.pearson_within),
            spearman: of(|split| split.spearman),
            rmse: of(|split| split.rmse),
            r2: of(|split| split.r2),
            coverage: of(|split| split.coverage),
        })
    }
}

/// Fits predictors and judges them by rows that they have not seen.
///
/// Held out are rows of three changes and more, or pairs where there are fewer than ten of those; all other rows are
/// always seen. The same rows are held out for every predictor.
///
/// Errors: `Range` for a share or a number of splits out of range; `Fit` where nothing can be fitted.
pub fn judge(measurements: &Measurements, options: &FitOptions) -> Result<FitReport, OfflineError> {
    let range = |what: &str, value, expected| OfflineError::Range { what: what.to_owned(), value, expected };
    if !(options.held_out > 0.0 && options.held_out < 1.0) {
        return Err(range("the held-out share", options.held_out, "it must be between 0 and 1"));
    }
    if options.splits == 0 || options.methods.is_empty() {
        return Err(range("the number of splits or predictors", 0.0, "it must be at least 1"));
    }
    let mut rows: BTreeMap<usize, usize> = BTreeMap::new();
    for row in &measurements.rows {
        *rows.entry(row.changes.len()).or_default() += 1;
    }
    let beyond = |changes: usize| rows.range(changes..).map(|(_, rows)| rows).sum::<usize>();
    let held_out_from = [3, 2].into_iter().find(|changes| beyond(*changes) >= HELD_OUT_FROM);
    let mut predictors = Vec::new();
    for method in &options.methods {
        let mut splits = Vec::new();
        if let Some(from) = held_out_from {
            for split in 0..options.splits {
                let (seen, unseen) = split_rows(measurements, from, options, split);
                splits.push(figures(&*fit(*method, &seen)?, measurements, &unseen));
            }
        }
        predictors.push(FittedPredictor { name: method.as_str(), held_out: HeldOut::mean(&splits) });
    }
    let notes = fit(options.methods[0], measurements)?.notes().to_vec();
    let count = |kind| measurements.space.variables.iter().filter(|variable| variable.kind == kind).count();
    Ok(FitReport {
        format: FIT_FORMAT,
        metric: measurements.metric.as_str(),
        weights: count(PointKind::Weight),
        activations: count(PointKind::Activation),
        rows,
        held_out_from,
        predictors,
        notes,
    })
}

/// The rows that are seen, and those of at least `from` changes that are not.
fn split_rows(
    measurements: &Measurements,
    from: usize,
    options: &FitOptions,
    split: u64,
) -> (Measurements, Vec<Row>) {
    let (mut large, mut seen): (Vec<Row>, Vec<Row>) =
        measurements.rows.iter().cloned().partition(|row| row.changes.len() >= from);
    rng(options.seed, split).shuffle(&mut large);
    let held_out = (options.held_out * large.len() as f64).ceil() as usize;
    let unseen = large.split_off(large.len() - held_out.min(large.len()));
    seen.extend(large);
    (Measurements { rows: seen, ..measurements.clone() }, unseen)
}

fn figures(predictor: &dyn Predictor, measurements: &Measurements, unseen: &[Row]) -> HeldOut {
    let predictions: Vec<_> =
        unseen.iter().map(|row| predictor.predict(&row.levels(&measurements.space))).collect();
    let predicted: Vec<f64> = predictions.iter().map(|prediction| prediction.value).collect();
    let measured: Vec<f64> = unseen.iter().map(|row| row.loss).collect();
    let sizes: Vec<usize> = unseen.iter().map(|row| row.changes.len()).collect();
    let held = predictions.iter().zip(&measured).filter(|(p, loss)| (p.low..=p.high).contains(*loss));
    HeldOut {
        rows: unseen.len(),
        pearson: pearson(&predicted, &measured),
        pearson_within: pearson_within(&sizes, &predicted, &measured),
        spearman: spearman(&predicted, &measured),
        rmse: rmse(&predicted, &measured),
        r2: r2(&predicted, &measured),
        coverage: held.count() as f64 / unseen.len() as f64,
    }
}
