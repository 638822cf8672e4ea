//! Steps of many bit configs, where steps that agree in everything before them are one.

use std::collections::HashMap;

use bitloop_core::bits::Bits;

use super::kernel::Kernel;
use super::repr::Repr;

/// A step, and with it the tensor that it gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct StepId(u32);

impl StepId {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// One kernel call.
pub(super) struct Step {
    /// The block that it belongs to.
    pub(super) block: usize,
    pub(super) kernel: Kernel,
    pub(super) inputs: Vec<StepId>,
    pub(super) repr: Repr,
    /// The point and width whose grid the values lie on.
    pub(super) on: Option<(usize, Bits)>,
    /// Values of one image.
    pub(super) elements: usize,
    /// Multiply-adds of one image.
    pub(super) macs: u64,
}

/// What tells a step from all others: steps with equal keys give equal tensors.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) block: usize,
    pub(super) role: Role,
    /// Points and widths that the step depends on beside its inputs: of the weight, of what the bias is rounded to, and of
    /// the output.
    pub(super) on: [Option<(usize, Bits)>; 3],
    pub(super) inputs: Vec<StepId>,
}

/// Which of a block's steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Role {
    /// The block's own work.
    Work,
    /// Codes become values.
    Values,
    /// A tensor goes onto the output's grid.
    Grid,
}

/// Steps in topological order.
#[derive(Default)]
pub(super) struct Dag {
    steps: Vec<Step>,
    known: HashMap<Key, StepId>,
}

impl Dag {
    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }

    pub(super) fn step(&self, id: StepId) -> &Step {
        &self.steps[id.index()]
    }

    /// Returns the step of a key, if a config needed it before.
    pub(super) fn find(&self, key: &Key) -> Option<StepId> {
        self.known.get(key).copied()
    }

    /// Adds a step that no config needed before.
    pub(super) fn push(&mut self, key: Key, step: Step) -> StepId {
        debug_assert!(step.inputs.iter().all(|input| input.index() < self.steps.len()));
        let id = StepId(u32::try_from(self.steps.len()).expect("a shard has fewer than 2^32 steps"));
        self.steps.push(step);
        self.known.insert(key, id);
        id
    }
}
