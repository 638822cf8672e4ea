//! Which workers can take which trials, and why not.

use std::cell::{LazyCell, OnceCell};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::device::{Requirements, Share, Unmet};
use crate::trial::{Numerics, TrialKey};

use super::UnixMillis;
use super::dispatch::{Dispatch, Worker, WorkerId, WorkerInfo};
use super::ledger::{Claim, Ledger, Trial};
use super::occupancy::{Place, Taken};
use super::queue::{Group, Lane};
use super::rests::RestFrom;

/// Why a worker does not take trials of a lane now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// It can never measure them.
    Unmet(Unmet),
    /// Another worker has the device to itself for a while.
    HeldAlone {
        /// Which.
        by: WorkerId,
    },
    /// Another worker measures on the device of its probe.
    Probed {
        /// The device.
        device: String,
        /// Who.
        by: WorkerId,
    },
    /// They need the device to themselves, and others still measure on it.
    NotAlone {
        /// How many.
        others: u32,
    },
    /// The device is kept free for trials that need it to themselves.
    Resting,
    /// A worker that has not come back since the coordinator began may still measure on the device.
    Unsettled,
    /// Others have taken too much of the device.
    Full {
        /// What the worker needs of it, in ten-thousandths.
        share: u32,
        /// What is left.
        left: u32,
    },
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unmet(unmet) => unmet.fmt(f),
            Self::HeldAlone { by } => write!(f, "its device is `{}`'s alone for a while", by.0),
            Self::Probed { device, by } => {
                write!(f, "`{}` measures on its probe's device `{device}` at the moment", by.0)
            }
            Self::NotAlone { others: 1 } => {
                f.write_str("its device is needed alone, one worker still measures on it")
            }
            Self::NotAlone { others } => {
                write!(f, "its device is needed alone, {others} workers still measure on it")
            }
            Self::Resting => f.write_str("its device is kept free for trials that need it alone"),
            Self::Unsettled => f.write_str(
                "its probe waits for a moment behind the coordinator's start, as another worker may still use the device",
            ),
            Self::Full { share, left } => {
                write!(f, "it needs {share} of its device's 10000 parts, {left} are left")
            }
        }
    }
}

/// The lanes that a worker can take trials of now.
pub(super) struct Fitting<'a> {
    pub(super) lanes: Vec<(&'a Lane, &'a Group)>,
    /// Trials of them that it is not to have.
    pub(super) barred: BTreeSet<TrialKey>,
}

impl<'a> Fitting<'a> {
    /// Finds the lanes of the highest priority that has any for the worker, in the order of experiments.
    pub(super) fn find(
        ledger: &Ledger,
        dispatch: &'a Dispatch,
        (worker, now): (&Worker, UnixMillis),
    ) -> Self {
        let barred = barred(ledger, dispatch, (worker, now));
        let mut barred_in: BTreeMap<Lane, usize> = BTreeMap::new();
        for trial in barred.iter().filter_map(|key| ledger.trial(key)) {
            let lanes = ledger.claims(trial).into_iter().map(|claim| Lane::of(claim, trial));
            lanes.for_each(|lane| *barred_in.entry(lane).or_default() += 1);
        }
        // The same for every lane.
        let taken = dispatch.taken(&worker.info, Some(&worker.info.id));
        let moment = Moment::new((ledger, dispatch), now);
        let place = Place::of(&worker.info);
        let rests = |from| dispatch.rests().is_resting(&place, from, now);
        if rests(RestFrom::Everything) {
            return Self { lanes: Vec::new(), barred };
        }
        let fits = |(lane, group): &(&Lane, &Group)| {
            let is_open = barred_in.get(lane).is_none_or(|barred| *barred < group.len());
            is_open
                && !rests(RestFrom::lane(lane.company))
                && moment.hindrance_beside((worker, lane, taken)).is_none()
        };
        let mut lanes: Vec<(&Lane, &Group)> = dispatch.lanes().filter(fits).collect();
        let priority = |lane: &Lane| ledger.claimant(lane.claim).priority;
        let highest = lanes.iter().map(|(lane, _)| priority(lane)).max();
        lanes.retain(|(lane, _)| Some(priority(lane)) == highest);
        Self { lanes, barred }
    }
}

