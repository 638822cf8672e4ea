//! The published predictor: mean correlation by number of layers, and an influence of each layer.
//!
//! `loss = F1 + c(k) + sum of influences`. Layers whose single loss reaches the 0.75 quantile are outliers; they have no
//! influence. The search of the same method uses other influences, derived from pairs: [`objectives`].

use crate::form::Form;
use crate::measurements::{Measurements, Row};
use crate::space::Space;

use super::FitError;
use super::dense::least_squares;
use super::formula::Formula;
use super::intervals::Intervals;
use super::offset::{Offset, offset};
use super::singles::{PerLevel, Singles};
use super::statistics::{mean, quantile};

/// Influence of an outlier in the search, large enough to forbid it.
pub const OUTLIER_INFLUENCE: f64 = 100.0;

/// Share of layers below which a single loss is kept.
const KEPT: f64 = 0.75;

/// Parts of the rows that residuals for intervals come from, each fitted without its own.
const FOLDS: usize = 5;

/// What the method finds in measurements, each number by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Influences {
    /// The 0.75 quantile of single losses at the lowest widths, in the metric's unit.
    pub threshold: f64,
    /// Whether each variable's single loss is below it.
    pub kept: Vec<bool>,
    /// Mean of what pairs of kept variables cost beyond their singles; none without such pairs.
    pub pair_mean: Option<f64>,
    /// `c(k)`, by number of changed variables from 0 to all.
    pub by_changed: Vec<f64>,
    /// Influence of each kept variable, from subsets of three and more.
    pub influence: Vec<Option<f64>>,
    /// The constant of that regression, which predictions leave out.
    pub dropped_constant: f64,
}

/// What pairs say by themselves: `p_ij = mean + influence_i + influence_j + rest_ij`.
#[derive(Clone, Debug, PartialEq)]
pub struct PairModel {
    /// The constant.
    pub constant: f64,
    /// Influence of each kept variable.
    pub influence: Vec<Option<f64>>,
    /// What is left, symmetric. Shapes: `(variables, variables)`; 0 for pairs that were not measured or not kept.
    pub rest: Vec<f64>,
}

/// Finds the correlations and influences of the published predictor.
///
/// Rows count if all their changes are to lowest widths. `c` is 0 up to one change, the mean over pairs of kept variables
/// at two, the mean of `loss - F1` over rows of each larger number, linear between measured numbers, and constant beyond
/// the last. Influences are ordinary least squares with a constant of `loss - F1 - c(k)` on kept variables.
pub fn influences(measurements: &Measurements) -> Influences {
    let lowest = Lowest::of(measurements);
    let rows: Vec<&Row> = measurements.rows.iter().collect();
    lowest.influences(&rows)
}

/// Finds the influences that pairs have by themselves; none without pairs of kept variables.
///
/// Formula: ordinary least squares with a constant of `loss_ij - loss_i - loss_j` on both variables; influences sum to 0.
pub fn pairs(measurements: &Measurements) -> Option<PairModel> {
    let lowest = Lowest::of(measurements);
    let variables = lowest.losses.len();
    let kept = lowest.kept_pairs(&measurements.rows.iter().collect::<Vec<_>>());
    if kept.is_empty() {
        return None;
    }
    let mut columns: Vec<Vec<(usize, f64)>> =
        kept.iter().map(|((a, b), _)| vec![(0, 1.0), (a + 1, 1.0), (b + 1, 1.0)]).collect();
    let mut targets: Vec<f64> = kept.iter().map(|(_, rest)| *rest).collect();
    // Two influences in every row: half of the constant could be in each of them. The smallest ones sum to 0.
    columns.push(
        (0..variables)
            .filter(|variable| lowest.kept[*variable])
            .map(|variable| (variable + 1, 1.0))
            .collect(),
    );
    targets.push(0.0);
    let (constant, influence) = lowest.regress(&columns, &targets);
    let mut rest = vec![0.0; variables * variables];
    for ((a, b), correlation) in &kept {
        let left = correlation - constant - influence[*a].unwrap_or(0.0) - influence[*b].unwrap_or(0.0);
        rest[a * variables + b] = left;
        rest[b * variables + a] = left;
    }
    Some(PairModel { constant, influence, rest })
}

