//! What readers have found missing or damaged, told to who can have it made again. No reader waits for that.

use std::collections::BTreeSet;

use bitloop_core::digest::Digest;
use tokio::sync::watch;

/// Artifacts that wait to be told. Of more than these, those that are still wanted are missed again.
const WAITING_MAX: usize = 256;

/// The artifacts that were missed since they were last taken, each once.
#[derive(Debug, Default)]
pub(crate) struct Misses(watch::Sender<BTreeSet<Digest>>);

impl Misses {
    /// Takes note that somebody wanted an artifact that is not here, unless too many wait already.
    pub(super) fn add(&self, digest: Digest) {
        self.0.send_if_modified(|missed| missed.len() < WAITING_MAX && missed.insert(digest));
    }

    /// What was missed since the last time.
    pub(crate) fn take(&self) -> BTreeSet<Digest> {
        let mut taken = BTreeSet::new();
        // Nobody is to be woken by that.
        self.0.send_if_modified(|missed| {
            taken = std::mem::take(missed);
            false
        });
        taken
    }

    /// Changes when something is missed.
    pub(crate) fn watched(&self) -> watch::Receiver<BTreeSet<Digest>> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missed_often_waits_once_and_no_more_waits_than_there_is_room_for() {
        let misses = Misses::default();
        let mut watched = misses.watched();
        let digests = || (0..2 * WAITING_MAX).map(|number| Digest::of(&number.to_le_bytes()));

        for digest in digests().chain(digests()) {
            misses.add(digest);
        }

        assert!(watched.has_changed().unwrap());
        watched.mark_unchanged();
        assert_eq!(misses.take(), digests().take(WAITING_MAX).collect());
        assert_eq!(misses.take(), BTreeSet::new());
        assert!(!watched.has_changed().unwrap(), "what is taken is no news");
    }
}
