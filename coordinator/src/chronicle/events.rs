//! The cluster's last events, in memory: whoever reads slowly is told how many were missed.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bitloop_core::plan::ExperimentId;
use bitloop_core::state::UnixMillis;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Events that are kept.
pub(super) const EVENTS_MAX: usize = 4_096;

/// Events that a reader gets at once.
const PAGE_MAX: usize = 256;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EventKind {
    CoordinatorStarted,
    CoordinatorTookOver,
    ExperimentSubmitted,
    ExperimentPaused,
    ExperimentResumed,
    ExperimentCancelled,
    StageFinished,
    ExperimentFinished,
    ExperimentFailed,
    WorkerJoined,
    WorkerLeft,
    WorkerLost,
    WorkerUnable,
    LeaseTakenBack,
    TrialFailed,
    TrialQuarantined,
    OutcomeLost,
    OutcomeReplaced,
    Conflict,
    Duplicates,
    StoreUnwritable,
    StoreWritable,
    ResultsUnwritable,
}

impl EventKind {
    /// Its word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::CoordinatorStarted => "coordinator_started",
            Self::CoordinatorTookOver => "coordinator_took_over",
            Self::ExperimentSubmitted => "experiment_submitted",
            Self::ExperimentPaused => "experiment_paused",
            Self::ExperimentResumed => "experiment_resumed",
            Self::ExperimentCancelled => "experiment_cancelled",
            Self::StageFinished => "stage_finished",
            Self::ExperimentFinished => "experiment_finished",
            Self::ExperimentFailed => "experiment_failed",
            Self::WorkerJoined => "worker_joined",
            Self::WorkerLeft => "worker_left",
            Self::WorkerLost => "worker_lost",
            Self::WorkerUnable => "worker_unable",
            Self::LeaseTakenBack => "lease_taken_back",
            Self::TrialFailed => "trial_failed",
            Self::TrialQuarantined => "trial_quarantined",
            Self::OutcomeLost => "outcome_lost",
            Self::OutcomeReplaced => "outcome_replaced",
            Self::Conflict => "conflict",
            Self::Duplicates => "duplicates",
            Self::StoreUnwritable => "store_unwritable",
            Self::StoreWritable => "store_writable",
            Self::ResultsUnwritable => "results_unwritable",
        }
    }
}

/// Something that happened on the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Happening {
    /// 0 if nobody noted it when it happened.
    pub(crate) unix_ms: u64,
    pub(crate) kind: EventKind,
    /// The experiments that it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) experiments: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) worker: Option<String>,
    /// The first digits of a trial's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) trial: Option<String>,
    pub(crate) text: String,
}

impl Happening {
    pub(crate) fn new(now: UnixMillis, kind: EventKind, text: String) -> Self {
        Self { unix_ms: now.0, kind, experiments: Vec::new(), worker: None, trial: None, text }
    }
}

/// The place of an event: the coordinator's start that it is of, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Cursor {
    pub(super) epoch: u64,
    pub(super) number: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.epoch, self.number)
    }
}

/// The text is no cursor.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoCursor;

impl FromStr for Cursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let (epoch, number) = text.split_once('-').ok_or(NoCursor)?;
        let read = |digits: &str| digits.parse().map_err(|_| NoCursor);
        Ok(Self { epoch: read(epoch)?, number: read(number)? })
    }
}

/// A happening in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Event {
    #[serde(flatten)]
    pub(crate) cursor: Cursor,
    #[serde(flatten)]
    pub(crate) what: Happening,
}

/// Some events in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct EventsPage {
    /// Events before them that the reader has not seen and that are gone.
    pub(crate) missed: u64,
    pub(crate) events: Vec<Arc<Event>>,
}

/// The last events of this start and of those before.
#[derive(Debug)]
pub(super) struct Events {
    epoch: u64,
    events: Mutex<VecDeque<Arc<Event>>>,
    announced: watch::Sender<()>,
}

