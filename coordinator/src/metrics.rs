//! What the coordinator counts about itself. The driver adds to atomic numbers; whoever reads them, and the driver's
//! latest overview, sends the driver nothing. Start at [`Metrics`]; `text` writes them as Prometheus reads them.

mod now;
mod text;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bitloop_core::state::{Change, Decision, Event, Fact, Input, Reply, State, UnixMillis, Worker};
use bitloop_core::trial::TrialResult;

use self::now::Now;
use crate::driver::{HEARTBEAT_MS, Overview, RequestError};

pub(crate) use self::now::Counts;

/// Bounds of times, in seconds: from a round in memory to a disk that hardly answers.
const SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Bounds of how long leases last, in seconds: a shard is made to take about two.
const LEASE_SECONDS: &[f64] = &[0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0, 7_200.0];

/// Bounds of facts stored at once, up to a full round.
const FACTS: &[f64] = &[1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0];

/// Classes of devices that are told apart; workers name them, so that there must be an end to it.
const DEVICES_MAX: usize = 32;

/// The class of all further devices.
const OTHER_DEVICE: &str = "other";

/// A number that only grows.
#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Counter {
    fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How often a value fell between which bounds.
#[derive(Debug)]
struct Histogram {
    bounds: &'static [f64],
    /// One for each bound, and one for what lies above; not cumulative.
    counts: Vec<Counter>,
    /// In millionths.
    sum: Counter,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| Counter::default()).collect();
        Self { bounds, counts, sum: Counter::default() }
    }

    fn observe(&self, value: f64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        self.counts[place].add(1);
        self.sum.add((value * 1e6).round() as u64);
    }
}

/// Everything that is counted since the coordinator's start.
#[derive(Debug)]
pub(crate) struct Metrics {
    epoch: u64,
    succeeded: Counter,
    failed: Counter,
    quarantined: Counter,
    duplicates: Counter,
    conflicts: Counter,
    leases_expired: Counter,
    workers_lost: Counter,
    give_backs: Counter,
    heartbeats_missed: Counter,
    store_failures: Counter,
    /// Whether the last write to the store failed.
    is_store_failing: AtomicBool,
    stored_bytes: Counter,
    fetched_bytes: Counter,
    stalled_ms: Counter,
    commit_seconds: Histogram,
    batch_facts: Histogram,
    lag_seconds: Histogram,
    round_seconds: Histogram,
    /// In microseconds.
    longest_round: AtomicU64,
    lease_seconds: Histogram,
    /// Milliseconds that workers were busy with accepted trials, by class of device.
    busy_ms: Mutex<BTreeMap<String, f64>>,
    /// Microseconds that accepted trials were expected to take, where anything was.
    predicted_us: Counter,
    /// Microseconds that these took.
    measured_us: Counter,
    now: Now,
}

impl Metrics {
    pub(crate) fn new(epoch: u64) -> Self {
        Self {
            epoch,
            succeeded: Counter::default(),
            failed: Counter::default(),
            quarantined: Counter::default(),
            duplicates: Counter::default(),
            conflicts: Counter::default(),
            leases_expired: Counter::default(),
            workers_lost: Counter::default(),
            give_backs: Counter::default(),
            heartbeats_missed: Counter::default(),
            store_failures: Counter::default(),
            is_store_failing: AtomicBool::new(false),
            stored_bytes: Counter::default(),
            fetched_bytes: Counter::default(),
            stalled_ms: Counter::default(),
            commit_seconds: Histogram::new(SECONDS),
            batch_facts: Histogram::new(FACTS),
            lag_seconds: Histogram::new(SECONDS),
            round_seconds: Histogram::new(SECONDS),
            longest_round: AtomicU64::default(),
            lease_seconds: Histogram::new(LEASE_SECONDS),
            busy_ms: Mutex::default(),
            predicted_us: Counter::default(),
            measured_us: Counter::default(),
            now: Now::default(),
        }
    }

    /// The number of this start of the coordinator.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Writes everything as Prometheus reads it.
    pub(crate) fn to_text(&self, overview: &Overview) -> String {
        text::write(self, overview)
    }

    /// Counts what is not stored: who was given up, and what workers were busy with.
    pub(crate) fn note_decision(&self, state: &State, input: &Input, decision: &Decision) {
        let changed = |is: fn(&Change) -> bool| {
            let events = decision.events.iter();
            events.filter(|event| matches!(event, Event::Change(change) if is(change))).count() as u64
        };
        match input {
            Input::Release { .. } => {
                self.give_backs.add(changed(|change| matches!(change, Change::TrialsGivenBack { .. })));
            }
            Input::Tick { .. } => {
                self.leases_expired.add(changed(|change| matches!(change, Change::LeaseEnded { .. })));
                self.workers_lost.add(changed(|change| matches!(change, Change::WorkerLeft { .. })));
            }
            Input::Commit { worker, trial_ms, .. } => {
                let is_time = trial_ms.is_finite() && *trial_ms > 0.0;
                if let Reply::Committed { accepted, .. } = &decision.reply
                    && let Some(worker) = state.dispatch.worker(worker).filter(|_| is_time)
                {
                    self.worked(&worker.info.device.class, trial_ms * f64::from(*accepted));
                    self.compare_costs(state, worker, (decision, *trial_ms));
                }
            }
            Input::Submit { .. }
            | Input::Act { .. }
            | Input::Advance { .. }
            | Input::Register { .. }
            | Input::Leave { .. }
            | Input::Request { .. }
            | Input::Heartbeat { .. }
            | Input::Inspect { .. }
            | Input::Missed { .. } => {}
        }
    }

