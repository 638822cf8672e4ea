//! Which certificate a worker is under, so that no worker speaks for another one.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bitloop_proto::v1;
use tonic::{Request, Status};

use super::peer::Peer;

/// Workers that are remembered. A worker's name is new at each of its starts, so names come and go.
const WORKERS_MAX: usize = 65_536;

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

impl OfWorker for v1::LeaveRequest {
    fn worker(&self) -> &str {
        &self.worker
    }
}

/// The names of workers and of the members that registered them. Workers without certificates have no owner.
#[derive(Debug, Default)]
pub(super) struct Owners(Mutex<HashMap<String, String>>);

impl Owners {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, String>> {
        // Every update is one insertion or removal.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the caller may speak for a worker: nobody else has registered it since the coordinator's start.
    pub(super) fn check<T>(&self, request: &Request<T>, worker: &str) -> Result<(), Status> {
        match (self.lock().get(worker), member(request)) {
            (Some(owner), member) if member != Some(owner) => {
                Err(Status::permission_denied(format!("worker {worker} is registered by another member")))
            }
            (Some(_) | None, _) => Ok(()),
        }
    }

    /// Notes whose worker it is.
    pub(super) fn note<T>(&self, request: &Request<T>, worker: &str) -> Result<(), Status> {
        self.check(request, worker)?;
        let Some(member) = member(request) else { return Ok(()) };
        let mut owners = self.lock();
        if owners.len() >= WORKERS_MAX && !owners.contains_key(worker) {
            return Err(Status::resource_exhausted("too many workers have registered since the last start"));
        }
        owners.insert(worker.to_owned(), member.clone());
        Ok(())
    }

    /// The member that a worker is of, by the names of both.
    pub(super) fn owner(&self, worker: &str) -> Option<String> {
        self.lock().get(worker).cloned()
    }

    /// Forgets a worker that has left.
    pub(super) fn forget(&self, worker: &str) {
        self.lock().remove(worker);
    }
}

fn member<T>(request: &Request<T>) -> Option<&String> {
    match request.extensions().get::<Peer>()? {
        Peer::Member(member) => Some(&member.name),
        Peer::InProcess | Peer::Open { .. } | Peer::Stranger { .. } => None,
    }
}
