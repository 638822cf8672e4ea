//! In which order the steps of many bit configs are computed, and where their tensors lie.
//!
//! Configs that agree up to a layer share the tensors up to it. They are ordered as a trie over the blocks: at every
//! block the choices that few configs made come first, so that what many share is computed once and is not kept
//! longer than needed. Tensors lie in slots that are used again. What does not fit the memory budget is dropped, the
//! tensor needed last first, and computed again when its turn comes: that costs time and changes no result.

use std::collections::{BTreeMap, BTreeSet};

use super::dag::{Dag, StepId};
use super::repr::Repr;

/// What happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// A step is computed into a slot.
    Compute { step: StepId, slot: usize, inputs: Vec<usize> },
    /// A config's logits are ready in a slot.
    Deliver { config: usize, slot: usize },
}

/// The order of work for a block of images.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    pub(super) actions: Vec<Action>,
    /// Size per image of every slot.
    pub(super) slots: Vec<Slot>,
    /// Multiply-adds of one image that are computed.
    pub(super) macs: u64,
    /// What all configs would take without sharing anything.
    pub(super) macs_alone: u64,
    /// Most bytes per image of the tensors that are kept at once.
    #[cfg(test)]
    pub(super) peak: usize,
}

/// A place for tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) is_codes: bool,
    /// Values of one image.
    pub(super) elements: usize,
}

impl Slot {
    /// Bytes for so many images.
    pub(super) fn bytes(&self, images: usize) -> usize {
        let width = if self.is_codes { 1 } else { size_of::<f32>() };
        self.elements * images * width
    }
}

impl Schedule {
    /// Plans the configs' results; `budget` limits the bytes per image of the tensors that are kept at any time, beyond
    /// what a config needs by itself.
    pub(super) fn new(dag: &Dag, results: &[StepId], budget: usize) -> Self {
        let needed: Vec<BTreeSet<StepId>> = results.iter().map(|result| needed(dag, *result)).collect();
        let alone = needed.iter().flatten().map(|step| dag.step(*step).macs);
        let macs_alone = alone.sum();
        let events = events(&trie_order(dag, &needed), &needed, results);
        let budget = budget.saturating_add(peak_alone(dag, &needed, results));
        let planner = Planner::run(dag, events, budget);
        Schedule {
            actions: planner.actions,
            slots: planner.slots,
            macs: planner.macs,
            macs_alone,
            #[cfg(test)]
            peak: planner.peak,
        }
    }

    /// Bytes that a workspace for so many images has.
    #[cfg(test)]
    pub(super) fn bytes(&self, images: usize) -> usize {
        self.slots.iter().map(|slot| slot.bytes(images)).sum()
    }
}

/// What a step's tensor takes.
fn slot_of(dag: &Dag, step: StepId) -> Slot {
    let step = dag.step(step);
    Slot { is_codes: matches!(step.repr, Repr::Codes(_)), elements: step.elements }
}

/// The steps that a result needs, ascending.
fn needed(dag: &Dag, result: StepId) -> BTreeSet<StepId> {
    let mut needed = BTreeSet::new();
    let mut open = vec![result];
    while let Some(step) = open.pop() {
        if needed.insert(step) {
            open.extend(&dag.step(step).inputs);
        }
    }
    needed
}

/// Bytes per image that the config with the largest tensors keeps at once if nothing is ever dropped.
fn peak_alone(dag: &Dag, needed: &[BTreeSet<StepId>], results: &[StepId]) -> usize {
    let bytes =
        |config: &usize| -> usize { needed[*config].iter().map(|step| slot_of(dag, *step).bytes(1)).sum() };
    let Some(largest) = (0..results.len()).max_by_key(bytes) else { return 0 };
    Planner::run(dag, events(&[largest], needed, results), usize::MAX).peak
}

/// Orders configs so that those with a long way in common follow each other.
fn trie_order(dag: &Dag, needed: &[BTreeSet<StepId>]) -> Vec<usize> {
    let mut users: BTreeMap<StepId, usize> = BTreeMap::new();
    for step in needed.iter().flatten() {
        *users.entry(*step).or_default() += 1;
    }
    // At the first block where two configs differ, the step that fewer need goes first.
    let key = |(config, steps): (usize, &BTreeSet<StepId>)| {
        let mut key: Vec<_> = steps.iter().map(|step| (dag.step(*step).block, users[step], *step)).collect();
        key.sort_unstable();
        (key, config)
    };
    let mut keys: Vec<_> = needed.iter().enumerate().map(key).collect();
    keys.sort_unstable();
    keys.into_iter().map(|(_, config)| config).collect()
}

/// What is asked for, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Step(StepId),
    Result { config: usize, step: StepId },
}

/// Lists every step once, where the first config needs it, and every result behind its steps.
fn events(order: &[usize], needed: &[BTreeSet<StepId>], results: &[StepId]) -> Vec<Event> {
    let mut known = BTreeSet::new();
    let mut events = Vec::new();
    for &config in order {
        let new = needed[config].iter().filter(|step| known.insert(**step));
        events.extend(new.map(|step| Event::Step(*step)));
        events.push(Event::Result { config, step: results[config] });
    }
    events
}

