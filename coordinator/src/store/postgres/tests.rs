use std::sync::atomic::{AtomicBool, Ordering};

use expect_test::expect_file;

use super::*;
use crate::store::STORE_FORMAT;
use crate::store::tests as contract;
use crate::testing::devices::{facts_in_every_form, facts_of_devices};
use crate::testing::postgres::Database;
use crate::testing::{facts, facts_with_losses};

/// Opens a store as soon as the server has noticed that whoever had it open is gone.
fn try_open(address: &Address) -> Result<PostgresStore, StoreError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(Standby::new(address).unwrap().wait())
}

fn open(address: &Address) -> PostgresStore {
    try_open(address).unwrap()
}

/// A store that is open on a database of its own.
fn opened(database: &Database) -> PostgresStore {
    open(&database.address())
}

fn loaded(database: &Database) -> Vec<Fact> {
    opened(database).load().unwrap().facts
}

#[test]
fn postgres_keeps_the_contract() {
    let Some(database) = Database::create() else { return };
    contract::keeps_the_contract(|| Box::new(opened(&database)));
    contract::keeps_the_first_of_two_outcomes_in_one_batch(opened(&Database::create().unwrap()));
    let database = Database::create().unwrap();
    contract::keeps_outcomes_that_were_replaced(|| Box::new(opened(&database)));
    assert!(verify_database(&database.address()).is_ok());
    contract::keeps_a_big_batch_in_order(opened(&Database::create().unwrap()));
    let mut databases = Vec::new();
    contract::refuses_what_cannot_be_replayed(|| {
        databases.push(Database::create().unwrap());
        Box::new(opened(databases.last().unwrap()))
    });
}

#[test]
fn a_first_start_that_ends_after_any_statement_leaves_tables_that_can_be_used_or_none() {
    let Some(database) = Database::create() else { return };
    database.execute(&tables::make_tables());

    let mut store = opened(&database);

    assert_eq!(store.load().unwrap(), Loaded::default());
    store.append(&facts(1)).unwrap();
    drop(store);
    database.execute(&tables::make_tables());
    assert_eq!(loaded(&database), facts(1), "a second time changes nothing");

    let other = Database::create().unwrap();
    let making = tables::make_tables();
    other.execute(&format!(
        "DO $$ BEGIN EXECUTE '{making} SELECT 1/0'; EXCEPTION WHEN division_by_zero THEN END $$"
    ));
    assert_eq!(other.number("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'bitloop%'"), 0);
}

#[test]
fn one_coordinator_at_a_time_works_on_a_store() {
    let Some(database) = Database::create() else { return };
    let first = opened(&database);

    let refused = PostgresStore::open(&database.address()).err().unwrap();

    assert!(matches!(refused, StoreError::Database(DatabaseError::Held { .. })), "{refused}");
    assert!(refused.to_string().contains("--standby"), "{refused}");
    assert!(Standby::new(&database.address()).unwrap().try_lead().unwrap().is_none());
    drop(first);
    let mut second = opened(&database);
    assert_eq!(second.raise_epoch().unwrap(), 1, "the server frees the lock with the connection");
}

/// Appends until the facts are stored, as the driver does; gives how often that failed.
fn append_at_last(store: &mut PostgresStore, facts: &[Fact]) -> u32 {
    let mut failures = 0;
    while let Err(cause) = store.append(facts) {
        assert!(cause.is_retryable(), "{cause}");
        failures += 1;
    }
    failures
}

/// Appends until each batch is stored, while another thread ends its connections; gives how often an append failed.
fn append_under_fire(database: &Database, store: &mut PostgresStore, history: &[Fact]) -> u32 {
    let (done, mut failures) = (AtomicBool::new(false), 0);
    std::thread::scope(|scope| {
        let firing = scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                database.cut_off();
            }
        });
        for batch in history.chunks(3) {
            failures += append_at_last(store, batch);
        }
        done.store(true, Ordering::SeqCst);
        firing.join().unwrap();
    });
    failures
}

#[test]
fn connections_that_end_during_appends_lose_and_double_nothing() {
    let Some(database) = Database::create() else { return };
    // Enough that some of the ends fall into an append.
    let history = facts(3_000);
    let mut store = opened(&database);

    let failures = append_under_fire(&database, &mut store, &history);

    assert!(failures > 0, "no connection ended during an append");
    drop(store);
    assert_eq!(loaded(&database), history);
}

#[test]
fn an_append_whose_answer_was_lost_is_not_applied_twice() {
    for history in [facts(8), facts_with_losses(1)] {
        let Some(database) = Database::create() else { return };
        an_append_is_repeated(&database, &history);
    }
}

