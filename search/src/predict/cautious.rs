//! What a regression may not be asked: levels that were never measured in company.
//!
//! Sweeps leave points out of pairs and subsets that do much damage alone. A quadratic function fitted to the others
//! saturates, as losses do, and far outside its rows it falls again; it would take the most harmful levels for free.
//! Here each of them adds its single loss instead, which is too much rather than too little.

use super::singles::Singles;
use super::{Prediction, Predictor};
use crate::form::{Form, Two};
use crate::measurements::Measurements;
use crate::space::Space;

/// Rows in which a level, or a lower one of its variable, must have been in company to be trusted.
const ROWS_MIN: usize = 3;

/// A predictor that is trusted where its rows are.
struct Cautious {
    inner: Box<dyn Predictor>,
    space: Space,
    /// The lowest level of each variable that was measured in company.
    lowest: Vec<u8>,
    /// The loss of each level alone.
    single: Vec<Vec<f64>>,
    notes: Vec<String>,
}

/// Wraps a predictor unless every level was measured in company often enough, or none was and it is a sum anyway.
pub(super) fn cautious(inner: Box<dyn Predictor>, measurements: &Measurements) -> Box<dyn Predictor> {
    let space = &measurements.space;
    // Subsets say more of company than pairs; where there are any, they alone count.
    let has_subsets = measurements.rows.iter().any(|row| row.changes.len() > 2);
    let least = if has_subsets { 3 } else { 2 };
    let mut counts: Vec<Vec<usize>> =
        space.variables.iter().map(|variable| vec![0; variable.widths.len()]).collect();
    for row in measurements.rows.iter().filter(|row| row.changes.len() >= least) {
        for (variable, level) in &row.changes {
            // Whatever stood a lower width stands this one.
            for higher in *level..space.variables[*variable as usize].reference() {
                counts[*variable as usize][usize::from(higher)] += 1;
            }
        }
    }
    let lowest = counts.iter().map(|counts| {
        let reference = counts.len() - 1;
        counts.iter().position(|count| *count >= ROWS_MIN).unwrap_or(reference) as u8
    });
    let lowest: Vec<u8> = lowest.collect();
    let left_out = lowest.iter().filter(|level| **level > 0).count();
    if left_out == 0 || counts.iter().flatten().all(|count| *count == 0) {
        return inner;
    }
    let mut notes = inner.notes().to_vec();
    notes.push(format!(
        "{left_out} of {} variables have widths that were not measured together with others; those add what they cost alone",
        space.variables.len()
    ));
    Box::new(Cautious { inner, space: space.clone(), lowest, single: Singles::of(measurements).loss, notes })
}

impl Cautious {
    /// The level that stands in for one that is not trusted: the reference.
    fn trusted(&self, variable: usize, level: u8) -> u8 {
        if level < self.lowest[variable] { self.space.variables[variable].reference() } else { level }
    }

    /// What a level costs beside what stands in for it.
    fn beyond(&self, variable: usize, level: u8) -> f64 {
        if level < self.lowest[variable] { self.single[variable][usize::from(level)].max(0.0) } else { 0.0 }
    }
}

impl Predictor for Cautious {
    fn predict(&self, levels: &[u8]) -> Prediction {
        let trusted: Vec<u8> =
            levels.iter().enumerate().map(|(variable, level)| self.trusted(variable, *level)).collect();
        let beyond = levels.iter().enumerate().map(|(variable, level)| self.beyond(variable, *level));
        let beyond: f64 = beyond.sum();
        let Prediction { value, low, high } = self.inner.predict(&trusted);
        // Losses saturate, so that in company it may be anything from nothing to somewhat more than alone.
        Prediction { value: value + beyond, low, high: high + 2.0 * beyond }
    }

    fn form(&self) -> Form {
        let inner = self.inner.form();
        let count = |variable: usize| self.space.variables[variable].widths.len();
        let one = inner.one.iter().enumerate().map(|(variable, values)| {
            let of = |level: u8| {
                let trusted = values.get(usize::from(self.trusted(variable, level))).copied().unwrap_or(0.0);
                trusted + self.beyond(variable, level)
            };
            (0..count(variable) as u8).map(of).collect()
        });
        let two = inner.two.iter().map(|Two { a, b, values }| {
            let of = |first: u8, second: u8| {
                let (first, second) = (self.trusted(*a, first), self.trusted(*b, second));
                values[usize::from(first) * count(*b) + usize::from(second)]
            };
            let firsts = 0..count(*a) as u8;
            let values = firsts.flat_map(|first| (0..count(*b) as u8).map(move |second| of(first, second)));
            Two { a: *a, b: *b, values: values.collect() }
        });
        Form {
            constant: inner.constant,
            one: one.collect(),
            two: two.collect(),
            by_changed: inner.by_changed.clone(),
        }
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }
}

