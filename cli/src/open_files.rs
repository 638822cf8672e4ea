//! How many files this program may hold open; a connection counts as one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::failure::Failure;

/// Raises the limit as far as the system lets a program do so itself; returns what it is then.
///
/// Many systems start programs with 1024, so that some of them can still count files with a bit each; this one does not.
pub(crate) fn raise_limit() -> Result<u64, Failure> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}
