//! A coordinator's metrics, and as much of Prometheus's language as the files in `deploy/` speak: sums of a selection.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use crate::process::{Process, await_that, bitloop};

/// A coordinator that serves them.
#[derive(Debug)]
pub struct Metrics {
    _coordinator: Process,
    url: String,
    address: String,
}

impl Metrics {
    /// Starts a coordinator whose data directory is in a folder.
    pub fn start(folder: &Path) -> Self {
        let arguments = ["coordinator", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"];
        let coordinator = Process::start(bitloop(folder, arguments));
        await_that("the coordinator listens", || coordinator.out().contains("listening on "));
        let url = coordinator.out().trim().trim_start_matches("listening on ").to_owned();
        let told = coordinator.err();
        let address = told.split("http://").nth(1).and_then(|rest| rest.split('/').next());
        let address = address.expect("it says where its metrics are").to_owned();
        Self { _coordinator: coordinator, url, address }
    }

    /// Where commands reach it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What Prometheus reads.
    pub fn text(&self) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("a connection");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: here\r\n\r\n").expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer.split_once("\r\n\r\n").expect("a body").1.to_owned()
    }

    /// What a query such as `sum(NAME{label="value",other=~"a|b"})` comes to now.
    ///
    /// Panics: when nothing is selected, for which Prometheus answers nothing, and KEDA with an error.
    pub fn sum(&self, query: &str) -> f64 {
        sum(query, &self.text())
    }
}

fn sum(query: &str, text: &str) -> f64 {
    let selector = query.strip_prefix("sum(").and_then(|rest| rest.strip_suffix(')'));
    let (name, matchers) = named(selector.expect("a sum"));
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let selected: Vec<f64> = samples.filter_map(|line| value(line, name, &matchers)).collect();
    assert!(!selected.is_empty(), "`{query}` selects nothing");
    selected.iter().sum()
}

/// Splits `NAME{labels}` into the name and the label's conditions or values.
fn named(text: &str) -> (&str, BTreeMap<&str, &str>) {
    let Some((name, labels)) = text.split_once('{') else { return (text, BTreeMap::new()) };
    let labels = labels.strip_suffix('}').expect("labels end in a brace");
    // A comma may stand in a value: only one behind a quotation mark parts labels.
    let labels = labels.split_inclusive("\",").map(|label| label.trim_end_matches(','));
    (name, labels.filter_map(|label| label.split_once('=')).collect())
}

fn value(line: &str, name: &str, matchers: &BTreeMap<&str, &str>) -> Option<f64> {
    let (sample, value) = line.rsplit_once(' ')?;
    let (found, labels) = named(sample);
    let holds = |(label, condition): (&&str, &&str)| {
        let value = labels.get(label).map_or("", |value| unquoted(value));
        match condition.strip_prefix('~') {
            Some(pattern) => unquoted(pattern).split('|').any(|pattern| is_match(pattern, value)),
            None => unquoted(condition) == value,
        }
    };
    (found == name && matchers.iter().all(holds)).then(|| value.parse().expect("a number"))
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).expect("values stand in quotation marks")
}

/// Whether a pattern of characters and ranges such as `1[0-5]` is all of a value.
fn is_match(pattern: &str, value: &str) -> bool {
    let Some((before, rest)) = pattern.split_once('[') else { return pattern == value };
    let (range, after) = rest.split_once(']').expect("a range ends");
    let (first, last) = range.split_once('-').expect("a range has two ends");
    let Some(char) = value.strip_prefix(before).and_then(|rest| rest.chars().next()) else { return false };
    let is_within = (first..=last).contains(&char.to_string().as_str());
    is_within && is_match(after, &value[before.len() + char.len_utf8()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_is_made_as_prometheus_makes_it() {
        let text = "# HELP m Some.\n# TYPE m gauge\nm{a=\"x\",b=\"\"} 1\nm{a=\"y\",b=\"k=v,l=w\"} 2\nm{a=\"15\",b=\"k=v\"} 4\nmore 8\n";

        for (query, expected) in [
            ("sum(m)", 7.0),
            ("sum(more)", 8.0),
            (r#"sum(m{a="x"})"#, 1.0),
            (r#"sum(m{a=~"x|y"})"#, 3.0),
            (r#"sum(m{a=~"x|y",b=""})"#, 1.0),
            (r#"sum(m{b=~"|k=v"})"#, 5.0),
            (r#"sum(m{b=~"k=v,l=w"})"#, 2.0),
            (r#"sum(m{a=~"[0-9]|1[0-5]"})"#, 4.0),
            (r#"sum(m{c="",a="y"})"#, 2.0),
        ] {
            assert_eq!(sum(query, text), expected, "{query}");
        }
        for (pattern, value) in [("[0-9]", "15"), ("1[0-5]", "16"), ("1[0-5]", "1"), ("1[0-5]", "150")] {
            assert!(!is_match(pattern, value), "{pattern} is not {value}");
        }
    }
}