/// The waiting trials that a worker is not to have now, as its device could not measure them: while another device is there that
/// may, and for a while in any case.
fn barred(ledger: &Ledger, dispatch: &Dispatch, (worker, now): (&Worker, UnixMillis)) -> BTreeSet<TrialKey> {
    let place = Place::of(&worker.info);
    // The same for most of them. A stage may have trials for everybody and for one device.
    let mut able: BTreeMap<Lane, BTreeSet<Place>> = BTreeMap::new();
    let mut may_elsewhere = |trial: &Trial| {
        ledger.claims(trial).into_iter().any(|claim| {
            let lane = Lane::of(claim, trial);
            let able = able.entry(lane).or_insert_with(|| places_able(ledger, dispatch, &lane));
            able.iter().any(|other| may_at(dispatch, (trial, other), now))
        })
    };
    let refused = dispatch.troubles().refused_at(&place).filter_map(|key| ledger.trial(key));
    let barred = refused.filter(|trial| {
        let rests = dispatch.troubles().rests_at(&place, &trial.key, now);
        dispatch.is_queued(trial) && (rests || may_elsewhere(trial))
    });
    let unsupplied = dispatch.rests().trials_at(&place, now).copied();
    barred.map(|trial| trial.key).chain(unsupplied).collect()
}

/// Whether a device other than `but` is there that may measure a trial and has not tried.
pub(super) fn may_elsewhere(
    ledger: &Ledger,
    dispatch: &Dispatch,
    (trial, but): (&Trial, &Place),
    now: UnixMillis,
) -> bool {
    ledger.claims(trial).into_iter().any(|claim| {
        let able = places_able(ledger, dispatch, &Lane::of(claim, trial));
        able.iter().any(|other| other != but && may_at(dispatch, (trial, other), now))
    })
}

/// Whether a device may measure a trial, as far as it has tried it alone or has lately lacked what that needs.
fn may_at(dispatch: &Dispatch, (trial, place): (&Trial, &Place), now: UnixMillis) -> bool {
    !dispatch.troubles().is_refused_at(place, &trial.key)
        && dispatch.rests().times(place, RestFrom::trial(trial), now) == 0
}

/// Whether a worker may have a trial now that another one holds: its device has not refused it, and rests from nothing that it needs.
pub(super) fn may_share(dispatch: &Dispatch, (worker, now): (&Worker, UnixMillis), trial: &Trial) -> bool {
    let froms = [RestFrom::trial(trial), RestFrom::lane(trial.spec.company())];
    rest(dispatch, (worker, now), &froms).is_none()
        && !dispatch.troubles().is_refused_at(&Place::of(&worker.info), &trial.key)
}

/// How it is said that a device which could not measure something does not get it again yet.
const REFUSED: &str = "its device could not measure it, and is not asked again now";

/// Why a worker is not to have a waiting trial now, in words; none if it may.
pub(super) fn bar(
    ledger: &Ledger,
    dispatch: &Dispatch,
    (worker, now): (&Worker, UnixMillis),
    trial: &Trial,
) -> Option<&'static str> {
    let company = trial.spec.company();
    let is_barred = || barred(ledger, dispatch, (worker, now)).contains(&trial.key);
    rest(dispatch, (worker, now), &[RestFrom::trial(trial), RestFrom::lane(company)])
        .or_else(|| is_barred().then_some(REFUSED))
}

/// The same of all of a lane's waiting trials.
pub(super) fn bar_lane(
    ledger: &Ledger,
    dispatch: &Dispatch,
    (worker, now): (&Worker, UnixMillis),
    lane: &Lane,
) -> Option<&'static str> {
    let is_barred = || {
        let barred = barred(ledger, dispatch, (worker, now));
        let barred = barred.iter().filter_map(|key| ledger.trial(key));
        let is_of_lane =
            |trial: &&Trial| ledger.claims(trial).into_iter().any(|claim| Lane::of(claim, trial) == *lane);
        dispatch.waiting_in(lane).is_some_and(|waiting| waiting == barred.filter(is_of_lane).count())
    };
    rest(dispatch, (worker, now), &[RestFrom::lane(lane.company)]).or_else(|| is_barred().then_some(REFUSED))
}

/// Whether a worker's device rests from everything, or from any of these, and why, in words.
fn rest(
    dispatch: &Dispatch,
    (worker, now): (&Worker, UnixMillis),
    froms: &[RestFrom],
) -> Option<&'static str> {
    let place = Place::of(&worker.info);
    let rests = |from| dispatch.rests().is_resting(&place, from, now);
    match rests(RestFrom::Everything) {
        true => Some("its device rests, as it could not measure what it got last"),
        false => froms
            .iter()
            .any(|from| rests(*from))
            .then_some("what it needs did not come to it, and is asked for again soon"),
    }
}

