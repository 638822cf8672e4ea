//! Why a store in PostgreSQL cannot go on.

use std::path::PathBuf;

use super::super::STORE_FORMAT;
use super::tables::TABLES_FORMAT;

/// What is wrong with a store in PostgreSQL, and what a person can do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    #[error("this is no address of a database: {reason}; write it as postgres://USER@HOST:PORT/DATABASE")]
    Address { reason: String },
    #[error(
        "the URL of the database has a password, which everyone on this machine could read; put it into PGPASSWORD, or \
         into a file that PGPASSFILE names"
    )]
    PasswordInUrl,
    #[error("the file of passwords {} cannot be used: {reason}", .file.display())]
    PasswordFile { file: PathBuf, reason: String },
    #[error("the certificates in {place} cannot be used: {reason}; PGSSLROOTCERT names a file of them")]
    Certificates { place: String, reason: String },
    #[error("a thread for the database cannot be started: {reason}")]
    Thread { reason: String },
    #[error(
        "the database {place} cannot be used: {reason}; check that it runs, has space and lets this user in"
    )]
    Unavailable { place: String, reason: String },
    #[error("another coordinator works on the store in {place}; stop it, or wait for its end with --standby")]
    Held { place: String },
    #[error(
        "another coordinator has taken over the store in {place} (its epoch is {found}, here it is {epoch}); nothing can \
         be stored from here any more, and nothing that was acknowledged is lost"
    )]
    Fenced { place: String, epoch: u64, found: u64 },
    #[error(
        "the store in {place} was written by a newer bitloop (format {found}, this one reads {TABLES_FORMAT} with facts of \
         format {STORE_FORMAT}); use that version"
    )]
    Newer { place: String, found: u32 },
    #[error(
        "the store in {place} was written by an older bitloop (facts of format {found}, this one reads {STORE_FORMAT}), whose \
         trials are not this one's; use another database, or that version"
    )]
    Older { place: String, found: u32 },
    #[error("there is no store in {place}; `bitloop coordinator --store` makes one")]
    NoStore { place: String },
    #[error("the store in {place} is damaged: {reason}; restore a backup of the database")]
    Damaged { place: String, reason: String },
}

impl DatabaseError {
    /// Whether the same may succeed later, without a person changing what is stored.
    pub(in crate::store) fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Address { .. }
            | Self::PasswordInUrl
            | Self::PasswordFile { .. }
            | Self::Certificates { .. }
            | Self::Thread { .. }
            | Self::Held { .. }
            | Self::Fenced { .. }
            | Self::Newer { .. }
            | Self::Older { .. }
            | Self::NoStore { .. }
            | Self::Damaged { .. } => false,
        }
    }

    /// Whether it is a mistake of the command line or the environment.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Address { .. }
            | Self::PasswordInUrl
            | Self::PasswordFile { .. }
            | Self::Certificates { .. }
            | Self::NoStore { .. } => true,
            Self::Unavailable { .. }
            | Self::Thread { .. }
            | Self::Held { .. }
            | Self::Fenced { .. }
            | Self::Newer { .. }
            | Self::Older { .. }
            | Self::Damaged { .. } => false,
        }
    }
}
