//! What readers are shown: an overview that the driver takes when something has changed, so that no reader asks it.
//!
//! An overview is made of counts. Taking one costs time for each experiment, worker and leased trial, however many trials
//! there are, and never more than a twentieth of the driver's time but for those who wait for an answer. Those share one: while
//! the driver rests they wait for it, together, a quarter of a second at most.

use std::sync::Arc;
use std::time::Duration;

use bitloop_core::state::{Change, Event, Fact, Input, State, UnixMillis};
use tokio::sync::watch;

use super::Driver;
use super::failures::Failures;
use super::rates::Rates;
use super::view::{Overview, View};

/// Shortest time between two overviews, in milliseconds, unless something urgent happens; the longest that what is urgent waits.
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
    /// Whether people who wait for an answer must find what it speaks of: it is sent after the overview.
    is_urgent: bool,
    /// Whether those who watch should see something as soon as the driver has rested.
    is_news: bool,
    rested: UnixMillis,
    /// When whoever waits for an answer has waited long enough.
    patience: UnixMillis,
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
            patience: UnixMillis(0),
            due: UnixMillis(0),
        };
        (board, watched)
    }

    /// Takes note of an event that was just applied.
    pub(super) fn note(&mut self, state: &State, (input, event): (&Input, &Event), now: UnixMillis) {
        self.has_changed = true;
        match audience(event) {
            Audience::Asker => self.is_urgent = true,
            Audience::Watchers => self.is_news = true,
            Audience::Nobody => {}
        }
        self.failures.note(state, (input, event), now);
    }

    /// Whether the overview is still to be taken for those who wait for an answer.
    pub(super) fn is_urgent(&self) -> bool {
        self.is_urgent
    }

    /// Has the overview taken as soon as for those who wait for an answer.
    pub(super) fn hurry(&mut self) {
        self.is_urgent = true;
    }

    /// Takes note that time has passed, in which leases and rates change by themselves.
    pub(super) fn note_tick(&mut self, state: &State) {
        self.has_changed |= state.dispatch.leases().len() > 0 || self.rates.are_moving();
    }

    /// When the overview is to be taken, if it is out of date.
    pub(super) fn due(&self) -> Option<UnixMillis> {
        match (self.is_urgent, self.is_news) {
            (true, _) => Some(self.rested.min(self.patience)),
            (false, true) => self.has_changed.then_some(self.rested),
            (false, false) => self.has_changed.then_some(self.due),
        }
    }

    fn is_due(&self, now: UnixMillis) -> bool {
        self.due().is_some_and(|due| due <= now)
    }

    /// Takes note that an overview was taken, and how long that took.
    pub(super) fn taken(&mut self, now: UnixMillis, took: Duration) {
        (self.is_urgent, self.is_news, self.has_changed) = (false, false, false);
        let rest_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).saturating_mul(REST_FACTOR);
        self.rested = now.after(rest_us / 1_000);
        self.patience = now.after(OVERVIEW_MS);
        self.due = now.after((rest_us / 1_000).max(OVERVIEW_MS));
    }
}

impl Driver {
    /// Takes the overview if it is time. Comes before the answers to those who have changed something, so that whoever then
    /// looks sees it.
    pub(super) fn publish(&mut self) {
        let now = self.clock.now();
        if self.board.is_due(now) {
            self.take_overview(now);
        }
    }

    /// Takes the overview that those who have changed something wait for, if they do.
    pub(super) fn show_changes(&mut self) {
        if self.board.is_urgent() {
            self.take_overview(self.clock.now());
        }
    }

    fn take_overview(&mut self, now: UnixMillis) {
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

/// Who should see something soon.
enum Audience {
    /// Who has asked for it, with the answer.
    Asker,
    /// People who watch.
    Watchers,
    Nobody,
}

fn audience(event: &Event) -> Audience {
    match event {
        Event::Fact(fact) => match fact {
            Fact::ExperimentSubmitted { .. }
            | Fact::ExperimentPaused { .. }
            | Fact::ExperimentResumed { .. }
            | Fact::ExperimentCancelled { .. } => Audience::Asker,
            Fact::StageFinished { .. }
            | Fact::ExperimentFinished { .. }
            | Fact::ExperimentFailed { .. }
            | Fact::OutcomeLost { .. }
            | Fact::OutcomeReplaced { .. }
            | Fact::TrialQuarantined { .. } => Audience::Watchers,
            Fact::OutcomeCommitted { .. } | Fact::StepProposed { .. } | Fact::ConflictSeen { .. } => {
                Audience::Nobody
            }
        },
        Event::Change(Change::WorkerJoined { .. } | Change::WorkerLeft { .. }) => Audience::Watchers,
        Event::Change(_) => Audience::Nobody,
    }
}

#[cfg(test)]
mod tests {
    use bitloop_core::plan::ExperimentId;

    use super::*;
    use crate::testing::worker;

    /// How many overviews, of which each takes so long, there are while something happens each millisecond for ten seconds.
    fn overviews(board: &mut Board, event: &Event, took: Duration) -> usize {
        let due = (0..10_000).map(UnixMillis).filter(|now| {
            board.note(&State::default(), (&Input::Tick { stalled_ms: 0 }, event), *now);
            let is_due = board.is_due(*now);
            if is_due {
                board.taken(*now, took);
            }
            is_due
        });
        due.count()
    }

    #[test]
    fn workers_that_come_and_go_take_little_of_the_drivers_time() {
        let (mut board, _watched) = Board::new();
        let state = State::default();
        let joined = Event::Change(Change::WorkerJoined { info: worker("w1"), now: UnixMillis(0) });

        let taken = overviews(&mut board, &joined, Duration::from_millis(30));

        assert!((15..=18).contains(&taken), "{taken} times 30 ms in 10 s");
        board.taken(UnixMillis(10_000), Duration::from_micros(40));
        board.note(&state, (&Input::Tick { stalled_ms: 0 }, &joined), UnixMillis(10_000));
        assert!(board.is_due(UnixMillis(10_000)), "what takes no time is shown at once");
    }

    #[test]
    fn a_thousand_askers_a_second_share_four_overviews_and_one_is_served_at_once() {
        let (mut board, _watched) = Board::new();
        let paused = Fact::ExperimentPaused { experiment: ExperimentId("sweep".to_owned()) };
        let paused = Event::Fact(paused);

        let taken = overviews(&mut board, &paused, Duration::from_millis(30));

        assert!((38..=41).contains(&taken), "{taken} times 30 ms in 10 s");
        let [tired, patient] = [10_000, 10_000 + OVERVIEW_MS].map(UnixMillis);
        board.taken(tired, Duration::from_millis(30));
        assert!(!board.is_due(patient), "nobody asks");
        board.note(&State::default(), (&Input::Tick { stalled_ms: 0 }, &paused), tired);
        assert!(!board.is_due(tired) && board.is_due(patient));
        board.taken(tired, Duration::from_micros(40));
        board.note(&State::default(), (&Input::Tick { stalled_ms: 0 }, &paused), tired);
        assert!(board.is_due(tired), "a driver that is not tired takes it at once");
    }
}
