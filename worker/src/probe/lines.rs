//! Lines of a process's output, which may be of any length and never end.

use std::io::{self, BufRead};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use bitloop_proto::convert::{LINE_BYTES_MAX, to_log_line};

/// Longest line of an answer: a hundred thousand rounds of two numbers with all their digits take less.
pub(super) const ANSWER_BYTES_MAX: usize = 8 << 20;

/// Lines of standard error that wait to be taken; more are left out.
const COMPLAINTS_KEPT: usize = 256;

/// What a process says on standard output.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// A line without its end.
    Line(Vec<u8>),
    /// A line longer than [`ANSWER_BYTES_MAX`]; nothing is read behind its beginning.
    TooLong,
    /// The end, whether in the middle of a line.
    Closed {
        /// Whether a line had begun.
        torn: bool,
    },
}

/// What is done about the rest of a line that is too long.
#[derive(Clone, Copy, PartialEq)]
enum Rest {
    Leave,
    Skip,
}

/// The start of a line, as far as it is kept.
#[derive(Debug, Default, PartialEq)]
struct Start {
    bytes: Vec<u8>,
    is_cut: bool,
    is_ended: bool,
}

/// Reads up to the end of a line; keeps so many bytes of it.
fn line(from: &mut impl BufRead, bytes_max: usize, rest: Rest) -> io::Result<Start> {
    let mut start = Start::default();
    loop {
        let there = match from.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            there => there?,
        };
        if there.is_empty() {
            return Ok(start);
        }
        let end = there.iter().position(|byte| *byte == b'\n');
        let part = &there[..end.unwrap_or(there.len())];
        let kept = part.len().min(bytes_max - start.bytes.len());
        start.bytes.extend_from_slice(&part[..kept]);
        start.is_cut |= kept < part.len();
        start.is_ended = end.is_some();
        let read = end.map_or(there.len(), |end| end + 1);
        from.consume(read);
        if start.is_ended || (start.is_cut && rest == Rest::Leave) {
            return Ok(start);
        }
    }
}

/// Hands on the lines of standard output until it ends, one is too long, or nobody wants them.
pub(super) fn hand_on_answers(mut from: impl BufRead, to: &SyncSender<Said>) {
    loop {
        let said = match line(&mut from, ANSWER_BYTES_MAX, Rest::Leave) {
            Ok(Start { is_cut: true, .. }) => Said::TooLong,
            Ok(Start { is_ended: true, bytes, .. }) => Said::Line(bytes),
            Ok(Start { bytes, .. }) => Said::Closed { torn: !bytes.is_empty() },
            Err(_) => Said::Closed { torn: false },
        };
        let is_last = !matches!(said, Said::Line(_));
        if to.send(said).is_err() || is_last {
            return;
        }
    }
}

/// Lines of standard error on their way to whoever waits for answers.
pub(super) struct Complaints {
    pub(super) lines: Receiver<String>,
    left_out: Arc<AtomicU64>,
}

/// The other end of [`Complaints`].
pub(super) struct ComplaintWriter {
    lines: SyncSender<String>,
    left_out: Arc<AtomicU64>,
}

impl Complaints {
    pub(super) fn channel() -> (ComplaintWriter, Self) {
        let (sender, lines) = sync_channel(COMPLAINTS_KEPT);
        let left_out = Arc::new(AtomicU64::new(0));
        (ComplaintWriter { lines: sender, left_out: Arc::clone(&left_out) }, Self { lines, left_out })
    }

    /// How many lines had no place since it was asked last.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out.swap(0, Ordering::Relaxed)
    }
}

/// Hands on the beginnings of lines of standard error, as far as there is a place for them: whoever writes them never waits.
pub(super) fn hand_on_complaints(mut from: impl BufRead, to: &ComplaintWriter) {
    while let Ok(Start { bytes, is_ended, .. }) = line(&mut from, LINE_BYTES_MAX, Rest::Skip) {
        if !is_ended && bytes.is_empty() {
            return;
        }
        let text = to_log_line(String::from_utf8_lossy(&bytes).trim_end());
        match to.lines.try_send(text) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                to.left_out.fetch_add(1, Ordering::Relaxed);
            }
            Err(TrySendError::Disconnected(_)) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read};

    use super::*;

    fn said(from: impl Read) -> Vec<Said> {
        let (sender, receiver) = sync_channel(16);
        hand_on_answers(BufReader::new(from), &sender);
        receiver.try_iter().collect()
    }

    #[test]
    fn lines_come_whole_and_a_torn_one_is_told() {
        let line = |text: &str| Said::Line(text.as_bytes().to_vec());

        assert_eq!(
            said(&b"one\n\ntwo\n"[..]),
            [line("one"), line(""), line("two"), Said::Closed { torn: false }]
        );
        assert_eq!(said(&b"one\ntw"[..]), [line("one"), Said::Closed { torn: true }]);
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        assert_eq!(said(std::io::repeat(b'x')), [Said::TooLong]);
        let longest = std::io::repeat(b'x').take(ANSWER_BYTES_MAX as u64).chain(&b"\n"[..]);
        assert!(matches!(said(longest).as_slice(), [Said::Line(_), Said::Closed { torn: false }]));
    }

    #[test]
    fn complaints_are_cut_and_counted_and_hold_up_nobody() {
        let (writer, complaints) = Complaints::channel();
        let long = "x".repeat(10 * LINE_BYTES_MAX);
        let text = format!("{long}\nbell \u{7} rings\r\n") + &"more\n".repeat(COMPLAINTS_KEPT) + "end";

        hand_on_complaints(text.as_bytes(), &writer);

        let lines: Vec<String> = complaints.lines.try_iter().collect();
        assert_eq!((lines.len(), lines[0].len()), (COMPLAINTS_KEPT, LINE_BYTES_MAX));
        assert_eq!(lines[1], "bell \u{fffd} rings");
        assert_eq!((complaints.left_out(), complaints.left_out()), (3, 0));
    }
}
