//! One primal-dual iterate and its Newton steps.
//!
//! minimise `f x` with `A x + s = b` (no `s` in the row of the count), `sum of x = 1` in each group, `x, s >= 0`.
//! Duals: `y` of the rows (prices, at least 0 where there is an `s`), `p` of the groups, `z = f + A' y - p >= 0`.
//! Eliminating groups leaves one small symmetric system over the rows.

use super::hull;
use crate::solve::exact::part::{Multipliers, Part};
use crate::solve::groups::Compiled;

/// How far a step may go towards the boundary.
const TO_BOUNDARY: f64 = 0.995;

pub(super) struct System {
    /// Rows, and how many of them have a slack; the row of the count has none.
    rows: usize,
    slacks: usize,
    /// What the row of the count is divided by.
    count_scale: f64,
    start: Vec<usize>,
    value: Vec<f64>,
    /// By choice, then row.
    cost: Vec<f64>,
    room: Vec<f64>,
    x: Vec<f64>,
    z: Vec<f64>,
    s: Vec<f64>,
    y: Vec<f64>,
    p: Vec<f64>,
    /// The mean range of values in a group.
    pub(super) range: f64,
    newton: Newton,
}

/// Room for a Newton step, so that steps allocate nothing.
#[derive(Default)]
struct Newton {
    matrix: Vec<f64>,
    right: Vec<f64>,
    /// `x / z` by choice.
    weight: Vec<f64>,
    /// Sums of weights by group, and weighted costs by group and row.
    weights: Vec<f64>,
    costs: Vec<f64>,
    dx: Vec<f64>,
    dz: Vec<f64>,
    ds: Vec<f64>,
    dy: Vec<f64>,
    dp: Vec<f64>,
}

impl System {
    pub(super) fn new(compiled: &Compiled, part: &Part) -> Self {
        let counted = !compiled.table.is_empty() && part.count.0 < part.count.1 || pinned(compiled, part);
        let slacks = compiled.rows();
        let rows = slacks + usize::from(counted);
        let count_scale = part.count.1.max(1) as f64;
        let mut system = Self {
            rows,
            slacks,
            count_scale,
            start: part.start.clone(),
            value: part.choice.iter().map(|choice| compiled.value[*choice]).collect(),
            cost: Vec::with_capacity(part.choice.len() * rows),
            room: compiled.at_most.clone(),
            x: Vec::new(),
            z: Vec::new(),
            s: Vec::new(),
            y: vec![0.0; rows],
            p: Vec::new(),
            range: 0.0,
            newton: Newton::default(),
        };
        for choice in &part.choice {
            system.cost.extend(compiled.costs(*choice));
            system.cost.extend(counted.then(|| compiled.changed[*choice] as f64 / count_scale));
        }
        if counted {
            for count in hull(&compiled.table, part.count) {
                system.value.push(compiled.table[count]);
                system.cost.extend(std::iter::repeat_n(0.0, slacks));
                system.cost.push(-(count as f64) / count_scale);
            }
            system.start.push(system.value.len());
            system.room.push(0.0);
        }
        system.begin();
        system
    }

    /// Whether there is no row.
    pub(super) fn is_free(&self) -> bool {
        self.rows == 0
    }

    fn groups(&self) -> usize {
        self.start.len() - 1
    }

    fn costs(&self, choice: usize) -> &[f64] {
        &self.cost[choice * self.rows..(choice + 1) * self.rows]
    }

    /// Equal shares, slacks that keep away from 0, duals that are feasible.
    fn begin(&mut self) {
        let groups = self.groups();
        let range = |group: usize| {
            let values = &self.value[self.start[group]..self.start[group + 1]];
            values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
                - values.iter().copied().fold(f64::INFINITY, f64::min)
        };
        self.range = ((0..groups).map(range).sum::<f64>() / groups as f64).max(f64::MIN_POSITIVE.sqrt());
        self.x = vec![0.0; self.value.len()];
        for group in 0..groups {
            let (from, to) = (self.start[group], self.start[group + 1]);
            self.x[from..to].fill(1.0 / (to - from) as f64);
        }
        let margin = self.range * 0.5;
        self.s = (0..self.slacks)
            .map(|row| {
                let used: f64 =
                    (0..self.x.len()).map(|choice| self.x[choice] * self.costs(choice)[row]).sum();
                (self.room[row] - used).max(used * 0.05).max(0.05)
            })
            .collect();
        for row in 0..self.slacks {
            self.y[row] = margin / self.s[row].max(1.0) / groups as f64;
        }
        self.p = vec![0.0; groups];
        self.z = vec![0.0; self.value.len()];
        for group in 0..groups {
            let priced = |choice: usize| self.value[choice] + dot(self.costs(choice), &self.y);
            let least = (self.start[group]..self.start[group + 1]).map(priced).fold(f64::INFINITY, f64::min);
            self.p[group] = least - margin;
            for choice in self.start[group]..self.start[group + 1] {
                self.z[choice] = self.value[choice] + dot(self.costs(choice), &self.y) - self.p[group];
            }
        }
        let n = &mut self.newton;
        n.matrix = vec![0.0; self.rows * self.rows];
        n.right = vec![0.0; self.rows];
        (n.weight, n.dx, n.dz) = (self.x.clone(), self.x.clone(), self.x.clone());
        (n.weights, n.dp) = (self.p.clone(), self.p.clone());
        n.costs = vec![0.0; groups * self.rows];
        (n.ds, n.dy) = (self.s.clone(), self.y.clone());
    }

