//! Refuses problems whose forms do not fit the space or hold numbers that are none.

use super::{Problem, SolveError};
use crate::form::Form;
use crate::space::Space;

/// Checks every form and limit of a problem.
///
/// Errors: `Shape`, `NotFinite`, `CountInLimit`, each naming the place.
pub(crate) fn check(problem: &Problem) -> Result<(), SolveError> {
    check_form(&problem.objective, &problem.space, "the objective")?;
    for limit in &problem.limits {
        let name = &limit.cost.name;
        if limit.cost.rows.is_empty() {
            return Err(SolveError::Shape { place: format!("cost {name}"), expected: 1, found: 0 });
        }
        finite(limit.at_most, || format!("the limit of cost {name}"))?;
        for row in &limit.cost.rows {
            check_form(row, &problem.space, &format!("cost {name}"))?;
            if !row.by_changed.is_empty() {
                return Err(SolveError::CountInLimit { cost: name.clone() });
            }
        }
    }
    Ok(())
}

fn check_form(form: &Form, space: &Space, place: &str) -> Result<(), SolveError> {
    let levels = |variable: usize| space.variables[variable].widths.len();
    let count = space.variables.len();
    finite(form.constant, || format!("the constant of {place}"))?;
    fits(form.one.len(), count, || format!("the one-variable terms of {place}"))?;
    for (variable, term) in form.one.iter().enumerate().filter(|(_, term)| !term.is_empty()) {
        let at = || format!("the term of {} in {place}", space.variables[variable].name);
        fits(term.len(), levels(variable), at)?;
        term.iter().try_for_each(|value| finite(*value, at))?;
    }
    for two in &form.two {
        let outside = [two.a, two.b].into_iter().find(|variable| *variable >= count);
        if let Some(variable) = outside {
            return fits(variable + 1, count, || format!("a two-variable term of {place}"));
        }
        let at = || {
            format!(
                "the term of {} and {} in {place}",
                space.variables[two.a].name, space.variables[two.b].name
            )
        };
        // A term of one variable with itself would be read as if its levels were independent.
        let distinct = usize::from(two.a != two.b);
        fits(two.values.len(), levels(two.a) * levels(two.b) * distinct, at)?;
        two.values.iter().try_for_each(|value| finite(*value, at))?;
    }
    if !form.by_changed.is_empty() {
        let at = || format!("the term by changed variables of {place}");
        fits(form.by_changed.len(), count + 1, at)?;
        form.by_changed.iter().try_for_each(|value| finite(*value, at))?;
    }
    Ok(())
}

fn finite(value: f64, place: impl Fn() -> String) -> Result<(), SolveError> {
    if value.is_finite() { Ok(()) } else { Err(SolveError::NotFinite { place: place(), value }) }
}

fn fits(found: usize, expected: usize, place: impl Fn() -> String) -> Result<(), SolveError> {
    if found == expected { Ok(()) } else { Err(SolveError::Shape { place: place(), expected, found }) }
}
