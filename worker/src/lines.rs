//! What a worker writes while it measures, kept for whoever asks the coordinator about a trial.
//!
//! A layer takes what the compute thread says (`layer.rs`) and puts it into a ring; a
//! courier sends what is in it (`courier.rs`). Nothing waits for either: what does not fit is left out and counted, and no trial
//! depends on it.

mod courier;
mod layer;

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bitloop_core::trial::TrialKey;
use bitloop_proto::convert::{LINES_MAX, LogLevel, LogLine, to_log_line};
use tokio::sync::Notify;

use crate::clock;

pub(crate) use courier::Courier;
pub(crate) use layer::keep_lines_of_this_thread;
pub use layer::{LineLayer, log_lines};

/// Lines that wait for the coordinator.
const KEPT_MAX: usize = 1_024;

/// Bytes of their texts.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// Which trials a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Subject {
    /// The first of those that are measured together.
    trial: TrialKey,
    alone: bool,
}

#[derive(Clone, Debug)]
struct Line {
    subject: Subject,
    written: Instant,
    level: LogLevel,
    text: String,
}

#[derive(Debug, Default)]
struct Inner {
    subject: Option<Subject>,
    lines: VecDeque<Line>,
    bytes: usize,
    /// Number of the oldest line that is kept.
    first: u64,
    left_out: u64,
}

impl Inner {
    fn drop_oldest(&mut self) {
        if let Some(line) = self.lines.pop_front() {
            self.bytes -= line.text.len();
            self.first += 1;
        }
    }
}

/// The newest lines of one worker.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    inner: Mutex<Inner>,
    filled: Notify,
}

/// Lines to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) lines: Vec<LogLine>,
    /// Lines before them that were thrown away.
    pub(crate) left_out: u64,
    /// Number of the line behind them.
    until: u64,
}

impl Ring {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic between two updates loses at most a line.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says which trials are measured together from now on; lines while there are none belong to nobody.
    pub(crate) fn about<'a>(&self, trials: impl IntoIterator<Item = &'a TrialKey>) {
        let mut trials = trials.into_iter();
        let first = trials.next();
        let alone = trials.next().is_none();
        self.lock().subject = first.map(|trial| Subject { trial: *trial, alone });
    }

    /// Keeps a line, at the cost of the oldest ones.
    fn push(&self, level: LogLevel, text: &str) {
        let text = to_log_line(text);
        let mut inner = self.lock();
        let Some(subject) = inner.subject else { return };
        inner.bytes += text.len();
        inner.lines.push_back(Line { subject, written: clock::now(), level, text });
        while inner.lines.len() > KEPT_MAX || inner.bytes > KEPT_BYTES_MAX {
            inner.drop_oldest();
            inner.left_out += 1;
        }
        drop(inner);
        self.filled.notify_one();
    }

    /// Waits for a line.
    async fn filled(&self) {
        while self.lock().lines.is_empty() {
            self.filled.notified().await;
        }
    }

    /// The oldest lines, as many as one call takes; none if there are none.
    fn batch(&self) -> Option<Batch> {
        let inner = self.lock();
        let lines: Vec<LogLine> = inner.lines.iter().take(LINES_MAX).map(to_send).collect();
        let until = inner.first + lines.len() as u64;
        (!lines.is_empty()).then_some(Batch { lines, left_out: inner.left_out, until })
    }

    /// Forgets lines that have been sent, or that nobody takes.
    fn forget(&self, batch: &Batch) {
        let mut inner = self.lock();
        while inner.first < batch.until && !inner.lines.is_empty() {
            inner.drop_oldest();
        }
        inner.left_out -= batch.left_out.min(inner.left_out);
    }
}

fn to_send(line: &Line) -> LogLine {
    let Line { subject: Subject { trial, alone }, written, level, text } = line;
    let ago_ms = u64::try_from(clock::elapsed(*written).as_millis()).unwrap_or(u64::MAX);
    LogLine { trial: *trial, alone: *alone, ago_ms, level: *level, text: text.clone() }
}

#[cfg(test)]
mod tests {
    use bitloop_core::digest::Digest;
    use bitloop_proto::convert::LINE_BYTES_MAX;

    use super::*;

    fn key(number: u8) -> TrialKey {
        TrialKey(Digest::of(&[number]))
    }

    fn texts(batch: &Batch) -> Vec<&str> {
        batch.lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn lines_are_of_the_trials_at_hand_and_none_without() {
        let ring = Ring::default();
        ring.push(LogLevel::Info, "nobody's");
        ring.about(&[key(1), key(2)]);
        ring.push(LogLevel::Info, "together");
        ring.about(&[key(2)]);
        ring.push(LogLevel::Warn, "alone");
        ring.about([]);
        ring.push(LogLevel::Info, "nobody's");

        let batch = ring.batch().unwrap();

        let found: Vec<_> = batch.lines.iter().map(|line| (line.trial, line.alone, line.level)).collect();
        assert_eq!(found, [(key(1), false, LogLevel::Info), (key(2), true, LogLevel::Warn)]);
        assert_eq!(texts(&batch), ["together", "alone"]);
    }

    #[test]
    fn what_is_kept_is_bounded_in_lines_and_what_went_is_counted() {
        let ring = Ring::default();
        ring.about(&[key(1)]);
        (0..KEPT_MAX + 3).for_each(|number| ring.push(LogLevel::Info, &number.to_string()));

        let batch = ring.batch().unwrap();

        assert_eq!((batch.left_out, batch.lines.len()), (3, LINES_MAX));
        assert_eq!(batch.lines[0].text, "3", "the oldest go first");
        ring.forget(&batch);
        let next = ring.batch().unwrap();
        assert_eq!((next.left_out, texts(&next)[0].to_owned()), (0, (3 + LINES_MAX).to_string()));
    }

    #[test]
    fn what_is_kept_is_bounded_in_bytes_and_lines_in_length() {
        let ring = Ring::default();
        ring.about(&[key(1)]);
        let long = "x".repeat(10 * LINE_BYTES_MAX);
        let fitting = KEPT_BYTES_MAX / LINE_BYTES_MAX;
        (0..fitting + 2).for_each(|_| ring.push(LogLevel::Info, &long));

        let inner = ring.lock();
        assert_eq!((inner.lines.len(), inner.bytes, inner.left_out), (fitting, KEPT_BYTES_MAX, 2));
        assert!(inner.lines.iter().all(|line| line.text.len() == LINE_BYTES_MAX));
    }

    #[test]
    fn lines_that_come_while_others_are_sent_are_not_forgotten_with_them() {
        let ring = Ring::default();
        ring.about(&[key(1)]);
        ring.push(LogLevel::Info, "first");
        let batch = ring.batch().unwrap();
        ring.push(LogLevel::Info, "second");

        ring.forget(&batch);

        assert_eq!(texts(&ring.batch().unwrap()), ["second"]);
        // As when a batch is forgotten whose lines were pushed out meanwhile.
        ring.forget(&batch);
        assert_eq!(texts(&ring.batch().unwrap()), ["second"]);
    }
}
