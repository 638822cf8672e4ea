//! Lists the choices of one group, leaving out those that are nowhere better than others.

use super::CHOICES_MAX;
use crate::form::{Form, Two};
use crate::solve::{Problem, SolveError};

/// What is wanted of a group.
pub(super) struct Wanted<'a> {
    /// Its variables.
    pub(super) members: &'a [usize],
    /// Number of distinct assignments that will be asked for.
    pub(super) best: usize,
}

/// A combination of levels with what it adds to the objective and to each row.
#[derive(Clone)]
pub(super) struct Choice {
    pub(super) value: f64,
    pub(super) costs: Vec<f64>,
    pub(super) changed: usize,
    pub(super) levels: Vec<u8>,
}

/// Returns a group's variables in the order of the choices' levels, and the choices.
///
/// Variables join one by one. Two combinations whose levels agree in all variables with terms to variables still to come
/// have the same future, so the worse of them can go at once; this keeps an activation with many readers small.
pub(super) fn choices(
    problem: &Problem,
    rows: &[&Form],
    wanted: &Wanted<'_>,
) -> Result<(Vec<usize>, Vec<Choice>), SolveError> {
    let terms = Terms::new(problem, rows, wanted.members);
    let order = terms.order(wanted.members);
    let first = Choice { value: 0.0, costs: vec![0.0; rows.len()], changed: 0, levels: Vec::new() };
    let mut choices = vec![first];
    for (step, variable) in order.iter().enumerate() {
        let variable_levels = problem.space.variables[*variable].widths.len();
        let mut next = Vec::with_capacity(choices.len() * variable_levels);
        for choice in &choices {
            next.extend((0..variable_levels).map(|level| terms.extended(choice, &order[..=step], level)));
        }
        if !terms.leaves {
            let open = terms.open(&order, step);
            next = undominated(next, &open, wanted.best, !problem.objective.by_changed.is_empty());
        }
        if next.len() > CHOICES_MAX {
            let first = problem.space.variables[wanted.members[0]].name.clone();
            return Err(SolveError::TooManyChoices {
                first,
                variables: wanted.members.len(),
                cap: CHOICES_MAX,
            });
        }
        choices = next;
    }
    Ok((order, choices))
}

/// The terms inside a group.
struct Terms<'a> {
    problem: &'a Problem,
    rows: &'a [&'a Form],
    /// Two-variable terms with both ends in the group, with their row; none for the objective.
    two: Vec<(Option<usize>, &'a Two)>,
    /// Whether the objective has two-variable terms that leave the group.
    leaves: bool,
}

impl<'a> Terms<'a> {
    fn new(problem: &'a Problem, rows: &'a [&'a Form], members: &[usize]) -> Self {
        let inside = |two: &&Two| members.contains(&two.a) && members.contains(&two.b);
        let touches = |two: &Two| members.contains(&two.a) != members.contains(&two.b);
        let mut two: Vec<_> = problem.objective.two.iter().filter(inside).map(|two| (None, two)).collect();
        for (row, form) in rows.iter().enumerate() {
            two.extend(form.two.iter().filter(inside).map(|two| (Some(row), two)));
        }
        Self { problem, rows, two, leaves: problem.objective.two.iter().any(touches) }
    }

    /// Members so that few variables have terms to later ones at any time: always the one that leaves fewest open.
    fn order(&self, members: &[usize]) -> Vec<usize> {
        let mut order: Vec<usize> = Vec::with_capacity(members.len());
        while order.len() < members.len() {
            let left = members.iter().copied().filter(|variable| !order.contains(variable));
            let opened = |variable: &usize| {
                let mut with = order.clone();
                with.push(*variable);
                let closed =
                    self.two.iter().filter(|(_, two)| with.contains(&two.a) && with.contains(&two.b)).count();
                (self.open(&with, with.len() - 1).len(), usize::MAX - closed)
            };
            let next = left
                .min_by_key(opened)
                .expect("a variable is left while the order is shorter than the members");
            order.push(next);
        }
        order
    }

    /// Positions in the order up to `step` whose variables have terms to variables that are not among them.
    fn open(&self, order: &[usize], step: usize) -> Vec<usize> {
        let joined = &order[..=step];
        let is_open = |position: &usize| {
            let variable = joined[*position];
            self.two.iter().any(|(_, two)| {
                (two.a == variable && !joined.contains(&two.b))
                    || (two.b == variable && !joined.contains(&two.a))
            })
        };
        (0..=step).filter(is_open).collect()
    }

    /// A choice with one more variable, the last of `order`.
    fn extended(&self, choice: &Choice, order: &[usize], level: usize) -> Choice {
        let variable = order[order.len() - 1];
        let mut next = choice.clone();
        next.levels.push(level as u8);
        next.changed += usize::from(self.problem.space.variables[variable].reference() as usize != level);
        next.value += self.problem.objective.one[variable].get(level).copied().unwrap_or(0.0);
        for (cost, row) in next.costs.iter_mut().zip(self.rows) {
            *cost += row.one[variable].get(level).copied().unwrap_or(0.0);
        }
        for (row, two) in self.two.iter().filter(|(_, two)| two.a == variable || two.b == variable) {
            let other = if two.a == variable { two.b } else { two.a };
            let Some(position) = order.iter().position(|joined| *joined == other) else { continue };
            let across = self.problem.space.variables[two.b].widths.len();
            let other_level = next.levels[position] as usize;
            let (a, b) = if two.a == variable { (level, other_level) } else { (other_level, level) };
            let sum = row.map_or(&mut next.value, |row| &mut next.costs[row]);
            *sum += two.values[a * across + b];
        }
        next
    }
}

/// Leaves out choices for which `best` others, equal in the open levels, are nowhere worse.
fn undominated(mut choices: Vec<Choice>, open: &[usize], best: usize, counted: bool) -> Vec<Choice> {
    // Whatever is nowhere worse than a choice stands before it then: sums in one order are monotone.
    choices.sort_by(|left, right| {
        let sums = |choice: &Choice| (choice.value, choice.costs.iter().sum::<f64>());
        let ((value, cost), (other_value, other_cost)) = (sums(left), sums(right));
        value
            .total_cmp(&other_value)
            .then(cost.total_cmp(&other_cost))
            .then_with(|| left.levels.cmp(&right.levels))
    });
    let mut kept: Vec<Choice> = Vec::with_capacity(choices.len());
    for choice in choices {
        let better = |other: &&Choice| {
            (!counted || other.changed == choice.changed)
                && open.iter().all(|position| other.levels[*position] == choice.levels[*position])
                && other.value <= choice.value
                && other.costs.iter().zip(&choice.costs).all(|(cost, than)| cost <= than)
        };
        if kept.iter().filter(better).take(best).count() < best {
            kept.push(choice);
        }
    }
    kept
}
