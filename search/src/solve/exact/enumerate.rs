//! Goes through all assignments of a frame that stay within its budgets, depth first.

use super::best::Best;
use super::frame::Frame;
use crate::solve::groups::Compiled;

/// Nodes that were looked at, and how many there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nodes {
    pub(crate) used: u64,
    pub(crate) most: u64,
}

impl Nodes {
    pub(crate) fn are_spent(&self) -> bool {
        self.used >= self.most
    }
}

/// Offers every assignment within the budgets; false if the nodes did not suffice.
///
/// As better ones are found, the budgets shrink; `threshold` is what they were made for.
pub(crate) fn enumerate(
    compiled: &Compiled,
    frame: &Frame,
    threshold: f64,
    search: (&mut Best, &mut Nodes),
) -> bool {
    let (best, nodes) = search;
    let part = &frame.part;
    let mut chosen: Vec<usize> = (0..part.groups()).map(|group| part.of(group)[0]).collect();
    let mut free: Vec<usize> = (0..part.groups()).filter(|group| part.of(*group).len() > 1).collect();
    // Few alternatives first: the tree is as wide as the product of what stands at its top.
    let second = |group: usize| frame.taken(part.start[group] + 1)[0];
    free.sort_by(|left, right| second(*right).total_cmp(&second(*left)).then(left.cmp(right)));
    let fixed = (0..part.groups()).filter(|group| part.of(*group).len() == 1);
    let (value, changed) = fixed.fold((compiled.constant, 0), |(value, changed), group| {
        let choice = part.of(group)[0];
        (value + compiled.value[choice], changed + compiled.changed[choice])
    });
    let mut walk = Walk {
        compiled,
        frame,
        free: &free,
        room: frame.room.clone(),
        taken: vec![0.0; frame.width * (free.len() + 1)],
        chosen: &mut chosen,
        threshold,
        best,
        nodes,
    };
    walk.offer_start();
    walk.descend(0, value, changed)
}

struct Walk<'a> {
    compiled: &'a Compiled,
    frame: &'a Frame,
    /// Groups with more than one choice.
    free: &'a [usize],
    room: Vec<f64>,
    /// By depth, then budget.
    taken: Vec<f64>,
    chosen: &'a mut [usize],
    threshold: f64,
    best: &'a mut Best,
    nodes: &'a mut Nodes,
}

impl Walk<'_> {
    /// Shrinks the budgets to what has to be beaten.
    fn offer_start(&mut self) {
        let threshold = self.threshold.min(self.best.to_beat());
        for (room, bound) in self.room.iter_mut().zip(&self.frame.bounds) {
            *room = room.min(threshold - bound + 1e-12 * (1.0 + bound.abs()));
        }
    }

    fn descend(&mut self, depth: usize, value: f64, changed: usize) -> bool {
        let Some(group) = self.free.get(depth).copied() else {
            self.leaf(value, changed);
            return true;
        };
        let (compiled, frame, width) = (self.compiled, self.frame, self.frame.width);
        for at in frame.part.start[group]..frame.part.start[group + 1] {
            if self.nodes.are_spent() || self.best.is_enough() {
                return false;
            }
            self.nodes.used += 1;
            let (here, below) = self.taken[depth * width..(depth + 2) * width].split_at_mut(width);
            let takes = &frame.takes[at * width..(at + 1) * width];
            if !within(here, takes, (&self.room, below)) {
                if below[0] > self.room[0] {
                    break;
                }
                continue;
            }
            let choice = frame.part.choice[at];
            self.chosen[group] = choice;
            if !self.descend(depth + 1, value + compiled.value[choice], changed + compiled.changed[choice]) {
                return false;
            }
        }
        true
    }

    fn leaf(&mut self, value: f64, changed: usize) {
        let objective = value + self.compiled.table.get(changed).copied().unwrap_or(0.0);
        if objective < self.best.to_beat() {
            self.best.offer(objective, self.chosen);
            self.offer_start();
        }
    }
}

/// Adds what a choice takes; whether all is within room.
fn within(here: &[f64], takes: &[f64], (room, below): (&[f64], &mut [f64])) -> bool {
    let mut fits = true;
    for (((below, here), takes), room) in below.iter_mut().zip(here).zip(takes).zip(room) {
        *below = here + takes;
        fits &= *below <= *room;
    }
    fits
}
