//! Reference data of QKeras: networks with their energies, and goals.

use std::io::Write as _;
use std::path::Path;

use serde_json::Value;

/// A reference file, or none (said on standard error) where it is absent.
pub(crate) fn file(name: &str) -> Option<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/reference/qkeras").join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))),
        Err(error) => {
            drop(writeln!(std::io::stderr(), "skipped: {}: {error}", path.display()));
            None
        }
    }
}

pub(crate) fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
}

pub(crate) fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}
