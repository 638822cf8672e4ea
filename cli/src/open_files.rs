//! How many files this program may hold open; a connection counts as one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::failure::{Exit, Failure, Outcome};

/// Raises the limit as far as the system lets a program do so itself; returns what it is then.
///
/// Many systems start programs with 1024, so that some of them can still count files with a bit each; this one does not.
pub(crate) fn raise_limit() -> Result<u64, Failure> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

/// Raises the limit and sees to it that `purpose` has enough.
///
/// Errors: how to get more.
pub(crate) fn require(files: u64, purpose: &str) -> Outcome {
    let allowed = raise_limit()?;
    if allowed >= files {
        return Ok(());
    }
    let message = format!(
        "{purpose} need {files} open files, and this system allows {allowed}; raise the limit (`ulimit -Hn {files}` as \
         root, or LimitNOFILE= of a service), or take fewer"
    );
    Err(Failure::new(Exit::Failed, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_needs_more_files_than_there_may_be_is_told_how_to_get_them() {
        require(1, "no workers").unwrap();

        let refused = require(u64::MAX, "9 workers").unwrap_err().error.to_string();

        assert!(refused.contains("9 workers need 18446744073709551615 open files"), "{refused}");
        assert!(refused.contains("ulimit -Hn"), "{refused}");
    }
}