#[cfg(test)]
mod tests {
    use bitloop_core::bits::Bits;
    use bitloop_core::graph::PointKind;
    use bitloop_core::plan::Metric;
    use bitloop_core::rng::rng;

    use super::*;
    use crate::measurements::Row;
    use crate::predict::{Method, fit};
    use crate::space::Variable;

    const HARMFUL: usize = 7;

    /// Losses that saturate: a share of what is left is lost with each change.
    fn loss(changes: &[(u32, u8)]) -> f64 {
        let share = |(variable, level): &(u32, u8)| {
            let alone = if *variable as usize == HARMFUL { 0.6 } else { 0.01 * f64::from(variable + 1) };
            1.0 - alone / f64::from(level + 1)
        };
        90.0 * (1.0 - changes.iter().map(share).product::<f64>())
    }

    /// Eight variables at 2, 4 and 8 bits; all but the harmful one are measured in company, 2 bits only in part.
    fn measured() -> Measurements {
        let widths = [2, 4, 8].map(|bits| Bits::new(bits).unwrap());
        let variable = |index: usize| Variable {
            name: format!("v{index}"),
            kind: PointKind::Weight,
            widths: widths.to_vec(),
        };
        let space = Space { variables: (0..8).map(variable).collect() };
        let mut changes: Vec<Vec<(u32, u8)>> =
            (0..8).flat_map(|variable| [0, 1].map(|level| vec![(variable, level)])).collect();
        for draw in 0..60 {
            let mut rng = rng(3, draw);
            let set = (0..HARMFUL as u32).filter(|_| rng.below(2) == 0);
            let set: Vec<u32> = set.collect();
            changes.push(
                set.into_iter().map(|variable| (variable, u8::from(variable > 3 || draw % 2 == 0))).collect(),
            );
        }
        changes.retain(|changes| !changes.is_empty());
        changes.sort();
        changes.dedup();
        let row = |changes: Vec<(u32, u8)>| Row { loss: loss(&changes), changes, error: None };
        Measurements { space, metric: Metric::Top1Drop, rows: changes.into_iter().map(row).collect() }
    }

    #[test]
    fn a_level_that_was_never_in_company_costs_what_it_costs_alone() {
        let measured = measured();
        let predictor = fit(Method::Auto, &measured).unwrap();
        let mut levels = vec![1; 8];
        levels[HARMFUL] = measured.space.variables[HARMFUL].reference();
        let without = predictor.predict(&levels);

        for level in [0, 1] {
            levels[HARMFUL] = level;
            let with = predictor.predict(&levels);

            let alone = loss(&[(HARMFUL as u32, level)]);
            assert!((with.value - without.value - alone).abs() < 1e-9, "{with:?}");
            let truth: Vec<(u32, u8)> = (0..).zip(levels.iter().copied()).collect();
            assert!(with.low <= loss(&truth) && loss(&truth) <= with.high, "{with:?}");
        }
    }

    #[test]
    fn the_form_orders_assignments_as_predictions_do() {
        let measured = measured();
        let predictor = fit(Method::Auto, &measured).unwrap();
        let form = predictor.form();
        let mut rng = rng(5, 0);
        let mut pairs: Vec<(f64, f64)> = (0..300)
            .map(|_| {
                let levels: Vec<u8> = (0..8).map(|_| rng.below(3) as u8).collect();
                (form.value(&measured.space, &levels), predictor.predict(&levels).value)
            })
            .collect();

        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));

        assert!(pairs.windows(2).all(|pair| pair[0].1 <= pair[1].1 + 1e-9));
    }

    #[test]
    fn levels_that_stood_company_are_left_to_the_regression() {
        let mut measured = measured();
        measured.rows.retain(|row| row.changes.iter().all(|(variable, _)| *variable as usize != HARMFUL));
        measured.space.variables.truncate(HARMFUL);
        measured.rows.retain(|row| row.changes.iter().all(|(variable, level)| *variable <= 3 || *level == 1));
        for variable in &mut measured.space.variables[4..] {
            variable.widths.remove(0);
        }
        for row in &mut measured.rows {
            for (_, level) in row.changes.iter_mut().filter(|(variable, _)| *variable > 3) {
                *level = 0;
            }
        }

        let notes = fit(Method::Auto, &measured).unwrap().notes().join("\n");

        assert!(!notes.contains("were not measured together"), "{notes}");
    }
}