    /// Adds up what trials were expected to take and what they took, where anything was expected.
    fn compare_costs(&self, state: &State, worker: &Worker, (decision, trial_ms): (&Decision, f64)) {
        let class = worker.info.class();
        for event in &decision.events {
            let Event::Fact(Fact::OutcomeCommitted { key, .. } | Fact::OutcomeReplaced { key, .. }) = event
            else {
                continue;
            };
            let Some(trial) = state.ledger.trial(key) else { continue };
            if let Some(predicted_ms) = state.dispatch.pace().predict(&class, &trial.spec) {
                self.predicted_us.add((predicted_ms * 1e3) as u64);
                self.measured_us.add((trial_ms * 1e3) as u64);
            }
        }
    }

    fn worked(&self, device: &str, millis: f64) {
        let mut busy = self.busy_ms.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = busy.contains_key(device) || busy.len() < DEVICES_MAX;
        let device = if is_known { device } else { OTHER_DEVICE };
        *busy.entry(device.to_owned()).or_default() += millis;
    }

    /// Counts facts that have become durable together.
    pub(crate) fn note_stored(&self, facts: &[Fact]) {
        self.is_store_failing.store(false, Ordering::Relaxed);
        self.batch_facts.observe(facts.len() as f64);
        for fact in facts {
            match fact {
                Fact::OutcomeCommitted { outcome, .. } | Fact::OutcomeReplaced { outcome, .. } => {
                    match outcome.result {
                        TrialResult::Failed { .. } => self.failed.add(1),
                        TrialResult::Prepared { .. }
                        | TrialResult::Evaluated(_)
                        | TrialResult::Trained(_)
                        | TrialResult::Measured(_) => self.succeeded.add(1),
                    }
                }
                Fact::TrialQuarantined { .. } => self.quarantined.add(1),
                Fact::ExperimentSubmitted { .. }
                | Fact::ExperimentPaused { .. }
                | Fact::ExperimentResumed { .. }
                | Fact::ExperimentCancelled { .. }
                | Fact::ExperimentFinished { .. }
                | Fact::ExperimentFailed { .. }
                | Fact::StepProposed { .. }
                | Fact::StageFinished { .. }
                | Fact::OutcomeLost { .. }
                | Fact::ConflictSeen { .. } => {}
            }
        }
    }

    /// Counts an answer that is about to be sent, `took` after its round began.
    pub(crate) fn note_answer(&self, answer: &Result<Reply, RequestError>, took: Duration) {
        if let Ok(Reply::Committed { duplicates, conflicts, .. }) = answer {
            self.commit_seconds.observe(took.as_secs_f64());
            self.note_commit(took);
            self.duplicates.add(u64::from(*duplicates));
            self.conflicts.add(u64::from(*conflicts));
        }
    }

    pub(crate) fn store_failed(&self) {
        self.store_failures.add(1);
        self.is_store_failing.store(true, Ordering::Relaxed);
    }

    /// Counts the heartbeats that have become overdue in the last `since_ms`.
    pub(crate) fn listened(&self, state: &State, (now, since_ms): (UnixMillis, u64)) {
        let workers = state.dispatch.workers();
        let silences = workers.map(|worker| now.0.saturating_sub(worker.last_seen.0));
        self.heartbeats_missed.add(silences.map(|silent_ms| missed(silent_ms, since_ms)).sum());
    }

    pub(crate) fn ticked(&self, late_ms: u64, stalled_ms: u64) {
        self.lag_seconds.observe(late_ms as f64 / 1e3);
        self.stalled_ms.add(stalled_ms);
    }

    /// Counts a round: meanwhile nobody else was served.
    pub(crate) fn round_took(&self, took: Duration) {
        self.round_seconds.observe(took.as_secs_f64());
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.longest_round.fetch_max(micros, Ordering::Relaxed);
    }

    pub(crate) fn lease_ended(&self, lasted_ms: u64) {
        self.lease_seconds.observe(lasted_ms as f64 / 1e3);
    }

    pub(crate) fn artifact_stored(&self, bytes: u64) {
        self.stored_bytes.add(bytes);
    }

    pub(crate) fn artifact_fetched(&self, bytes: u64) {
        self.fetched_bytes.add(bytes);
    }
}

/// Heartbeats of one worker that have become overdue in the last `since_ms`. One is overdue half a period after it should
/// have come, as it travels.
fn missed(silent_ms: u64, since_ms: u64) -> u64 {
    let overdue = |silent_ms: u64| (silent_ms + HEARTBEAT_MS / 2) / HEARTBEAT_MS;
    let by = |silent_ms: u64| overdue(silent_ms).saturating_sub(1);
    by(silent_ms) - by(silent_ms.saturating_sub(since_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_heartbeat_that_stays_away_is_counted_once_however_often_one_looks() {
        for since_ms in [100, 500, 700, 3 * HEARTBEAT_MS] {
            let mut counted = 0;
            let mut silent_ms = 0;
            while silent_ms < 5 * HEARTBEAT_MS {
                silent_ms += since_ms;
                counted += missed(silent_ms, since_ms);
            }
            assert_eq!(counted, (silent_ms - HEARTBEAT_MS / 2) / HEARTBEAT_MS, "every {since_ms} ms");
        }
        assert_eq!(missed(HEARTBEAT_MS + HEARTBEAT_MS / 4, 500), 0, "it is on its way");
    }
}
