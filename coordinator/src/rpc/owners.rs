//! Which certificate a worker is under, so that no worker speaks for another one.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bitloop_core::state::LEASE_TERM_MS;
use bitloop_proto::v1;
use tonic::{Request, Status};

use super::peer::Peer;

/// Workers that are remembered. A worker's name is new at each of its starts, so names come and go.
const WORKERS_MAX: usize = 65_536;

/// Workers of one member: those of a machine share its certificate, and those that an engine of a cluster starts.
pub(super) const OF_A_MEMBER_MAX: usize = if cfg!(test) { 64 } else { 4_096 };

/// After which a worker that the coordinator does not know is taken for lost: it gives up on those that are silent for
/// the term of a lease.
const LOST_AFTER: Duration = Duration::from_millis(2 * LEASE_TERM_MS);

/// How often lost workers are looked for at most, however often somebody asks for more.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// A message that names the worker it is of.
pub(super) trait OfWorker {
    fn worker(&self) -> &str;
}

impl OfWorker for v1::RequestShardRequest {
    fn worker(&self) -> &str {
        &self.worker
    }
}

impl OfWorker for v1::HeartbeatRequest {
    fn worker(&self) -> &str {
        &self.worker
    }
}

impl OfWorker for v1::CommitRequest {
    fn worker(&self) -> &str {
        &self.worker
    }
}

impl OfWorker for v1::ReleaseRequest {
    fn worker(&self) -> &str {
        &self.worker
    }
}

impl OfWorker for v1::WriteLinesRequest {
    fn worker(&self) -> &str {
        &self.worker
    }
}

impl OfWorker for v1::LeaveRequest {
    fn worker(&self) -> &str {
        &self.worker
    }
}

/// The member that registered a worker, and when it did so last.
#[derive(Debug)]
struct Owner {
    member: String,
    since: Instant,
}

/// The names of workers and of the members that registered them. Workers without certificates have no owner.
#[derive(Debug, Default)]
pub(super) struct Owners(Mutex<Registered>);

#[derive(Debug, Default)]
struct Registered {
    workers: HashMap<String, Owner>,
    /// How many workers each member has.
    members: HashMap<String, usize>,
    /// When lost workers were last looked for.
    swept: Option<Instant>,
}

impl Registered {
    /// Nobody but its owner speaks for a worker that has one.
    fn check(&self, worker: &str, member: Option<&String>) -> Result<(), Status> {
        match self.workers.get(worker) {
            Some(owner) if member != Some(&owner.member) => {
                Err(Status::permission_denied(format!("worker {worker} is registered by another member")))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn is_full(&self, member: &str) -> bool {
        self.workers.len() >= WORKERS_MAX
            || self.members.get(member).is_some_and(|own| *own >= OF_A_MEMBER_MAX)
    }

    fn forget(&mut self, worker: &str) {
        let Some(Owner { member, .. }) = self.workers.remove(worker) else { return };
        if let Some(own) = self.members.get_mut(&member) {
            *own -= 1;
            if *own == 0 {
                self.members.remove(&member);
            }
        }
    }

    /// Forgets those that were lost: the coordinator knows nothing of them any more.
    fn sweep(&mut self, now: Instant, known: impl FnOnce() -> HashSet<String>) {
        let since = |then: Instant| now.saturating_duration_since(then);
        if self.swept.is_some_and(|swept| since(swept) < SWEEP_EVERY) {
            return;
        }
        self.swept = Some(now);
        let known = known();
        let is_lost =
            |(name, owner): &(&String, &Owner)| since(owner.since) > LOST_AFTER && !known.contains(*name);
        let lost: Vec<String> = self.workers.iter().filter(is_lost).map(|(name, _)| name.clone()).collect();
        lost.iter().for_each(|worker| self.forget(worker));
    }
}

impl Owners {
    fn lock(&self) -> MutexGuard<'_, Registered> {
        // Names and counts change together, without anything between that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the caller may speak for a worker: nobody else has registered it since the coordinator's start.
    pub(super) fn check<T>(&self, request: &Request<T>, worker: &str) -> Result<(), Status> {
        self.lock().check(worker, member(request))
    }

    /// Notes whose worker it is; `known` are the workers that the coordinator has heard from lately.
    pub(super) fn note<T>(
        &self,
        request: &Request<T>,
        worker: &str,
        now: Instant,
        known: impl FnOnce() -> HashSet<String>,
    ) -> Result<(), Status> {
        let member = member(request);
        let mut registered = self.lock();
        registered.check(worker, member)?;
        let Some(member) = member else { return Ok(()) };
        if let Some(owner) = registered.workers.get_mut(worker) {
            owner.since = now;
            return Ok(());
        }
        if registered.is_full(member) {
            registered.sweep(now, known);
        }
        if registered.is_full(member) {
            return Err(Status::resource_exhausted(format!(
                "a member has {OF_A_MEMBER_MAX} workers at most; those that were lost count for {} s more, and those that \
                 leave do not",
                LOST_AFTER.as_secs()
            )));
        }
        *registered.members.entry(member.clone()).or_default() += 1;
        registered.workers.insert(worker.to_owned(), Owner { member: member.clone(), since: now });
        Ok(())
    }

    /// The member that a worker is of, by the names of both.
    pub(super) fn owner(&self, worker: &str) -> Option<String> {
        self.lock().workers.get(worker).map(|owner| owner.member.clone())
    }

    /// Forgets a worker that has left.
    pub(super) fn forget(&self, worker: &str) {
        self.lock().forget(worker);
    }
}

fn member<T>(request: &Request<T>) -> Option<&String> {
    match request.extensions().get::<Peer>()? {
        Peer::Member(member) => Some(&member.name),
        Peer::InProcess | Peer::Open { .. } | Peer::Stranger { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use bitloop_proto::identity::{Member, Role};

    use super::*;
    use crate::clock;

    fn of(member: &str) -> Request<()> {
        let member = Member { role: Role::Worker, name: member.to_owned(), issued: 0, expires: 1 };
        let mut request = Request::new(());
        request.extensions_mut().insert(Peer::Member(member));
        request
    }

    #[test]
    fn lost_workers_make_room_and_those_at_work_stay_whose_they_are() {
        let (owners, start) = (Owners::default(), clock::instant());
        let known = || HashSet::from(["w0".to_owned()]);
        for number in 0..OF_A_MEMBER_MAX {
            owners.note(&of("a"), &format!("w{number}"), start, known).unwrap();
        }

        // Those that have just come may not be known yet.
        let refused = owners.note(&of("a"), "new", start + LOST_AFTER, known).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        let later = start + LOST_AFTER + SWEEP_EVERY;
        owners.note(&of("a"), "new", later, known).unwrap();

        assert_eq!(owners.lock().workers.len(), 2, "the new one and the known one");
        assert!(owners.note(&of("b"), "w0", later, known).is_err());
        owners.note(&of("b"), "w1", later, known).unwrap();
        owners.forget("w1");
        assert_eq!(owners.lock().members, HashMap::from([("a".to_owned(), 2)]));
    }
}
