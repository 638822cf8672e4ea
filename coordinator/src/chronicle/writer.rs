//! The thread that writes the files. Whoever hands something over never waits: what does not fit is left out.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use serde::Serialize;
use tokio::sync::watch;
use tracing::{error, warn};

use super::board::Event;
use super::record::Record;
use super::segments::Segments;

/// What may wait for the disk.
const WAITING_MAX: usize = 4_096;

/// What is written at once.
const BATCH_MAX: usize = 512;

enum Task {
    Record(Record),
    Event(Arc<Event>),
    Stop,
}

/// Where things are handed over; clones lead to the same thread.
#[derive(Clone, Debug)]
pub(super) struct Entrance {
    tasks: SyncSender<Task>,
    left_out: Arc<AtomicU64>,
}

impl Entrance {
    pub(super) fn record(&self, record: Record) {
        self.hand_over(Task::Record(record));
    }

    pub(super) fn event(&self, event: Arc<Event>) {
        self.hand_over(Task::Event(event));
    }

    fn hand_over(&self, task: Task) {
        // A thread that has ended takes nothing any more: the coordinator is closed.
        if let Err(TrySendError::Full(_)) = self.tasks.try_send(task) {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The running thread.
#[derive(Debug)]
pub(super) struct Writer {
    tasks: SyncSender<Task>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// Starts it; without a thread nothing is written. The number that comes along changes with every write of records.
    pub(super) fn start([trials, events]: [Segments; 2]) -> (Option<Self>, Entrance, watch::Receiver<u64>) {
        let (sender, tasks) = sync_channel(WAITING_MAX);
        let (written, watched) = watch::channel(0);
        let left_out = Arc::new(AtomicU64::new(0));
        let mut desk = Desk { trials, events, left_out: left_out.clone(), written, is_failing: false };
        let builder = thread::Builder::new().name("bitloop-chronicle".to_owned());
        let writer = match builder.spawn(move || desk.serve(&tasks)) {
            Ok(thread) => Some(Self { tasks: sender.clone(), thread }),
            Err(error) => {
                warn!(%error, "logs of trials and events are not kept: no thread can be started");
                None
            }
        };
        (writer, Entrance { tasks: sender, left_out }, watched)
    }

    /// Writes what has been handed over, and ends the thread.
    pub(super) fn finish(self) {
        // The thread takes everything until then, so there is room soon.
        let _ = self.tasks.send(Task::Stop);
        if self.thread.join().is_err() {
            error!("the thread that writes logs panicked");
        }
    }
}

struct Desk {
    trials: Segments,
    events: Segments,
    left_out: Arc<AtomicU64>,
    written: watch::Sender<u64>,
    is_failing: bool,
}

impl Desk {
    fn serve(&mut self, tasks: &Receiver<Task>) {
        while let Ok(first) = tasks.recv() {
            let more = std::iter::from_fn(|| tasks.try_recv().ok());
            if self.write(std::iter::once(first).chain(more).take(BATCH_MAX)) {
                return;
            }
        }
    }

    /// Writes a batch; returns whether it was the last.
    fn write(&mut self, batch: impl Iterator<Item = Task>) -> bool {
        let (mut records, mut events, mut stop, mut at) = (Vec::new(), Vec::new(), false, 0);
        for task in batch {
            match task {
                Task::Record(record) => {
                    at = record.at();
                    push(&mut records, &record);
                }
                Task::Event(event) => push(&mut events, event.as_ref()),
                Task::Stop => stop = true,
            }
        }
        let left_out = self.left_out.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            push(&mut records, &Record::LeftOut { at, records: left_out });
        }
        let has_records = !records.is_empty();
        let done = [(&mut self.trials, records), (&mut self.events, events)]
            .into_iter()
            .filter(|(_, lines)| !lines.is_empty())
            .try_for_each(|(files, lines)| files.append(&lines));
        self.tell(done);
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