/// Where the trials of a lane can be measured.
fn places_able(ledger: &Ledger, dispatch: &Dispatch, lane: &Lane) -> BTreeSet<Place> {
    let (requirements, numerics) = (ledger.requirements(lane), numerics(ledger, lane));
    let able = dispatch.workers().filter(|worker| worker.info.unmet(requirements, numerics).is_none());
    able.map(|worker| Place::of(&worker.info)).collect()
}

/// One moment of a cluster, with what is the same for all its workers and takes a look at all of them: found once, if at all.
pub(super) struct Moment<'a> {
    ledger: &'a Ledger,
    dispatch: &'a Dispatch,
    now: UnixMillis,
    /// The lanes whose trials need a device to themselves, and the devices that rest for them.
    alone: OnceCell<Vec<(&'a Lane, BTreeSet<Place>)>>,
}

impl<'a> Moment<'a> {
    pub(super) fn new((ledger, dispatch): (&'a Ledger, &'a Dispatch), now: UnixMillis) -> Self {
        Self { ledger, dispatch, now, alone: OnceCell::new() }
    }

    /// Whom a trial is measured for.
    pub(super) fn claims(&self, trial: &Trial) -> Vec<Claim> {
        self.ledger.claims(trial)
    }

    /// Why `worker` does not take trials of `lane` now; none if it may, as far as priorities allow.
    pub(super) fn hindrance(&self, worker: &Worker, lane: &Lane) -> Option<Hindrance> {
        let taken = self.dispatch.taken(&worker.info, Some(&worker.info.id));
        self.hindrance_beside((worker, lane, taken))
    }

