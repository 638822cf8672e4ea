//! What happened, as streams: each reader at its own pace, none of them in the driver's way.

use std::sync::Arc;
use std::time::Duration;

use bitloop_core::plan::ExperimentId;
use bitloop_core::state::UnixMillis;
use bitloop_core::trial::TrialKey;
use bitloop_proto::v1;
use tokio::sync::mpsc;
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

/// Entries in one answer, of at most about a kilobyte each.
const ENTRIES_MAX: usize = 512;

type Sender<T> = mpsc::Sender<Result<T, Status>>;

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
                if sender.send(Ok(answer)).await.is_err() {
                    return;
                }
            }
            match reached {
                Some(_) => after = reached,
                None if !wanted.follow => return,
                None => {
                    // Many small answers that nobody takes would cost the connection.
                    tokio::time::sleep(TOGETHER).await;
                    if announced.changed().await.is_err() {
                        return;
                    }
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

/// Sends a trial's log, and what is to come of it until the trial is settled if that is wanted too.
pub(super) fn trial_log(
    handle: &Handle,
    (key, standing): (TrialKey, String),
    follow: bool,
    shutdown: CancellationToken,
) -> Answers<v1::TrialLogResponse> {
    let (chronicle, handle) = (handle.chronicle().clone(), handle.clone());
    stream(shutdown, move |sender: Sender<_>| async move {
        let mut written = chronicle.written();
        let mut log = chronicle.trial(&key);
        let first = v1::TrialLogResponse { trial: key.0.hex(), standing, entries: Vec::new() };
        if sender.send(Ok(first)).await.is_err() {
            return;
        }
        let mut is_settled = !follow || handle.is_settled(key).await;
        loop {
            written.mark_unchanged();
            let Some((next, has_ended)) = send_entries(log, &sender).await else { return };
            log = next;
            if is_settled {
                return;
            }
            // An outcome may be of earlier: a trial whose artifact was lost is measured again.
            is_settled = has_ended && handle.is_settled(key).await;
            if is_settled {
                tokio::time::sleep(LAST_LINES).await;
                send_entries(log, &sender).await;
                return;
            }
            if written.changed().await.is_err() {
                return;
            }
        }
    })
}

/// Sends all that there is; returns whether an attempt has settled the trial with it, and none when nobody listens any more.
async fn send_entries(mut log: TrialLog, sender: &Sender<v1::TrialLogResponse>) -> Option<(TrialLog, bool)> {
    let mut is_settled = false;
    loop {
        let read = tokio::task::spawn_blocking(move || {
            let read = log.read();
            (log, read)
        });
        let (next, (entries, more)) = read.await.ok()?;
        log = next;
        is_settled |= entries.iter().any(is_end);
        for entries in entries.chunks(ENTRIES_MAX) {
            let entries = entries.iter().map(entry_to_wire).collect();
            let answer = v1::TrialLogResponse { entries, ..v1::TrialLogResponse::default() };
            sender.send(Ok(answer)).await.ok()?;
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
