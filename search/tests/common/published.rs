//! The published reference data beside the repository.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// The folder of reference data, or none (said on standard error) where it is absent.
pub(crate) fn folder(name: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/reference").join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: {} is not there", folder.display());
    None
}

/// The files of a folder whose names end so, in order.
pub(crate) fn ending_in(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = folder.read_dir().expect("the folder can be listed");
    let paths = entries.map(|entry| entry.expect("the folder can be listed").path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.to_string_lossy().ends_with(ending)).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no file in {} ends in {ending}", folder.display());
    paths
}

pub(crate) fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_str(&text(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

pub(crate) fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
}

/// Widths that stand in a list.
pub(crate) fn widths(value: &Value) -> Vec<u32> {
    array(value).iter().map(|width| width.as_u64().expect("widths are whole") as u32).collect()
}