/// The two objectives of the published search, as forms of any space with the measured variables.
///
/// With `r_i` the dropped bits of a variable over those of its measured lowest width (4 of 8 in the published tables):
/// `f1 = sum loss_i r_i` and `f2 = f1 + sum influence_i r_i + c(number of changed variables)`. `influence` is by measured
/// variable, such as the column of a published table or [`PairModel::influence`]; where there is none it is
/// [`OUTLIER_INFLUENCE`]. None if `space` has a variable that was not measured.
pub fn objectives(
    measurements: &Measurements,
    influence: &[Option<f64>],
    space: &Space,
) -> Option<[Form; 2]> {
    let lowest = Lowest::of(measurements);
    let mut first = Form::constant(0.0, space);
    let mut second = Form::constant(0.0, space);
    for (index, variable) in space.variables.iter().enumerate() {
        let measured = measurements.space.find(&variable.name)?;
        let widths = &measurements.space.variables[measured].widths;
        let span = f64::from(widths[widths.len() - 1].get()) - f64::from(widths[0].get());
        let reference = f64::from(variable.widths[usize::from(variable.reference())].get());
        let shares: Vec<f64> =
            variable.widths.iter().map(|bits| (reference - f64::from(bits.get())) / span).collect();
        let loss = lowest.losses[measured];
        let influence = influence[measured].unwrap_or(OUTLIER_INFLUENCE);
        first.one[index] = shares.iter().map(|share| loss * share).collect();
        second.one[index] = shares.iter().map(|share| (loss + influence) * share).collect();
    }
    let by_changed = influences(measurements).by_changed;
    let last = by_changed.last().copied().unwrap_or(0.0);
    second.by_changed =
        (0..=space.variables.len()).map(|changed| by_changed.get(changed).copied().unwrap_or(last)).collect();
    Some([first, second])
}

/// Measurements at lowest widths.
struct Lowest {
    losses: Vec<f64>,
    threshold: f64,
    kept: Vec<bool>,
}

impl Lowest {
    fn of(measurements: &Measurements) -> Self {
        let losses: Vec<f64> = Singles::of(measurements)
            .loss
            .iter()
            .map(|levels| levels.first().copied().unwrap_or(0.0))
            .collect();
        let threshold = quantile(&losses, KEPT);
        let kept = losses.iter().map(|loss| *loss < threshold).collect();
        Self { losses, threshold, kept }
    }

    /// What a row costs beyond its singles.
    fn correlation(&self, row: &Row) -> f64 {
        row.loss - row.changes.iter().map(|(variable, _)| self.losses[*variable as usize]).sum::<f64>()
    }

    fn kept_pairs(&self, rows: &[&Row]) -> Vec<((usize, usize), f64)> {
        let mut pairs = Vec::new();
        for row in rows.iter().filter(|row| is_lowest(row)) {
            if let [(a, _), (b, _)] = row.changes[..]
                && self.kept[a as usize]
                && self.kept[b as usize]
            {
                pairs.push(((a as usize, b as usize), self.correlation(row)));
            }
        }
        pairs
    }

    fn influences(&self, rows: &[&Row]) -> Influences {
        let pairs: Vec<f64> = self.kept_pairs(rows).into_iter().map(|(_, correlation)| correlation).collect();
        let pair_mean = (!pairs.is_empty()).then(|| mean(&pairs));
        let by_changed = self.by_changed(rows, pair_mean);
        let mut columns = Vec::new();
        let mut targets = Vec::new();
        for row in rows.iter().filter(|row| row.changes.len() > 2 && is_lowest(row)) {
            let kept = row.changes.iter().map(|(variable, _)| *variable as usize).filter(|v| self.kept[*v]);
            columns.push(std::iter::once((0, 1.0)).chain(kept.map(|v| (v + 1, 1.0))).collect());
            targets.push(self.correlation(row) - by_changed[row.changes.len()]);
        }
        let (dropped_constant, influence) = self.regress(&columns, &targets);
        let (threshold, kept) = (self.threshold, self.kept.clone());
        Influences { threshold, kept, pair_mean, by_changed, influence, dropped_constant }
    }

    fn by_changed(&self, rows: &[&Row], pair_mean: Option<f64>) -> Vec<f64> {
        let variables = self.losses.len();
        let mut measured: Vec<Vec<f64>> = vec![Vec::new(); variables + 1];
        for row in rows.iter().filter(|row| row.changes.len() > 2 && is_lowest(row)) {
            measured[row.changes.len()].push(self.correlation(row));
        }
        let mut points: Vec<(usize, f64)> = vec![(0, 0.0), (1, 0.0)];
        points.extend(pair_mean.map(|mean| (2, mean)));
        let larger = measured.iter().enumerate().filter(|(_, values)| !values.is_empty());
        points.extend(larger.map(|(size, values)| (size, mean(values))));
        (0..=variables).map(|size| between(&points, size)).collect()
    }

