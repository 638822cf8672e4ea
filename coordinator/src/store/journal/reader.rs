//! Reading a journal line by line: order, checksums, and where it ends.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bitloop_core::state::Fact;

use super::super::{OLDEST_FORMAT, STORE_FORMAT, StoreError};
use super::line::{self, Kind, Line, SegmentStart};

/// How the names of segments end.
pub(super) const SUFFIX: &str = ".jsonl";

/// How far a journal has been read, or written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// Number of lines.
    pub(super) lines: u64,
    /// Number of facts.
    pub(super) facts: u64,
    /// The last epoch.
    pub(super) epoch: u64,
    /// Number of facts before the last batch.
    pub(super) facts_before_batch: u64,
    batch: u64,
}

impl Position {
    /// Before the first line of a journal whose facts come from elsewhere.
    pub(super) fn at_epoch(epoch: u64) -> Self {
        Self { epoch, ..Self::default() }
    }

    /// Counts a line of a batch; `batch` is the number of lines before it.
    pub(super) fn count(&mut self, kind: Kind, batch: u64) {
        if batch != self.batch {
            self.batch = batch;
            self.facts_before_batch = self.facts;
        }
        self.lines += 1;
        self.facts += u64::from(kind == Kind::Fact);
    }
}

/// The last segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) number: u32,
    pub(super) format: u32,
    pub(super) path: PathBuf,
    /// Bytes of whole lines.
    pub(super) bytes: u64,
    /// Bytes behind them, which a crash left; the line they begin at.
    pub(super) torn: Option<Torn>,
}

/// What stands behind the last whole line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Torn {
    pub(super) line: u64,
    pub(super) bytes: u64,
}

/// Reads facts in order; holds one line at a time.
#[derive(Debug)]
pub(super) struct Reader {
    folder: PathBuf,
    waiting: VecDeque<(u32, PathBuf)>,
    input: Option<BufReader<File>>,
    buffer: Vec<u8>,
    /// Lines read of the current segment.
    line: u64,
    position: Position,
    tail: Tail,
}

/// What comes next in a segment.
enum Raw {
    Line,
    /// The file ends within a line.
    Cut,
    /// A byte that no text has.
    Zero,
    End,
}

/// What stands where a line should.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gap {
    /// Blocks that were never written, or lost.
    Zeros,
    Other,
}

