//! An assignment that is improved step by step.

use super::dense::Dense;
use super::part::Part;
use crate::solve::groups::Compiled;

/// Steps of one descent at most, for each group.
const STEPS_MAX: usize = 10;
/// What a step must gain.
const GAIN_MIN: f64 = 1e-11;

/// A group with the choice that it is to get.
pub(super) type Move = (usize, usize);

/// How many groups a step may change.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reach {
    Single,
    Double,
}

/// An assignment with its sums.
pub(super) struct Point<'a> {
    compiled: &'a Compiled,
    terms: Option<&'a Dense>,
    pub(super) choices: Vec<usize>,
    /// By choice: its value with the terms to what is chosen now.
    field: Vec<f64>,
    used: Vec<f64>,
    changed: usize,
}

/// A change of one group or two, by what the objective and the excess become.
#[derive(Clone, Copy)]
struct Step {
    excess: f64,
    change: f64,
    moves: [Move; 2],
}

impl<'a> Point<'a> {
    pub(super) fn new(compiled: &'a Compiled, terms: Option<&'a Dense>, choices: Vec<usize>) -> Self {
        let sum = |row: usize| choices.iter().map(|choice| compiled.costs(*choice)[row]).sum();
        let mut field = compiled.value.clone();
        for (terms, chosen) in
            terms.iter().flat_map(|terms| choices.iter().map(move |chosen| (terms, chosen)))
        {
            field.iter_mut().zip(terms.row(*chosen)).for_each(|(field, term)| *field += term);
        }
        Self {
            compiled,
            terms,
            field,
            used: (0..compiled.rows()).map(sum).collect(),
            changed: choices.iter().map(|choice| compiled.changed[*choice]).sum(),
            choices,
        }
    }

    fn set(&mut self, group: usize, choice: usize) {
        let before = std::mem::replace(&mut self.choices[group], choice);
        let costs = self.compiled.costs(choice).iter().zip(self.compiled.costs(before));
        self.used.iter_mut().zip(costs).for_each(|(used, (new, old))| *used += new - old);
        self.changed = self.changed + self.compiled.changed[choice] - self.compiled.changed[before];
        if let Some(terms) = self.terms {
            let rows = terms.row(choice).iter().zip(terms.row(before));
            self.field.iter_mut().zip(rows).for_each(|(field, (new, old))| *field += new - old);
        }
    }

    /// How far rows are passed with some choices exchanged.
    fn excess(&self, moves: &[Move]) -> f64 {
        let row = |row: usize| {
            let by = |(group, choice): &Move| {
                self.compiled.costs(*choice)[row] - self.compiled.costs(self.choices[*group])[row]
            };
            let room = self.compiled.at_most[row];
            (self.used[row] + moves.iter().map(by).sum::<f64>() - room - super::best::rounding(room)).max(0.0)
        };
        (0..self.used.len()).map(row).sum()
    }

    /// The change of the objective by some exchanges; two of them are of different groups.
    fn change(&self, moves: &[Move]) -> f64 {
        let mut change = 0.0;
        let mut changed = self.changed;
        for (group, choice) in moves {
            let before = self.choices[*group];
            change += self.field[*choice] - self.field[before];
            changed = changed + self.compiled.changed[*choice] - self.compiled.changed[before];
        }
        if let (Some(terms), [(first, to), (second, other)]) = (self.terms, moves) {
            let (of, from) = (terms.row(*to), terms.row(self.choices[*first]));
            let before = self.choices[*second];
            change += of[*other] - of[before] - from[*other] + from[before];
        }
        let table = &self.compiled.table;
        change + if table.is_empty() { 0.0 } else { table[changed] - table[self.changed] }
    }

    /// Steps of one group, or of two where that gains nothing, until there is none that lowers the excess, or keeps the rows and lowers the objective.
    pub(super) fn descend(&mut self, part: &Part, reach: Reach) {
        for _ in 0..STEPS_MAX * part.groups() {
            let excess = self.excess(&[]);
            let step = self.single(part, excess).or_else(|| match reach {
                Reach::Single => None,
                Reach::Double => self.double(part, excess),
            });
            let Some(step) = step else { return };
            for (group, choice) in step.moves {
                self.set(group, choice);
            }
        }
    }

    fn single(&self, part: &Part, excess: f64) -> Option<Step> {
        let mut chosen = None;
        for group in 0..part.groups() {
            for choice in part.of(group).iter().copied() {
                let moves = [(group, choice)];
                self.consider(&mut chosen, excess, (&moves, [(group, choice); 2]));
            }
        }
        chosen
    }

    fn double(&self, part: &Part, excess: f64) -> Option<Step> {
        let mut chosen = None;
        for first in 0..part.groups() {
            for choice in part.of(first).iter().copied().filter(|choice| *choice != self.choices[first]) {
                for second in first + 1..part.groups() {
                    for other in
                        part.of(second).iter().copied().filter(|other| *other != self.choices[second])
                    {
                        let moves = [(first, choice), (second, other)];
                        self.consider(&mut chosen, excess, (&moves, moves));
                    }
                }
            }
        }
        chosen
    }

    /// Keeps a step if it is the best one so far: less excess for what it costs, or a lower objective within the rows.
    fn consider(&self, chosen: &mut Option<Step>, excess: f64, (moves, all): (&[Move], [Move; 2])) {
        let change = self.change(moves);
        let rank = |step: &Step| match excess > 0.0 {
            true => (step.change.max(0.0) + GAIN_MIN) / (excess - step.excess),
            false => step.change,
        };
        if excess <= 0.0 && change >= chosen.as_ref().map_or(-GAIN_MIN, rank) {
            return;
        }
        let after = self.excess(moves);
        let step = Step { excess: after, change, moves: all };
        let lowers = if excess > 0.0 { after < excess } else { after <= 0.0 };
        if lowers && chosen.as_ref().is_none_or(|best| rank(&step) < rank(best)) {
            *chosen = Some(step);
        }
    }
}
