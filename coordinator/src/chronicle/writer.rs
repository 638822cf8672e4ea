//! The thread that writes the files. Whoever hands something over never waits: what does not fit is left out.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use serde::Serialize;
use tokio::sync::watch;
use tracing::{error, warn};

use super::events::Event;
use super::record::Record;
use super::segments::Segments;

/// What may wait for the disk.
const WAITING_MAX: usize = 4_096;

/// Bytes of records that may wait for the disk; what is more is left out and counted.
const WAITING_BYTES_MAX: usize = 32 << 20;

/// What is written at once.
const BATCH_MAX: usize = 512;

enum Parcel {
    /// With the bytes that it takes while it waits.
    Record(Record, usize),
    Event(Arc<Event>),
    Stop,
}

/// Where things are handed over; clones lead to the same thread.
#[derive(Clone, Debug)]
pub(super) struct Entrance {
    parcels: SyncSender<Parcel>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    left_out: AtomicU64,
    waiting_bytes: AtomicUsize,
}

impl Entrance {
    pub(super) fn record(&self, record: Record) {
        let (bytes, waiting) = (record.bytes(), &self.counts.waiting_bytes);
        let is_full = waiting.fetch_add(bytes, Ordering::Relaxed) + bytes > WAITING_BYTES_MAX;
        let taken = if is_full { Err(true) } else { self.hand_over(Parcel::Record(record, bytes)) };
        if let Err(is_missed) = taken {
            waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.counts.left_out.fetch_add(u64::from(is_missed), Ordering::Relaxed);
        }
    }

    /// Errors: it was not taken; true if somebody will miss it. A thread that has ended takes nothing any more: the
    /// coordinator is closed.
    fn hand_over(&self, parcel: Parcel) -> Result<(), bool> {
        self.parcels.try_send(parcel).map_err(|error| matches!(error, TrySendError::Full(_)))
    }

    /// What does not fit is missed by its number.
    pub(super) fn event(&self, event: Arc<Event>) {
        let _ = self.hand_over(Parcel::Event(event));
    }
}

/// The running thread.
#[derive(Debug)]
pub(super) struct Writer {
    parcels: SyncSender<Parcel>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// Starts it; without a thread nothing is written. The number that comes along changes with every write of records.
    pub(super) fn start([trials, events]: [Segments; 2]) -> (Option<Self>, Entrance, watch::Receiver<u64>) {
        let (sender, parcels) = sync_channel(WAITING_MAX);
        let (written, watched) = watch::channel(0);
        let counts = Arc::new(Counts::default());
        let mut desk = Desk { trials, events, counts: counts.clone(), written, is_failing: false };
        let builder = thread::Builder::new().name("bitloop-chronicle".to_owned());
        let writer = match builder.spawn(move || desk.serve(&parcels)) {
            Ok(thread) => Some(Self { parcels: sender.clone(), thread }),
            Err(error) => {
                warn!(%error, "logs of trials and events are not kept: no thread can be started");
                None
            }
        };
        (writer, Entrance { parcels: sender, counts }, watched)
    }

    /// Writes what has been handed over, and ends the thread.
    pub(super) fn finish(self) {
        // The thread takes everything until then, so there is room soon.
        let _ = self.parcels.send(Parcel::Stop);
        if self.thread.join().is_err() {
            error!("the thread that writes logs panicked");
        }
    }
}

struct Desk {
    trials: Segments,
    events: Segments,
    counts: Arc<Counts>,
    written: watch::Sender<u64>,
    is_failing: bool,
}

impl Desk {
    fn serve(&mut self, parcels: &Receiver<Parcel>) {
        while let Ok(first) = parcels.recv() {
            let more = std::iter::from_fn(|| parcels.try_recv().ok());
            if self.write(std::iter::once(first).chain(more).take(BATCH_MAX)) {
                return;
            }
        }
    }

    /// Writes a batch; returns whether it was the last.
    fn write(&mut self, batch: impl Iterator<Item = Parcel>) -> bool {
        let (mut records, mut events, mut stop, mut at) = (Vec::new(), Vec::new(), false, 0);
        for parcel in batch {
            match parcel {
                Parcel::Record(record, bytes) => {
                    self.counts.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
                    at = record.at();
                    push(&mut records, &record);
                }
                Parcel::Event(event) => push(&mut events, event.as_ref()),
                Parcel::Stop => stop = true,
            }
        }
        let left_out = self.counts.left_out.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            push(&mut records, &Record::LeftOut { at, records: left_out });
        }
        let has_records = !records.is_empty();
        // What cannot be written of one says nothing of the other.
        let written = [(&mut self.trials, records), (&mut self.events, events)]
            .map(|(files, lines)| if lines.is_empty() { Ok(()) } else { files.append(&lines) });
        self.tell(written.into_iter().collect());
        if has_records {
            self.written.send_modify(|written| *written += 1);
        }
        stop
    }

    /// Says once that files cannot be written, and once that they can.
    fn tell(&mut self, done: io::Result<()>) {
        match (&done, self.is_failing) {
            (Err(error), false) => {
                warn!(%error, "logs of trials and events cannot be written; results are not affected");
            }
            (Ok(()), true) => warn!("logs of trials and events can be written again; some are missing"),
            (Ok(()), false) | (Err(_), true) => {}
        }
        self.is_failing = done.is_err();
    }
}

fn push(lines: &mut Vec<u8>, value: &impl Serialize) {
    let length = lines.len();
    // Plain data always has a JSON form; if not, half a line helps nobody.
    match serde_json::to_writer(&mut *lines, value) {
        Ok(()) => lines.push(b'\n'),
        Err(_) => lines.truncate(length),
    }
}
