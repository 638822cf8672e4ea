use std::collections::BTreeMap;

use super::OfflineError;
use crate::form::Form;
use crate::tables::Published;

/// Share of single losses above which a point counts as an outlier.
const OUTLIER_QUANTILE: f64 = 0.75;
/// What the influence of an outlier counts as.
const OUTLIER_INFLUENCE: f64 = 100.0;

/// Returns what the published search minimises, over the tables' widths: `sum of (loss + influence) + c(changed)`.
///
/// Losses are those of single changes, influences the table's column (100 where it is empty), `c` the mean correlation
/// by the number of changed points ([`mean_correlations`]). Units: percentage points of top-1.
///
/// Errors: `NoInfluence` for tables without that column.
///
/// Source: the published search of the pairwise-correlation method.
pub fn published_objective(published: &Published) -> Result<Form, OfflineError> {
    if published.influence.iter().all(Option::is_none) {
        return Err(OfflineError::NoInfluence);
    }
    let space = &published.measurements.space;
    let singles = published.measurements.of_size(1);
    let mut form = Form::constant(0.0, space);
    for row in singles {
        let (variable, level) = row.changes[0];
        let influence = published.influence[variable as usize].unwrap_or(OUTLIER_INFLUENCE);
        let term = &mut form.one[variable as usize];
        term.resize(space.variables[variable as usize].widths.len(), 0.0);
        term[usize::from(level)] = row.loss + influence;
    }
    form.by_changed = mean_correlations(published);
    Ok(form)
}

/// Returns by how much more, on average, `k` changes lose together than each alone, for every `k` from 0.
///
/// For pairs, only those without an outlier count, which is a point whose single loss is not below the 0.75-quantile of
/// all. A number that was not measured lies between its neighbours, one beyond the largest counts as that.
pub fn mean_correlations(published: &Published) -> Vec<f64> {
    let measurements = &published.measurements;
    let mut single = vec![0.0; measurements.space.variables.len()];
    for row in measurements.of_size(1) {
        single[row.changes[0].0 as usize] = row.loss;
    }
    let limit = quantile(&single, OUTLIER_QUANTILE);
    let mut sums: BTreeMap<usize, (f64, usize)> = BTreeMap::new();
    for row in measurements.rows.iter().filter(|row| row.changes.len() > 1) {
        let losses = || row.changes.iter().map(|(variable, _)| single[*variable as usize]);
        if row.changes.len() == 2 && losses().any(|loss| loss >= limit) {
            continue;
        }
        let sum = sums.entry(row.changes.len()).or_default();
        sum.0 += row.loss - losses().sum::<f64>();
        sum.1 += 1;
    }
    let mut means: BTreeMap<usize, f64> = BTreeMap::from([(0, 0.0), (1, 0.0)]);
    means.extend(sums.into_iter().map(|(changed, (sum, rows))| (changed, sum / rows as f64)));
    let at = |changed: usize| {
        let below = means.range(..=changed).next_back().map_or((0, 0.0), |(at, mean)| (*at, *mean));
        match means.range(changed..).next() {
            Some((above, mean)) if *above > below.0 => {
                let share = (changed - below.0) as f64 / (above - below.0) as f64;
                below.1 + share * (mean - below.1)
            }
            _ => below.1,
        }
    };
    (0..=measurements.space.variables.len()).map(at).collect()
}

/// The value below which a share of the values lies, linear between neighbours.
fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = share * sorted.len().saturating_sub(1) as f64;
    let (low, rest) = (place.floor(), place - place.floor());
    let of = |place: f64| sorted.get(place as usize).copied().unwrap_or(0.0);
    of(low) + rest * (of(place.ceil()) - of(low))
}
