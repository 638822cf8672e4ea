//! Helpers for tests that need more than one crate: where things are, and processes that never outlive a test.

pub mod cluster;
pub mod experiment;
pub mod metrics;
pub mod network;
pub mod postgres;
pub mod process;

use std::path::{Path, PathBuf};

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Reference data beside the repository; absent on most machines, so callers print why they skip.
pub fn shared() -> PathBuf {
    root().join("../shared")
}

/// Every file below `folder` whose name ends in `ending`, sorted.
pub fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return found };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Whether a test that lacks what it needs is to fail instead of being skipped: `BITLOOP_REQUIRE` is a list of such things.
pub fn is_required(what: &str) -> bool {
    let required = std::env::var("BITLOOP_REQUIRE").unwrap_or_default();
    required.split(',').any(|name| name.trim() == what)
}
