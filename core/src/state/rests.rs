//! What devices rest from for a while, after trials came back from them that may yet be measured.
//!
//! A worker that takes them again at once is kept from everything else, and one that can do nothing takes one shard after the
//! other apart. So its device rests, each time longer: from what lacked an artifact, or from everything if it could not measure
//! what it got.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::trial::{Company, TrialKey};

use super::UnixMillis;
use super::dispatch::WorkerId;
use super::ledger::Trial;
use super::occupancy::Place;
use super::troubles::Obstacle;

/// The first rest, in milliseconds; each is twice as long as the one before.
const REST_MS_MIN: u64 = 1_000;

/// The longest rest, in milliseconds.
const REST_MS_MAX: u64 = 60_000;

/// Those who wait are asked for so long after a rest, in milliseconds: longer than the coordinator is held up without taking note.
pub(super) const JUST_NOW_MS: u64 = 3_000;

/// What a device rests from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RestFrom {
    /// All trials, since it could not measure the last ones.
    Everything,
    /// All that go alone, so that many which lack something do not take turns in keeping a worker from the rest.
    Alone,
    /// What is measured together needs the same.
    Together(Company),
    /// One that goes alone.
    Trial(TrialKey),
}

impl RestFrom {
    /// What tells a trial's needs.
    pub(super) fn trial(trial: &Trial) -> Self {
        trial.spec.company().map_or(Self::Trial(trial.key), Self::Together)
    }

    /// What tells those of a whole lane.
    pub(super) fn lane(company: Option<Company>) -> Self {
        company.map_or(Self::Alone, Self::Together)
    }
}

/// Why and for how long a device rests.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rest {
    /// The worker that gave trials back last.
    worker: WorkerId,
    /// What it said.
    obstacle: Arc<Obstacle>,
    /// Which rest in a row this is.
    times: u32,
    rest_ms: u64,
    until: UnixMillis,
}

impl Rest {
    /// It counts for a while behind its end: who comes to nothing again by then begins a longer one.
    fn is_over(&self, now: UnixMillis) -> bool {
        self.until.after(REST_MS_MAX) < now
    }

    /// Whether it has ended just now.
    fn has_ended(&self, now: UnixMillis) -> bool {
        self.until <= now && now <= self.until.after(self.rest_ms.max(JUST_NOW_MS))
    }

    /// Says it in a sentence.
    pub(super) fn text(&self, place: &Place) -> String {
        let (worker, device, reason) = (&self.worker.0, &place.device, &self.obstacle.reason);
        match self.obstacle.trials.len() {
            0 | 1 => format!("worker `{worker}` on `{device}` gave it back: {reason}"),
            together => {
                format!("worker `{worker}` on `{device}` gave it back with {} others: {reason}", together - 1)
            }
        }
    }
}

/// What rests where.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rests(BTreeMap<Place, BTreeMap<RestFrom, Rest>>);

impl Rests {
    /// A worker on a device gave trials back; once for an obstacle, however many trials it names.
    pub(super) fn begin(
        &mut self,
        (place, worker): (&Place, &WorkerId),
        from: RestFrom,
        (obstacle, now): (&Arc<Obstacle>, UnixMillis),
    ) {
        let known = self.0.entry(place.clone()).or_default();
        known.retain(|_, rest| !rest.is_over(now));
        let before = known.get(&from);
        if before.is_some_and(|before| Arc::ptr_eq(&before.obstacle, obstacle)) {
            return;
        }
        let times = before.map_or(0, |before| before.times) + 1;
        let rest_ms = match (from, before) {
            // Once, it may have been the trial's fault.
            (RestFrom::Everything, None) => 0,
            (RestFrom::Alone, _) | (RestFrom::Together(_) | RestFrom::Trial(_), None) => REST_MS_MIN,
            (RestFrom::Everything | RestFrom::Together(_) | RestFrom::Trial(_), Some(before)) => {
                (2 * before.rest_ms).clamp(REST_MS_MIN, REST_MS_MAX)
            }
        };
        let (worker, obstacle) = (worker.clone(), Arc::clone(obstacle));
        known.insert(from, Rest { worker, obstacle, times, rest_ms, until: now.after(rest_ms) });
    }

    /// A device has measured something; returns whether it rested, or took less than others.
    pub(super) fn end(&mut self, place: &Place, from: RestFrom) -> bool {
        self.0.get_mut(place).is_some_and(|known| known.remove(&from).is_some())
    }

    /// Nobody measures on a device any more.
    pub(super) fn forget(&mut self, place: &Place) {
        self.0.remove(place);
    }

    /// Whether nothing rests from anything.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How often in a row a device began to rest from this, lately.
    pub(super) fn times(&self, place: &Place, from: RestFrom, now: UnixMillis) -> u32 {
        self.at(place, from).filter(|rest| !rest.is_over(now)).map_or(0, |rest| rest.times)
    }

    /// Whether a device rests from this.
    pub(super) fn is_resting(&self, place: &Place, from: RestFrom, now: UnixMillis) -> bool {
        self.at(place, from).is_some_and(|rest| rest.until > now)
    }

    fn at(&self, place: &Place, from: RestFrom) -> Option<&Rest> {
        self.0.get(place).and_then(|known| known.get(&from))
    }

    /// Trials that go alone and that a device rests from.
    pub(super) fn trials_at(&self, place: &Place, now: UnixMillis) -> impl Iterator<Item = &TrialKey> {
        let known = self.0.get(place).into_iter().flatten();
        known.filter(move |(_, rest)| rest.until > now).filter_map(|(from, _)| match from {
            RestFrom::Trial(key) => Some(key),
            RestFrom::Everything | RestFrom::Alone | RestFrom::Together(_) => None,
        })
    }

    /// Whether a rest has ended lately, so that a worker which waits may get something.
    pub(super) fn has_ended(&self, now: UnixMillis) -> bool {
        let mut rests = self.0.values().flat_map(BTreeMap::values);
        rests.any(|rest| rest.has_ended(now))
    }

    /// Where devices rest from this, or did lately.
    pub(super) fn of(&self, from: RestFrom, now: UnixMillis) -> impl Iterator<Item = (&Place, &Rest)> {
        let rests = self.0.iter().filter_map(move |(place, known)| Some((place, known.get(&from)?)));
        rests.filter(move |(_, rest)| !rest.is_over(now))
    }

    /// All of them that are not over, or were not until lately.
    pub(super) fn all(&self, now: UnixMillis) -> impl Iterator<Item = (&Place, &RestFrom, &Rest)> {
        let rests = self
            .0
            .iter()
            .flat_map(|(place, known)| known.iter().map(move |(from, rest)| (place, from, rest)));
        rests.filter(move |(_, _, rest)| !rest.is_over(now))
    }
}
