//! The tables, and every statement that bitloop sends.
//!
//! `bitloop_store` has one row: the formats, the epoch, and how many facts there are. Every append changes that row where
//! it has the epoch and the number of facts that the writer knows; so a coordinator of an earlier epoch changes
//! nothing, and neither does a statement of a broken connection that arrives late. `bitloop_facts` has a row for each
//! fact, in order.

use crate::store::STORE_FORMAT;

/// Version of the tables.
pub(super) const TABLES_FORMAT: u32 = 1;

/// One coordinator at a time holds this lock, as long as its connection lives. It belongs to the table, so that
/// databases and schemas do not get into each other's way.
pub(super) const TAKE_LOCK: &str = "
    SELECT pg_try_advisory_lock((1651075180::bigint << 32) | 'bitloop_store'::regclass::oid::bigint)";

/// Makes the tables and the one row, all of it or nothing: statements that are sent together are one transaction. Two starts at
/// once make them once.
pub(super) fn make_tables() -> String {
    format!(
        "
    SELECT pg_advisory_xact_lock(1651075180);
    CREATE TABLE IF NOT EXISTS bitloop_store (
        only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
        tables_format integer NOT NULL,
        facts_format integer NOT NULL,
        epoch bigint NOT NULL,
        facts bigint NOT NULL
    ) WITH (fillfactor = 10);
    CREATE TABLE IF NOT EXISTS bitloop_facts (
        sequence bigint PRIMARY KEY,
        outcome_of bytea UNIQUE,
        fact json NOT NULL
    );
    INSERT INTO bitloop_store (tables_format, facts_format, epoch, facts)
    VALUES ({TABLES_FORMAT}, {STORE_FORMAT}, 0, 0) ON CONFLICT DO NOTHING;"
    )
}

pub(super) const ARE_THERE: &str = "SELECT to_regclass('bitloop_store') IS NOT NULL";

pub(super) const READ_ROW: &str = "SELECT tables_format, facts_format, epoch, facts FROM bitloop_store";

/// What a session is told first: an answer means that the disk has it, and whoever is cut off is soon known to be.
pub(super) const SET_UP: &str = "
    SELECT set_config('synchronous_commit', 'on', false)
        WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply');
    SET tcp_keepalives_idle = 10;
    SET tcp_keepalives_interval = 5;
    SET tcp_keepalives_count = 3;
    SET tcp_user_timeout = 25000;";

pub(super) const IS_SYNCED: &str = "SELECT current_setting('fsync') = 'on'";

/// `$1` the epoch, `$2` the number of facts so far, `$3` how many come.
pub(super) const APPEND: &str = "
    WITH mine AS (
        UPDATE bitloop_store SET facts = facts + $3 WHERE epoch = $1 AND facts = $2 RETURNING true
    )
    INSERT INTO bitloop_facts (sequence, outcome_of, fact)
    SELECT $2 + fresh.ordinal - 1, fresh.outcome_of, fresh.fact::json
    FROM mine, unnest($4::bytea[], $5::text[]) WITH ORDINALITY AS fresh (outcome_of, fact, ordinal)";

/// Takes back what an append stored that was never answered: `$1` the epoch, `$2` the facts that stay, `$3` those there.
pub(super) const TAKE_BACK: &str = "
    WITH mine AS (
        UPDATE bitloop_store SET facts = $2 WHERE epoch = $1 AND facts = $3 RETURNING true
    )
    DELETE FROM bitloop_facts USING mine WHERE sequence >= $2";

/// `$1` the epoch so far, `$2` the format of the facts from now on.
pub(super) const RAISE_EPOCH: &str =
    "UPDATE bitloop_store SET epoch = epoch + 1, facts_format = $2 WHERE epoch = $1 RETURNING epoch, facts";

/// Which of the trials `$1` have an outcome among the first `$2` facts.
pub(super) const KNOWN_OUTCOMES: &str =
    "SELECT outcome_of FROM bitloop_facts WHERE outcome_of = ANY ($1) AND sequence < $2";

/// Facts from number `$1` on.
pub(super) const READ_FACTS: &str =
    "SELECT sequence, outcome_of, fact::text FROM bitloop_facts WHERE sequence >= $1 ORDER BY sequence";

/// Reads that belong together.
pub(super) const BEGIN_READING: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
pub(super) const END_READING: &str = "COMMIT";
