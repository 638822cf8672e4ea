//! Outcomes that the coordinator has not acknowledged yet.

use std::collections::VecDeque;

use bitloop_core::state::Report;
use bitloop_core::trial::TrialKey;

/// The most outcomes in one commit, so that it stays a small message.
pub(crate) const BATCH: usize = 256;

/// An outcome and what it took.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) report: Report,
    pub(crate) compute_ms: f64,
}

/// Outcomes in the order in which they were measured. It holds two shards at most, as no new one is taken before.
#[derive(Debug, Default)]
pub(crate) struct Pending(VecDeque<Measured>);

impl Pending {
    pub(crate) fn push(&mut self, measured: Measured) {
        self.0.push_back(measured);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a commit is due whatever the time.
    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= BATCH
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = TrialKey> + '_ {
        self.0.iter().map(|measured| measured.report.key)
    }

    /// The oldest outcomes, at most `limit`, and their mean time in milliseconds.
    pub(crate) fn batch(&self, limit: usize) -> (Vec<&Report>, f64) {
        let reports: Vec<&Report> = self.0.iter().take(limit).map(|measured| &measured.report).collect();
        let total: f64 = self.0.iter().take(limit).map(|measured| measured.compute_ms).sum();
        let mean = total / reports.len().max(1) as f64;
        (reports, mean)
    }

    /// Forgets the oldest `count` outcomes; they are acknowledged.
    pub(crate) fn acknowledge(&mut self, count: usize) {
        self.0.drain(..count.min(self.0.len()));
    }
}

#[cfg(test)]
mod tests {
    use bitloop_core::digest::Digest;
    use bitloop_core::trial::{Outcome, Provenance, TrialResult, Work};

    use super::*;

    fn measured(index: usize) -> Measured {
        let provenance = Provenance { engine: String::new(), device: String::new(), kernels: String::new() };
        Measured {
            report: Report {
                key: TrialKey(Digest::of(&index.to_le_bytes())),
                outcome: Outcome {
                    result: TrialResult::Failed { reason: String::new() },
                    provenance,
                    work: Work::default(),
                },
            },
            compute_ms: index as f64,
        }
    }

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
}