    /// Least squares on a constant (column 0) and variables (from column 1): the constant, and what kept variables get.
    fn regress(&self, columns: &[Vec<(usize, f64)>], targets: &[f64]) -> (f64, Vec<Option<f64>>) {
        // Outliers have no column, or they would make the equations singular.
        let mut position = vec![0; self.kept.len() + 1];
        let mut count = 1;
        for (variable, kept) in self.kept.iter().enumerate() {
            position[variable + 1] = count;
            count += usize::from(*kept);
        }
        let packed: Vec<Vec<(usize, f64)>> = columns
            .iter()
            .map(|row| row.iter().map(|(column, x)| (position[*column], *x)).collect())
            .collect();
        let found = least_squares(count, &packed, targets);
        let of = |variable: usize| self.kept[variable].then(|| found[position[variable + 1]]);
        (found[0], (0..self.kept.len()).map(of).collect())
    }
}

fn is_lowest(row: &Row) -> bool {
    row.changes.iter().all(|(_, level)| *level == 0)
}

/// The value at a size on the lines through points; constant beyond the last.
fn between(points: &[(usize, f64)], size: usize) -> f64 {
    let above = points.partition_point(|point| point.0 < size);
    match points.get(above) {
        Some(point) if point.0 == size => point.1,
        Some(next) => {
            let last = points[above - 1];
            last.1 + (next.1 - last.1) * (size - last.0) as f64 / (next.0 - last.0) as f64
        }
        None => points[above - 1].1,
    }
}

/// Fits the predictor; widths between lowest and reference get their share of loss and influence.
pub(super) fn fit(measurements: &Measurements) -> Result<Formula, FitError> {
    let singles = Singles::of(measurements);
    let lowest = Lowest::of(measurements);
    let all: Vec<&Row> = measurements.rows.iter().collect();
    let found = lowest.influences(&all);
    let space = measurements.space.clone();
    let mut notes = singles.notes.clone();
    let subsets: Vec<usize> =
        (0..all.len()).filter(|row| all[*row].changes.len() > 2 && is_lowest(all[*row])).collect();
    let left_out = all.iter().filter(|row| row.changes.len() > 1 && !is_lowest(row)).count();
    if left_out > 0 {
        notes.push(format!("{left_out} rows with widths between the lowest and the reference were left out"));
    }
    let kept = found.kept.iter().filter(|kept| **kept).count();
    if subsets.len() <= kept {
        notes.push(format!("{} subsets for {kept} influences: they are not told apart", subsets.len()));
    }
    if let Some(offset) = offset(measurements).filter(Offset::is_suspicious) {
        notes.push(offset.to_string());
    }
    let intervals = Intervals::new(measurements, &residuals(&lowest, &all, &subsets))?;
    let form = prediction(&space, &lowest, &found, &singles.share);
    Ok(Formula { space, form, intervals, notes })
}

/// The prediction as a form.
fn prediction(space: &Space, lowest: &Lowest, found: &Influences, shares: &PerLevel) -> Form {
    let mut form = Form::constant(0.0, space);
    form.by_changed = found.by_changed.clone();
    let terms = lowest.losses.iter().zip(&found.influence).zip(shares);
    form.one = terms
        .map(|((loss, influence), shares)| {
            shares.iter().map(|share| share * (loss + influence.unwrap_or(0.0))).collect()
        })
        .collect();
    form
}

/// Residuals of subsets from fits that did not see them.
fn residuals(lowest: &Lowest, all: &[&Row], subsets: &[usize]) -> Vec<(usize, f64)> {
    let mut residuals = Vec::new();
    if subsets.len() < 2 * FOLDS {
        return residuals;
    }
    for fold in 0..FOLDS {
        let held: Vec<usize> = subsets.iter().skip(fold).step_by(FOLDS).copied().collect();
        let is_held = |row: usize| held.binary_search(&row).is_ok();
        let rest: Vec<&Row> =
            all.iter().enumerate().filter(|(row, _)| !is_held(*row)).map(|(_, row)| *row).collect();
        let found = lowest.influences(&rest);
        for row in held.iter().map(|row| all[*row]) {
            let influence =
                row.changes.iter().filter_map(|(variable, _)| found.influence[*variable as usize]);
            let size = row.changes.len();
            residuals.push((size, lowest.correlation(row) - found.by_changed[size] - influence.sum::<f64>()));
        }
    }
    residuals
}
