//! A problem as lists of choices: what the exact solver works on.
//!
//! Variables that the two-variable terms of limits tie together (an activation and the weights of the layers that read
//! it) become one *group*, whose choices are combinations of levels, so that every row is a sum over groups. A
//! combination that is nowhere better than enough others is left out while the list is built. Start at [`compile`].

use std::collections::BTreeMap;

use super::check::check;
use super::{Problem, SolveError, slack};
use crate::form::Form;

mod combine;
mod pairs;

pub(crate) use pairs::Pair;

/// The most choices of one group.
pub(crate) const CHOICES_MAX: usize = 4096;

/// `constant + sum of values + table[number of changed variables] + sum of pairs`, minimised over one choice per group,
/// with the sum of each row's costs at most `at_most`.
///
/// Values and costs are counted from the least of their group, hence never negative; rows are scaled by powers of two.
#[derive(Clone, Debug)]
pub(crate) struct Compiled {
    /// Added to everything.
    pub(crate) constant: f64,
    /// The first choice of each group, and the number of choices at the end.
    pub(crate) start: Vec<usize>,
    /// By choice.
    pub(crate) value: Vec<f64>,
    /// By choice, then row.
    pub(crate) cost: Vec<f64>,
    /// Number of changed variables by choice.
    pub(crate) changed: Vec<usize>,
    /// By row.
    pub(crate) at_most: Vec<f64>,
    /// By number of changed variables; empty if the objective has no such term.
    pub(crate) table: Vec<f64>,
    /// Terms of two groups.
    pub(crate) pairs: Vec<Pair>,
    /// The variables of each group.
    members: Vec<Vec<usize>>,
    /// By choice: a level per member.
    levels: Vec<Vec<u8>>,
}

impl Compiled {
    /// Number of groups.
    pub(crate) fn groups(&self) -> usize {
        self.start.len() - 1
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.at_most.len()
    }

    /// The choices of a group.
    pub(crate) fn choices(&self, group: usize) -> std::ops::Range<usize> {
        self.start[group]..self.start[group + 1]
    }

    /// The costs of a choice by row.
    pub(crate) fn costs(&self, choice: usize) -> &[f64] {
        &self.cost[choice * self.rows()..(choice + 1) * self.rows()]
    }

    /// The problem of minimising one row within the first `rows` rows.
    pub(crate) fn row_alone(&self, row: usize, rows: usize) -> Self {
        let choices = 0..self.value.len();
        Self {
            constant: 0.0,
            value: choices.clone().map(|choice| self.costs(choice)[row]).collect(),
            cost: choices.flat_map(|choice| self.costs(choice)[..rows].iter().copied()).collect(),
            at_most: self.at_most[..rows].to_vec(),
            table: Vec::new(),
            pairs: Vec::new(),
            ..self.clone()
        }
    }

    /// The assignment that a choice per group stands for.
    pub(crate) fn assignment(&self, choices: &[usize]) -> Vec<u8> {
        let mut levels = vec![0; self.members.iter().map(Vec::len).sum()];
        for (members, choice) in self.members.iter().zip(choices) {
            for (variable, level) in members.iter().zip(&self.levels[*choice]) {
                levels[*variable] = *level;
            }
        }
        levels
    }

    /// The choices that an assignment stands for; none if one of them was left out.
    pub(crate) fn choices_of(&self, levels: &[u8]) -> Option<Vec<usize>> {
        let find = |(group, members): (usize, &Vec<usize>)| {
            let same = |choice: &usize| {
                self.levels[*choice].iter().zip(members).all(|(level, at)| *level == levels[*at])
            };
            self.choices(group).find(same)
        };
        self.members.iter().enumerate().map(find).collect()
    }
}

/// A row of a limit that some assignment breaks.
struct Row<'a> {
    form: &'a Form,
    room: f64,
}

/// Lists the choices of a problem.
///
/// `best` is the number of distinct assignments that will be asked for: a choice is left out when that many others are
/// nowhere worse.
///
/// Errors: those of [`check`]; `TooManyChoices`. Whether the limits can be kept is not looked at.
pub(crate) fn compile(problem: &Problem, best: usize) -> Result<Compiled, SolveError> {
    check(problem)?;
    let rows = rows(problem);
    let forms: Vec<&Form> = rows.iter().map(|row| row.form).collect();
    let components = groups(problem, &forms);
    let mut listed = Vec::new();
    for members in &components {
        listed.push(combine::choices(problem, &forms, &combine::Wanted { members, best })?);
    }
    let mut compiled = Compiled {
        constant: problem.objective.constant,
        start: vec![0],
        value: Vec::new(),
        cost: Vec::new(),
        changed: Vec::new(),
        at_most: rows.iter().map(|row| row.room).collect(),
        table: problem.objective.by_changed.clone(),
        pairs: Vec::new(),
        members: listed.iter().map(|(members, _)| members.clone()).collect(),
        levels: Vec::new(),
    };
    for choice in listed.into_iter().map(|(_, choices)| choices) {
        for choice in choice {
            compiled.value.push(choice.value);
            compiled.cost.extend(choice.costs);
            compiled.changed.push(choice.changed);
            compiled.levels.push(choice.levels);
        }
        compiled.start.push(compiled.value.len());
    }
    compiled.pairs = pairs::between(problem, &compiled.members, &compiled);
    normalize(&mut compiled);
    Ok(compiled)
}

