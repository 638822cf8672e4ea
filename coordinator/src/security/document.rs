use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::SecurityError;

/// Only the format, which later versions name in the same way. Files from before there were numbers have none.
#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    format: u32,
}

/// Reads a file of the security folder of which this version knows the formats up to `known`.
///
/// Errors: `Newer`, whatever else stands in it; `Damaged`.
pub(super) fn read<T: DeserializeOwned>(path: &Path, bytes: &[u8], known: u32) -> Result<T, SecurityError> {
    let damaged = |error: serde_json::Error| SecurityError::Damaged {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let Header { format: found } = serde_json::from_slice(bytes).map_err(damaged)?;
    match found > known {
        true => Err(SecurityError::Newer { path: path.to_owned(), found, known }),
        false => serde_json::from_slice(bytes).map_err(damaged),
    }
}
