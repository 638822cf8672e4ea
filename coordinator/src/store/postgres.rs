//! Facts in PostgreSQL: for a coordinator that another machine can take over from.
//!
//! An append is one transaction, answered after its commit. It counts only where the store's row has the epoch and the number
//! of facts that this coordinator knows (`tables.rs`). So when the answer to a commit was lost, the next append
//! finds more facts than it knows, sees that they are its own, and stores what is left; and a coordinator whose
//! epoch is over can store nothing. Start at [`PostgresStore`]; [`Standby`] waits for the end of another coordinator.

mod address;
mod error;
mod session;
mod tables;
#[cfg(test)]
mod tests;
mod tls;
mod verify;

use std::collections::HashSet;
use std::time::Duration;

use bitloop_core::state::Fact;
use bitloop_core::trial::TrialKey;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use super::check::ReplayCheck;
use super::{Loaded, Store, StoreError};

pub use self::address::Address;
pub use self::error::DatabaseError;
use self::session::{Access, Refusal, Session};
pub use self::verify::{VerifiedDatabase, look_at_database, verify_database};

/// How often a standby looks whether the lock is free. It does not wait within the database, which would keep old
/// versions of rows alive there.
const LOOK: Duration = Duration::from_millis(500);

/// Facts in a database.
pub struct PostgresStore {
    access: Access,
    /// None after an error; the next call connects again.
    session: Option<Session>,
    epoch: u64,
    /// Number of facts that are stored and answered.
    known: u64,
}

impl PostgresStore {
    /// Opens the store of a database, making its tables if need be.
    ///
    /// Errors: when another coordinator works on it, among others.
    pub fn open(address: &Address) -> Result<Self, StoreError> {
        let mut standby = Standby::new(address)?;
        match standby.try_lead()? {
            Some(store) => Ok(store),
            None => Err(DatabaseError::Held { place: address.to_string() }.into()),
        }
    }

    /// The connection; made anew after an error, with the lock.
    fn session(&mut self) -> Result<&Session, DatabaseError> {
        let session = match self.session.take().filter(|session| !session.is_closed()) {
            Some(session) => session,
            None => self.reconnect()?,
        };
        Ok(self.session.insert(session))
    }

    fn reconnect(&self) -> Result<Session, DatabaseError> {
        let session = self.access.connect()?;
        let has_lock = session.take_lock()?;
        // Whoever has the lock may have raised the epoch before or after it was asked for.
        self.check_epoch(session.row()?.epoch)?;
        match has_lock {
            true => Ok(session),
            false => Err(self.access.unavailable(
                "another session has the coordinator's lock: another coordinator, or this one's broken connection"
                    .to_owned(),
            )),
        }
    }

    fn check_epoch(&self, found: u64) -> Result<(), DatabaseError> {
        let (place, epoch) = (self.access.address.to_string(), self.epoch);
        match found == epoch {
            true => Ok(()),
            false => Err(DatabaseError::Fenced { place, epoch, found }),
        }
    }

    /// Calls the database, and lets go of the connection after an error.
    fn call<T>(&mut self, body: impl FnOnce(&mut Self) -> Result<T, DatabaseError>) -> Result<T, StoreError> {
        body(self).map_err(|error| {
            self.session = None;
            error.into()
        })
    }

    fn try_append(&mut self, facts: &[Fact]) -> Result<(), DatabaseError> {
        let fresh = first_outcomes(facts);
        if fresh.is_empty() {
            return Ok(());
        }
        let (epoch, known) = (self.epoch, self.known);
        match self.session()?.append(epoch, known, &fresh) {
            Ok(true) => {
                self.known += fresh.len() as u64;
                Ok(())
            }
            Ok(false) | Err(Refusal::Repeated) => self.append_carefully(fresh),
            Err(refusal @ Refusal::Failed(_)) => Err(self.access.unavailable(refusal.reason())),
        }
    }