    /// The same, given what others take of the worker's device.
    fn hindrance_beside(&self, (worker, lane, taken): (&Worker, &Lane, Taken<'_>)) -> Option<Hindrance> {
        let requirements = self.ledger.requirements(lane);
        if let Some(unmet) = worker.info.unmet(requirements, numerics(self.ledger, lane)) {
            return Some(Hindrance::Unmet(unmet));
        }
        if self.is_unsettled(requirements) {
            return Some(Hindrance::Unsettled);
        }
        let Taken { holders, share, exclusive } = taken;
        if let Some(by) = exclusive {
            return Some(Hindrance::HeldAlone { by: by.clone() });
        }
        if let Some(probed) = worker.info.probed(requirements) {
            match self.dispatch.taken_at(&probed, Some(&worker.info.id)) {
                Taken { exclusive: Some(by), .. } => {
                    return Some(Hindrance::Probed { device: probed.device, by: by.clone() });
                }
                Taken { holders: 0, .. } => {}
                Taken { holders: others, .. } => return Some(Hindrance::NotAlone { others }),
            }
        }
        if requirements.exclusive {
            return (holders > 0).then_some(Hindrance::NotAlone { others: holders });
        }
        let (needed, left) =
            (worker.info.share.ten_thousandths(), Share::WHOLE.ten_thousandths().saturating_sub(share));
        if needed > left {
            return Some(Hindrance::Full { share: needed, left });
        }
        self.rests(worker, lane).then_some(Hindrance::Resting)
    }

    fn is_unsettled(&self, requirements: &Requirements) -> bool {
        requirements.probe.is_some() && self.dispatch.unsettled_until().is_some()
    }

    /// Whether the worker's device takes no more trials of a lane, so that one that needs it alone gets its turn.
    ///
    /// Only for a trial whose turn it is: of a higher priority, or of an experiment that has had less than the lane's.
    fn rests(&self, worker: &Worker, lane: &Lane) -> bool {
        let priority = |lane: &Lane| self.ledger.claimant(lane.claim).priority;
        let is_next = |other: &Lane| match priority(other).cmp(&priority(lane)) {
            Ordering::Greater => true,
            Ordering::Equal => {
                other.claim.experiment == lane.claim.experiment
                    || self.dispatch.served().is_before(other.claim.experiment, lane.claim.experiment)
            }
            Ordering::Less => false,
        };
        let alone = self.alone.get_or_init(|| self.resting());
        let place = LazyCell::new(|| Place::of(&worker.info));
        alone.iter().any(|(other, resting)| is_next(other) && resting.contains(&*place))
    }

    /// As many devices rest for a lane as it has trials, those first that are free soonest, and behind them those that could
    /// not measure them. Where a probe measures on another device than its worker's, both of them rest.
    fn resting(&self) -> Vec<(&'a Lane, BTreeSet<Place>)> {
        let (ledger, dispatch) = (self.ledger, self.dispatch);
        // A look at all leases, which most requests need not take.
        let busy = LazyCell::new(|| busy(dispatch));
        let is_alone =
            |requirements: &Requirements| requirements.exclusive && !self.is_unsettled(requirements);
        let alone = dispatch.lanes().filter(|(lane, _)| is_alone(ledger.requirements(lane)));
        let resting = alone.map(|(lane, group)| {
            let requirements: &Requirements = ledger.requirements(lane);
            // A device that gets nothing of the lane for a while is not kept free for it.
            let fits = |worker: &&Worker| {
                worker.info.unmet(requirements, numerics(ledger, lane)).is_none()
                    && !rests_from_all((ledger, dispatch), (&worker.info, self.now), (lane, group))
            };
            let devices: BTreeSet<(bool, Busy, Vec<Place>)> = dispatch
                .workers()
                .filter(fits)
                .map(|fitting| {
                    let places = places(&fitting.info, requirements);
                    let refuses = refuses_all(ledger, dispatch, (&fitting.info, group));
                    let busy = places.iter().filter_map(|place| busy.get(place)).max();
                    (refuses, busy.copied().unwrap_or(Busy::Free), places)
                })
                .collect();
            (lane, first_apart(devices.into_iter().map(|(_, _, places)| places), group.len()))
        });
        resting.collect()
    }
}

/// The arithmetic of a lane's trials.
pub(super) fn numerics(ledger: &Ledger, lane: &Lane) -> Numerics {
    let context = lane.company.and_then(|company| ledger.context(&company.context));
    context.map_or(Numerics::Float, |context| context.numerics)
}

/// The devices that a worker takes to measure what has these requirements: its own first.
fn places(info: &WorkerInfo, requirements: &Requirements) -> Vec<Place> {
    [Some(Place::of(info)), info.probed(requirements)].into_iter().flatten().collect()
}

/// The first `most` of these sets of devices that have none in common, together: two workers at one board measure one after the
/// other.
fn first_apart(sets: impl Iterator<Item = Vec<Place>>, most: usize) -> BTreeSet<Place> {
    let (mut taken, mut count) = (BTreeSet::new(), 0);
    for places in sets {
        if count == most {
            break;
        }
        if !places.iter().any(|place| taken.contains(place)) {
            taken.extend(places);
            count += 1;
        }
    }
    taken
}

/// Whether a worker's device gets none of a group's trials for a while.
fn rests_from_all(
    (ledger, dispatch): (&Ledger, &Dispatch),
    (info, now): (&WorkerInfo, UnixMillis),
    (lane, group): (&Lane, &Group),
) -> bool {
    let rests = dispatch.rests();
    if rests.is_empty() {
        return false;
    }
    let place = Place::of(info);
    let froms = [RestFrom::Everything, RestFrom::lane(lane.company)];
    froms.iter().any(|from| rests.is_resting(&place, *from, now))
        || group
            .trials()
            .all(|sequence| rests.is_resting(&place, RestFrom::trial(ledger.proposed_at(sequence)), now))
}

/// Whether a worker's device could measure none of a group's trials.
fn refuses_all(ledger: &Ledger, dispatch: &Dispatch, (info, group): (&WorkerInfo, &Group)) -> bool {
    let place = Place::of(info);
    let mut refused = dispatch.troubles().refused_at(&place).peekable();
    let is_refused = |sequence| dispatch.troubles().is_refused_at(&place, &ledger.proposed_at(sequence).key);
    refused.peek().is_some() && group.trials().all(is_refused)
}

/// For how long a device is taken: in the order in which devices become free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Busy {
    Free,
    /// Until then.
    Until(UnixMillis),
    /// Nobody knows how long one of its leases takes.
    Unknown,
}

/// The devices that leases take.
fn busy(dispatch: &Dispatch) -> BTreeMap<Place, Busy> {
    let mut busy = BTreeMap::new();
    let in_force = dispatch.leases().filter_map(|(_, lease)| {
        let end = lease.predicted_ms.map(|predicted_ms| lease.since.after(predicted_ms as u64));
        Some((lease, &dispatch.worker(&lease.worker)?.info, end.map_or(Busy::Unknown, Busy::Until)))
    });
    let vacating =
        dispatch.vacating().map(|(_, over)| (&over.lease, &over.holder, Busy::Until(over.until())));
    for (lease, holder, end) in in_force.chain(vacating) {
        for place in [Some(Place::of(holder)), lease.probed.clone()].into_iter().flatten() {
            let known = busy.entry(place).or_insert(end);
            *known = end.max(*known);
        }
    }
    busy
}
