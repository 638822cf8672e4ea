//! A connection to a database, and the questions that are asked over it.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bitloop_core::digest::Digest;
use bitloop_core::state::Fact;
use bitloop_core::trial::TrialKey;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error};
use tokio_stream::StreamExt;
use tracing::warn;

use super::address::Address;
use super::error::DatabaseError;
use super::tables;
use super::tls::Tls;
use crate::background::Background;
use crate::store::{OLDEST_FORMAT, STORE_FORMAT};

/// How long connecting and short questions may take.
const QUESTION_LIMIT: Duration = Duration::from_secs(15);

/// How long a batch of facts may take.
const APPEND_LIMIT: Duration = Duration::from_secs(60);

/// How long reading everything may take.
const READ_LIMIT: Duration = Duration::from_secs(3_600);

/// The one row of `bitloop_store`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    tables_format: u32,
    facts_format: u32,
    pub(super) epoch: u64,
    pub(super) facts: u64,
}

/// A fact as it is stored.
pub(super) struct Record {
    pub(super) sequence: u64,
    outcome_of: Option<Vec<u8>>,
    fact: String,
}

/// Why a question had no answer.
pub(super) enum Refusal {
    /// The database, the network or its time.
    Failed(String),
    /// A row that may be there only once is there already.
    Repeated,
}

/// Who asks, and over what thread.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) address: Address,
    tls: Tls,
    background: Arc<Background>,
}

/// A connection; after an error it is not used any more.
pub(super) struct Session {
    access: Access,
    client: Arc<Client>,
}

impl Access {
    pub(super) fn new(address: &Address) -> Result<Self, DatabaseError> {
        let background = Background::start("bitloop-database");
        let background = background.map_err(|cause| DatabaseError::Thread { reason: cause.to_string() })?;
        Ok(Self { address: address.clone(), tls: Tls::from_environment()?, background: Arc::new(background) })
    }

    fn place(&self) -> String {
        self.address.place.clone()
    }

    pub(super) fn unavailable(&self, reason: String) -> DatabaseError {
        DatabaseError::Unavailable { place: self.place(), reason }
    }

    pub(super) fn damaged(&self, reason: String) -> DatabaseError {
        DatabaseError::Damaged { place: self.place(), reason }
    }

    /// Connects, and makes the tables where there are none.
    pub(super) fn connect(&self) -> Result<Session, DatabaseError> {
        let session = self.connect_only()?;
        session.ask(QUESTION_LIMIT, prepare)?;
        session.row()?;
        Ok(session)
    }

    /// Connects, and changes nothing.
    pub(super) fn connect_only(&self) -> Result<Session, DatabaseError> {
        let (config, tls) = (self.address.config.clone(), self.tls.clone());
        let connecting = async move { config.connect(tls).await };
        let connected = self.background.wait(QUESTION_LIMIT, connecting);
        let connected = connected.ok_or_else(|| self.unavailable(too_long(QUESTION_LIMIT)))?;
        let (client, connection) = connected.map_err(|error| self.unavailable(innermost(&error)))?;
        // Whoever asks next learns of its end.
        self.background.spawn(async move { drop(connection.await) });
        Ok(Session { access: self.clone(), client: Arc::new(client) })
    }
}

/// What is owed before anything is written.
async fn prepare(client: Arc<Client>) -> Result<(), Error> {
    client.batch_execute(tables::SET_UP).await?;
    let is_synced: bool = client.query_one(tables::IS_SYNCED, &[]).await?.try_get(0)?;
    if !is_synced {
        warn!("this PostgreSQL runs with fsync off: what is acknowledged may be lost with its machine");
    }
    let are_there: bool = client.query_one(tables::ARE_THERE, &[]).await?.try_get(0)?;
    if !are_there {
        client.batch_execute(&tables::make_tables()).await?;
    }
    Ok(())
}

impl Session {
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Whether there are tables.
    pub(super) fn has_tables(&self) -> Result<bool, DatabaseError> {
        self.ask(QUESTION_LIMIT, async |client| client.query_one(tables::ARE_THERE, &[]).await?.try_get(0))
    }

    /// Takes the lock that one coordinator holds; returns whether it did.
    pub(super) fn take_lock(&self) -> Result<bool, DatabaseError> {
        self.ask(QUESTION_LIMIT, async |client| client.query_one(tables::TAKE_LOCK, &[]).await?.try_get(0))
    }

