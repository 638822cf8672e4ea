//! Branch and bound for problems with two-variable terms between groups.
//!
//! Terms of two groups are shifted into their ends as far as they go (`messages.rs`), so that what stays is never
//! negative and can be left out of the bound; the ends with their prices give the Lagrangian bound of the limits. A choice
//! that passes the objective to beat by itself is dropped. Branching fixes one group after another, depth first.

use super::best::{Best, keeps, objective};
use super::dense::Dense;
use super::enumerate::Nodes;
use super::local;
use super::messages::pass;
use super::part::{Multipliers, Part};
use super::relaxation::relax;
use crate::solve::groups::Compiled;

/// Rounds of passes over all terms, each with prices found anew after it. Many rounds of few passes go much further than
/// the reverse: terms that were shifted at old prices stand in the way of new ones.
struct Effort {
    rounds: usize,
    passes: usize,
}

const AT_ROOT: Effort = Effort { rounds: 200, passes: 2 };
const AT_NODES: Effort = Effort { rounds: 2, passes: 2 };
/// Rounds stop when this many of them close less than the given share of what is missing.
const STALLED: (usize, f64) = (12, 1e-3);
/// A node costs as many of the nodes that may be looked at as the square of its choices divided by this: passing over
/// terms takes about that many times as long as looking at one choice elsewhere.
const TERMS_PER_NODE: u64 = 4;

/// Most choices of a problem whose terms are held as a matrix, of which each node on a path has its own: half a
/// gigabyte for the first. Beyond that the nodes that may be looked at would not do for the first one.
const CHOICES_MAX: usize = 8192;

/// Searches a whole problem; returns the bound.
pub(super) fn search(compiled: &Compiled, best: &mut Best, nodes: &mut Nodes) -> f64 {
    if compiled.value.len() > CHOICES_MAX {
        return least_of_each(compiled);
    }
    let whole = Dense::of(compiled);
    let part = Part::whole(compiled);
    local::improve(compiled, &whole, &part, best);
    let mut root = Node {
        value: compiled.value.clone(),
        residual: whole.clone(),
        prices: Multipliers::zero(compiled.rows()),
        part,
    };
    root.settle();
    let mut tree = Tree { compiled, work: compiled.clone(), best, nodes, open: f64::INFINITY };
    tree.descend(root, &AT_ROOT);
    tree.open.min(tree.best.to_beat())
}

/// A bound that needs no memory: every group and every term at its least.
fn least_of_each(compiled: &Compiled) -> f64 {
    let least = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
    let groups = (0..compiled.groups()).map(|group| least(&compiled.value[compiled.choices(group)]));
    let terms = compiled.pairs.iter().map(|pair| least(&pair.values));
    let table = if compiled.table.is_empty() { 0.0 } else { least(&compiled.table) };
    compiled.constant + groups.sum::<f64>() + terms.sum::<f64>() + table
}

/// A part with its terms, reparametrised.
struct Node {
    part: Part,
    /// By choice of the part.
    value: Vec<f64>,
    /// Over the choices of the part; not negative once messages were passed.
    residual: Dense,
    prices: Multipliers,
}

struct Tree<'a> {
    compiled: &'a Compiled,
    /// The problem with the values of the node at hand.
    work: Compiled,
    best: &'a mut Best,
    nodes: &'a mut Nodes,
    /// The least bound of what was given up for want of nodes.
    open: f64,
}