/// Rows that can be broken at all, with the room that their constant leaves.
fn rows(problem: &Problem) -> Vec<Row<'_>> {
    let all =
        problem.limits.iter().flat_map(|limit| limit.cost.rows.iter().map(move |form| (form, limit.at_most)));
    let row = |(form, at_most): (_, f64)| Row {
        form,
        room: at_most + slack(at_most) * EXCESS_USED - form.constant,
    };
    all.map(row).filter(|row| most(row.form) > row.room).collect()
}

/// Share of the allowed excess that the search uses; the rest is for sums in another order.
const EXCESS_USED: f64 = 0.999;

/// An upper bound on the terms of a form.
fn most(form: &Form) -> f64 {
    let largest = |values: &Vec<f64>| values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let one = form.one.iter().filter(|term| !term.is_empty()).map(largest);
    one.sum::<f64>() + form.two.iter().map(|two| largest(&two.values)).sum::<f64>()
}

/// Variables by group: those that two-variable terms of limits connect, and those of the objective too where that makes
/// no large group.
fn groups(problem: &Problem, rows: &[&Form]) -> Vec<Vec<usize>> {
    let apart = components(problem, rows);
    let all: Vec<&Form> = rows.iter().copied().chain([&problem.objective]).collect();
    let levels = |variable: &usize| problem.space.variables[*variable].widths.len() as f64;
    let small = |members: &Vec<usize>| members.iter().map(levels).product::<f64>() <= SMALL_GROUP;
    let (small, large): (Vec<_>, Vec<_>) = components(problem, &all).into_iter().partition(small);
    let left = apart.into_iter().filter(|members| large.iter().any(|group| group.contains(&members[0])));
    let mut groups: Vec<_> = left.chain(small).collect();
    groups.sort();
    groups
}

/// The most combinations of a group that the objective's two-variable terms may make.
const SMALL_GROUP: f64 = 640.0;

/// Variables that two-variable terms of these forms connect, in the order of their first variables.
fn components(problem: &Problem, rows: &[&Form]) -> Vec<Vec<usize>> {
    let count = problem.space.variables.len();
    let mut parent: Vec<usize> = (0..count).collect();
    fn root(parent: &mut [usize], mut at: usize) -> usize {
        while parent[at] != at {
            parent[at] = parent[parent[at]];
            at = parent[at];
        }
        at
    }
    for two in rows.iter().flat_map(|form| &form.two) {
        let (a, b) = (root(&mut parent, two.a), root(&mut parent, two.b));
        parent[a.max(b)] = a.min(b);
    }
    let mut components: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for variable in 0..count {
        components.entry(root(&mut parent, variable)).or_default().push(variable);
    }
    components.into_values().collect()
}

/// Counts values and costs from the least of their group, and scales rows so that their largest cost is about 1.
fn normalize(compiled: &mut Compiled) {
    let rows = compiled.rows();
    for group in 0..compiled.groups() {
        let choices = compiled.choices(group);
        let least = choices.clone().map(|choice| compiled.value[choice]).fold(f64::INFINITY, f64::min);
        compiled.constant += least;
        choices.clone().for_each(|choice| compiled.value[choice] -= least);
        for row in 0..rows {
            let least = choices
                .clone()
                .map(|choice| compiled.cost[choice * rows + row])
                .fold(f64::INFINITY, f64::min);
            compiled.at_most[row] -= least;
            choices.clone().for_each(|choice| compiled.cost[choice * rows + row] -= least);
        }
    }
    for row in 0..rows {
        let largest = compiled.cost.iter().skip(row).step_by(rows).copied().fold(0.0, f64::max);
        if largest > 0.0 {
            // A power of two: whole costs stay exact.
            let scale = libm::exp2(-libm::log2(largest).ceil());
            compiled.at_most[row] *= scale;
            compiled.cost.iter_mut().skip(row).step_by(rows).for_each(|cost| *cost *= scale);
        }
    }
}
