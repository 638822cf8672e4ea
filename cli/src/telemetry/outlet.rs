//! The way to standard error. A thread of its own writes there, so that nobody who works waits for whoever reads: a pager, a
//! terminal that is held, a journal that is stuck. Lines of the log that find no room are left out, counted, and the count
//! stands in their place; remarks of commands wait.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use super::REMARK;

/// Bytes that may wait: minutes of a log that says much.
const WAITING_BYTES_MAX: usize = 4 << 20;

/// How it is said that so many lines of the log are missing.
pub(super) type Gap = fn(u64) -> String;

/// What takes lines for standard error. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Outlet(Arc<Lines>);

#[derive(Debug)]
struct Lines {
    queue: Mutex<Queue>,
    changed: Condvar,
    /// How long a remark, or the end, waits for whoever reads; without a limit for commands whose errors somebody waits for.
    patience: Option<Duration>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Lines that found no room. From the first one on none does, until all that wait are written: so there is one gap.
    left_out: u64,
    is_writing: bool,
    is_over: bool,
}

impl Queue {
    fn has_room(&self, line: &[u8]) -> bool {
        self.left_out == 0 && (self.waiting.is_empty() || self.bytes + line.len() <= WAITING_BYTES_MAX)
    }

    fn take(&mut self, line: &[u8]) {
        if self.has_room(line) {
            self.bytes += line.len();
            self.waiting.push_back(line.to_vec());
        } else {
            self.left_out += 1;
        }
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.left_out == 0
    }
}

impl Outlet {
    /// Begins to write to `out`.
    pub(super) fn open(
        out: impl Write + Send + 'static,
        gap: Gap,
        patience: Option<Duration>,
    ) -> io::Result<Self> {
        let (queue, changed) = (Mutex::default(), Condvar::new());
        let lines = Arc::new(Lines { queue, changed, patience });
        let own = lines.clone();
        let writer = thread::Builder::new().name("bitloop-log".to_owned());
        // Nothing ends a thread that waits for a reader, so nobody waits for it but as long as patience lasts.
        writer.spawn(move || own.write_to(out, gap))?;
        Ok(Self(lines))
    }

    /// Has a line of the log written if there is room.
    fn log(&self, line: &[u8]) {
        self.0.queue().take(line);
        self.0.changed.notify_all();
    }

    /// Has a remark written, behind what was logged before; it is left out like a line of the log only when patience ends.
    pub(super) fn remark(&self, line: &[u8]) {
        let mut queue = self.0.wait(self.0.queue(), |queue| queue.has_room(line) || queue.is_over);
        queue.take(line);
        self.0.changed.notify_all();
        if self.0.patience.is_none() {
            // Data may follow it on standard output, or a drawing on this very terminal.
            drop(self.0.wait(queue, |queue| queue.is_over || (queue.is_idle() && !queue.is_writing)));
        }
    }

    /// Has what waits written, as long as patience lasts.
    fn close(&self) {
        let mut queue = self.0.queue();
        queue.is_over = true;
        self.0.changed.notify_all();
        drop(self.0.wait(queue, |queue| queue.is_idle() && !queue.is_writing));
    }
}

