//! Words by which owners of workers call their machines.

use bitloop_core::spec::{LABEL_BYTES_MAX, is_label};

/// Reads a word.
pub(super) fn name(text: &str) -> Result<String, String> {
    match is_label(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("write 1 to {LABEL_BYTES_MAX} letters, digits, `-`, `_`, `.` and `/`")),
    }
}

/// Reads `KEY=VALUE`.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE, such as board=orin")?;
    Ok((name(key)?, name(value)?))
}