    /// The prices of the iterate.
    pub(super) fn multipliers(&self) -> Multipliers {
        let count = if self.rows > self.slacks { self.y[self.slacks] / self.count_scale } else { 0.0 };
        Multipliers { rows: self.y[..self.slacks].to_vec(), count }
    }

    /// The shares of the part's choices, without those of the table's corners.
    pub(super) fn shares(&self, choices: usize) -> Vec<f64> {
        self.x[..choices].to_vec()
    }

    /// Complementarity: how far primal and dual are apart once both are feasible.
    pub(super) fn gap(&self) -> f64 {
        dot(&self.x, &self.z) + dot(&self.s, &self.y[..self.slacks])
    }

    /// Goes one step; false if the system can't be solved any more.
    pub(super) fn step(&mut self) -> bool {
        let products = (self.x.len() + self.s.len()) as f64;
        let mean = self.gap() / products;
        if !self.factor() {
            return false;
        }
        self.direction(0.0, false);
        let (primal, dual) = self.lengths(1.0);
        let n = &self.newton;
        let ahead: f64 =
            (0..self.x.len()).map(|c| (self.x[c] + primal * n.dx[c]) * (self.z[c] + dual * n.dz[c])).sum();
        let slack: f64 =
            (0..self.slacks).map(|r| (self.s[r] + primal * n.ds[r]) * (self.y[r] + dual * n.dy[r])).sum();
        let centre = ((ahead + slack) / products / mean).powi(3) * mean;
        self.direction(centre, true);
        let (primal, dual) = self.lengths(TO_BOUNDARY);
        let n = &self.newton;
        advance(&mut self.x, &n.dx, primal);
        advance(&mut self.s, &n.ds, primal);
        advance(&mut self.z, &n.dz, dual);
        advance(&mut self.y, &n.dy, dual);
        advance(&mut self.p, &n.dp, dual);
        self.x.iter().chain(&self.z).chain(&self.y).all(|value| value.is_finite())
    }

    /// The longest steps, at most 1, that keep primal and dual variables positive.
    fn lengths(&self, share: f64) -> (f64, f64) {
        let n = &self.newton;
        let longest = |at: &[f64], by: &[f64]| {
            at.iter()
                .zip(by)
                .filter(|(_, by)| **by < 0.0)
                .map(|(at, by)| -at / by)
                .fold(f64::INFINITY, f64::min)
        };
        let primal = longest(&self.x, &n.dx).min(longest(&self.s, &n.ds));
        let dual = longest(&self.z, &n.dz).min(longest(&self.y[..self.slacks], &n.dy[..self.slacks]));
        ((share * primal).min(1.0), (share * dual).min(1.0))
    }

    /// Builds the matrix over the rows and factors it in place (Cholesky).
    fn factor(&mut self) -> bool {
        let rows = self.rows;
        let mut n = std::mem::take(&mut self.newton);
        n.matrix.fill(0.0);
        n.costs.fill(0.0);
        for group in 0..self.groups() {
            n.weights[group] = 0.0;
            let sums = &mut n.costs[group * rows..(group + 1) * rows];
            for choice in self.start[group]..self.start[group + 1] {
                let weight = self.x[choice] / self.z[choice];
                n.weight[choice] = weight;
                n.weights[group] += weight;
                for (row, cost) in self.costs(choice).iter().enumerate().filter(|(_, cost)| **cost != 0.0) {
                    sums[row] += weight * cost;
                    let line = &mut n.matrix[row * rows..row * rows + row + 1];
                    line.iter_mut()
                        .zip(self.costs(choice))
                        .for_each(|(at, other)| *at += weight * cost * other);
                }
            }
            let total = n.weights[group];
            for row in 0..rows {
                let share = sums[row] / total;
                let line = &mut n.matrix[row * rows..row * rows + row + 1];
                line.iter_mut().zip(&*sums).for_each(|(at, other)| *at -= share * other);
            }
        }
        for row in 0..self.slacks {
            n.matrix[row * rows + row] += self.s[row] / self.y[row];
        }
        let solvable = cholesky(&mut n.matrix, rows);
        self.newton = n;
        solvable
    }

