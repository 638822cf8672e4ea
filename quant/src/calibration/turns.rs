//! Who may feed an observer when: blocks that are computed side by side are taken in in their order.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use crate::quantizer::{Detail, Observer, QuantError};

/// Observers of all points, each of which takes in one block after the other.
///
/// A block waits at a point until the blocks before it have passed it. Lanes start blocks in order, so what is waited
/// for is being computed; with blocks of equal work the lanes soon walk one layer behind each other and hardly wait.
pub(super) struct Turns {
    points: Vec<Turn>,
    /// A block ended early, so those behind it would wait for ever.
    abandoned: AtomicBool,
}

struct Turn {
    /// The block whose turn it is, and what was seen so far.
    state: Mutex<(usize, Observer)>,
    passed: Condvar,
}

/// Why a block's values were not taken in.
pub(super) enum Refused {
    /// They are no numbers.
    Values(QuantError),
    /// An earlier block failed.
    Abandoned,
}

/// One block on its way; if it is dropped unfinished, those behind it are let go.
pub(super) struct Block<'a> {
    turns: &'a Turns,
    index: usize,
    finished: std::cell::Cell<bool>,
}

impl Turns {
    pub(super) fn new(points: usize, detail: Detail) -> Self {
        let turn = || Turn { state: Mutex::new((0, Observer::new(detail))), passed: Condvar::new() };
        Self { points: (0..points).map(|_| turn()).collect(), abandoned: AtomicBool::new(false) }
    }

    pub(super) fn block(&self, index: usize) -> Block<'_> {
        Block { turns: self, index, finished: std::cell::Cell::new(false) }
    }

    pub(super) fn into_observers(self) -> impl Iterator<Item = Observer> {
        self.points.into_iter().map(|turn| turn.state.into_inner().unwrap_or_else(PoisonError::into_inner).1)
    }
}

impl Block<'_> {
    /// Takes in a point's values when it is this block's turn.
    pub(super) fn observe(&self, point: usize, values: &[f32]) -> Result<(), Refused> {
        let turn = &self.turns.points[point];
        let mut state = turn.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.0 != self.index {
            if self.turns.abandoned.load(Ordering::SeqCst) {
                return Err(Refused::Abandoned);
            }
            state = turn.passed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.1.observe(values).map_err(Refused::Values)?;
        state.0 += 1;
        turn.passed.notify_all();
        Ok(())
    }

    /// Every point has been passed.
    pub(super) fn finish(&self) {
        self.finished.set(true);
    }
}

impl Drop for Block<'_> {
    fn drop(&mut self) {
        if self.finished.get() {
            return;
        }
        self.turns.abandoned.store(true, Ordering::SeqCst);
        for turn in &self.turns.points {
            // Under the lock, so that nobody falls asleep between looking and waiting.
            let _state = turn.state.lock().unwrap_or_else(PoisonError::into_inner);
            turn.passed.notify_all();
        }
    }
}
