//! Outcomes that the coordinator has not acknowledged yet.

use std::collections::VecDeque;

use crate::state::Report;
use crate::trial::TrialKey;

/// The most outcomes in one commit, so that it stays a small message.
pub const BATCH: usize = 256;

/// An outcome and what it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// What came out.
    pub report: Report,
    /// Time in milliseconds.
    pub compute_ms: f64,
}

/// Outcomes in the order in which they were measured. It holds what one shard gave and what an earlier process of the
/// worker left, as no new shard is taken before it is empty.
#[derive(Clone, Debug, Default)]
pub(super) struct Pending {
    outcomes: VecDeque<Measured>,
    /// How many of the oldest are written down.
    spooled: usize,
    /// How many of these were written last.
    spooled_last: usize,
}

impl Pending {
    /// Outcomes that are written down already.
    pub(super) fn spooled(outcomes: Vec<Measured>) -> Self {
        Self { spooled: outcomes.len(), spooled_last: 0, outcomes: outcomes.into() }
    }

    pub(super) fn push(&mut self, measured: Measured) {
        self.outcomes.push_back(measured);
    }

    pub(super) fn len(&self) -> usize {
        self.outcomes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.outcomes.is_empty()
    }

    /// Whether a commit is due whatever the time.
    pub(super) fn is_full(&self) -> bool {
        self.outcomes.len() >= BATCH
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = TrialKey> + '_ {
        self.outcomes.iter().map(|measured| measured.report.key)
    }

    /// The oldest outcomes, at most `limit`, and their mean time in milliseconds.
    pub(super) fn batch(&self, limit: usize) -> (Vec<Report>, f64) {
        let oldest = || self.outcomes.iter().take(limit);
        let reports: Vec<Report> = oldest().map(|measured| measured.report.clone()).collect();
        let total: f64 = oldest().map(|measured| measured.compute_ms).sum();
        let mean = total / reports.len().max(1) as f64;
        (reports, mean)
    }

    /// Forgets the oldest `count` outcomes; they are acknowledged.
    pub(super) fn acknowledge(&mut self, count: usize) {
        self.outcomes.drain(..count.min(self.outcomes.len()));
        self.spooled = self.spooled.saturating_sub(count);
    }

    /// Outcomes that are not written down yet; from now on they count as written.
    pub(super) fn spool(&mut self) -> Vec<Measured> {
        let fresh: Vec<Measured> = self.outcomes.range(self.spooled..).cloned().collect();
        self.spooled_last = fresh.len();
        self.spooled = self.outcomes.len();
        fresh
    }

    /// What was to be written last was not.
    pub(super) fn spool_failed(&mut self) {
        self.spooled -= std::mem::take(&mut self.spooled_last).min(self.spooled);
    }

    /// How many outcomes are written down nowhere.
    pub(super) fn unspooled(&self) -> usize {
        self.outcomes.len() - self.spooled
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::measured;
    use super::*;

    #[test]
    fn batches_are_bounded_and_lose_nothing() {
        let mut pending = Pending::default();
        (0..BATCH + 3).map(measured).for_each(|measured| pending.push(measured));
        let expected: Vec<TrialKey> = pending.keys().collect();

        let mut sent = Vec::new();
        while !pending.is_empty() {
            let (reports, _) = pending.batch(BATCH);
            assert!(reports.len() <= BATCH);
            let count = reports.len();
            sent.extend(reports.iter().map(|report| report.key));
            pending.acknowledge(count);
        }

        assert_eq!(sent, expected);
    }

    #[test]
    fn a_batch_names_the_mean_time_of_its_own_outcomes() {
        let mut pending = Pending::default();
        [2, 4, 100].map(measured).into_iter().for_each(|measured| pending.push(measured));

        let (reports, mean) = pending.batch(2);

        assert_eq!((reports.len(), mean), (2, 3.0));
    }

    #[test]
    fn each_outcome_is_written_down_once_and_again_if_that_failed() {
        let mut pending = Pending::default();
        [0, 1, 2].map(measured).into_iter().for_each(|measured| pending.push(measured));

        assert_eq!(pending.spool().len(), 3);
        pending.acknowledge(1);
        pending.push(measured(3));
        assert_eq!(pending.spool(), [measured(3)]);
        pending.spool_failed();
        pending.push(measured(4));

        assert_eq!(pending.unspooled(), 2);
        assert_eq!(pending.spool(), [measured(3), measured(4)]);
        assert_eq!(pending.unspooled(), 0);
    }
}
