use std::collections::BTreeMap;
use std::time::Duration;

use super::error::SpecError;
use super::file::read_file_like;
use super::probes::{ExternalProbe, NAME_BYTES_MAX, PROBE_KINDS, ProbesSpec};
use super::reader::{Fields, Place};
use super::shared::{file_name, plain_name, time};

const EXAMPLE: &str = "configs/probes/example.yaml is an example to start from";

/// Most probes of a file; a worker measures with one at a time.
const PROBES_MAX: usize = 32;
const ARGUMENTS_MAX: usize = 256;
const VARIABLES_MAX: usize = 256;
const VARIABLE_BYTES_MAX: usize = 256;
/// Longest argument or value of a variable that Linux hands to a program (`MAX_ARG_STRLEN`), in bytes.
const ARGUMENT_BYTES_MAX: usize = 128 * 1024;

const MILLISECOND: Duration = Duration::from_millis(1);
/// Boards that have to boot first take a while.
const START_LIMIT_DEFAULT: Duration = Duration::from_secs(30);
const TIME_LIMIT_DEFAULT: Duration = Duration::from_secs(5 * 60);

impl ProbesSpec {
    /// Longest time to start. A request is tried three times at most, twice behind a start, and a worker that gets nowhere for an
    /// hour is given up.
    pub const START_LIMIT_MAX: Duration = Duration::from_secs(5 * 60);

    /// Longest time for a request that asks for no more.
    pub const TIME_LIMIT_MAX: Duration = Duration::from_secs(15 * 60);

    /// Reads a worker's file of external probes; its keys are described in docs/probes.md, below `version: 1`.
    ///
    /// Errors: every mistake in the text, in the order of the file.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        read_file_like(EXAMPLE, text, &["version", "probes"], file)
    }
}

fn file(fields: &Fields<'_>) -> Option<ProbesSpec> {
    let probes = fields.required("probes", "probes: { board: { command: [python3, board.py] } }", probes)?;
    Some(ProbesSpec { probes })
}

fn probes(place: &Place<'_>) -> Option<Vec<ExternalProbe>> {
    let entries = place.entries("board: { command: [python3, board.py] }")?;
    if entries.len() > PROBES_MAX {
        return place.mistake(format!("{} probes", entries.len()), format!("at most {PROBES_MAX} are read"));
    }
    let read: Vec<_> = entries.iter().map(|(name, here)| probe(name, here)).collect();
    read.into_iter().collect()
}

fn probe(key: &str, place: &Place<'_>) -> Option<ExternalProbe> {
    let name = name(place, key);
    let fields = place.fields(&["command", "environment", "start_limit", "time_limit"])?;
    let command = fields.required("command", "command: [python3, board.py]", command);
    let environment = fields.optional("environment", BTreeMap::new(), environment);
    let limit = |key, usual, longest| fields.optional(key, usual, |place| time(place, MILLISECOND..=longest));
    let start_limit = limit("start_limit", START_LIMIT_DEFAULT, ProbesSpec::START_LIMIT_MAX);
    let time_limit = limit("time_limit", TIME_LIMIT_DEFAULT, ProbesSpec::TIME_LIMIT_MAX);
    Some(ExternalProbe {
        name: name?,
        command: command?,
        environment: environment?,
        start_limit: start_limit?,
        time_limit: time_limit?,
    })
}

fn name(place: &Place<'_>, key: &str) -> Option<String> {
    let name = plain_name(place, key, NAME_BYTES_MAX)?;
    if PROBE_KINDS.contains(&name.as_str()) {
        return place.mistake(format!("`{name}` is a probe of bitloop's own"), "choose another name");
    }
    Some(name)
}

fn command(place: &Place<'_>) -> Option<Vec<String>> {
    const SHAPE: &str = "[python3, board.py]";
    if place.as_text().is_some() {
        return place.expected("a list", format!("write program and arguments each by itself: `{SHAPE}`"));
    }
    let items = place.items(SHAPE)?;
    if items.len() > ARGUMENTS_MAX {
        return place
            .mistake(format!("{} words", items.len()), format!("at most {ARGUMENTS_MAX} are passed on"));
    }
    let words = items.iter().enumerate().map(|(index, place)| match index {
        0 => file_name(place),
        _ => value(place),
    });
    let words: Vec<_> = words.collect();
    words.into_iter().collect()
}

fn environment(place: &Place<'_>) -> Option<BTreeMap<String, String>> {
    let entries = place.entries("ANDROID_SERIAL: \"1234\"")?;
    if entries.len() > VARIABLES_MAX {
        return place
            .mistake(format!("{} variables", entries.len()), format!("at most {VARIABLES_MAX} are set"));
    }
    let read: Vec<_> = entries.iter().map(|(name, place)| variable(name, place)).collect();
    read.into_iter().collect()
}

fn variable(name: &str, place: &Place<'_>) -> Option<(String, String)> {
    let allowed = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let begins = name.starts_with(|char: char| char.is_ascii_alphabetic() || char == '_');
    if !begins || !name.chars().all(allowed) || name.len() > VARIABLE_BYTES_MAX {
        let hint = "use letters, digits and `_`, not beginning with a digit";
        return place.mistake(format!("`{name}` is no name of a variable"), hint);
    }
    Some((name.to_owned(), value(place)?))
}

/// A text that may be empty.
fn value(place: &Place<'_>) -> Option<String> {
    let text = match place.as_text() {
        Some("") => "",
        Some(_) | None => place.text()?,
    };
    if text.len() > ARGUMENT_BYTES_MAX {
        return place.mistake(format!("{} bytes are too long", text.len()), "put it into a file");
    }
    Some(text.to_owned())
}
