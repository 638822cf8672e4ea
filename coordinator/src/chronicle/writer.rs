//! The thread that writes the files. Whoever hands something over never waits: what does not fit, or cannot be written, is left out
//! and counted.

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
    pub(super) fn start(files: [Segments; 2]) -> (Option<Self>, Entrance, watch::Receiver<u64>) {
        let (sender, parcels) = sync_channel(WAITING_MAX);
        let mut desk = Desk::new(files);
        let (counts, watched) = (desk.counts.clone(), desk.written.subscribe());
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
    /// Records that could not be written.
    lost: u64,
    /// When the last record happened.
    at: u64,
}

/// What is to be written of trials.
#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    /// How many records each line stands for.
    records: Vec<u64>,
}

impl Lines {
    fn push(&mut self, record: &Record) {
        if push(&mut self.bytes, record) {
            let missing = if let Record::LeftOut { records, .. } = record { *records } else { 1 };
            self.records.push(missing);
        }
    }

    /// Says how many records are missing where they are, if any.
    fn push_left_out(&mut self, at: u64, records: u64) {
        if records > 0 {
            self.push(&Record::LeftOut { at, records });
        }
    }

    /// Writes them; what could not be written stands for so many records.
    fn write(&self, files: &mut Segments) -> (io::Result<()>, u64) {
        let mut rest = &self.bytes[..];
        let written = if rest.is_empty() { Ok(()) } else { files.append_from(&mut rest) };
        let lines = rest.iter().filter(|byte| **byte == b'\n').count();
        (written, self.records.iter().rev().take(lines).sum())
    }
}

impl Desk {
    fn new([trials, events]: [Segments; 2]) -> Self {
        let (counts, written) = (Arc::default(), watch::channel(0).0);
        Self { trials, events, counts, written, is_failing: false, lost: 0, at: 0 }
    }

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
        let (mut records, mut events, mut stop) = (Lines::default(), Vec::new(), false);
        // Those of earlier batches are missing before these.
        records.push_left_out(self.at, self.lost);
        for parcel in batch {
            match parcel {
                Parcel::Record(record, bytes) => {
                    self.counts.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
                    self.at = record.at();
                    records.push(&record);
                }
                Parcel::Event(event) => {
                    push(&mut events, event.as_ref());
                }
                Parcel::Stop => stop = true,
            }
        }
        records.push_left_out(self.at, self.counts.left_out.swap(0, Ordering::Relaxed));
        // What cannot be written of one says nothing of the other.
        let (written, lost) = records.write(&mut self.trials);
        self.lost = lost;
        let told = if events.is_empty() { Ok(()) } else { self.events.append(&events) };
        self.tell(written.and(told));
        if !records.bytes.is_empty() {
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

/// Adds a line; returns whether it did.
fn push(lines: &mut Vec<u8>, value: &impl Serialize) -> bool {
    let length = lines.len();
    // Plain data always has a JSON form; if not, half a line helps nobody.
    match serde_json::to_writer(&mut *lines, value) {
        Ok(()) => lines.push(b'\n'),
        Err(_) => lines.truncate(length),
    }
    lines.len() > length
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::segments::read_all;
    use super::*;

    fn started(at: u64) -> Parcel {
        Parcel::Record(Record::Started { at, epoch: 1 }, 0)
    }

    fn records(folder: &Path) -> Vec<Record> {
        read_all(folder).iter().map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    #[test]
    fn records_that_a_disk_refuses_are_counted_where_they_are_missing() {
        let folder = tempfile::tempdir().unwrap();
        let [trials, events] = ["trials", "events"].map(|name| folder.path().join(name));
        let mut desk = Desk::new([&trials, &events].map(|folder| Segments::open(folder, 1 << 20)));
        fs::write(&trials, "a file where the folder should be").unwrap();

        desk.write([started(1), started(2)].into_iter());
        desk.counts.left_out.store(5, Ordering::Relaxed);
        desk.write([started(3)].into_iter());
        fs::remove_file(&trials).unwrap();
        desk.write([started(4)].into_iter());

        let expected = [Record::LeftOut { at: 3, records: 8 }, Record::Started { at: 4, epoch: 1 }];
        assert_eq!(records(&trials), expected);
    }

    #[test]
    fn of_records_that_are_written_in_part_the_others_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let files = || Segments::open(folder.path(), 16 * 200);
        let mut desk = Desk::new([files(), Segments::open(&folder.path().join("events"), 1 << 20)]);
        desk.write([started(0)].into_iter());
        let next = folder.path().join("000000002.jsonl");
        fs::create_dir(&next).unwrap();

        desk.write((1..20).map(started));
        fs::remove_dir(&next).unwrap();
        desk.write([started(20)].into_iter());

        let known = records(folder.path());
        let is_left_out = |record: &&Record| matches!(record, Record::LeftOut { .. });
        let place = known.iter().position(|record| is_left_out(&record)).unwrap();
        assert!(place > 1 && place == known.len() - 2, "{known:?}");
        assert_eq!(known[place], Record::LeftOut { at: 19, records: 20 - place as u64 });
    }
}
