//! What readers are shown: an overview that the driver takes when something has changed, so that no reader asks it.
//!
//! An overview is made of counts. Taking one costs time for each experiment, worker and leased trial, however many trials
//! there are, and never more than a twentieth of the driver's time.

use std::sync::Arc;

use bitloop_core::state::{Event, Input, State, UnixMillis};
use tokio::sync::watch;

use super::Driver;
use super::failures::Failures;
use super::notes;
use super::rates::Rates;
use super::view::{Overview, View};

/// Shortest time between two overviews, in milliseconds, unless something urgent happens.
const OVERVIEW_MS: u64 = 250;

/// The driver does other things for so many times as long as taking the overview took.
const REST_FACTOR: u64 = 19;

/// The overview, and what it is made of beside the state.
pub(super) struct Board {
    overview: watch::Sender<Arc<Overview>>,
    pub(super) rates: Rates,
    pub(super) failures: Failures,
    /// Whether anything has happened since the overview was taken.
    has_changed: bool,
    /// Whether people who wait for an answer must find what it speaks of.
    is_urgent: bool,
    due: UnixMillis,
}

impl Board {
    pub(super) fn new() -> (Self, watch::Receiver<Arc<Overview>>) {
        let (overview, watched) = watch::channel(Arc::new(Overview::default()));
        let board = Self {
            overview,
            rates: Rates::default(),
            failures: Failures::default(),
            has_changed: true,
            is_urgent: true,
            due: UnixMillis(0),
        };
        (board, watched)
    }

    /// Takes note of an event that was just applied.
    pub(super) fn note(&mut self, state: &State, (input, event): (&Input, &Event), now: UnixMillis) {
        self.has_changed = true;
        self.is_urgent |= notes::is_urgent(event);
        self.failures.note(state, (input, event), now);
    }

    /// Has the overview taken as soon as the driver comes to it.
    pub(super) fn hurry(&mut self) {
        self.is_urgent = true;
    }

    /// Takes note that time has passed, in which leases and rates change by themselves.
    pub(super) fn note_tick(&mut self, state: &State) {
        self.has_changed |= state.dispatch.leases().len() > 0 || self.rates.are_moving();
    }

    /// When the overview is to be taken, if it is out of date.
    pub(super) fn due(&self) -> Option<UnixMillis> {
        self.has_changed.then_some(self.due)
    }
}

impl Driver {
    /// Takes the overview if it is time. Comes before the answers of the round, so that whoever has changed something and
    /// then looks sees it.
    pub(super) fn publish(&mut self) {
        let now = self.clock.now();
        if !self.board.is_urgent && self.board.due().is_none_or(|due| now < due) {
            return;
        }
        let began = self.clock.elapsed();
        for lasted_ms in self.leases.forget_ended(&self.state, now) {
            self.metrics.lease_ended(lasted_ms);
        }
        self.board.rates.look(&self.state, now);
        let overview = self.view(now).overview();
        self.board.overview.send_replace(Arc::new(overview));
        (self.board.is_urgent, self.board.has_changed) = (false, false);
        let took = self.clock.elapsed().saturating_sub(began);
        let rest_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).saturating_mul(REST_FACTOR);
        self.board.due = now.after(rest_ms.max(OVERVIEW_MS));
    }

    pub(super) fn view(&self, now: UnixMillis) -> View<'_> {
        let Self { state, sizes, leases, results, board, .. } = self;
        View { state, sizes, leases, results, board, now }
    }
}
