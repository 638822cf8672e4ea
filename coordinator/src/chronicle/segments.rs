//! Lines in files that never hold more than so much together: a full file is followed by the next, and the oldest goes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Files that the bytes are spread over.
const FILES: u64 = 16;

/// Longest line that is read; none is written that is nearly as long.
const LINE_BYTES_MAX: u64 = 8 << 20;

/// Bytes that are looked at together for the end of the last whole line.
const TORN_BLOCK: usize = 4 << 10;

/// Files of lines, the newest of which is appended to.
#[derive(Debug)]
pub(super) struct Segments {
    folder: PathBuf,
    bytes_max: u64,
    newest: Option<Newest>,
}

#[derive(Debug)]
struct Newest {
    file: File,
    bytes: u64,
}

fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:09}.jsonl"))
}

/// The numbers of the files in a folder, ascending; none if it cannot be read.
fn numbers(folder: &Path) -> Vec<u64> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let number = |name: &str| name.strip_suffix(".jsonl")?.parse().ok();
    let mut numbers: Vec<u64> = entries.filter_map(|entry| number(entry.file_name().to_str()?)).collect();
    numbers.sort_unstable();
    numbers
}

impl Segments {
    /// Files in a folder that is made when something is written.
    pub(super) fn open(folder: &Path, bytes_max: u64) -> Self {
        Self { folder: folder.to_owned(), bytes_max, newest: None }
    }

    /// Adds whole lines; a file gets no more of them than has room, and at least one. They are not synced: what a power cut takes away was no result.
    ///
    /// Errors: what of it was written is cut off again, now or with the next attempt, so that attempts that fail, as on a full
    /// disk, cost no lines of earlier.
    pub(super) fn append(&mut self, mut lines: &[u8]) -> io::Result<()> {
        self.append_from(&mut lines)
    }

    /// The same; leaves the lines that are not written.
    pub(super) fn append_from(&mut self, lines: &mut &[u8]) -> io::Result<()> {
        loop {
            let written = self.append_some(lines)?;
            *lines = &lines[written..];
            if lines.is_empty() {
                return Ok(());
            }
        }
    }

    /// Adds some of the lines; returns how many bytes of them.
    fn append_some(&mut self, lines: &[u8]) -> io::Result<usize> {
        let bytes_max = self.bytes_max / FILES;
        let mut newest = match self.newest.take() {
            Some(newest) if newest.bytes < bytes_max => newest,
            Some(_) | None => self.next(bytes_max)?,
        };
        let room = usize::try_from(bytes_max - newest.bytes).unwrap_or(usize::MAX);
        let fitting = &lines[..first_lines(lines, room)];
        let written = newest.file.write_all(fitting);
        match written {
            Ok(()) => newest.bytes += fitting.len() as u64,
            // If that fails too, the file is opened anew and looked at.
            Err(_) => newest.file.set_len(newest.bytes)?,
        }
        self.newest = Some(newest);
        written.map(|()| fitting.len())
    }

    /// The last file if it has room, without what follows its last whole line; else a new one.
    fn next(&self, bytes_max: u64) -> io::Result<Newest> {
        fs::create_dir_all(&self.folder)?;
        let known = numbers(&self.folder);
        if let Some(number) = known.last().copied() {
            let mut file = OpenOptions::new().read(true).append(true).open(path(&self.folder, number))?;
            let bytes = cut_torn_line(&mut file)?;
            if bytes < bytes_max {
                return Ok(Newest { file, bytes });
            }
        }
        let number = known.last().map_or(1, |last| last + 1);
        for old in known.iter().rev().skip(FILES as usize - 1) {
            fs::remove_file(path(&self.folder, *old))?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path(&self.folder, number))?;
        Ok(Newest { file, bytes: 0 })
    }
}

/// The length of as many whole lines as fit into `room`, and of one if none does.
fn first_lines(lines: &[u8], room: usize) -> usize {
    let fitting = &lines[..lines.len().min(room)];
    if fitting.len() == lines.len() {
        return lines.len();
    }
    let end = |place: usize| place + 1;
    let last = fitting.iter().rposition(|byte| *byte == b'\n').map(end);
    last.or_else(|| lines.iter().position(|byte| *byte == b'\n').map(end)).unwrap_or(lines.len())
}

/// Cuts off what follows the last whole line; returns how many bytes are left.
fn cut_torn_line(file: &mut File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut whole = length;
    let mut block = [0; TORN_BLOCK];
    while whole > 0 {
        let start = whole.saturating_sub(TORN_BLOCK as u64);
        let block = &mut block[..(whole - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(block)?;
        if let Some(place) = block.iter().rposition(|byte| *byte == b'\n') {
            whole = start + place as u64 + 1;
            break;
        }
        whole = start;
    }
    if whole < length {
        file.set_len(whole)?;
    }
    Ok(whole)
}

/// Where a reader is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    number: u64,
    offset: u64,
}

/// Reads lines in order, also those that are written meanwhile.
#[derive(Debug)]
pub(super) struct Reader {
    folder: PathBuf,
    place: Place,
}

/// What a reader came upon.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Line(Vec<u8>),
    /// Lines that were not read yet have been thrown away.
    Gap,
}

impl Reader {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), place: Place::default() }
    }

    /// Gives every whole line from its place on to `take`, until that has had enough and says false; returns whether there may be
    /// more.
    pub(super) fn read(&mut self, mut take: impl FnMut(Found) -> bool) -> bool {
        loop {
            let known = numbers(&self.folder);
            let Some(number) = known.iter().copied().find(|number| *number >= self.place.number) else {
                return false;
            };
            if number != self.place.number {
                let had_begun = self.place.number != 0;
                self.place = Place { number, offset: 0 };
                if had_begun && !take(Found::Gap) {
                    return true;
                }
            }
            // A file may be thrown away at any moment; then the next one is looked at.
            if !self.read_file(&mut take).unwrap_or(true) {
                return true;
            }
            let Some(next) = known.iter().copied().find(|known| *known > number) else { return false };
            self.place = Place { number: next, offset: 0 };
        }
    }

    /// Reads on in the file at hand; returns whether it came to the end.
    fn read_file(&mut self, take: &mut impl FnMut(Found) -> bool) -> io::Result<bool> {
        let mut file = File::open(path(&self.folder, self.place.number))?;
        file.seek(SeekFrom::Start(self.place.offset))?;
        let mut file = BufReader::with_capacity(1 << 18, file);
        loop {
            let mut line = Vec::new();
            let length = file.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
            // What has no end is still being written, or was cut off by a crash.
            if length == 0 || (line.last() != Some(&b'\n') && length as u64 != LINE_BYTES_MAX) {
                return Ok(true);
            }
            self.place.offset += length as u64;
            if !take(Found::Line(line)) {
                return Ok(false);
            }
        }
    }
}

/// All lines of a folder.
pub(super) fn read_all(folder: &Path) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    Reader::new(folder).read(|found| {
        if let Found::Line(line) = found {
            lines.push(line);
        }
        true
    });
    lines
}
