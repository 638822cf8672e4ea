//! What several kinds of files have in common.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Dataset;
use super::node::quoted;
use super::reader::Place;
use crate::duration;

/// Longest name, so that file names made from it stay within every file system's limit.
const NAME_BYTES_MAX: usize = 64;
/// Longest path that Linux takes (`PATH_MAX`), in bytes.
const PATH_BYTES_MAX: usize = 4096;

const DATASETS: [(&str, Dataset); 6] = [
    ("fashion_mnist", Dataset::FashionMnist),
    ("mnist", Dataset::Mnist),
    ("kmnist", Dataset::Kmnist),
    ("cifar10", Dataset::Cifar10),
    ("cifar100", Dataset::Cifar100),
    ("cifar100_coarse", Dataset::Cifar100Coarse),
];

/// A name that is also good as a file name.
pub(super) fn name(place: &Place<'_>) -> Option<String> {
    const HINT: &str = "use 1 to 64 letters, digits, `-`, `_` and `.`, beginning with a letter, digit or `_`";
    let text = place.text()?;
    let allowed = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.');
    if let Some(char) = text.chars().find(|char| !allowed(*char)) {
        return place.mistake(format!("a name cannot contain `{char}`"), HINT);
    }
    if text.len() > NAME_BYTES_MAX {
        return place.mistake(format!("the name is {} characters long", text.len()), HINT);
    }
    if text.starts_with(['.', '-']) {
        return place.mistake(format!("a name cannot begin like `{}`", quoted(text)), HINT);
    }
    Some(text.to_owned())
}

/// A name of letters, digits, `-` and `_` alone: no file name, and one word wherever it stands.
pub(super) fn plain_name(place: &Place<'_>, text: &str, bytes_max: usize) -> Option<String> {
    if is_plain_name(text, bytes_max) {
        return Some(text.to_owned());
    }
    let hint = format!("use 1 to {bytes_max} letters, digits, `-` and `_`, beginning with a letter or digit");
    place.mistake(format!("`{text}` is no name"), hint)
}

pub(super) fn is_plain_name(text: &str, bytes_max: usize) -> bool {
    let allowed = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
    (1..=bytes_max).contains(&text.len())
        && text.chars().all(allowed)
        && text.starts_with(|char: char| char.is_ascii_alphanumeric())
}

/// A duration.
pub(super) fn time(place: &Place<'_>, range: RangeInclusive<Duration>) -> Option<Duration> {
    let read = duration::parse(place.text()?);
    match read {
        Ok(time) if range.contains(&time) => Some(time),
        Ok(_) => place.mistake(
            "is out of range",
            format!("write a duration from {:?} to {:?}", range.start(), range.end()),
        ),
        Err(problem) => place.mistake(problem, ""),
    }
}

/// The path of a file.
pub(super) fn file_name(place: &Place<'_>) -> Option<String> {
    let text = place.text()?;
    if text.len() > PATH_BYTES_MAX {
        return place.mistake(format!("the path is {} bytes long", text.len()), "use a shorter path");
    }
    Some(text.to_owned())
}

/// A data set.
pub(super) fn dataset(place: &Place<'_>) -> Option<Dataset> {
    place.word(&DATASETS)
}

/// A number as parts per million; `decimals` is how many it may have to be a whole number of them.
pub(super) fn parts_per_million(place: &Place<'_>, number: f64, decimals: u8) -> Option<u32> {
    let parts = number * 10_f64.powi(i32::from(decimals));
    let whole = parts.round();
    // The text's number is rounded to binary: 99.9 is a whole number of parts only to within a few units of 1e-8.
    if (parts - whole).abs() > 1e-6 {
        let words = ["no", "one", "two", "three", "four", "five", "six"];
        let word = words.get(usize::from(decimals)).copied().unwrap_or("that many");
        return place
            .mistake(format!("{number} has more than {word} decimals"), format!("round it to {word}"));
    }
    Some(whole as u32)
}