impl Tree<'_> {
    fn descend(&mut self, mut node: Node, effort: &Effort) {
        if self.nodes.are_spent() {
            self.open = self.open.min(node.part.bound);
            return;
        }
        self.nodes.used += 1 + (node.value.len() as u64).pow(2) / TERMS_PER_NODE;
        if !self.tightened(&mut node, effort) {
            return;
        }
        let Some(group) = branching_group(self.compiled, &node) else {
            let choices = &node.part.choice;
            if keeps(self.compiled, choices) {
                self.best.offer(objective(self.compiled, choices), choices);
            }
            return;
        };
        let (from, to) = (node.part.start[group], node.part.start[group + 1]);
        let mut order: Vec<usize> = (from..to).collect();
        let priced: Vec<f64> = order.iter().map(|at| self.priced(&node, *at)).collect();
        order.sort_by(|left, right| priced[left - from].total_cmp(&priced[right - from]));
        for at in order {
            let child = node.fixed(group, at);
            self.descend(child, &AT_NODES);
        }
    }

    fn priced(&self, node: &Node, at: usize) -> f64 {
        let choice = node.part.choice[at];
        let costs =
            self.compiled.costs(choice).iter().zip(&node.prices.rows).map(|(cost, price)| cost * price);
        node.value[at] + costs.sum::<f64>() + node.prices.count * self.compiled.changed[choice] as f64
    }

    /// Raises the bound of a node and drops choices; false if nothing of it is wanted.
    fn tightened(&mut self, node: &mut Node, Effort { rounds, passes }: &Effort) -> bool {
        let mut stalled = (0, f64::NEG_INFINITY);
        for round in 0..=*rounds {
            for _ in 0..*passes {
                pass(self.compiled, &node.part, &node.prices, (&mut node.value, &mut node.residual));
            }
            for (choice, value) in node.part.choice.iter().zip(&node.value) {
                self.work.value[*choice] = *value;
            }
            if round < *rounds {
                let relaxed = relax(&self.work, &node.part, self.best.to_beat());
                let now = node.part.lagrangian(&self.work, &node.prices);
                if relaxed.bound > now {
                    node.prices = relaxed.multipliers;
                }
            }
            let bound = node.part.lagrangian(&self.work, &node.prices);
            node.part.bound = node.part.bound.max(bound);
            if node.part.bound >= self.best.to_beat() || !self.dropped(node, bound) {
                return false;
            }
            if bound > stalled.1 + STALLED.1 * (self.best.to_beat() - bound).min(f64::MAX) {
                stalled = (round, bound);
            } else if round >= stalled.0 + STALLED.0 {
                break;
            }
        }
        true
    }

    /// Drops choices that can't be part of what is wanted; false if a group has none left.
    fn dropped(&self, node: &mut Node, bound: f64) -> bool {
        let spare = self.best.to_beat() - bound + 1e-12 * (1.0 + bound.abs());
        let mut kept = Vec::with_capacity(node.part.choice.len());
        let mut left = self.compiled.at_most.clone();
        let rows = self.compiled.rows();
        let least = |row: usize, group: usize| {
            let costs = node.part.of(group).iter().map(|choice| self.compiled.costs(*choice)[row]);
            costs.fold(f64::INFINITY, f64::min)
        };
        for (row, left) in left.iter_mut().enumerate() {
            *left += super::best::rounding(*left)
                - (0..node.part.groups()).map(|group| least(row, group)).sum::<f64>();
        }
        if left.iter().any(|left| *left < 0.0) {
            return false;
        }
        for group in 0..node.part.groups() {
            let range = node.part.start[group]..node.part.start[group + 1];
            let cheapest = range.clone().map(|at| self.priced(node, at)).fold(f64::INFINITY, f64::min);
            let least: Vec<f64> = (0..rows).map(|row| least(row, group)).collect();
            let before = kept.len();
            kept.extend(range.filter(|at| {
                let costs = self.compiled.costs(node.part.choice[*at]);
                let fits =
                    costs.iter().zip(&least).zip(&left).all(|((cost, least), left)| cost - least <= *left);
                fits && self.priced(node, *at) - cheapest <= spare
            }));
            if kept.len() == before {
                return false;
            }
        }
        if kept.len() < node.part.choice.len() {
            node.keep(&kept);
        }
        true
    }
}

impl Node {
    /// Keeps only some choices, by position.
    fn keep(&mut self, kept: &[usize]) {
        self.residual = self.residual.gathered(kept);
        self.narrow(kept);
    }

    fn narrow(&mut self, kept: &[usize]) {
        let mut start = vec![0];
        start.extend(self.part.start[1..].iter().map(|end| kept.partition_point(|at| at < end)));
        self.value = kept.iter().map(|at| self.value[*at]).collect();
        self.part.choice = kept.iter().map(|at| self.part.choice[*at]).collect();
        self.part.start = start;
        self.settle();
    }

    /// The node with one group fixed.
    fn fixed(&self, group: usize, chosen: usize) -> Self {
        let own = self.part.start[group]..self.part.start[group + 1];
        let kept: Vec<usize> =
            (0..self.value.len()).filter(|at| !own.contains(at) || *at == chosen).collect();
        let mut child = Self {
            part: self.part.clone(),
            value: self.value.clone(),
            residual: self.residual.gathered(&kept),
            prices: self.prices.clone(),
        };
        child.narrow(&kept);
        child
    }

    /// Turns the terms of groups with one choice into values of the other groups; what the bound leaves out must not be
    /// negative, and here it is known.
    fn settle(&mut self) {
        let size = self.residual.size;
        for group in 0..self.part.groups() {
            let at = self.part.start[group];
            if self.part.start[group + 1] - at > 1 {
                continue;
            }
            let row = &mut self.residual.values[at * size..(at + 1) * size];
            if row.iter().all(|term| *term == 0.0) {
                continue;
            }
            self.value.iter_mut().zip(&mut *row).for_each(|(value, term)| *value += std::mem::take(term));
            self.residual.values.iter_mut().skip(at).step_by(size).for_each(|term| *term = 0.0);
        }
    }
}

/// The group with the largest mean of prices above its cheapest, where fixing it shows soonest.
fn branching_group(compiled: &Compiled, node: &Node) -> Option<usize> {
    let priced = |at: usize| {
        let choice = node.part.choice[at];
        let costs = compiled.costs(choice).iter().zip(&node.prices.rows).map(|(cost, price)| cost * price);
        node.value[at] + costs.sum::<f64>() + node.prices.count * compiled.changed[choice] as f64
    };
    let regret = |group: usize| {
        let range = node.part.start[group]..node.part.start[group + 1];
        let cheapest = range.clone().map(priced).fold(f64::INFINITY, f64::min);
        let above: f64 = range.clone().map(|at| priced(at) - cheapest).sum();
        let terms: f64 = range.clone().map(|at| node.residual.row(at).iter().sum::<f64>()).sum();
        (above + terms / node.part.groups() as f64) / (range.len() - 1) as f64
    };
    let free = (0..node.part.groups()).filter(|group| node.part.of(*group).len() > 1);
    free.max_by(|left, right| regret(*left).total_cmp(&regret(*right)).then(right.cmp(left)))
}
