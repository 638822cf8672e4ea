//! Local search: moves of one group and exchanges of two, from many starts.

use bitloop_core::rng::rng;

use super::best::{Best, keeps, objective};
use super::dense::Dense;
use super::part::Part;
use crate::solve::groups::Compiled;

/// Starts from disturbed copies of the best assignment.
const STARTS: u64 = 30;
/// The share of groups that a disturbance changes.
const DISTURBED: f64 = 0.15;
/// Steps of one descent at most, for each group.
const STEPS_MAX: usize = 10;
/// What a step must gain.
const GAIN_MIN: f64 = 1e-11;

/// Offers local optima of a problem with terms of two groups.
pub(super) fn improve(compiled: &Compiled, terms: &Dense, part: &Part, best: &mut Best) {
    let mut incumbent: Option<(f64, Vec<usize>)> = None;
    for start in 0..STARTS {
        let mut random = rng(start, part.groups() as u64);
        let mut choices: Vec<usize> = match &incumbent {
            Some((_, choices)) => choices.clone(),
            None => {
                (0..part.groups()).map(|group| part.of(group)[random.below(part.of(group).len())]).collect()
            }
        };
        if incumbent.is_some() {
            let changes = (part.groups() as f64 * DISTURBED).ceil() as usize + 1;
            for _ in 0..changes {
                let group = random.below(part.groups());
                choices[group] = part.of(group)[random.below(part.of(group).len())];
            }
        }
        let mut point = Point::new(compiled, terms, choices);
        point.descend(part);
        if keeps(compiled, &point.choices) {
            let value = objective(compiled, &point.choices);
            best.offer(value, &point.choices);
            if incumbent.as_ref().is_none_or(|(least, _)| value < *least) {
                incumbent = Some((value, point.choices));
            }
        }
    }
}

/// A group with the choice that it is to get.
type Move = (usize, usize);

/// An assignment with its sums.
struct Point<'a> {
    compiled: &'a Compiled,
    terms: &'a Dense,
    choices: Vec<usize>,
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
    fn new(compiled: &'a Compiled, terms: &'a Dense, choices: Vec<usize>) -> Self {
        let sum = |row: usize| choices.iter().map(|choice| compiled.costs(*choice)[row]).sum();
        let mut field = compiled.value.clone();
        for chosen in &choices {
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
        let rows = self.terms.row(choice).iter().zip(self.terms.row(before));
        self.field.iter_mut().zip(rows).for_each(|(field, (new, old))| *field += new - old);
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
        if let [(first, to), (second, other)] = moves {
            let (of, from) = (self.terms.row(*to), self.terms.row(self.choices[*first]));
            let before = self.choices[*second];
            change += of[*other] - of[before] - from[*other] + from[before];
        }
        let table = &self.compiled.table;
        change + if table.is_empty() { 0.0 } else { table[changed] - table[self.changed] }
    }

    /// Steps until there is none that lowers the excess, or keeps the rows and lowers the objective.
    fn descend(&mut self, part: &Part) {
        for _ in 0..STEPS_MAX * part.groups() {
            let excess = self.excess(&[]);
            let step = self.single(part, excess).or_else(|| self.double(part, excess));
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
