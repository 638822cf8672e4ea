//! The golden data of QKeras.

use std::io::Write as _;
use std::path::Path;

use serde::de::DeserializeOwned;

/// A file of the golden data; none, and a word on why, where it is absent.
pub(crate) fn golden<T: DeserializeOwned>(file: &str) -> Option<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/reference/qkeras").join(file);
    if !path.is_file() {
        drop(writeln!(std::io::stderr(), "skipped: there is no {}", path.display()));
        return None;
    }
    let text = std::fs::read_to_string(&path).expect("the file can be read");
    Some(serde_json::from_str(&text).expect("the file has the form that its README describes"))
}
