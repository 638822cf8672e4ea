//! What came of attempts at trials that came to nothing: workers that were lost with them, and devices that could not measure
//! them. How long a device then rests is in `rests.rs`.
//!
//! As volatile as leases are: a coordinator that starts anew holds nothing against anyone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::trial::TrialKey;

use super::dispatch::{WorkerId, WorkerInfo};
use super::occupancy::Place;
use super::rests::JUST_NOW_MS;
use super::{QUARANTINE_LOSSES, UnixMillis};

/// Machines on which a trial could not be measured, after which it has failed: the devices of one may all be broken.
const REFUSING_MACHINES_MAX: usize = 3;

/// Attempts at a trial that could not be measured, after which it has failed if no other device is there to try.
const REFUSALS_MAX: u32 = 5;

/// Machines on which measuring a trial panicked, or times if no other device is there to try, after which it has failed.
const PANICS_MAX: u32 = 2;

/// A device that could not measure a trial is asked again after so long, in milliseconds: what took its memory may be over.
const RETRY_MS: u64 = 15_000;

/// Each time after so many times as long: five attempts take ten minutes.
const RETRY_GROWTH: u64 = 3;

/// How a trial lost its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The worker fell silent while it held the trial and others, and had not said that it ran any of them.
    Suspected,
    /// It fell silent while it ran the trial. It may have been cut off only, so that this is in doubt for a while.
    Silent {
        /// When it has stayed away for so long that it is taken for dead.
        doubtful_until: UnixMillis,
    },
    /// It was heard all the time and got nowhere with the trial.
    Hung,
}

impl Loss {
    fn is_counted(self) -> bool {
        match self {
            Self::Suspected => false,
            Self::Silent { .. } | Self::Hung => true,
        }
    }

    fn is_certain(self, now: UnixMillis) -> bool {
        match self {
            Self::Suspected => false,
            Self::Silent { doubtful_until } => doubtful_until <= now,
            Self::Hung => true,
        }
    }
}

/// What kept a worker from measuring trials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObstacleKind {
    /// Something that they need did not come, or nothing could be left: no fault of theirs.
    Supply,
    /// The worker's device cannot do it, at least now.
    Device,
    /// Measuring panicked.
    Panic,
}

/// Why a worker gives trials back that it was to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// What follows from it.
    pub kind: ObstacleKind,
    /// Why, for people.
    pub reason: String,
    /// The trials that it was about, measured together.
    pub trials: Vec<TrialKey>,
}

impl ObstacleKind {
    /// It in a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Supply => "supply",
            Self::Device => "device",
            Self::Panic => "panic",
        }
    }
}

/// What a device came to with a trial.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Refusal {
    /// The worker that said so last.
    pub(super) worker: WorkerId,
    /// Its machine.
    machine: String,
    /// What it said.
    pub(super) obstacle: Arc<Obstacle>,
    /// Attempts at the trial alone.
    pub(super) attempts: u32,
    /// Those of them that ended in a panic.
    panics: u32,
    /// The device is not asked again before.
    retry_at: UnixMillis,
}

impl Refusal {
    /// Says it in a sentence.
    pub(super) fn text(&self, place: &Place) -> String {
        let reason = &self.obstacle.reason;
        let who = format!("worker `{}` on `{}`", self.worker.0, place.device);
        match self.attempts {
            0 => format!("{who} gave it back with {} others: {reason}", self.obstacle.trials.len() - 1),
            1 => format!("{who} could not measure it: {reason}"),
            attempts => format!("{who} could not measure it, {attempts} times: {reason}"),
        }
    }
}

/// What one trial did.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Trouble {
    pub(super) losses: BTreeMap<WorkerId, Loss>,
    pub(super) refusals: BTreeMap<Place, Refusal>,
}

impl Trouble {
    fn counted(&self) -> u32 {
        self.losses.values().filter(|loss| loss.is_counted()).count() as u32
    }

    /// How many workers it has certainly cost.
    pub(super) fn certain(&self, now: UnixMillis) -> u32 {
        self.losses.values().filter(|loss| loss.is_certain(now)).count() as u32
    }

    /// Attempts at it alone, and machines where they were made: all of them, and those that ended in a panic.
    fn attempts(&self) -> [(u32, BTreeSet<&str>); 2] {
        let of = |count: fn(&Refusal) -> u32| {
            let counted = || self.refusals.values().filter(|refusal| count(refusal) > 0);
            (counted().map(count).sum(), counted().map(|refusal| refusal.machine.as_str()).collect())
        };
        [of(|refusal| refusal.attempts), of(|refusal| refusal.panics)]
    }
}