    /// The row, if this version can work with it.
    pub(super) fn row(&self) -> Result<Row, DatabaseError> {
        let read = async |client: Arc<Client>| client.query_opt(tables::READ_ROW, &[]).await;
        let found = self.ask(QUESTION_LIMIT, read)?;
        let found = found.ok_or_else(|| self.access.damaged("it has no row of its own".to_owned()))?;
        let number =
            |index: usize| found.try_get::<_, i64>(index).ok().and_then(|found| u64::try_from(found).ok());
        let format =
            |index: usize| found.try_get::<_, i32>(index).ok().and_then(|found| u32::try_from(found).ok());
        let row = || {
            Some(Row {
                tables_format: format(0)?,
                facts_format: format(1)?,
                epoch: number(2)?,
                facts: number(3)?,
            })
        };
        let row = row().ok_or_else(|| self.access.damaged("a number is missing".to_owned()))?;
        let place = self.access.place();
        match (row.tables_format, row.facts_format) {
            (tables::TABLES_FORMAT, OLDEST_FORMAT..=STORE_FORMAT) => Ok(row),
            (found, _) if found > tables::TABLES_FORMAT => Err(DatabaseError::Newer { place, found }),
            (_, found) if found > STORE_FORMAT => Err(DatabaseError::Newer { place, found }),
            // Nothing of it could be used: trials of another format have other keys.
            (tables::TABLES_FORMAT, found) if found > 0 => Err(DatabaseError::Older { place, found }),
            (tables, facts) => Err(self
                .access
                .damaged(format!("there never was a format {tables} with facts of format {facts}"))),
        }
    }

    /// Raises an epoch by one; none if the store is of another one.
    pub(super) fn raise_epoch(&self, epoch: u64) -> Result<Option<u64>, DatabaseError> {
        let epoch = epoch.cast_signed();
        let raised = self.ask(QUESTION_LIMIT, async move |client: Arc<Client>| {
            client
                .query_opt(tables::RAISE_EPOCH, &[&epoch, &STORE_FORMAT.cast_signed()])
                .await?
                .map(|row| row.try_get::<_, i64>(0))
                .transpose()
        });
        Ok(raised?.map(i64::cast_unsigned))
    }

    /// Stores facts behind the first `known`; returns whether it did, which it does not when epoch or number differ.
    pub(super) fn append(&self, epoch: u64, known: u64, facts: &[&Fact]) -> Result<bool, Refusal> {
        let outcomes: Vec<Option<Vec<u8>>> = facts.iter().map(|fact| key_of(fact)).collect();
        let texts = facts.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>();
        let texts = texts.expect("facts have only text keys, and numbers that JSON can write");
        let (epoch, known, len) = (epoch.cast_signed(), known.cast_signed(), facts.len() as i64);
        let appended = self.try_ask(APPEND_LIMIT, async move |client: Arc<Client>| {
            // One trip: naming the types saves asking for them.
            let values: [(&(dyn ToSql + Sync), Type); 5] = [
                (&epoch, Type::INT8),
                (&known, Type::INT8),
                (&len, Type::INT8),
                (&outcomes, Type::BYTEA_ARRAY),
                (&texts, Type::TEXT_ARRAY),
            ];
            client.execute_typed(tables::APPEND, &values).await
        })?;
        Ok(appended > 0)
    }

    /// Takes back facts that were never answered; returns whether it did.
    pub(super) fn take_back(&self, epoch: u64, stay: u64, there: u64) -> Result<bool, DatabaseError> {
        let [epoch, stay, there] = [epoch, stay, there].map(u64::cast_signed);
        let removed = self.ask(APPEND_LIMIT, async move |client: Arc<Client>| {
            client.execute(tables::TAKE_BACK, &[&epoch, &stay, &there]).await
        });
        Ok(removed? > 0)
    }

