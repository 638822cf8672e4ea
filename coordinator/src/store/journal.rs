//! The journal: every fact and every start, one line each, in files that are only ever appended to.
//!
//! `000001.jsonl`, `000002.jsonl`, ... are its segments; `line.rs` says what a line looks like. An append is durable
//! when it returns; one that fails leaves nothing that counts, and what it wrote is cut off before the next. A segment
//! appears whole with its first line or not at all. Nothing here reads more than one line at a time.

mod line;
mod reader;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bitloop_core::state::Fact;
use tracing::warn;

use self::line::{Kind, Place, SegmentStart};
use self::reader::{Position, Reader, SUFFIX, Tail};
use super::{STORE_FORMAT, StoreError};
use crate::files::PartFile;

/// A segment this long is followed by another one: short enough to look into, long enough that there are few.
const SEGMENT_BYTES: u64 = 64 << 20;

/// Bytes gathered for one write.
const WRITE_BYTES: usize = 1 << 16;

/// A journal to append to.
#[derive(Debug)]
pub(super) struct Journal {
    folder: PathBuf,
    position: Position,
    tail: Tail,
    /// The last segment; closed after a failed write, as nobody knows what of it is on disk.
    file: Option<File>,
    segment_bytes: u64,
}

/// What an append writes.
#[derive(Clone, Copy)]
enum Entry<'a> {
    Epoch(u64),
    Fact(&'a Fact),
}

impl Journal {
    /// Opens the journal in a folder, checking every line; none if there is none. A torn end is cut off.
    pub(super) fn open(folder: &Path) -> Result<Option<Self>, StoreError> {
        let Some(mut reader) = Reader::open(folder)? else { return Ok(None) };
        while reader.skip()? {}
        let tail = reader.tail().clone();
        let mut journal = Self {
            folder: folder.to_owned(),
            position: reader.position(),
            tail,
            file: None,
            segment_bytes: SEGMENT_BYTES,
        };
        if let Some(torn) = journal.tail.torn.take() {
            let (file, line, bytes) = (journal.tail.path.display(), torn.line, torn.bytes);
            warn!(%file, line, bytes, "the journal ended in a line that was never finished; it is cut off");
            let file = journal.writable().and_then(|file| file.sync_all().map(|()| file));
            journal.file = Some(file.map_err(|cause| journal.unwritten(&cause))?);
        }
        Ok(Some(journal))
    }

    /// Writes a journal of facts that are stored elsewhere already: all of it or nothing.
    pub(super) fn create(folder: &Path, epoch: u64, facts: &[Fact]) -> Result<Self, StoreError> {
        let mut journal = Self {
            folder: folder.to_owned(),
            position: Position::at_epoch(epoch),
            tail: Tail::default(),
            file: None,
            segment_bytes: SEGMENT_BYTES,
        };
        let created = journal.start_segment(facts);
        created.map_err(|cause| journal.unwritten(&cause))?;
        Ok(journal)
    }

    /// A new segment after so many bytes.
    #[cfg(test)]
    pub(super) fn rotated_after(mut self, segment_bytes: u64) -> Self {
        self.segment_bytes = segment_bytes;
        self
    }

    /// Makes the next write fail as a disk does: some of it is written, but not all.
    #[cfg(test)]
    pub(super) fn tear_next_write(&mut self) {
        let mut file = self.writable().unwrap();
        file.write_all(b"{\"sequence\":").unwrap();
        self.file = Some(File::open(&self.tail.path).unwrap());
    }

    /// Number of facts in it.
    pub(super) fn facts(&self) -> u64 {
        self.position.facts
    }

    /// Number of facts before the last batch, which alone may not have reached the store.
    pub(super) fn facts_before_batch(&self) -> u64 {
        self.position.facts_before_batch
    }

    /// The last epoch in it.
    pub(super) fn epoch(&self) -> u64 {
        self.position.epoch
    }

    /// Reads the facts from number `from` on, one at a time.
    pub(super) fn facts_from(
        &self,
        from: u64,
    ) -> Result<impl Iterator<Item = Result<Fact, StoreError>>, StoreError> {
        let mut reader = Reader::open(&self.folder)?;
        if let Some(reader) = &mut reader {
            while reader.position().facts < from && reader.skip()? {}
        }
        Ok(std::iter::from_fn(move || reader.as_mut()?.next().transpose()))
    }

    /// Appends facts; they are durable when this returns. After an error none of them counts.
    pub(super) fn append(&mut self, facts: &[&Fact]) -> Result<(), StoreError> {
        let entries: Vec<Entry<'_>> = facts.iter().map(|fact| Entry::Fact(fact)).collect();
        self.write(&entries)
    }

    /// Records a start.
    pub(super) fn raise_epoch(&mut self, epoch: u64) -> Result<(), StoreError> {
        self.write(&[Entry::Epoch(epoch)])
    }

