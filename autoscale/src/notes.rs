//! What is known of submissions, written down for the next start: as JSON.

use std::time::Duration;

use bitloop_core::spec::AutoscaleSpec;
use serde::{Deserialize, Serialize};

use crate::memory::Memory;

/// Version of the form.
const FORMAT: u32 = 1;

/// What other versions name in the same way.
#[derive(Deserialize)]
struct Header {
    format: u32,
}

#[derive(Serialize, Deserialize)]
struct Notes<M> {
    format: u32,
    /// The autoscale file's name for itself.
    name: String,
    memory: M,
}

/// What cannot be taken up again.
#[derive(Debug, thiserror::Error)]
pub enum NotesError {
    /// It is no such text.
    #[error(
        "is not what `bitloop autoscale` writes ({0}); remove it, and the engine's list says what is there"
    )]
    Unreadable(#[from] serde_json::Error),
    /// Another version wrote it.
    #[error(
        "has format {found}, and this bitloop knows {FORMAT}; use the bitloop that wrote it, or remove it"
    )]
    Format {
        /// Its version.
        found: u32,
    },
    /// It is of another autoscale file.
    #[error("is of the autoscale file `{found}`, not of `{wanted}`; give each its own")]
    Other {
        /// Whose it is.
        found: String,
        /// Whose it should be.
        wanted: String,
    },
}

impl Memory {
    /// Takes up what [`Memory::to_notes`] gave; `now` goes on from the time that it was given by, since 1970 say.
    ///
    /// Errors: what cannot be taken up, and what to do.
    pub fn from_notes(text: &[u8], spec: &AutoscaleSpec, now: Duration) -> Result<Self, NotesError> {
        let Header { format: found } = serde_json::from_slice(text)?;
        if found != FORMAT {
            return Err(NotesError::Format { found });
        }
        let notes: Notes<serde_json::Value> = serde_json::from_slice(text)?;
        if notes.name != spec.name {
            return Err(NotesError::Other { found: notes.name, wanted: spec.name.clone() });
        }
        let mut memory: Self = serde_json::from_value(notes.memory)?;
        memory.resume(spec, now);
        Ok(memory)
    }

    /// All that is known, as a text for another start.
    pub fn to_notes(&self, spec: &AutoscaleSpec) -> Vec<u8> {
        let notes = Notes { format: FORMAT, name: spec.name.clone(), memory: self };
        serde_json::to_vec(&notes).expect("texts and numbers can be written as JSON")
    }
}
