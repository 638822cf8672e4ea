//! The stored entries of a zip archive, as `torch.save` writes them.
//!
//! Only the central directory is believed, and only after every entry was found to lie within the file, apart from all
//! others and uncompressed. So no archive can unfold to more than it is.

use std::collections::BTreeMap;

use flate2::Crc;

use super::cursor::Cursor;
use super::error::ZipError;

/// How an archive begins, if it has an entry.
pub(super) const LOCAL_HEADER: [u8; 4] = *b"PK\x03\x04";

const DIRECTORY_ENTRY: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END_64: u32 = 0x0606_4b50;
const LOCATOR_64: u32 = 0x0706_4b50;

/// Bytes of the fixed parts of the records.
const LOCAL_HEADER_BYTES: usize = 30;
const DIRECTORY_ENTRY_BYTES: usize = 46;
const END_BYTES: usize = 22;
const LOCATOR_64_BYTES: usize = 20;
/// The archive's comment has a 16-bit length.
const COMMENT_BYTES_MAX: usize = 0xffff;

/// The extra field with sizes and offset that do not fit into 32 bits.
const EXTRA_64: u16 = 1;
/// The value of a 32-bit field whose true value is in [`EXTRA_64`].
const IN_EXTRA: u64 = 0xffff_ffff;
const ENCRYPTED: u16 = 1;
const STORED: u16 = 0;

/// An archive whose entries were all checked.
#[derive(Debug)]
pub(super) struct Archive<'a> {
    entries: BTreeMap<&'a str, Entry<'a>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry<'a> {
    content: &'a [u8],
    checksum: u32,
}

impl<'a> Archive<'a> {
    /// Reads the directory and checks every entry's place; the contents are read later.
    ///
    /// Errors: [`ZipError`]: damage, compression, encryption, names given twice, entries that share bytes.
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, ZipError> {
        let directory = Directory::find(bytes).ok_or(ZipError::NoDirectory)?;
        let mut input = Cursor::new(&bytes[..directory.end], directory.start);
        let mut entries = BTreeMap::new();
        let mut places = Vec::new();
        for _ in 0..directory.entries {
            let listed = Listed::read(&mut input)?;
            let content = listed.content(&bytes[..directory.start])?;
            places.push((listed.offset, content.end, listed.name));
            let entry = Entry { content: &bytes[content], checksum: listed.checksum };
            if entries.insert(listed.name, entry).is_some() {
                return Err(ZipError::Twice { name: listed.name.to_owned() });
            }
        }
        places.sort_unstable();
        match places.windows(2).find(|pair| pair[0].1 > pair[1].0) {
            Some(pair) => {
                Err(ZipError::Overlap { first: pair[0].2.to_owned(), second: pair[1].2.to_owned() })
            }
            None => Ok(Self { entries }),
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.entries.keys().copied()
    }

    /// Returns an entry's content after comparing its checksum; `None` where there is no such entry.
    ///
    /// Errors: `Checksum`.
    pub(super) fn content(&self, name: &str) -> Result<Option<&'a [u8]>, ZipError> {
        let Some(entry) = self.entries.get(name) else { return Ok(None) };
        let mut checksum = Crc::new();
        checksum.update(entry.content);
        if checksum.sum() != entry.checksum {
            return Err(ZipError::Checksum { name: name.to_owned() });
        }
        Ok(Some(entry.content))
    }
}

/// Where the central directory lies.
struct Directory {
    start: usize,
    end: usize,
    entries: u64,
}

impl Directory {
    fn find(bytes: &[u8]) -> Option<Self> {
        let last = bytes.len().checked_sub(END_BYTES)?;
        let first = last.saturating_sub(COMMENT_BYTES_MAX);
        let at = (first..=last).rev().find(|at| is_end(bytes, *at))?;
        let mut input = Cursor::new(bytes, at + 10);
        let entries = u64::from(input.u16()?);
        let (length, start) = (u64::from(input.u32()?), u64::from(input.u32()?));
        let small = (entries, length, start);
        let (entries, length, start) = match at.checked_sub(LOCATOR_64_BYTES) {
            Some(locator) if Cursor::new(bytes, locator).u32() == Some(LOCATOR_64) => {
                let large = end_64(bytes, locator)?;
                let agree = |small: u64, large: u64, most: u64| small == large || small == most;
                let agrees = agree(small.0, large.0, 0xffff)
                    && agree(small.1, large.1, IN_EXTRA)
                    && agree(small.2, large.2, IN_EXTRA);
                if agrees { large } else { return None }
            }
            _ => small,
        };
        let start = usize::try_from(start).ok()?;
        let end = start.checked_add(usize::try_from(length).ok()?)?;
        let fits = end <= at && entries <= length / DIRECTORY_ENTRY_BYTES as u64;
        fits.then_some(Self { start, end, entries })
    }
}

