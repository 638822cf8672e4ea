//! A look at a store in PostgreSQL, which changes nothing and holds nobody up.

use serde::Serialize;

use super::address::Address;
use super::error::DatabaseError;
use super::session::{Access, Session};
use crate::store::check::ReplayCheck;

/// What a look at a database found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifiedDatabase {
    pub facts: u64,
    /// The last start.
    pub epoch: u64,
}

/// Asks a database what it holds, and believes it.
///
/// Errors: why it cannot be used, or that there is no store in it yet.
pub fn look_at_database(address: &Address) -> Result<VerifiedDatabase, DatabaseError> {
    let row = reached(address)?.1.row()?;
    Ok(VerifiedDatabase { facts: row.facts, epoch: row.epoch })
}

fn reached(address: &Address) -> Result<(Access, Session), DatabaseError> {
    let access = Access::new(address)?;
    let session = access.connect_only()?;
    match session.has_tables()? {
        true => Ok((access, session)),
        false => Err(DatabaseError::NoStore { place: address.to_string() }),
    }
}

/// Reads every fact, whether a coordinator works on it or not: none is missing, each can be read, filed and replayed.
///
/// Errors: the first thing that is damaged, or why nothing can be read.
pub fn verify_database(address: &Address) -> Result<VerifiedDatabase, DatabaseError> {
    let (access, session) = reached(address)?;
    let (row, facts) = session.row_and_facts()?;
    let held = facts.len() as u64;
    if held != row.facts {
        return Err(access.damaged(format!("it holds {held} facts, but {} were stored in it", row.facts)));
    }
    ReplayCheck::all(&facts).map_err(|reason| access.damaged(reason))?;
    Ok(VerifiedDatabase { facts: held, epoch: row.epoch })
}