/// Goes through the events and notes down what has to be done.
struct Planner<'a> {
    dag: &'a Dag,
    budget: usize,
    /// The events that read a tensor, the next one last.
    uses: BTreeMap<StepId, Vec<usize>>,
    /// Where tensors are.
    places: BTreeMap<StepId, usize>,
    /// Tensors that are about to be read; a tensor may be held more than once.
    held: Vec<StepId>,
    free: Vec<usize>,
    slots: Vec<Slot>,
    actions: Vec<Action>,
    macs: u64,
    /// Most bytes per image that were kept at once.
    peak: usize,
}

impl<'a> Planner<'a> {
    fn run(dag: &'a Dag, events: Vec<Event>, budget: usize) -> Self {
        let mut planner = Self::new(dag, &events, budget);
        for (now, event) in events.into_iter().enumerate() {
            planner.take(now, event);
        }
        planner
    }

    fn new(dag: &'a Dag, events: &[Event], budget: usize) -> Self {
        let mut uses: BTreeMap<StepId, Vec<usize>> = BTreeMap::new();
        for (now, event) in events.iter().enumerate().rev() {
            match event {
                Event::Step(step) => {
                    dag.step(*step).inputs.iter().for_each(|input| uses.entry(*input).or_default().push(now));
                }
                Event::Result { step, .. } => uses.entry(*step).or_default().push(now),
            }
        }
        Self {
            dag,
            budget,
            uses,
            places: BTreeMap::new(),
            held: Vec::new(),
            free: Vec::new(),
            slots: Vec::new(),
            actions: Vec::new(),
            macs: 0,
            peak: 0,
        }
    }

    fn take(&mut self, now: usize, event: Event) {
        match event {
            Event::Step(step) => self.compute(step),
            Event::Result { config, step } => {
                let slot = self.find(step);
                self.actions.push(Action::Deliver { config, slot });
            }
        }
        let read: Vec<StepId> = match event {
            Event::Step(step) => self.dag.step(step).inputs.clone(),
            Event::Result { step, .. } => vec![step],
        };
        for step in &read {
            self.uses.entry(*step).or_default().pop_if(|next| *next == now);
        }
        self.sweep();
    }

    /// Returns the slot of a tensor, computing it (again) if it is nowhere.
    fn find(&mut self, step: StepId) -> usize {
        if !self.places.contains_key(&step) {
            self.compute(step);
        }
        self.places[&step]
    }

    fn compute(&mut self, step: StepId) {
        let before = self.held.len();
        let dag = self.dag;
        for input in &dag.step(step).inputs {
            // Held before it is looked for, so that no other input's way here drops it again.
            self.held.push(*input);
            self.find(*input);
        }
        let slot = self.allocate(step);
        let inputs = dag.step(step).inputs.iter().map(|input| self.places[input]).collect();
        self.actions.push(Action::Compute { step, slot, inputs });
        self.macs += dag.step(step).macs;
        self.places.insert(step, slot);
        self.held.truncate(before);
    }

    /// Frees the slots of tensors that nothing reads any more.
    fn sweep(&mut self) {
        let uses = &self.uses;
        let free = &mut self.free;
        self.places.retain(|step, slot| {
            let is_read = uses.get(step).is_some_and(|uses| !uses.is_empty());
            if !is_read {
                free.push(*slot);
            }
            is_read
        });
    }

    fn allocate(&mut self, step: StepId) -> usize {
        let wanted = slot_of(self.dag, step);
        while self.alive() + wanted.bytes(1) > self.budget && self.evict() {}
        self.peak = self.peak.max(self.alive() + wanted.bytes(1));
        let candidates = self.free.iter().filter(|index| self.slots[**index].is_codes == wanted.is_codes);
        // The slot that grows least, and of those the smallest.
        let best = candidates.min_by_key(|index| {
            let elements = self.slots[**index].elements;
            (wanted.elements.saturating_sub(elements), elements, **index)
        });
        match best.copied() {
            Some(index) => {
                self.free.retain(|free| *free != index);
                self.slots[index].elements = self.slots[index].elements.max(wanted.elements);
                index
            }
            None => {
                self.slots.push(wanted);
                self.slots.len() - 1
            }
        }
    }

    /// Bytes per image of the tensors that are kept.
    fn alive(&self) -> usize {
        self.places.keys().map(|step| slot_of(self.dag, *step).bytes(1)).sum()
    }

    /// Drops the tensor that is read last of all that are not held; `false` if there is none.
    fn evict(&mut self) -> bool {
        let next =
            |step: &StepId| self.uses.get(step).and_then(|uses| uses.last().copied()).unwrap_or(usize::MAX);
        let candidates = self.places.keys().filter(|step| !self.held.contains(step));
        let Some(last) = candidates.max_by_key(|step| next(step)).copied() else { return false };
        let slot = self.places.remove(&last).expect("candidates have places");
        self.free.push(slot);
        true
    }
}