    /// Appends where some facts are stored already: outcomes that have been committed before, or all of a batch whose
    /// answer was lost.
    fn append_carefully(&mut self, mut fresh: Vec<&Fact>) -> Result<(), DatabaseError> {
        let (epoch, known) = (self.epoch, self.known);
        let row = self.session()?.row()?;
        self.check_epoch(row.epoch)?;
        if row.facts < known {
            let reason = format!("it holds {} facts, but {known} were stored in it", row.facts);
            return Err(self.access.damaged(reason));
        }
        let session = self.session()?;
        let keys = fresh.iter().filter_map(|fact| outcome_of(fact)).collect();
        let before: HashSet<TrialKey> = session.outcomes(keys, known)?.into_iter().collect();
        fresh.retain(|fact| outcome_of(fact).is_none_or(|key| !before.contains(&key)));
        let unanswered = session.facts(known)?;
        if unanswered.len() <= fresh.len() && unanswered.iter().eq(fresh[..unanswered.len()].iter().copied())
        {
            fresh.drain(..unanswered.len());
            self.known += unanswered.len() as u64;
        } else if !session.take_back(epoch, known, row.facts)? {
            return Err(self.access.unavailable("it changed meanwhile".to_owned()));
        }
        if fresh.is_empty() {
            return Ok(());
        }
        let known = self.known;
        match self.session()?.append(epoch, known, &fresh) {
            Ok(true) => {
                self.known += fresh.len() as u64;
                Ok(())
            }
            Ok(false) => Err(self.access.unavailable("it changed meanwhile".to_owned())),
            Err(refusal) => Err(self.access.unavailable(refusal.reason())),
        }
    }
}

impl Store for PostgresStore {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        self.call(|store| {
            let (row, facts) = store.session()?.row_and_facts()?;
            store.check_epoch(row.epoch)?;
            if row.facts != facts.len() as u64 {
                let reason = format!("it holds {} facts, but {} were stored in it", facts.len(), row.facts);
                return Err(store.access.damaged(reason));
            }
            ReplayCheck::all(&facts).map_err(|reason| store.access.damaged(reason))?;
            store.known = row.facts;
            Ok(Loaded { epoch: row.epoch, facts })
        })
    }

    fn append(&mut self, facts: &[Fact]) -> Result<(), StoreError> {
        self.call(|store| store.try_append(facts))
    }

    fn raise_epoch(&mut self) -> Result<u64, StoreError> {
        self.call(|store| {
            let epoch = store.epoch;
            match store.session()?.raise_epoch(epoch)? {
                Some(raised) => {
                    store.epoch = raised;
                    Ok(raised)
                }
                None => {
                    let found = store.session()?.row()?.epoch;
                    Err(DatabaseError::Fenced { place: store.access.address.to_string(), epoch, found })
                }
            }
        })
    }
}

/// A coordinator that waits for the end of another one.
pub struct Standby {
    access: Access,
    session: Option<Session>,
}

impl Standby {
    /// A standby for the store of a database.
    ///
    /// Errors: when certificates cannot be used.
    pub fn new(address: &Address) -> Result<Self, StoreError> {
        Ok(Self { access: Access::new(address)?, session: None })
    }

    /// Takes the lock if it is free; none while another coordinator has it.
    pub fn try_lead(&mut self) -> Result<Option<PostgresStore>, StoreError> {
        let session = match self.session.take().filter(|session| !session.is_closed()) {
            Some(session) => session,
            None => self.access.connect()?,
        };
        if !session.take_lock()? {
            self.session = Some(session);
            return Ok(None);
        }
        let row = session.row()?;
        Ok(Some(PostgresStore {
            access: self.access.clone(),
            session: Some(session),
            epoch: row.epoch,
            known: row.facts,
        }))
    }

    /// Waits until no other coordinator has the lock. While the database is away it waits for that too.
    ///
    /// Errors: when the database cannot be used from the beginning, or needs a person.
    pub async fn wait(mut self) -> Result<PostgresStore, StoreError> {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The last thing that was said, so that nothing is said twice in a row.
        let mut said: Option<String> = None;
        loop {
            let looked = tokio::task::spawn_blocking(move || {
                let looked = self.try_lead();
                (self, looked)
            });
            let (standby, looked) = looked.await.expect("looking does not panic, and is not cancelled");
            self = standby;
            match looked {
                Ok(Some(store)) => return Ok(store),
                Ok(None) if said.as_deref() != Some("") => {
                    info!(database = %self.access.address, "another coordinator works; waiting for its end");
                    said = Some(String::new());
                }
                Ok(None) => {}
                Err(cause) if cause.is_retryable() && said.is_some() => {
                    let cause = cause.to_string();
                    if said.as_ref() != Some(&cause) {
                        warn!(%cause, "waiting for the database");
                    }
                    said = Some(cause);
                }
                Err(cause) => return Err(cause),
            }
            looks.tick().await;
        }
    }
}

/// All facts but the second outcomes of trials.
fn first_outcomes(facts: &[Fact]) -> Vec<&Fact> {
    let mut seen = HashSet::new();
    facts.iter().filter(|fact| outcome_of(fact).is_none_or(|key| seen.insert(key))).collect()
}

fn outcome_of(fact: &Fact) -> Option<TrialKey> {
    let Fact::OutcomeCommitted { key, .. } = fact else { return None };
    Some(*key)
}
