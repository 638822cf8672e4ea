//! What a data directory tells of a trial while no coordinator uses it. Nothing in it changes: a start would raise the epoch, end
//! attempts and go on with experiments.

use std::path::Path;

use bitloop_core::state::{Rejection, UnixMillis};
use bitloop_core::trial::TrialKey;
use bitloop_proto::v1;

use crate::chronicle;
use crate::data_dir::DataDir;
use crate::driver::{RequestError, key_digits};
use crate::rpc;
use crate::store::{self, ToolError};

/// Why a trial's log is not shown.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    #[error(transparent)]
    Trial(#[from] RequestError),
    #[error(transparent)]
    Directory(#[from] ToolError),
}

/// Finds a trial by the first digits of its key; returns where it stands, and its log.
///
/// Errors: the digits are of no trial or of several, a coordinator uses the directory, or its journal cannot be read.
pub fn look_at_trial(root: &Path, digits: &str) -> Result<v1::TrialLogResponse, LookError> {
    let digits = key_digits(digits).ok_or_else(|| RequestError::NoTrial(digits.to_owned()))?;
    let state = store::replayed(root)?;
    let called = state.ledger.trials_called(&digits, 0..state.ledger.proposed());
    let key = match called.take(2).map(|trial| trial.key).collect::<Vec<TrialKey>>().as_slice() {
        [] => return Err(RequestError::UnknownSubject(digits).into()),
        [key] => *key,
        [_, _, ..] => return Err(RequestError::AmbiguousTrial(digits).into()),
    };
    let explained = state.explain_trial(&key, UnixMillis(0));
    let standing = explained.ok_or(RequestError::Rejected(Rejection::UnknownTrial(key)))?.standing;
    let (mut log, mut entries) = (chronicle::trial_log(&DataDir::logs_of(root), &key), Vec::new());
    loop {
        let (read, more) = log.read();
        entries.extend(read.iter().map(rpc::entry_to_wire));
        if !more {
            return Ok(v1::TrialLogResponse { trial: key.0.hex(), standing, entries });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::coordinator::Coordinator;
    use crate::testing::*;

    fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => files.extend(self::files(&path)),
                false => drop(files.insert(path.clone(), fs::read(&path).unwrap())),
            }
        }
        files
    }

    #[tokio::test]
    async fn a_look_tells_what_a_coordinator_would_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let coordinator = Coordinator::open(folder.path()).unwrap();
        let handle = coordinator.handle();
        submit(&handle, "sweep").await;
        let worker = register(&handle, "w1").await;
        let shard = handle.request_shard(&worker).await.unwrap().unwrap();
        handle.commit(&worker, reports(&shard), 1.0).await.unwrap();
        let open = handle.request_shard(&worker).await.unwrap().unwrap();
        let key = shard.trials[0].0.0.hex();
        let in_use = look_at_trial(folder.path(), &key[..8]);
        assert!(matches!(in_use, Err(LookError::Directory(ToolError::DataDir(_)))), "{in_use:?}");
        coordinator.close().await.unwrap();
        let before = files(folder.path());

        let log = look_at_trial(folder.path(), &key[..8].to_uppercase()).unwrap();
        let of_open = look_at_trial(folder.path(), &open.trials[0].0.0.hex()).unwrap();

        let told: Vec<&str> = log.entries.iter().map(|entry| entry.what.as_str()).collect();
        assert_eq!((log.trial, log.standing.as_str(), told), (key, "measured", vec!["leased", "measured"]));
        assert_eq!((of_open.standing.as_str(), of_open.entries.len()), ("waiting", 1));
        let refused = |digits: &str| look_at_trial(folder.path(), digits).unwrap_err().to_string();
        assert!(refused("sweep").contains("names no trial"));
        assert!(refused("00000000").contains("no trial's key begins so"));
        assert!(files(folder.path()) == before, "a look changes nothing");
    }
}