    /// Which of some trials have an outcome among the first `known` facts.
    pub(super) fn outcomes(&self, keys: Vec<TrialKey>, known: u64) -> Result<Vec<TrialKey>, DatabaseError> {
        let keys: Vec<Vec<u8>> = keys.iter().map(|key| key.0.as_bytes().to_vec()).collect();
        let known = known.cast_signed();
        let found = self.ask(APPEND_LIMIT, async move |client: Arc<Client>| {
            let rows = client.query(tables::KNOWN_OUTCOMES, &[&keys, &known]).await?;
            rows.iter().map(|row| row.try_get::<_, Vec<u8>>(0)).collect::<Result<Vec<_>, _>>()
        })?;
        let key = |bytes: &Vec<u8>| Digest::from_slice(bytes).ok().map(TrialKey);
        Ok(found.iter().filter_map(key).collect())
    }

    /// Reads facts from number `from` on, in order.
    pub(super) fn facts(&self, from: u64) -> Result<Vec<Fact>, DatabaseError> {
        let damaged = |reason| self.access.damaged(reason);
        self.ask(READ_LIMIT, async move |client: Arc<Client>| read_facts(&client, from).await)?
            .map_err(damaged)
    }

    /// Reads the row, and all facts as they stood then, while others may go on writing.
    pub(super) fn row_and_facts(&self) -> Result<(Row, Vec<Fact>), DatabaseError> {
        let begin = async |client: Arc<Client>| client.batch_execute(tables::BEGIN_READING).await;
        let end = async |client: Arc<Client>| client.batch_execute(tables::END_READING).await;
        self.ask(QUESTION_LIMIT, begin)?;
        let row = self.row()?;
        let facts = self.facts(0)?;
        self.ask(QUESTION_LIMIT, end)?;
        Ok((row, facts))
    }

    fn try_ask<T: Send + 'static, F: Future<Output = Result<T, Error>> + Send + 'static>(
        &self,
        limit: Duration,
        question: impl FnOnce(Arc<Client>) -> F,
    ) -> Result<T, Refusal> {
        match self.access.background.wait(limit, question(self.client.clone())) {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => Err(Refusal::Repeated),
            Some(Err(error)) => Err(Refusal::Failed(innermost(&error))),
            None => Err(Refusal::Failed(too_long(limit))),
        }
    }

    fn ask<T: Send + 'static, F: Future<Output = Result<T, Error>> + Send + 'static>(
        &self,
        limit: Duration,
        question: impl FnOnce(Arc<Client>) -> F,
    ) -> Result<T, DatabaseError> {
        self.try_ask(limit, question).map_err(|refusal| self.access.unavailable(refusal.reason()))
    }
}

impl Refusal {
    pub(super) fn reason(self) -> String {
        match self {
            Self::Failed(reason) => reason,
            Self::Repeated => "a row is there already".to_owned(),
        }
    }
}

/// Reads facts one at a time, and says what is wrong with the first that is not in order.
async fn read_facts(client: &Client, from: u64) -> Result<Result<Vec<Fact>, String>, Error> {
    let from_number: &(dyn ToSql + Sync) = &from.cast_signed();
    let mut rows = pin!(client.query_raw(tables::READ_FACTS, [from_number]).await?);
    let mut facts = Vec::new();
    while let Some(row) = rows.next().await {
        let row = row?;
        let sequence = row.try_get::<_, i64>(0)?.cast_unsigned();
        let record = Record { sequence, outcome_of: row.try_get(1)?, fact: row.try_get(2)? };
        match record.read(from + facts.len() as u64) {
            Ok(fact) => facts.push(fact),
            Err(reason) => return Ok(Err(reason)),
        }
    }
    Ok(Ok(facts))
}

impl Record {
    fn read(&self, expected: u64) -> Result<Fact, String> {
        if self.sequence != expected {
            return Err(format!("fact {expected} is missing"));
        }
        let fact: Fact = serde_json::from_str(&self.fact)
            .map_err(|error| format!("fact {expected} cannot be read ({error})"))?;
        match self.outcome_of == key_of(&fact) {
            true => Ok(fact),
            false => Err(format!("fact {expected} is filed under the key of another trial")),
        }
    }
}

/// The trial of an outcome.
fn key_of(fact: &Fact) -> Option<Vec<u8>> {
    let Fact::OutcomeCommitted { key, .. } = fact else { return None };
    Some(key.0.as_bytes().to_vec())
}

fn too_long(limit: Duration) -> String {
    format!("it gave no answer within {} s", limit.as_secs())
}

/// The cause at the end of the chain; the outer ones only say "db error".
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
