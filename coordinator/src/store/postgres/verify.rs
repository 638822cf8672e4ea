//! A look at a store in PostgreSQL, which changes nothing and holds nobody up.

use serde::Serialize;

use super::address::Address;
use super::error::DatabaseError;
use super::session::Access;
use crate::store::check::ReplayCheck;

/// What a look at a database found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifiedDatabase {
    pub facts: u64,
    /// The last start.
    pub epoch: u64,
}

/// Reads every fact, whether a coordinator works on it or not: none is missing, each can be read, filed and replayed.
///
/// Errors: the first thing that is damaged, or why nothing can be read.
pub fn verify_database(address: &Address) -> Result<VerifiedDatabase, DatabaseError> {
    let access = Access::new(address)?;
    let session = access.connect_only()?;
    if !session.has_tables()? {
        return Err(DatabaseError::NoStore { place: address.to_string() });
    }
    let (row, facts) = session.row_and_facts()?;
    let held = facts.len() as u64;
    if held != row.facts {
        return Err(access.damaged(format!("it holds {held} facts, but {} were stored in it", row.facts)));
    }
    ReplayCheck::all(&facts).map_err(|reason| access.damaged(reason))?;
    Ok(VerifiedDatabase { facts: held, epoch: row.epoch })
}
