//! What readers are shown: an overview that the driver takes when something has changed, so that no reader asks it.
//!
//! An overview is made of counts. Taking one costs time for each experiment, worker and leased trial, however many trials
//! there are, and never more than a twentieth of the driver's time but for those who wait for an answer.

use std::sync::Arc;
use std::time::Duration;

use bitloop_core::state::{Event, Input, State, UnixMillis};
use tokio::sync::watch;

use super::Driver;
use super::failures::Failures;
use super::notes::{self, Audience};
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
    /// Whether those who watch should see something as soon as the driver has rested.
    is_news: bool,
    rested: UnixMillis,
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
            is_news: true,
            rested: UnixMillis(0),
            due: UnixMillis(0),
        };
        (board, watched)
    }

    /// Takes note of an event that was just applied.
    pub(super) fn note(&mut self, state: &State, (input, event): (&Input, &Event), now: UnixMillis) {
        self.has_changed = true;
        match notes::audience(event) {
            Audience::Asker => self.is_urgent = true,
            Audience::Watchers => self.is_news = true,
            Audience::Nobody => {}
        }
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
        self.has_changed.then_some(if self.is_news { self.rested } else { self.due })
    }

    fn is_due(&self, now: UnixMillis) -> bool {
        self.is_urgent || self.due().is_some_and(|due| due <= now)
    }

    /// Takes note that an overview was taken, and how long that took.
    fn taken(&mut self, now: UnixMillis, took: Duration) {
        (self.is_urgent, self.is_news, self.has_changed) = (false, false, false);
        let rest_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).saturating_mul(REST_FACTOR);
        self.rested = now.after(rest_us / 1_000);
        self.due = now.after((rest_us / 1_000).max(OVERVIEW_MS));
    }
}

impl Driver {
    /// Takes the overview if it is time. Comes before the answers of the round, so that whoever has changed something and
    /// then looks sees it.
    pub(super) fn publish(&mut self) {
        let now = self.clock.now();
        if !self.board.is_due(now) {
            return;
        }
        let began = self.clock.elapsed();
        for lasted_ms in self.leases.forget_ended(&self.state, now) {
            self.metrics.lease_ended(lasted_ms);
        }
        self.board.rates.look(&self.state, now);
        let overview = self.view(now).overview();
        self.board.overview.send_replace(Arc::new(overview));
        self.board.taken(now, self.clock.elapsed().saturating_sub(began));
    }

    pub(super) fn view(&self, now: UnixMillis) -> View<'_> {
        let Self { state, sizes, leases, results, board, .. } = self;
        View { state, sizes, leases, results, board, now }
    }
}

#[cfg(test)]
mod tests {
    use bitloop_core::plan::ExperimentId;
    use bitloop_core::state::{Change, Fact};

    use super::*;
    use crate::testing::worker;

    #[test]
    fn workers_that_come_and_go_take_little_of_the_drivers_time_and_an_asker_never_waits() {
        let (mut board, _watched) = Board::new();
        let state = State::default();
        let joined = Event::Change(Change::WorkerJoined { info: worker("w1"), now: UnixMillis(0) });
        let paused = Fact::ExperimentPaused { experiment: ExperimentId("sweep".to_owned()) };
        let paused = Event::Fact(paused);
        let took = Duration::from_millis(30);

        let mut taken = 0;
        for now in (0..10_000).map(UnixMillis) {
            board.note(&state, (&Input::Tick { stalled_ms: 0 }, &joined), now);
            if board.is_due(now) {
                board.taken(now, took);
                taken += 1;
            }
        }

        assert!((15..=18).contains(&taken), "{taken} times 30 ms in 10 s");
        board.note(&state, (&Input::Tick { stalled_ms: 0 }, &paused), UnixMillis(10_000));
        assert!(board.is_due(UnixMillis(10_000)));
        board.taken(UnixMillis(10_000), Duration::from_micros(40));
        board.note(&state, (&Input::Tick { stalled_ms: 0 }, &joined), UnixMillis(10_000));
        assert!(board.is_due(UnixMillis(10_000)), "what takes no time is shown at once");
    }
}