    fn write(&mut self, entries: &[Entry<'_>]) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        self.try_write(entries).map_err(|cause| self.unwritten(&cause))
    }

    fn try_write(&mut self, entries: &[Entry<'_>]) -> io::Result<()> {
        // What is written by another format never follows in one segment.
        if self.tail.bytes >= self.segment_bytes || self.tail.format != STORE_FORMAT {
            self.start_segment(&[])?;
        }
        // Put back only when all is well: a file is not to be trusted after an error of its disk.
        let file = match self.file.take() {
            Some(file) => file,
            None => self.writable()?,
        };
        let mut lines = Lines { position: self.position, bytes: 0, buffer: Vec::new() };
        let batch = lines.position.lines;
        let mut output = BufWriter::with_capacity(WRITE_BYTES, &file);
        for entry in entries {
            output.write_all(lines.next(batch, *entry))?;
        }
        output.flush()?;
        drop(output);
        file.sync_data()?;
        self.file = Some(file);
        self.position = lines.position;
        self.tail.bytes += lines.bytes;
        Ok(())
    }

    /// Opens the last segment behind its last whole line.
    fn writable(&self) -> io::Result<File> {
        let mut file = OpenOptions::new().write(true).open(&self.tail.path)?;
        file.set_len(self.tail.bytes)?;
        file.seek(SeekFrom::End(0))?;
        Ok(file)
    }

    /// Puts a new segment into its place, with these facts if there are any.
    fn start_segment(&mut self, facts: &[Fact]) -> io::Result<()> {
        let number = self.tail.number + 1;
        let path = self.folder.join(format!("{number:06}{SUFFIX}"));
        let mut part = PartFile::create(&path)?;
        let mut lines = Lines { position: self.position, bytes: 0, buffer: Vec::new() };
        part.write(lines.start(number))?;
        for fact in facts {
            let batch = lines.position.lines;
            part.write(lines.next(batch, Entry::Fact(fact)))?;
        }
        part.finish()?;
        self.file = None;
        self.position = lines.position;
        self.tail = Tail { number, format: STORE_FORMAT, path, bytes: lines.bytes, torn: None };
        Ok(())
    }

    fn unwritten(&self, cause: &io::Error) -> StoreError {
        StoreError::unwritten(&self.folder, cause)
    }
}

/// What a look at a journal finds, which changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Survey {
    pub(super) facts: u64,
    pub(super) facts_before_batch: u64,
    pub(super) epoch: u64,
    /// Bytes behind the last whole line.
    pub(super) torn_bytes: Option<u64>,
    /// The first thing that the check had to say.
    pub(super) difference: Option<String>,
}

impl Survey {
    /// Reads all of a journal and checks its facts by number, up to the first difference; none if there is no journal.
    pub(super) fn of(
        folder: &Path,
        mut check: impl FnMut(u64, Fact) -> Option<String>,
    ) -> Result<Option<Self>, StoreError> {
        let Some(mut reader) = Reader::open(folder)? else { return Ok(None) };
        let mut difference = None;
        loop {
            let number = reader.position().facts;
            let Some(fact) = reader.next()? else { break };
            if difference.is_none() {
                difference = check(number, fact);
            }
        }
        let Position { facts, epoch, facts_before_batch, .. } = reader.position();
        let torn_bytes = reader.tail().torn.map(|torn| torn.bytes);
        Ok(Some(Self { facts, facts_before_batch, epoch, torn_bytes, difference }))
    }
}

/// Makes lines one after another, in one buffer.
struct Lines {
    position: Position,
    bytes: u64,
    buffer: Vec<u8>,
}

impl Lines {
    fn start(&mut self, number: u32) -> &[u8] {
        let Position { lines, facts, epoch, .. } = self.position;
        let start = SegmentStart { format: STORE_FORMAT, number, facts, epoch };
        line::write(&mut self.buffer, Place { sequence: lines, batch: lines }, Kind::Segment, &start);
        self.count(Kind::Segment, lines)
    }

    fn next(&mut self, batch: u64, entry: Entry<'_>) -> &[u8] {
        let place = Place { sequence: self.position.lines, batch };
        match entry {
            Entry::Fact(fact) => {
                line::write(&mut self.buffer, place, Kind::Fact, fact);
                self.count(Kind::Fact, batch)
            }
            Entry::Epoch(epoch) => {
                line::write(&mut self.buffer, place, Kind::Epoch, &epoch);
                self.position.epoch = epoch;
                self.count(Kind::Epoch, batch)
            }
        }
    }

    fn count(&mut self, kind: Kind, batch: u64) -> &[u8] {
        self.position.count(kind, batch);
        self.bytes += self.buffer.len() as u64;
        &self.buffer
    }
}
