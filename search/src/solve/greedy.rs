//! Greedy descent: lower what costs the objective least per saving, then take back what was not needed.
//!
//! It proves nothing and is nearly free. Its value is a first answer, the trajectory that led there, and a start for
//! solvers that improve on it.

use crate::space::Space;

use super::terms::{LIMIT_SLACK, LimitTerms, Terms};
use super::{Limit, Problem};

/// A problem laid out for greedy descents from any assignment.
#[derive(Clone, Debug)]
pub struct Greedy {
    levels: Vec<u8>,
    objective: Terms,
    limits: Vec<LimitTerms>,
}

/// What a descent came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Descent {
    /// The assignment.
    pub levels: Vec<u8>,
    /// The objective there.
    pub objective: f64,
    /// Each limit's cost there.
    pub costs: Vec<f64>,
    /// By how much limits are exceeded, as shares of them, summed; 0 if all hold. No single change lessens it, which
    /// does not prove that no assignment holds them.
    pub violation: f64,
    /// How it was reached from the start.
    pub steps: Vec<Step>,
}

/// One change of one variable.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The variable.
    pub variable: usize,
    /// Its level before.
    pub from: u8,
    /// Its level after: lower while limits are exceeded, any once they hold.
    pub to: u8,
    /// The objective after the step.
    pub objective: f64,
    /// Each limit's cost after the step.
    pub costs: Vec<f64>,
}

/// Where a descent stands.
struct Position {
    levels: Vec<u8>,
    changed: usize,
    objective: f64,
    /// Limit -> the value of each of its rows.
    rows: Vec<Vec<f64>>,
    violation: f64,
}

/// A change that is being weighed; the one with the least `price` is taken, among equals the one with the most `worth`.
#[derive(Clone, Copy)]
struct Candidate {
    variable: usize,
    from: u8,
    to: u8,
    price: f64,
    worth: f64,
}

impl Greedy {
    /// Lays out a problem.
    ///
    /// Panics: the shapes of a form are not those of the space.
    pub fn new(problem: &Problem) -> Self {
        let Problem { space, objective, limits } = problem;
        Self {
            levels: level_counts(space),
            objective: Terms::new(space, objective),
            limits: limits.iter().map(|limit: &Limit| LimitTerms::new(space, limit)).collect(),
        }
    }

    /// Descends from an assignment, usually the reference.
    ///
    /// While a limit is exceeded, the lowering with the least increase of the objective per share of the excess that it
    /// takes away comes next; savings beyond a limit count for nothing. Then, while limits hold, the change with the
    /// most decrease of the objective per share of the limits that it uses up. Every form may have two-variable terms
    /// and terms by count.
    pub fn descend(&self, start: &[u8]) -> Descent {
        let mut position = self.position(start.to_vec());
        let mut steps = Vec::new();
        while position.violation > 0.0
            && let Some(next) = self.best(&position, Self::lowering)
        {
            position = self.moved(&position, &next);
            steps.push(step(&next, &position));
        }
        self.use_room(&mut position, &mut steps);
        descent(position, steps)
    }

    /// Descends, and then exchanges one change for another as long as that lessens the objective.
    ///
    /// An exchange is any change that keeps the limits or makes room, followed by the one that gains most in what room
    /// there then is; the best of all exchanges is taken. No two changes, one after the other, improve the end within
    /// the limits. Takes about the square of the time of one step of [`Self::descend`], for each exchange.
    pub fn descend_and_exchange(&self, start: &[u8]) -> Descent {
        let Descent { levels, mut steps, .. } = self.descend(start);
        let mut position = self.position(levels);
        while position.violation == 0.0
            && let Some((first, second)) = self.best_exchange(&position)
        {
            let between = self.moved(&position, &first);
            let moved = self.moved(&between, &second);
            if moved.objective >= position.objective || moved.violation > 0.0 {
                break;
            }
            steps.extend([step(&first, &between), step(&second, &moved)]);
            position = moved;
            self.use_room(&mut position, &mut steps);
        }
        descent(position, steps)
    }

    /// Takes gains while limits hold and there are any.
    fn use_room(&self, position: &mut Position, steps: &mut Vec<Step>) {
        while position.violation == 0.0
            && let Some(next) = self.best(position, Self::gain)
        {
            let moved = self.moved(position, &next);
            // What looked like a gain may have been rounding, and two such changes would undo each other for ever.
            if moved.objective >= position.objective || moved.violation > 0.0 {
                break;
            }
            *position = moved;
            steps.push(step(&next, position));
        }
    }