impl Events {
    /// Begins with the events of earlier starts, one a line; lines that are none are passed over.
    pub(super) fn new(epoch: u64, lines: Vec<Vec<u8>>) -> Self {
        let known = lines.iter().rev().filter_map(|line| serde_json::from_slice::<Event>(line).ok());
        let mut events: VecDeque<Arc<Event>> = VecDeque::new();
        for event in known {
            // A store that was set back begins anew with starts that are on file already. The later lines are what happened
            // after that, and places must rise.
            let is_before = events.front().is_none_or(|next| event.cursor < next.cursor);
            if event.cursor.epoch < epoch && is_before && events.len() < EVENTS_MAX {
                events.push_front(Arc::new(event));
            }
        }
        let announced = watch::Sender::new(());
        Self { epoch, events: Mutex::new(events), announced }
    }

    fn events(&self) -> MutexGuard<'_, VecDeque<Arc<Event>>> {
        // A panic elsewhere leaves at worst an event out.
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The coordinator's start that it is of.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events().is_empty()
    }

    /// Whether an event of this kind and experiment is kept.
    pub(super) fn knows(&self, kind: EventKind, experiment: &ExperimentId) -> bool {
        let is_it =
            |event: &Arc<Event>| event.what.kind == kind && event.what.experiments.contains(&experiment.0);
        self.events().iter().any(is_it)
    }

    /// Adds what an earlier start has stored; only before anything of this one.
    pub(super) fn remember(&self, happening: Happening) {
        self.push(0, happening);
    }

    pub(super) fn add(&self, happening: Happening) -> Arc<Event> {
        let event = self.push(self.epoch, happening);
        self.announced.send_replace(());
        event
    }

    fn push(&self, epoch: u64, what: Happening) -> Arc<Event> {
        let mut events = self.events();
        let last = events.back().filter(|last| last.cursor.epoch == epoch);
        let number = last.map_or(0, |last| last.cursor.number + 1);
        let event = Arc::new(Event { cursor: Cursor { epoch, number }, what });
        if events.len() >= EVENTS_MAX {
            events.pop_front();
        }
        events.push_back(event.clone());
        event
    }

    pub(super) fn announced(&self) -> watch::Receiver<()> {
        self.announced.subscribe()
    }

    /// The events behind a cursor; from the oldest on without one, or with one of another coordinator, which leads beyond
    /// all there is. What is missing between two events, as it could not be written, is counted like what is not kept any more; such
    /// a gap begins a page.
    pub(super) fn read(&self, after: Option<Cursor>) -> EventsPage {
        let events = self.events();
        let after = after.filter(|after| events.back().is_some_and(|last| *after <= last.cursor));
        let first = events.partition_point(|event| after.is_some_and(|after| event.cursor <= after));
        let (mut page, mut before) = (EventsPage::default(), after);
        for event in events.iter().skip(first).take(PAGE_MAX) {
            let missed = before.map_or(0, |before| gap(before, event.cursor));
            if missed > 0 && !page.events.is_empty() {
                break;
            }
            page.missed += missed;
            page.events.push(event.clone());
            before = Some(event.cursor);
        }
        page
    }
}