impl Lines {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Whoever panicked has left whole lines.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something holds, as long as patience lasts.
    fn wait<'a>(
        &self,
        queue: MutexGuard<'a, Queue>,
        holds: impl Fn(&Queue) -> bool,
    ) -> MutexGuard<'a, Queue> {
        let fails = |queue: &mut Queue| !holds(queue);
        match self.patience {
            None => self.changed.wait_while(queue, fails).unwrap_or_else(PoisonError::into_inner),
            Some(patience) => {
                let waited = self.changed.wait_timeout_while(queue, patience, fails);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    fn write_to(&self, mut out: impl Write, gap: Gap) {
        while let Some(line) = self.next(gap) {
            // What cannot be said is no reason to end.
            let _ = out.write_all(&line).and_then(|()| out.flush());
            self.queue().is_writing = false;
            self.changed.notify_all();
        }
    }

    /// What is written next; none at the end.
    fn next(&self, gap: Gap) -> Option<Vec<u8>> {
        let is_not_wanted = |queue: &mut Queue| queue.is_idle() && !queue.is_over;
        let queue = self.changed.wait_while(self.queue(), is_not_wanted);
        let mut queue = queue.unwrap_or_else(PoisonError::into_inner);
        let line = match queue.waiting.pop_front() {
            Some(line) => {
                queue.bytes -= line.len();
                line
            }
            None if queue.left_out > 0 => gap(std::mem::take(&mut queue.left_out)).into_bytes(),
            None => return None,
        };
        queue.is_writing = true;
        Some(line)
    }
}

/// The end of an outlet: when it is dropped, what waits is written.
#[derive(Debug)]
pub(super) struct End(pub(super) Outlet);

impl Drop for End {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<'a> MakeWriter<'a> for Outlet {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { outlet: self, is_remark: false }
    }

    fn make_writer_for(&'a self, about: &Metadata<'_>) -> Line<'a> {
        Line { outlet: self, is_remark: about.target() == REMARK }
    }
}

/// A line that is about to be logged, which comes in one piece.
#[derive(Debug)]
pub(super) struct Line<'a> {
    outlet: &'a Outlet,
    is_remark: bool,
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.is_remark {
            true => self.outlet.remark(line),
            false => self.outlet.log(line),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// A reader that reads nothing until the other end of its channel is gone.
    struct Reader {
        reads: Receiver<()>,
        has_read: Arc<Mutex<String>>,
    }

    impl Write for Reader {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            let _ = self.reads.recv();
            self.has_read.lock().unwrap().push_str(std::str::from_utf8(text).unwrap());
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// An outlet, what holds its reader, and what was read.
    fn held(patience: Option<Duration>) -> (Outlet, SyncSender<()>, Arc<Mutex<String>>) {
        let ((hold, reads), has_read) = (sync_channel(0), Arc::<Mutex<String>>::default());
        let reader = Reader { reads, has_read: has_read.clone() };
        let outlet = Outlet::open(reader, |count| format!("{count} left out\n"), patience).unwrap();
        (outlet, hold, has_read)
    }

    #[test]
    fn lines_without_room_are_left_out_and_counted_in_their_place() {
        let (outlet, hold, has_read) = held(None);
        let line = |number: usize| format!("{number:01000}\n").into_bytes();
        let lines = 2 * WAITING_BYTES_MAX / line(0).len();

        (0..lines).for_each(|number| outlet.log(&line(number)));
        drop(hold);
        outlet.remark(b"there is room again\n");
        outlet.log(b"the log goes on\n");
        drop(End(outlet));

        let text = has_read.lock().unwrap().clone();
        let read: Vec<&str> = text.lines().collect();
        let numbers: Vec<usize> = read.iter().map_while(|line| line.parse().ok()).collect();
        assert!(numbers.iter().copied().eq(0..numbers.len()), "the oldest are there, in order");
        assert!((lines / 2 - 1..lines).contains(&numbers.len()), "{} of {lines}", numbers.len());
        let gap = format!("{} left out", lines - numbers.len());
        assert_eq!(read[numbers.len()..], [gap.as_str(), "there is room again", "the log goes on"]);
    }

    #[test]
    fn a_remark_is_written_when_the_command_goes_on() {
        let (outlet, hold, has_read) = held(None);
        drop(hold);

        outlet.log(b"logged\n");
        outlet.remark(b"remarked\n");

        assert_eq!(*has_read.lock().unwrap(), "logged\nremarked\n");
    }

    #[test]
    fn a_service_gives_a_reader_up_that_reads_nothing() {
        let (outlet, hold, has_read) = held(Some(Duration::from_millis(1)));

        (0..2).for_each(|_| outlet.log(&vec![b'x'; WAITING_BYTES_MAX]));
        outlet.remark(b"remarked\n");
        drop(End(outlet));

        assert_eq!(*has_read.lock().unwrap(), "");
        drop(hold);
    }
}
