//! Who may write lines about which trials, and how many.

use std::collections::{HashMap, VecDeque};

use bitloop_core::state::WorkerId;
use bitloop_proto::convert::LogLine;

use super::UnknownWorker;
use super::record::{Record, Short};

/// Leases of a worker that it may still write about: lines come a moment after the outcomes.
const LEASES_PER_WORKER: usize = 4;

/// Workers that are remembered.
const WORKERS_MAX: usize = 8_192;

/// Lines that are taken for one lease.
const LINES_PER_LEASE: u32 = 1_024;

/// A lease that lines may belong to.
#[derive(Debug)]
struct Open {
    lease: u64,
    /// In ascending order.
    trials: Vec<Short>,
    lines: u32,
}

#[derive(Debug, Default)]
struct Writer {
    leases: VecDeque<Open>,
    /// When it got its last lease, counted in leases.
    granted: u64,
}

/// The leases of late.
#[derive(Debug, Default)]
pub(super) struct Leases {
    workers: HashMap<String, Writer>,
    granted: u64,
}

impl Leases {
    /// Takes notice of a grant; nothing else matters here.
    pub(super) fn follow(&mut self, record: &Record) {
        let Record::Leased { lease, worker, trials, .. } = record else { return };
        self.granted += 1;
        if self.workers.len() >= WORKERS_MAX && !self.workers.contains_key(worker) {
            self.forget_oldest();
        }
        let writer = self.workers.entry(worker.clone()).or_default();
        writer.granted = self.granted;
        writer.leases.truncate(LEASES_PER_WORKER - 1);
        writer.leases.push_front(Open { lease: *lease, trials: trials.clone(), lines: 0 });
    }

    fn forget_oldest(&mut self) {
        let mut granted: Vec<u64> = self.workers.values().map(|writer| writer.granted).collect();
        let (_, middle, _) = granted.select_nth_unstable(WORKERS_MAX / 2);
        let middle = *middle;
        self.workers.retain(|_, writer| writer.granted > middle);
    }

    /// The lines that a worker may write, by lease.
    ///
    /// Errors: the worker has had no lease.
    pub(super) fn admit(
        &mut self,
        worker: &WorkerId,
        lines: Vec<LogLine>,
    ) -> Result<Vec<(u64, Vec<LogLine>)>, UnknownWorker> {
        let writer = self.workers.get_mut(&worker.0).ok_or(UnknownWorker)?;
        let mut admitted: Vec<(u64, Vec<LogLine>)> = Vec::new();
        for line in lines {
            let trial = Short::from(&line.trial);
            let open = writer.leases.iter_mut().find(|open| open.trials.binary_search(&trial).is_ok());
            let Some(open) = open.filter(|open| open.lines < LINES_PER_LEASE) else { continue };
            open.lines += 1;
            match admitted.last_mut() {
                Some((lease, lines)) if *lease == open.lease => lines.push(line),
                Some(_) | None => admitted.push((open.lease, vec![line])),
            }
        }
        Ok(admitted)
    }
}

#[cfg(test)]
mod tests {
    use bitloop_core::digest::Digest;
    use bitloop_core::trial::TrialKey;
    use bitloop_proto::convert::LogLevel;

    use super::*;

    fn key(number: u64) -> TrialKey {
        TrialKey(Digest::of(&number.to_le_bytes()))
    }

    fn leased(lease: u64, worker: &str, trials: &[u64]) -> Record {
        let mut trials: Vec<Short> = trials.iter().map(|number| Short::from(&key(*number))).collect();
        trials.sort_unstable();
        let (worker, device) = (worker.to_owned(), String::new());
        Record::Leased { at: 0, lease, worker, device, second: false, held: false, trials }
    }

    fn line(number: u64) -> LogLine {
        let text = format!("line of {number}");
        LogLine { trial: key(number), alone: false, ago_ms: 0, level: LogLevel::Info, text }
    }

    fn admitted(leases: &mut Leases, worker: &str, lines: Vec<LogLine>) -> Vec<(u64, usize)> {
        let admitted = leases.admit(&WorkerId(worker.to_owned()), lines).unwrap();
        admitted.iter().map(|(lease, lines)| (*lease, lines.len())).collect()
    }

    #[test]
    fn a_worker_writes_about_trials_of_its_own_leases_alone() {
        let mut leases = Leases::default();
        leases.follow(&leased(1, "w1", &[1, 2]));
        leases.follow(&leased(2, "w2", &[3]));

        assert_eq!(admitted(&mut leases, "w1", vec![line(1), line(3), line(2), line(9)]), [(1, 2)]);
        assert_eq!(leases.admit(&WorkerId("w3".to_owned()), vec![line(1)]), Err(UnknownWorker));
    }

    #[test]
    fn lines_of_the_lease_before_are_welcome_and_those_of_long_ago_are_not() {
        let mut leases = Leases::default();
        for lease in 0..=LEASES_PER_WORKER as u64 {
            leases.follow(&leased(lease, "w1", &[lease]));
        }

        let last = LEASES_PER_WORKER as u64;
        assert_eq!(admitted(&mut leases, "w1", vec![line(0), line(1), line(last)]), [(1, 1), (last, 1)]);
    }

    #[test]
    fn a_lease_has_so_many_lines_and_no_more() {
        let mut leases = Leases::default();
        leases.follow(&leased(1, "w1", &[1]));
        let many = vec![line(1); LINES_PER_LEASE as usize + 10];

        assert_eq!(admitted(&mut leases, "w1", many), [(1, LINES_PER_LEASE as usize)]);
        assert_eq!(admitted(&mut leases, "w1", vec![line(1)]), []);
    }

    #[test]
    fn workers_of_long_ago_are_forgotten() {
        let mut leases = Leases::default();
        for worker in 0..=WORKERS_MAX as u64 {
            leases.follow(&leased(worker, &format!("w{worker}"), &[worker]));
        }

        assert!(leases.workers.len() < WORKERS_MAX);
        assert_eq!(leases.admit(&WorkerId("w0".to_owned()), vec![line(0)]), Err(UnknownWorker));
        let last = WORKERS_MAX as u64;
        assert_eq!(admitted(&mut leases, &format!("w{last}"), vec![line(last)]), [(last, 1)]);
    }
}