/// The trials that did something, and what.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Troubles {
    trials: BTreeMap<TrialKey, Trouble>,
    /// Those that a worker was lost with.
    of_workers: HashMap<WorkerId, BTreeSet<TrialKey>>,
    /// Those that a device could not measure alone.
    at_places: HashMap<Place, BTreeSet<TrialKey>>,
    /// Those that too many workers were lost with.
    withheld: BTreeSet<TrialKey>,
}

impl Troubles {
    /// A worker was lost with a trial.
    pub(super) fn lose(&mut self, key: TrialKey, worker: &WorkerId, loss: Loss) {
        let losses = &mut self.trials.entry(key).or_default().losses;
        match losses.get(worker) {
            Some(known) if known.is_counted() && !loss.is_counted() => {}
            Some(_) | None => {
                losses.insert(worker.clone(), loss);
            }
        }
        self.of_workers.entry(worker.clone()).or_default().insert(key);
        self.count(&key);
    }

    /// A worker lives; returns the trials that it is no longer held against.
    pub(super) fn absolve(&mut self, worker: &WorkerId) -> Vec<TrialKey> {
        let keys = self.of_workers.get(worker).into_iter().flatten().copied();
        let is_hung = |key: &TrialKey| self.loss(key, worker) == Some(Loss::Hung);
        let absolved: Vec<TrialKey> = keys.filter(|key| !is_hung(key)).collect();
        for key in &absolved {
            self.forgive(key, worker);
        }
        absolved
    }

    fn forgive(&mut self, key: &TrialKey, worker: &WorkerId) {
        if let Some(trouble) = self.trials.get_mut(key)
            && trouble.losses.remove(worker).is_some()
        {
            if *trouble == Trouble::default() {
                self.trials.remove(key);
            }
            remove_from(&mut self.of_workers, worker, key);
            self.count(key);
        }
    }

    /// A device could not measure a trial, alone or with others, and is not asked again for a while.
    pub(super) fn refuse(
        &mut self,
        key: TrialKey,
        (place, worker): (Place, &WorkerInfo),
        (obstacle, now): (&Arc<Obstacle>, UnixMillis),
    ) {
        let is_alone = obstacle.trials.len() == 1;
        if is_alone {
            self.at_places.entry(place.clone()).or_default().insert(key);
        }
        let refusals = &mut self.trials.entry(key).or_default().refusals;
        let known = refusals.get(&place).map_or((0, 0), |known| (known.attempts, known.panics));
        let is_panic = is_alone && obstacle.kind == ObstacleKind::Panic;
        let refusal = Refusal {
            worker: worker.id.clone(),
            machine: worker.machine.clone(),
            obstacle: Arc::clone(obstacle),
            attempts: known.0 + u32::from(is_alone),
            panics: known.1 + u32::from(is_panic),
            retry_at: retry_at(obstacle.kind, known.0, now),
        };
        refusals.insert(place, refusal);
    }

    /// Nobody could come back for so long; what was in doubt before is so for as much longer.
    pub(super) fn put_off(&mut self, millis: u64, now: UnixMillis) {
        let before = UnixMillis(now.0.saturating_sub(millis));
        let losses = self.trials.values_mut().flat_map(|trouble| trouble.losses.values_mut());
        for loss in losses {
            match loss {
                Loss::Silent { doubtful_until } if *doubtful_until > before => {
                    *doubtful_until = doubtful_until.after(millis);
                }
                Loss::Silent { .. } | Loss::Suspected | Loss::Hung => {}
            }
        }
    }

    /// Nobody needs the trial any more.
    pub(super) fn settle(&mut self, key: &TrialKey) {
        let Some(trouble) = self.trials.remove(key) else { return };
        self.withheld.remove(key);
        trouble.losses.keys().for_each(|worker| remove_from(&mut self.of_workers, worker, key));
        trouble.refusals.keys().for_each(|place| remove_from(&mut self.at_places, place, key));
    }

    fn count(&mut self, key: &TrialKey) {
        match self.losses(key) >= QUARANTINE_LOSSES {
            true => self.withheld.insert(*key),
            false => self.withheld.remove(key),
        };
    }

    fn loss(&self, key: &TrialKey, worker: &WorkerId) -> Option<Loss> {
        self.trials.get(key)?.losses.get(worker).copied()
    }

    /// How many workers were lost while they ran a trial, also those of which it is in doubt.
    pub(super) fn losses(&self, key: &TrialKey) -> u32 {
        self.trials.get(key).map_or(0, Trouble::counted)
    }

    /// Whether nobody is to have a trial until it is certain what it did.
    pub(super) fn is_withheld(&self, key: &TrialKey) -> bool {
        self.withheld.contains(key)
    }

    /// Trials that nobody is to have until it is certain what they did.
    pub(super) fn withheld(&self) -> impl Iterator<Item = (&TrialKey, &Trouble)> {
        self.withheld.iter().filter_map(|key| self.trials.get_key_value(key))
    }