fn an_append_is_repeated(database: &Database, history: &[Fact]) {
    let wire = database.wire();
    let stored = || database.number("SELECT facts FROM bitloop_store");
    let mut store = open(&wire.address());
    store.append(&history[..2]).unwrap();
    wire.lose_next_answer();
    let refused = store.append(&history[2..5]).unwrap_err();
    assert!(refused.is_retryable(), "{refused}");
    let after_loss = stored();

    // The driver has gathered more meanwhile.
    append_at_last(&mut store, &history[2..7]);

    assert_eq!((after_loss, stored()), (5, 7), "the lost answer was that of a commit");
    store.append(&history[7..]).unwrap();
    drop(store);
    assert_eq!(loaded(database), history);
}

#[test]
fn facts_whose_answer_was_lost_do_not_count_where_others_follow() {
    let Some(database) = Database::create() else { return };
    let wire = database.wire();
    let history = facts(8);
    let mut store = open(&wire.address());
    store.append(&history[..2]).unwrap();
    wire.lose_next_answer();
    store.append(&history[5..]).unwrap_err();

    append_at_last(&mut store, &history[2..4]);

    store.append(&history[4..]).unwrap();
    drop(store);
    assert_eq!(loaded(&database), history);
}

#[test]
fn whoever_was_taken_over_from_stores_nothing_any_more() {
    let Some(database) = Database::create() else { return };
    let history = facts(6);
    let mut old = opened(&database);
    assert_eq!(old.raise_epoch().unwrap(), 1);
    old.append(&history[..4]).unwrap();
    database.cut_off();
    let mut new = opened(&database);
    assert_eq!(new.raise_epoch().unwrap(), 2);
    assert_eq!(new.load().unwrap(), Loaded { epoch: 2, facts: history[..4].to_vec() });

    // The first attempt may only find that the connection is gone.
    let refused = [old.append(&history[4..]), old.append(&history[4..])].map(Result::unwrap_err);

    let fenced = StoreError::Database(DatabaseError::Fenced {
        place: database.address().to_string(),
        epoch: 1,
        found: 2,
    });
    assert_eq!(refused[1], fenced);
    assert!(!fenced.is_retryable());
    new.append(&history[4..]).unwrap();
    assert_eq!(new.load().unwrap().facts, history);
    assert!(old.raise_epoch().is_err());
}

/// The lock decides who starts; what keeps an old coordinator out is the epoch, also while its connection is whole.
#[test]
fn an_epoch_that_was_raised_fences_a_whole_connection_too() {
    let Some(database) = Database::create() else { return };
    let history = facts(6);
    let mut old = opened(&database);
    old.raise_epoch().unwrap();
    old.append(&history[..4]).unwrap();
    database.execute("UPDATE bitloop_store SET epoch = epoch + 1");

    let refused = old.append(&history[4..]).unwrap_err();

    assert!(
        matches!(refused, StoreError::Database(DatabaseError::Fenced { epoch: 1, found: 2, .. })),
        "{refused}"
    );
    assert_eq!(database.number("SELECT count(*) FROM bitloop_facts"), 4);
}

#[test]
fn a_newer_store_is_refused_and_an_older_one_named() {
    let Some(database) = Database::create() else { return };
    drop(opened(&database));
    for (change, expected) in [
        ("tables_format = 2", "newer bitloop (format 2"),
        ("tables_format = 1, facts_format = 99", "newer bitloop (format 99"),
        ("facts_format = 1", "older bitloop (facts of format 1"),
        ("tables_format = 0", "there never was a format 0"),
    ] {
        database.execute(&format!("UPDATE bitloop_store SET {change}"));

        let refused = PostgresStore::open(&database.address()).err().unwrap();

        assert!(refused.to_string().contains(expected) && !refused.is_retryable(), "{change}: {refused}");
    }
}

/// Written by the version that had format 1 first. If this fails, a new format is due, not a new file.
#[test]
fn a_store_of_format_1_opens_and_goes_on() {
    let Some(database) = Database::create() else { return };
    database.execute(include_str!("golden/format_1.sql"));

    let mut store = opened(&database);

    let Loaded { epoch, mut facts } = store.load().unwrap();
    assert_eq!((epoch, facts.len()), (3, 4));
    let Fact::ExperimentSubmitted { plan, .. } = &facts[0] else { panic!("{:?}", facts[0]) };
    let more = Fact::ExperimentPaused { experiment: plan.id() };
    assert_eq!(store.raise_epoch().unwrap(), 4);
    assert_eq!(database.number("SELECT facts_format::bigint FROM bitloop_store"), i64::from(STORE_FORMAT));
    store.append(std::slice::from_ref(&more)).unwrap();
    facts.push(more);
    assert_eq!(store.load().unwrap(), Loaded { epoch: 4, facts });
}