    /// Solves for a direction towards complementarity `centre`, with the second-order terms of the last direction if
    /// `corrected`.
    fn direction(&mut self, centre: f64, corrected: bool) {
        let rows = self.rows;
        let mut n = std::mem::take(&mut self.newton);
        let second = |of: f64, and: f64| if corrected { of * and } else { 0.0 };
        // dx = moved - weight * (A' dy - dp), with what the dual residual asks for in `moved`.
        for row in 0..rows {
            n.right[row] = -self.room[row];
        }
        for row in 0..self.slacks {
            let target = centre - self.s[row] * self.y[row] - second(n.ds[row], n.dy[row]);
            n.ds[row] = target / self.y[row];
            n.right[row] += self.s[row] + n.ds[row];
        }
        for group in 0..self.groups() {
            let (mut lacking, mut moves) = (1.0, 0.0);
            for choice in self.start[group]..self.start[group + 1] {
                let target = centre - self.x[choice] * self.z[choice] - second(n.dx[choice], n.dz[choice]);
                let residual =
                    self.value[choice] + dot(self.costs(choice), &self.y) - self.p[group] - self.z[choice];
                n.dx[choice] = target / self.z[choice] - n.weight[choice] * residual;
                n.dz[choice] = residual;
                lacking -= self.x[choice];
                moves += n.dx[choice];
                let reach = self.x[choice] + n.dx[choice];
                n.right.iter_mut().zip(self.costs(choice)).for_each(|(right, cost)| *right += reach * cost);
            }
            n.dp[group] = (lacking - moves) / n.weights[group];
            for row in 0..rows {
                n.right[row] += n.costs[group * rows + row] * n.dp[group];
            }
        }
        back_substitute(&n.matrix, &mut n.right);
        n.dy.copy_from_slice(&n.right);
        for row in 0..self.slacks {
            n.ds[row] -= self.s[row] / self.y[row] * n.dy[row];
        }
        for group in 0..self.groups() {
            n.dp[group] += dot(&n.costs[group * rows..(group + 1) * rows], &n.dy) / n.weights[group];
            for choice in self.start[group]..self.start[group + 1] {
                let change = dot(self.costs(choice), &n.dy) - n.dp[group];
                n.dx[choice] -= n.weight[choice] * change;
                n.dz[choice] += change;
            }
        }
        self.newton = n;
    }
}

/// Whether the number of changed variables is fixed to less than what the choices allow, so that it is a row still.
fn pinned(compiled: &Compiled, part: &Part) -> bool {
    !compiled.table.is_empty() && {
        let counts = |group: usize| part.of(group).iter().map(|choice| compiled.changed[*choice]);
        let least: usize = (0..part.groups()).map(|group| counts(group).min().unwrap_or(0)).sum();
        let most: usize = (0..part.groups()).map(|group| counts(group).max().unwrap_or(0)).sum();
        least < most
    }
}

fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}

fn advance(at: &mut [f64], by: &[f64], length: f64) {
    at.iter_mut().zip(by).for_each(|(at, by)| *at += length * by);
}

/// Factors a symmetric matrix, lower half, in place; rows that the others imply get a pivot that silences them.
fn cholesky(matrix: &mut [f64], rows: usize) -> bool {
    for row in 0..rows {
        let original = matrix[row * rows + row];
        for column in 0..=row {
            let (above, below) = matrix.split_at(row * rows);
            let known =
                if column == row { &below[..column] } else { &above[column * rows..column * rows + column] };
            let rest = below[column] - dot(&below[..column], known);
            if column < row {
                matrix[row * rows + column] = rest / matrix[column * rows + column];
            } else if !rest.is_finite() {
                return false;
            } else {
                let implied = rest <= original.abs() * 1e-13 + f64::MIN_POSITIVE;
                matrix[row * rows + row] = if implied { 1e64 } else { rest.sqrt() };
            }
        }
    }
    true
}

fn back_substitute(factor: &[f64], right: &mut [f64]) {
    let rows = right.len();
    for row in 0..rows {
        right[row] = (right[row] - dot(&factor[row * rows..row * rows + row], &right[..row]))
            / factor[row * rows + row];
    }
    for row in (0..rows).rev() {
        let later: f64 = (row + 1..rows).map(|below| factor[below * rows + row] * right[below]).sum();
        right[row] = (right[row] - later) / factor[row * rows + row];
    }
}
