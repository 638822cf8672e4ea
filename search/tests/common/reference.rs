//! The reference data beside the repository.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The folder of reference data, or none (said on standard error) where it is absent.
pub(crate) fn folder(name: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/reference").join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    drop(writeln!(std::io::stderr(), "skipped: {} is not there", folder.display()));
    None
}

/// A file of reference data, or none (said on standard error) where it is absent.
pub(crate) fn file(folder_name: &str, name: &str) -> Option<Value> {
    let path = folder(folder_name)?.join(name);
    if path.is_file() {
        return Some(json(&path));
    }
    drop(writeln!(std::io::stderr(), "skipped: {} is not there", path.display()));
    None
}

/// The files of a folder whose names end so, sorted.
pub(crate) fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = folder.read_dir().unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("the folder can be listed").path());
    let mut found: Vec<PathBuf> = paths.filter(|path| name(path).ends_with(ending)).collect();
    found.sort();
    found
}

/// The tables of a model, whose names begin with the model's in any case, sorted.
pub(crate) fn tables(folder: &Path, model: &str) -> Vec<PathBuf> {
    let begin = format!("{}_", model.to_lowercase());
    let mut found = files(folder, ".csv");
    found.retain(|path| name(path).to_lowercase().starts_with(&begin));
    found
}

pub(crate) fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

pub(crate) fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_str(&text(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn word(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

pub(crate) fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

pub(crate) fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
}

pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    array(value).iter().map(number).collect()
}

/// Widths that stand in a list.
pub(crate) fn widths(value: &Value) -> Vec<u8> {
    array(value).iter().map(|width| number(width) as u8).collect()
}