/// Events between two places. How many came after the first of them in its start, and in starts between, nobody knows.
fn gap(after: Cursor, next: Cursor) -> u64 {
    match after.epoch == next.epoch {
        true => next.number - after.number - 1,
        false => next.number,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn happening(number: u64) -> Happening {
        Happening::new(UnixMillis(number), EventKind::WorkerJoined, format!("number {number}"))
    }

    fn lines(events: &[Arc<Event>]) -> Vec<Vec<u8>> {
        events.iter().map(|event| serde_json::to_vec(event.as_ref()).unwrap()).collect()
    }

    fn read_all(kept: &Events, mut after: Option<Cursor>) -> (u64, Vec<Cursor>) {
        let (mut missed, mut cursors) = (0, Vec::new());
        loop {
            let page = kept.read(after);
            missed += page.missed;
            let Some(last) = page.events.last() else { return (missed, cursors) };
            after = Some(last.cursor);
            cursors.extend(page.events.iter().map(|event| event.cursor));
        }
    }

    #[test]
    fn a_reader_that_comes_back_gets_what_it_has_not_seen() {
        let kept = Events::new(3, Vec::new());
        let events: Vec<_> = (0..600).map(|number| kept.add(happening(number))).collect();

        let (missed, cursors) = read_all(&kept, Some(events[99].cursor));

        assert_eq!(missed, 0);
        assert_eq!(cursors, events[100..].iter().map(|event| event.cursor).collect::<Vec<_>>());
    }

    #[test]
    fn a_reader_that_is_too_slow_is_told_how_many_it_missed() {
        let kept = Events::new(3, Vec::new());
        let first = kept.add(happening(0));
        (0..EVENTS_MAX as u64 + 9).for_each(|number| drop(kept.add(happening(number))));

        let (missed, cursors) = read_all(&kept, Some(first.cursor));

        assert_eq!((missed, cursors.len()), (9, EVENTS_MAX));
        assert_eq!(read_all(&kept, None), (0, cursors), "who has seen nothing yet has missed nothing");
    }

    #[test]
    fn the_next_start_goes_on_with_what_is_on_file_and_cursors_stay_good() {
        let first = Events::new(1, Vec::new());
        let events: Vec<_> = (0..3).map(|number| first.add(happening(number))).collect();
        let mut file = lines(&events);
        file.insert(1, b"{\"torn".to_vec());

        let second = Events::new(2, file);
        second.add(happening(9));

        let (missed, cursors) = read_all(&second, Some(events[1].cursor));
        let texts: Vec<String> = cursors.iter().map(ToString::to_string).collect();
        assert_eq!((missed, texts), (0, vec!["1-2".to_owned(), "2-0".to_owned()]));
    }

    #[test]
    fn events_that_could_not_be_written_are_counted_where_they_are_missing() {
        let first = Events::new(1, Vec::new());
        let events: Vec<_> = (0..8).map(|number| first.add(happening(number))).collect();
        let mut file = lines(&events);
        file.drain(2..5);

        let second = Events::new(2, file);
        second.add(happening(9));

        let page = second.read(Some(events[0].cursor));
        assert_eq!((page.missed, page.events.len()), (0, 1), "a gap begins a page");
        let page = second.read(Some(events[1].cursor));
        assert_eq!((page.missed, page.events.len()), (3, 4));
        assert_eq!(read_all(&second, None).0, 3);
    }

    #[test]
    fn places_stay_unique_when_a_store_is_set_back() {
        let before: Vec<_> =
            (1..=3).flat_map(|epoch| lines(&[Events::new(epoch, vec![]).add(happening(0))])).collect();
        let again = Events::new(2, before[..1].to_vec());
        let again = lines(&[again.add(happening(1)), again.add(happening(2))]);

        let third = Events::new(3, [before, again].concat());
        third.add(happening(3));

        let texts: Vec<String> = third
            .read(None)
            .events
            .iter()
            .map(|event| format!("{} {}", event.cursor, event.what.text))
            .collect();
        assert_eq!(texts, ["1-0 number 0", "2-0 number 1", "2-1 number 2", "3-0 number 3"]);
    }

    #[test]
    fn facts_of_earlier_starts_stand_before_everything_else() {
        let kept = Events::new(5, Vec::new());
        kept.remember(happening(0));
        kept.remember(happening(1));
        kept.add(happening(2));

        let texts: Vec<String> = read_all(&kept, None).1.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["0-0", "0-1", "5-0"]);
    }

    #[test]
    fn the_cursor_of_another_coordinator_leads_to_all_there_is() {
        let kept = Events::new(1, Vec::new());
        kept.add(happening(0));

        let (missed, cursors) = read_all(&kept, Some(Cursor { epoch: 7, number: 3 }));

        assert_eq!((missed, cursors.len()), (0, 1));
    }

    #[test]
    fn cursors_are_read_as_they_are_written() {
        let cursor = Cursor { epoch: 12, number: 345 };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for text in ["", "12", "12-", "-1", "a-b", "1-2-3"] {
            assert_eq!(text.parse::<Cursor>(), Err(NoCursor), "{text}");
        }
    }
}
