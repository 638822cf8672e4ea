//! What happened, as streams: each reader at its own pace, none of them in the driver's way.

use std::sync::Arc;
use std::time::Duration;

use bitloop_core::plan::ExperimentId;
use bitloop_core::state::UnixMillis;
use bitloop_core::trial::TrialKey;
use bitloop_proto::v1;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::status;
use super::streams::{Answers, stream};
use crate::chronicle::{Chronicle, Cursor, Entry, Event, TrialLog, What};
use crate::driver::Handle;

/// How long after a trial's outcome lines of it may come.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Events that come within this time go together.
const TOGETHER: Duration = Duration::from_millis(100);

/// How often it is asked whether anybody still measures a trial that is followed.
const LOOK_INTERVAL: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 5 });

/// Entries in one answer, of at most about a kilobyte each.
const ENTRIES_MAX: usize = 512;

type Sender<T> = mpsc::Sender<T>;

/// Which events somebody wants.
pub(super) struct Wanted {
    pub(super) experiment: Option<ExperimentId>,
    pub(super) after: Option<Cursor>,
    pub(super) since: UnixMillis,
    pub(super) follow: bool,
}

impl Wanted {
    fn is_wanted(&self, event: &Event) -> bool {
        let is_about = |id: &ExperimentId| event.what.experiments.contains(&id.0);
        event.what.unix_ms >= self.since.0 && self.experiment.as_ref().is_none_or(is_about)
    }
}

/// Sends events that are kept, and those to come if they are wanted too.
pub(super) fn events(
    chronicle: Chronicle,
    wanted: Wanted,
    shutdown: CancellationToken,
) -> Answers<v1::EventsResponse> {
    stream(shutdown, move |sender: Sender<_>| async move {
        let mut announced = chronicle.announced();
        let mut after = wanted.after;
        loop {
            let page = chronicle.events(after);
            let wanted_events = page.events.iter().filter(|event| wanted.is_wanted(event));
            let events: Vec<_> = wanted_events.map(event_to_wire).collect();
            let reached = page.events.last().map(|last| last.cursor);
            // Also where nobody wants these, so that whoever comes back has not missed them.
            if let Some(reached) = reached {
                let answer = v1::EventsResponse { missed: page.missed, events, cursor: reached.to_string() };
                if sender.send(answer).await.is_err() {
                    return Ok(());
                }
            }
            match reached {
                Some(_) => after = reached,
                None if !wanted.follow => return Ok(()),
                None => {
                    // Many small answers that nobody takes would cost the connection.
                    tokio::time::sleep(TOGETHER).await;
                    announced.changed().await.map_err(|_| status::stopping())?;
                }
            }
        }
    })
}

fn event_to_wire(event: &Arc<Event>) -> v1::ClusterEvent {
    let what = &event.what;
    v1::ClusterEvent {
        cursor: event.cursor.to_string(),
        unix_ms: what.unix_ms,
        kind: what.kind.as_str().to_owned(),
        experiments: what.experiments.clone(),
        worker: what.worker.clone().unwrap_or_default(),
        trial: what.trial.clone().unwrap_or_default(),
        text: what.text.clone(),
    }
}

/// Sends a trial's log, and what is to come of it until nobody measures it any more if that is wanted too.
pub(super) fn trial_log(
    handle: &Handle,
    (key, standing): (TrialKey, String),
    follow: bool,
    shutdown: CancellationToken,
) -> Answers<v1::TrialLogResponse> {
    let handle = handle.clone();
    stream(shutdown, move |sender: Sender<_>| async move {
        let chronicle = handle.chronicle();
        let mut written = chronicle.written();
        let (mut log, readers) = (chronicle.trial(&key), chronicle.readers());
        let first = v1::TrialLogResponse { trial: key.0.hex(), standing, entries: Vec::new() };
        if sender.send(first).await.is_err() {
            return Ok(());
        }
        let was_settled = !follow || is_settled(&handle, key).await?;
        // The record of an outcome may be among those that were left out, so the end is asked for too.
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_over = false;
        loop {
            written.mark_unchanged();
            let Some((next, has_ended)) = send_entries(log, &readers, &sender).await else { return Ok(()) };
            log = next;
            if was_settled {
                return Ok(());
            }
            // An outcome in the log may be of earlier: a trial whose artifact was lost is measured again.
            if is_over || (has_ended && is_settled(&handle, key).await?) {
                tokio::time::sleep(LAST_LINES).await;
                send_entries(log, &readers, &sender).await;
                return Ok(());
            }
            // Others' trials are written about too.
            tokio::time::sleep(TOGETHER).await;
            tokio::select! {
                biased;
                _ = looks.tick() => {
                    is_over = is_settled(&handle, key).await?;
                }
                changed = written.changed() => changed.map_err(|_| status::stopping())?,
            }
        }
    })
}

/// Whether a trial is settled, or wanted by no experiment that may still go on.
async fn is_settled(handle: &Handle, key: TrialKey) -> Result<bool, Status> {
    handle.is_settled(key).await.map_err(|error| status::refused(&error))
}

/// Sends all that there is; returns whether an attempt has settled the trial with it, and none when nobody listens any more.
async fn send_entries(
    mut log: TrialLog,
    readers: &Arc<Semaphore>,
    sender: &Sender<v1::TrialLogResponse>,
) -> Option<(TrialLog, bool)> {
    let mut is_settled = false;
    loop {
        let place = Arc::clone(readers).acquire_owned().await.ok()?;
        let read = tokio::task::spawn_blocking(move || {
            let read = log.read();
            drop(place);
            (log, read)
        });
        let (next, (entries, more)) = read.await.ok()?;
        log = next;
        is_settled |= entries.iter().any(is_end);
        for entries in entries.chunks(ENTRIES_MAX) {
            let entries = entries.iter().map(entry_to_wire).collect();
            let answer = v1::TrialLogResponse { entries, ..v1::TrialLogResponse::default() };
            sender.send(answer).await.ok()?;
        }
        if !more {
            return Some((log, is_settled));
        }
    }
}

fn is_end(entry: &Entry) -> bool {
    matches!(entry.what, What::Measured | What::Failed | What::Quarantined)
}

pub(crate) fn entry_to_wire(entry: &Entry) -> v1::TrialLogEntry {
    v1::TrialLogEntry {
        unix_ms: entry.unix_ms,
        what: entry.what.as_str().to_owned(),
        attempt: entry.attempt,
        worker: entry.worker.clone(),
        level: entry.level.clone(),
        text: entry.text.clone(),
    }
}

/// Reads the cursor of a request; empty is none.
pub(super) fn cursor(text: &str) -> Result<Option<Cursor>, Status> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| status::no_cursor()),
    }
}