/// The rows as statements, in the order of the facts, then the store's own.
const ROWS: &str = "
    SELECT string_agg(format('INSERT INTO bitloop_facts VALUES (%s, %L, %L);', sequence, outcome_of, fact), E'\\n'
               ORDER BY sequence)
        || (SELECT format(E'\\nINSERT INTO bitloop_store VALUES (%L, %s, %s, %s, %s);\\n',
                          only_row, tables_format, facts_format, epoch, facts) FROM bitloop_store)
    FROM bitloop_facts";

/// A database with these rows, in the tables of the dump of format 1.
fn with_rows(rows: &str) -> Option<Database> {
    let database = Database::create()?;
    database.execute(include_str!("golden/format_1.sql"));
    database.execute("TRUNCATE public.bitloop_facts, public.bitloop_store");
    database.execute(rows);
    Some(database)
}

#[test]
fn facts_of_format_3_are_read_and_go_on_in_this_format() {
    let Some(database) = with_rows(include_str!("golden/facts_3.sql")) else { return };
    let (history, more) = (facts_with_losses(2), facts_of_devices());
    let format = || database.number("SELECT facts_format::bigint FROM bitloop_store");
    assert_eq!(format(), 3);

    let mut store = opened(&database);

    assert_eq!(store.load().unwrap(), Loaded { epoch: 1, facts: history.clone() });
    assert_eq!(format(), 3, "the next start says so");
    assert_eq!(store.raise_epoch().unwrap(), 2);
    assert_eq!(format(), i64::from(STORE_FORMAT));
    store.append(&more).unwrap();
    assert_eq!(store.load().unwrap(), Loaded { epoch: 2, facts: [history, more].concat() });
}

#[test]
fn facts_of_this_format_are_read_and_written_row_by_row() {
    let Some(database) = Database::create() else { return };
    let history = facts_in_every_form();
    let mut store = opened(&database);
    store.raise_epoch().unwrap();
    store.append(&history).unwrap();
    drop(store);
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/postgres/golden/facts_4.sql");

    expect_file![golden].assert_eq(&database.text(ROWS));

    let other = with_rows(&std::fs::read_to_string(golden).unwrap()).unwrap();
    assert_eq!(opened(&other).load().unwrap(), Loaded { epoch: 1, facts: history });
}

#[test]
fn damage_is_found_by_number() {
    let history = facts(3);
    for (damage, expected) in [
        ("DELETE FROM bitloop_facts WHERE sequence = 2", "fact 2 is missing"),
        ("DELETE FROM bitloop_facts WHERE sequence = 5", "holds 5 facts, but 6 were stored"),
        ("UPDATE bitloop_facts SET fact = '{}' WHERE sequence = 1", "fact 1 cannot be read"),
        ("UPDATE bitloop_facts SET outcome_of = '\\x00' WHERE sequence = 3", "fact 3 is filed under"),
        ("DELETE FROM bitloop_store", "no row of its own"),
    ] {
        let Some(database) = Database::create() else { return };
        let mut store = opened(&database);
        store.append(&history).unwrap();
        assert_eq!(
            verify_database(&database.address()),
            Ok(VerifiedDatabase { facts: 6, epoch: 0 }),
            "beside it"
        );
        assert_eq!(
            look_at_database(&database.address()),
            Ok(VerifiedDatabase { facts: 6, epoch: 0 }),
            "without reading the facts"
        );
        drop(store);
        database.execute(damage);

        let found = verify_database(&database.address()).unwrap_err();

        assert!(matches!(&found, DatabaseError::Damaged { .. }), "{found}");
        assert!(found.to_string().contains(expected), "{found}");
        let refused = try_open(&database.address()).and_then(|mut store| store.load());
        assert_eq!(refused, Err(found.into()));
    }
}

#[test]
fn a_look_at_an_empty_database_makes_nothing() {
    let Some(database) = Database::create() else { return };
    let place = database.address().to_string();

    let looked = look_at_database(&database.address());
    let found = verify_database(&database.address());

    assert_eq!(found, Err(DatabaseError::NoStore { place }));
    assert_eq!(looked, found);
    assert_eq!(database.number("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), 0);
}

#[test]
fn a_database_that_is_not_there_is_named() {
    let address = Address::parse("postgres://lab@%2Fnowhere%2Fat%2Fall/bitloop").unwrap();

    let refused = PostgresStore::open(&address).err().unwrap();

    assert!(refused.is_retryable());
    assert!(refused.to_string().contains("postgres://lab@%2Fnowhere%2Fat%2Fall/bitloop"), "{refused}");
}