impl Reader {
    /// Opens the journal in a folder; none if there is none.
    pub(super) fn open(folder: &Path) -> Result<Option<Self>, StoreError> {
        let segments = segments(folder)
            .map_err(|cause| StoreError::Open { folder: folder.to_owned(), reason: cause.to_string() })?;
        if segments.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            folder: folder.to_owned(),
            waiting: segments.into(),
            input: None,
            buffer: Vec::new(),
            line: 0,
            position: Position::default(),
            tail: Tail::default(),
        }))
    }

    /// How far it has read; after the last fact, where the journal ends.
    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// The segment it reads; after the last fact, the last one.
    pub(super) fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Reads the next fact. None at the end, behind which there may be a torn line.
    pub(super) fn next(&mut self) -> Result<Option<Fact>, StoreError> {
        let Some(body) = self.next_body()? else { return Ok(None) };
        let fact = serde_json::from_slice(&self.buffer[body]);
        fact.map(Some).map_err(|cause| self.damaged(self.line, format!("it is no fact ({cause})")))
    }

    /// Like [`Reader::next`], without parsing the fact; returns whether there was one.
    pub(super) fn skip(&mut self) -> Result<bool, StoreError> {
        Ok(self.next_body()?.is_some())
    }

    /// Finds the place of the next fact in the buffer.
    fn next_body(&mut self) -> Result<Option<Range<usize>>, StoreError> {
        loop {
            if self.input.is_none() {
                let Some((number, path)) = self.waiting.pop_front() else { return Ok(None) };
                self.open_segment(number, path)?;
                continue;
            }
            match self.read_raw()? {
                Raw::Line => {}
                Raw::End => {
                    self.input = None;
                    continue;
                }
                Raw::Cut => {
                    self.give_up("the line is cut off".to_owned(), Gap::Other)?;
                    continue;
                }
                Raw::Zero => {
                    self.give_up("a block of zeros stands there".to_owned(), Gap::Zeros)?;
                    continue;
                }
            }
            match self.take_line() {
                Ok((Kind::Fact, body)) => return Ok(Some(body)),
                Ok((Kind::Epoch | Kind::Segment, _)) => {}
                Err(reason) => self.give_up(reason, Gap::Other)?,
            }
        }
    }

    fn open_segment(&mut self, number: u32, path: PathBuf) -> Result<(), StoreError> {
        let is_first = self.tail.number == 0;
        if !is_first && number != self.tail.number + 1 {
            let reason = format!("segment {} should come before it, but is not there", self.tail.number + 1);
            return Err(self.damaged_in(path, 1, reason));
        }
        let opened = File::open(&path).map_err(|cause| self.unreadable(&cause))?;
        self.input = Some(BufReader::with_capacity(1 << 16, opened));
        self.line = 0;
        self.tail = Tail { number, format: STORE_FORMAT, path, bytes: 0, torn: None };
        match self.read_raw()? {
            Raw::Line => {}
            Raw::Cut | Raw::Zero | Raw::End => {
                return Err(self.damaged(1, "the line that begins a segment is not whole".to_owned()));
            }
        }
        match line::named_format(&self.buffer) {
            Some(found) if found > STORE_FORMAT => {
                return Err(StoreError::Newer { folder: self.folder.clone(), found });
            }
            Some(found) if found < OLDEST_FORMAT => {
                return Err(StoreError::Older { folder: self.folder.clone(), found });
            }
            Some(found) => self.tail.format = found,
            None => {}
        }
        match self.take_line() {
            Ok((Kind::Segment, _)) => Ok(()),
            Ok((Kind::Epoch | Kind::Fact, _)) => {
                Err(self.damaged(1, "a segment does not begin so".to_owned()))
            }
            Err(reason) => Err(self.damaged(1, reason)),
        }
    }

    /// Checks the line in the buffer against what came before, and counts it.
    fn take_line(&mut self) -> Result<(Kind, Range<usize>), String> {
        let Line { place, kind, body } = line::read(&self.buffer).map_err(|error| error.to_string())?;
        if place.sequence != self.position.lines || place.batch > place.sequence {
            return Err(format!(
                "line {} of the journal stands where {} is due",
                place.sequence, self.position.lines
            ));
        }
        let start = body.as_ptr() as usize - self.buffer.as_ptr() as usize;
        let body_range = start..start + body.len();
        match kind {
            Kind::Fact => {}
            Kind::Epoch => self.position.epoch = parse(body)?,
            Kind::Segment => {
                let found: SegmentStart = parse(body)?;
                let Position { facts, epoch, .. } = self.position;
                let expected =
                    SegmentStart { format: self.tail.format, number: self.tail.number, facts, epoch };
                // The first line of a journal that was written from a store says where that one stood.
                if place.sequence == 0 && (SegmentStart { epoch, ..found }) == expected {
                    self.position.epoch = found.epoch;
                } else if found != expected {
                    return Err(format!("{found:?} begins where {expected:?} is due"));
                }
            }
        }
        self.position.count(kind, place.batch);
        self.tail.bytes += self.buffer.len() as u64 + 1;
        Ok((kind, body_range))
    }

    /// Ends a segment before bytes that are no line: what a crash left if nothing whole follows that was durable, damage
    /// otherwise.
    fn give_up(&mut self, reason: String, gap: Gap) -> Result<(), StoreError> {
        let line = self.line;
        let is_last = self.waiting.is_empty();
        if !is_last || self.is_durable_ahead(gap)? {
            return Err(self.damaged(line, reason));
        }
        self.input = None;
        let len = fs::metadata(&self.tail.path).map_err(|cause| self.unreadable(&cause))?.len();
        self.tail.torn = Some(Torn { line, bytes: len.saturating_sub(self.tail.bytes) });
        Ok(())
    }

    /// Whether a whole line follows that must have been durable together with what should stand in the gap.
    ///
    /// A power failure within a write may leave zeros where its first blocks should be, and whole lines behind them: of
    /// the same batch, which was never acknowledged. A batch begins at the number of its first line.
    fn is_durable_ahead(&mut self, gap: Gap) -> Result<bool, StoreError> {
        let due = self.position.lines;
        loop {
            match self.read_raw()? {
                Raw::Line => match line::read(&self.buffer) {
                    Ok(whole) if gap == Gap::Other || whole.place.batch > due => return Ok(true),
                    Ok(_) | Err(_) => {}
                },
                Raw::Zero => {}
                Raw::Cut | Raw::End => return Ok(false),
            }
        }
    }

    /// Reads up to the end of a line, or to the first zero.
    fn read_raw(&mut self) -> Result<Raw, StoreError> {
        self.line += 1;
        self.buffer.clear();
        let Some(input) = &mut self.input else { return Ok(Raw::End) };
        match read_raw(input, &mut self.buffer) {
            Ok(raw) => Ok(raw),
            Err(cause) => Err(self.unreadable(&cause)),
        }
    }

    fn damaged(&self, line: u64, reason: String) -> StoreError {
        self.damaged_in(self.tail.path.clone(), line, reason)
    }

    fn damaged_in(&self, file: PathBuf, line: u64, reason: String) -> StoreError {
        StoreError::Journal { folder: self.folder.clone(), file, line, reason }
    }

    fn unreadable(&self, cause: &io::Error) -> StoreError {
        StoreError::Open { folder: self.folder.clone(), reason: cause.to_string() }
    }
}

fn read_raw(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Raw> {
    loop {
        let chunk = input.fill_buf()?;
        if chunk.is_empty() {
            return Ok(if line.is_empty() { Raw::End } else { Raw::Cut });
        }
        let end = chunk.iter().position(|byte| matches!(byte, b'\n' | 0));
        let (taken, found) = match end {
            None => (chunk.len(), None),
            Some(end) => (end, Some(if chunk[end] == 0 { Raw::Zero } else { Raw::Line })),
        };
        line.extend_from_slice(&chunk[..taken]);
        input.consume(taken + usize::from(found.is_some()));
        if let Some(raw) = found {
            return Ok(raw);
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|cause| format!("it cannot be read ({cause})"))
}

/// Number and path of every segment, in order.
fn segments(folder: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut segments = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)?.parse().ok());
        segments.extend(number.map(|number: u32| (number, entry.path())));
    }
    segments.sort();
    Ok(segments)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raws(mut bytes: &[u8]) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        loop {
            let mut line = Vec::new();
            let raw = match read_raw(&mut bytes, &mut line).unwrap() {
                Raw::End => return found,
                Raw::Line => "line",
                Raw::Cut => "cut",
                Raw::Zero => "zero",
            };
            found.push((raw, String::from_utf8(line).unwrap()));
        }
    }

    #[test]
    fn lines_end_at_newlines_zeros_and_the_end() {
        let text = str::to_owned;
        assert_eq!(raws(b""), []);
        assert_eq!(raws(b"a\n\nb"), [("line", text("a")), ("line", text("")), ("cut", text("b"))]);
        assert_eq!(raws(b"a\0\0b\n"), [("zero", text("a")), ("zero", text("")), ("line", text("b"))]);
    }
}