    /// The two changes, the first keeping the limits, that together lessen the objective most.
    fn best_exchange(&self, position: &Position) -> Option<(Candidate, Candidate)> {
        let mut best = None;
        let mut gained = 0.0;
        self.each_change(position, |variable, to| {
            let first = Candidate { variable, from: position.levels[variable], to, price: 0.0, worth: 0.0 };
            let between = self.moved(position, &first);
            if between.violation > 0.0 {
                return;
            }
            let before = position.objective - between.objective;
            self.each_change(&between, |variable, to| {
                let gain = before - self.objective.change(&between.levels, between.changed, variable, to);
                // Gains are compared first, as limits take longer.
                if gain > gained && self.after(&between, variable, to).violation == 0.0 {
                    gained = gain;
                    let from = between.levels[variable];
                    best = Some((first, Candidate { variable, from, to, price: 0.0, worth: gain }));
                }
            });
        });
        best
    }

    fn position(&self, levels: Vec<u8>) -> Position {
        let of_limit = |limit: &LimitTerms| limit.rows.iter().map(|row| row.value(&levels)).collect();
        let rows: Vec<Vec<f64>> = self.limits.iter().map(of_limit).collect();
        let excess = self.limits.iter().zip(&rows).map(|(limit, rows)| {
            // Row by row: where several moments need too much memory, relieving one of them is progress.
            rows.iter().map(|value| limit.excess(*value)).sum::<f64>()
        });
        let violation = excess.sum();
        let objective = self.objective.value(&levels);
        Position { changed: self.objective.changed(&levels), objective, violation, rows, levels }
    }

    /// The position after a change, evaluated afresh, so that rounding does not add up over many steps.
    fn moved(&self, position: &Position, next: &Candidate) -> Position {
        let mut levels = position.levels.clone();
        levels[next.variable] = next.to;
        self.position(levels)
    }

    fn best(
        &self,
        position: &Position,
        weigh: impl Fn(&Self, &Position, usize, u8) -> Option<Candidate>,
    ) -> Option<Candidate> {
        let mut best: Option<Candidate> = None;
        self.each_change(position, |variable, to| {
            let better = |candidate: &Candidate| {
                best.is_none_or(|best| {
                    candidate.price < best.price
                        || (candidate.price == best.price && candidate.worth > best.worth)
                })
            };
            if let Some(candidate) = weigh(self, position, variable, to).filter(better) {
                best = Some(candidate);
            }
        });
        best
    }

    /// Visits every change of one variable.
    fn each_change(&self, position: &Position, mut visit: impl FnMut(usize, u8)) {
        for (variable, count) in self.levels.iter().enumerate() {
            // The widest first, so that of equal changes the mildest is taken.
            for to in (0..*count).rev().filter(|to| *to != position.levels[variable]) {
                visit(variable, to);
            }
        }
    }

    /// Weighs a lowering by how much of the excess it takes away.
    fn lowering(&self, position: &Position, variable: usize, to: u8) -> Option<Candidate> {
        if to > position.levels[variable] {
            return None;
        }
        let saved = position.violation - self.after(position, variable, to).violation;
        if saved <= LIMIT_SLACK * position.violation {
            return None;
        }
        let damage = self.objective.change(&position.levels, position.changed, variable, to);
        // What does no damage comes before everything that does.
        let price = if damage <= 0.0 { damage } else { damage / saved };
        Some(Candidate { variable, from: position.levels[variable], to, price, worth: saved })
    }

    /// Weighs a change that lessens the objective and keeps the limits.
    fn gain(&self, position: &Position, variable: usize, to: u8) -> Option<Candidate> {
        let gain = -self.objective.change(&position.levels, position.changed, variable, to);
        if gain <= 0.0 {
            return None;
        }
        let after = self.after(position, variable, to);
        if after.violation > 0.0 {
            return None;
        }
        let price = if after.used <= 0.0 { f64::NEG_INFINITY } else { -gain / after.used };
        Some(Candidate { variable, from: position.levels[variable], to, price, worth: gain })
    }

    fn after(&self, position: &Position, variable: usize, to: u8) -> After {
        let mut after = After { violation: 0.0, used: 0.0 };
        for (limit, values) in self.limits.iter().zip(&position.rows) {
            for (row, value) in limit.rows.iter().zip(values) {
                let change = row.change(&position.levels, position.changed, variable, to);
                after.violation += limit.excess(value + change);
                after.used += change.max(0.0) / limit.scale;
            }
        }
        after
    }
}

/// What a change would lead to, as shares of the limits.
struct After {
    violation: f64,
    /// Sum of what costs rise by.
    used: f64,
}

fn descent(position: Position, steps: Vec<Step>) -> Descent {
    let costs = costs(&position);
    let Position { levels, objective, violation, .. } = position;
    Descent { levels, objective, costs, violation, steps }
}

fn step(taken: &Candidate, after: &Position) -> Step {
    let Candidate { variable, from, to, .. } = *taken;
    Step { variable, from, to, objective: after.objective, costs: costs(after) }
}

fn costs(position: &Position) -> Vec<f64> {
    position.rows.iter().map(|rows| rows.iter().copied().fold(f64::NEG_INFINITY, f64::max)).collect()
}

/// How many levels each variable has.
pub(crate) fn level_counts(space: &Space) -> Vec<u8> {
    space.variables.iter().map(|variable| variable.reference() + 1).collect()
}

#[cfg(test)]
mod tests;