    /// Whether a trial is measured without others, to tell whether it was the reason.
    pub(super) fn goes_alone(&self, key: &TrialKey) -> bool {
        self.trials.get(key).is_some_and(|trouble| !trouble.losses.is_empty() || !trouble.refusals.is_empty())
    }

    /// Trials that a device could not measure alone.
    pub(super) fn refused_at(&self, place: &Place) -> impl Iterator<Item = &TrialKey> {
        self.at_places.get(place).into_iter().flatten()
    }

    /// Whether a device could not measure a trial alone.
    pub(super) fn is_refused_at(&self, place: &Place, key: &TrialKey) -> bool {
        self.at_places.get(place).is_some_and(|refused| refused.contains(key))
    }

    /// Whether a device that could not measure a trial is not asked again yet.
    pub(super) fn rests_at(&self, place: &Place, key: &TrialKey, now: UnixMillis) -> bool {
        let refusal = self.trials.get(key).and_then(|trouble| trouble.refusals.get(place));
        refusal.is_some_and(|refusal| refusal.retry_at > now)
    }

    /// Trials that a device which could not measure them may be asked for again since a moment ago.
    pub(super) fn retried(&self, now: UnixMillis) -> impl Iterator<Item = &TrialKey> {
        let is_now = move |at: UnixMillis| at <= now && now <= at.after(JUST_NOW_MS);
        let is_retried = move |refusal: &Refusal| refusal.attempts > 0 && is_now(refusal.retry_at);
        let trials = self.trials.iter();
        trials.filter(move |(_, trouble)| trouble.refusals.values().any(is_retried)).map(|(key, _)| key)
    }

    /// Whether a trial has failed with this refusal of it alone, which is not noted yet. `is_able_elsewhere` says whether a device is there
    /// that may measure it and has not tried.
    pub(super) fn is_final(
        &self,
        key: &TrialKey,
        (machine, kind): (&str, ObstacleKind),
        is_able_elsewhere: impl FnOnce() -> bool,
    ) -> bool {
        let [mut all, mut panics] = self.trials.get(key).map(Trouble::attempts).unwrap_or_default();
        let tried = [Some(&mut all), (kind == ObstacleKind::Panic).then_some(&mut panics)];
        for (attempts, machines) in tried.into_iter().flatten() {
            *attempts += 1;
            machines.insert(machine);
        }
        let is_spread = all.1.len() >= REFUSING_MACHINES_MAX || panics.1.len() >= PANICS_MAX as usize;
        let is_often = all.0 >= REFUSALS_MAX || panics.0 >= PANICS_MAX;
        is_spread || (is_often && !is_able_elsewhere())
    }

    /// What a trial did.
    pub(super) fn of(&self, key: &TrialKey) -> Option<&Trouble> {
        self.trials.get(key)
    }

    /// All trials that did something.
    pub(super) fn all(&self) -> impl Iterator<Item = (&TrialKey, &Trouble)> {
        self.trials.iter()
    }

    /// Checks that nothing is remembered of trials that nobody needs, and that what is found by worker and device is what is
    /// known of trials; returns the first breach.
    pub(super) fn check(&self, is_open: impl Fn(&TrialKey) -> bool) -> Result<(), String> {
        let mut again = Self::default();
        for (key, trouble) in &self.trials {
            if !is_open(key) {
                return Err(format!("trial {key} is settled and something is held against it"));
            }
            for (worker, loss) in &trouble.losses {
                again.lose(*key, worker, *loss);
            }
            for (place, _) in trouble.refusals.iter().filter(|(_, refusal)| refusal.attempts > 0) {
                again.at_places.entry(place.clone()).or_default().insert(*key);
            }
        }
        let same = (&again.of_workers, &again.at_places, &again.withheld)
            == (&self.of_workers, &self.at_places, &self.withheld);
        same.then_some(())
            .ok_or_else(|| "what is held against trials is not found by worker and device".to_owned())
    }
}

/// When a device that could not measure a trial is asked again, having tried so often before.
fn retry_at(kind: ObstacleKind, tried: u32, now: UnixMillis) -> UnixMillis {
    match kind {
        ObstacleKind::Device => now.after(RETRY_MS * RETRY_GROWTH.saturating_pow(tried.min(REFUSALS_MAX))),
        // A second panic is no other than the first.
        ObstacleKind::Panic | ObstacleKind::Supply => now,
    }
}

fn remove_from<K: Eq + std::hash::Hash>(index: &mut HashMap<K, BTreeSet<TrialKey>>, of: &K, key: &TrialKey) {
    if let Some(keys) = index.get_mut(of) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(of);
        }
    }
}
