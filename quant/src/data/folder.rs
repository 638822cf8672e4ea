use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::{DataError, LabelsError};

/// Endings of the files that are looked at, in small letters.
const ENDINGS: [&str; 3] = ["jpg", "jpeg", "png"];
/// Labels files are text of at most so many bytes (1 GiB).
const LABELS_BYTES_MAX: u64 = 1 << 30;

/// The files of a folder that are images, with their labels.
pub(super) struct Listing {
    pub(super) files: Vec<Listed>,
    /// How many classes there are, where the folder says so.
    pub(super) classes: Option<u32>,
}

/// One image file.
pub(super) struct Listed {
    /// Its path inside the folder.
    pub(super) name: PathBuf,
    pub(super) label: u32,
}

/// Lists a folder in which every sub-folder is a class; classes are numbered in the order of their names.
///
/// Images are ordered by class, then by name. Only files that end in `.jpg`, `.jpeg` or `.png` count, and nothing whose
/// name begins with a dot.
///
/// Errors: `Io`, `NoClasses`, and `EmptyClass` for a sub-folder without images.
pub(super) fn by_class(folder: &Path) -> Result<Listing, DataError> {
    let classes: Vec<PathBuf> =
        entries(folder)?.into_iter().filter(|name| folder.join(name).is_dir()).collect();
    if classes.is_empty() {
        return Err(DataError::NoClasses { folder: folder.to_owned() });
    }
    let mut files = Vec::new();
    for (label, class) in (0..).zip(&classes) {
        let before = files.len();
        let is_image = |name: &PathBuf| {
            let ending = name.extension().map(|ending| ending.to_string_lossy().to_lowercase());
            ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
                && folder.join(class).join(name).is_file()
        };
        let names = entries(&folder.join(class))?.into_iter().filter(is_image);
        files.extend(names.map(|name| Listed { name: class.join(name), label }));
        if files.len() == before {
            return Err(DataError::EmptyClass { folder: folder.join(class) });
        }
    }
    Ok(Listing { files, classes: Some(classes.len() as u32) })
}

/// The names in a folder, sorted, without those that begin with a dot.
fn entries(folder: &Path) -> Result<BTreeSet<PathBuf>, DataError> {
    let io = |source| DataError::Io { path: folder.to_owned(), source };
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        if !name.as_encoded_bytes().starts_with(b".") {
            names.insert(PathBuf::from(name));
        }
    }
    Ok(names)
}

/// Lists the images that a labels file names, in its order.
///
/// The file is CSV: a line `file,label` for each image, where `file` is a path inside `folder` and `label` the number
/// of a class. A first line that reads `file,label` is a header; empty lines do not count.
///
/// Errors: `Io`, or `Labels` with the line.
pub(super) fn by_labels(folder: &Path, labels: &Path, classes: u32) -> Result<Listing, DataError> {
    let io = |source| DataError::Io { path: labels.to_owned(), source };
    let bytes = fs::metadata(labels).map_err(io)?.len();
    let wrong = |line, reason| DataError::Labels { path: labels.to_owned(), line, reason };
    if bytes > LABELS_BYTES_MAX {
        return Err(wrong(1, LabelsError::TooLong { bytes, limit: LABELS_BYTES_MAX }));
    }
    let text = fs::read(labels).map_err(io)?;
    parse_labels(&text, folder, classes).map_err(|(line, reason)| wrong(line, reason))
}

fn parse_labels(text: &[u8], folder: &Path, classes: u32) -> Result<Listing, (u64, LabelsError)> {
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).trim(csv::Trim::All).from_reader(text);
    let mut files = Vec::new();
    let mut lines: BTreeMap<PathBuf, u64> = BTreeMap::new();
    for record in reader.records() {
        let record = record.map_err(|error| {
            let line = error.position().map_or(1, csv::Position::line);
            (line, LabelsError::NotText)
        })?;
        let line = record.position().map_or(1, |position| line_of(position, text));
        let fields: Vec<&str> = record.iter().collect();
        if files.is_empty() && fields == ["file", "label"] {
            continue;
        }
        let &[file, label] = fields.as_slice() else {
            return Err((line, LabelsError::Fields { found: fields.len() }));
        };
        let label = class(label, classes).map_err(|reason| (line, reason))?;
        let name = PathBuf::from(file);
        if let Some(first) = lines.insert(name.clone(), line) {
            return Err((line, LabelsError::Twice { file: quoted(file), first }));
        }
        if !folder.join(&name).is_file() {
            return Err((line, LabelsError::Missing { file: quoted(file), folder: folder.to_owned() }));
        }
        files.push(Listed { name, label });
    }
    match files.is_empty() {
        true => Err((1, LabelsError::Nothing)),
        false => Ok(Listing { files, classes: None }),
    }
}

/// The line that a record stands on; the reader's position is before the empty lines in front of it.
fn line_of(position: &csv::Position, text: &[u8]) -> u64 {
    let ahead = usize::try_from(position.byte()).ok().and_then(|start| text.get(start..)).unwrap_or_default();
    let ends = ahead.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
    position.line() + ends.filter(|byte| **byte == b'\n').count() as u64
}

fn class(text: &str, classes: u32) -> Result<u32, LabelsError> {
    let label = text.parse().map_err(|_| LabelsError::NotANumber { label: quoted(text) })?;
    match label < classes {
        true => Ok(label),
        false => Err(LabelsError::NoClass { label, classes }),
    }
}

/// The file's text as a message repeats it: on one line and not too long.
fn quoted(text: &str) -> String {
    const CHARS_MAX: usize = 200;
    text.chars().take(CHARS_MAX).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The whole parser, for tests that damage its input.
    pub(in crate::data) fn parses(text: &[u8], folder: &Path) -> bool {
        parse_labels(text, folder, 10).is_ok()
    }
}