/// Whether the record that ends an archive is there, with a comment that ends where the file ends.
fn is_end(bytes: &[u8], at: usize) -> bool {
    let comment = Cursor::new(bytes, at + 20).u16().map(usize::from);
    Cursor::new(bytes, at).u32() == Some(END) && comment == Some(bytes.len() - at - END_BYTES)
}

/// Entries, length and start of the directory, from the record with 64-bit fields.
fn end_64(bytes: &[u8], locator: usize) -> Option<(u64, u64, u64)> {
    let at = usize::try_from(Cursor::new(bytes, locator + 8).u64()?).ok()?;
    let mut input = Cursor::new(bytes.get(..locator)?, at);
    if input.u32()? != END_64 {
        return None;
    }
    input.take(28)?;
    Some((input.u64()?, input.u64()?, input.u64()?))
}

/// An entry as the directory lists it.
struct Listed<'a> {
    name: &'a str,
    checksum: u32,
    length: u64,
    /// Of its local header.
    offset: usize,
}

impl<'a> Listed<'a> {
    fn read(input: &mut Cursor<'a>) -> Result<Self, ZipError> {
        let at = input.at();
        let raw = Raw::read(input).ok_or(ZipError::Entry { offset: at })?;
        let name = std::str::from_utf8(raw.name).map_err(|_| ZipError::Entry { offset: at })?;
        if raw.flags & ENCRYPTED != 0 {
            return Err(ZipError::Encrypted { name: name.to_owned() });
        }
        let (length, packed, offset) = raw.places().ok_or(ZipError::Entry { offset: at })?;
        if raw.method != STORED || packed != length {
            return Err(ZipError::Compressed { name: name.to_owned() });
        }
        let offset = usize::try_from(offset).map_err(|_| ZipError::Outside { name: name.to_owned() })?;
        Ok(Self { name, checksum: raw.checksum, length, offset })
    }

    /// Where the content lies in the part of the file before the directory.
    fn content(&self, bytes: &[u8]) -> Result<std::ops::Range<usize>, ZipError> {
        let outside = || ZipError::Outside { name: self.name.to_owned() };
        let mut header = Cursor::new(bytes, self.offset);
        if header.take(4).ok_or_else(outside)? != LOCAL_HEADER {
            return Err(outside());
        }
        header.take(LOCAL_HEADER_BYTES - 8).ok_or_else(outside)?;
        let name_length = header.u16().ok_or_else(outside)?;
        let extra_length = header.u16().ok_or_else(outside)?;
        if header.take(name_length.into()).ok_or_else(outside)? != self.name.as_bytes() {
            return Err(ZipError::Name { name: self.name.to_owned() });
        }
        header.take(extra_length.into()).ok_or_else(outside)?;
        let start = header.at();
        let length = usize::try_from(self.length).map_err(|_| outside())?;
        header.take(length).ok_or_else(outside)?;
        Ok(start..header.at())
    }
}

/// The fields of a directory entry.
struct Raw<'a> {
    flags: u16,
    method: u16,
    checksum: u32,
    packed: u32,
    length: u32,
    offset: u32,
    name: &'a [u8],
    extra: &'a [u8],
}

impl<'a> Raw<'a> {
    fn read(input: &mut Cursor<'a>) -> Option<Self> {
        if input.u32()? != DIRECTORY_ENTRY {
            return None;
        }
        input.take(4)?;
        let (flags, method) = (input.u16()?, input.u16()?);
        input.take(4)?;
        let (checksum, packed, length) = (input.u32()?, input.u32()?, input.u32()?);
        let (name, extra, comment) = (input.u16()?, input.u16()?, input.u16()?);
        input.take(8)?;
        let offset = input.u32()?;
        let (name, extra) = (input.take(name.into())?, input.take(extra.into())?);
        input.take(comment.into())?;
        Some(Self { flags, method, checksum, packed, length, offset, name, extra })
    }

    /// Length, stored length and offset, from the 64-bit field where they did not fit.
    fn places(&self) -> Option<(u64, u64, u64)> {
        let mut large = extra_64(self.extra);
        let mut value = |small: u32| match u64::from(small) {
            IN_EXTRA => large.as_mut()?.u64(),
            small => Some(small),
        };
        Some((value(self.length)?, value(self.packed)?, value(self.offset)?))
    }
}

fn extra_64(extra: &[u8]) -> Option<Cursor<'_>> {
    let mut input = Cursor::new(extra, 0);
    loop {
        let (kind, length) = (input.u16()?, input.u16()?);
        let content = input.take(length.into())?;
        if kind == EXTRA_64 {
            return Some(Cursor::new(content, 0));
        }
    }
}
