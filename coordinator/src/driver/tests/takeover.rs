//! Two coordinators on one database: the second takes over from the first.

use bitloop_core::state::Shard;
use tempfile::TempDir;

use super::*;
use crate::coordinator::{Elsewhere, ServeError};
use crate::store::{DatabaseError, PostgresStore, Standby};
use crate::testing::postgres::Database;

struct Site {
    database: Database,
    /// What both machines see.
    shared: TempDir,
    /// The data directories of the two.
    own: [TempDir; 2],
}

impl Site {
    fn new() -> Option<Self> {
        let folder = || tempfile::tempdir().unwrap();
        Some(Self { database: Database::create()?, shared: folder(), own: [folder(), folder()] })
    }

    fn coordinator(&self, machine: usize, store: PostgresStore) -> Coordinator {
        let artifacts = Artifacts::at(&self.shared.path().display().to_string()).unwrap();
        let elsewhere =
            Elsewhere { store: Some(Box::new(store)), artifacts: Some(artifacts), took_over: machine > 0 };
        Coordinator::open_with(DataDir::open(self.own[machine].path()).unwrap(), elsewhere).unwrap()
    }

    fn first(&self) -> Coordinator {
        self.coordinator(0, PostgresStore::open(&self.database.address()).unwrap())
    }

    async fn second(&self) -> Coordinator {
        let store = Standby::new(&self.database.address()).unwrap().wait().await.unwrap();
        self.coordinator(1, store)
    }

    fn results(&self, machine: usize, id: &ExperimentId) -> Vec<u8> {
        fs::read(self.own[machine].path().join(format!("results/{id}.csv"))).unwrap()
    }
}

/// A sweep whose prepare trial is stored, with its next shard at a worker.
async fn begin(coordinator: &Coordinator) -> (ExperimentId, Shard) {
    let handle = coordinator.handle();
    let id = submit(&handle, "sweep").await;
    let worker = register(&handle, "w1").await;
    work_once(&handle, &worker).await;
    let shard = handle.request_shard(&worker).await.unwrap().unwrap();
    (id, shard)
}

/// Re-attaches the worker with what it holds, and works until the experiment is over.
async fn go_on(coordinator: &Coordinator, id: &ExperimentId, held: &Shard) {
    let handle = coordinator.handle();
    assert_eq!(handle.epoch(), 2);
    let keys: Vec<_> = held.trials.iter().map(|(key, _)| *key).collect();
    let adopted = handle.register(worker("w1"), keys.clone()).await.unwrap().unwrap();
    assert_eq!(adopted.trials.iter().map(|(key, _)| *key).collect::<Vec<_>>(), keys);
    let worker = worker("w1").id;
    let committed = handle.commit(&worker, reports(held), 1.0).await.unwrap();
    assert_eq!((committed.accepted as usize, committed.duplicates), (keys.len(), 0));
    work_off(&handle, &worker, id).await;
}

async fn undisturbed() -> Vec<u8> {
    let fixture = Fixture::new();
    let coordinator = fixture.open();
    let id = submit(&coordinator.handle(), "sweep").await;
    let worker = register(&coordinator.handle(), "w1").await;
    work_off(&coordinator.handle(), &worker, &id).await;
    fs::read(fixture.results(&id)).unwrap()
}

#[tokio::test]
async fn a_standby_goes_on_where_a_dead_coordinator_was() {
    let Some(site) = Site::new() else { return };
    let first = site.first();
    let (id, shard) = begin(&first).await;
    let mut waiting = Standby::new(&site.database.address()).unwrap();
    assert!(waiting.try_lead().unwrap().is_none(), "it waits while the first one works");

    drop(first);
    let second = site.second().await;

    go_on(&second, &id, &shard).await;
    assert_eq!(site.results(1, &id), undisturbed().await);
    second.close().await.unwrap();
}

#[tokio::test]
async fn a_coordinator_that_lives_on_after_a_takeover_stores_nothing_and_stops() {
    let Some(site) = Site::new() else { return };
    let first = site.first();
    let (id, shard) = begin(&first).await;
    site.database.cut_off();
    let second = site.second().await;
    let stored = site.database.number("SELECT facts FROM bitloop_store");

    let refused = first.handle().commit(&worker("w1").id, reports(&shard), 1.0).await.unwrap_err();

    assert!(matches!(refused, RequestError::NotStored(_) | RequestError::Stopped), "{refused}");
    assert_eq!(site.database.number("SELECT facts FROM bitloop_store"), stored);
    let (incoming, _connector) = bitloop_proto::transport::in_process();
    let served = first.serve_incoming(incoming, CancellationToken::new()).await;
    assert!(matches!(served, Err(ServeError::Stopped)), "{served:?}");
    let ended = first.close().await.unwrap_err();
    let ServeError::Store(StoreError::Database(cause)) = ended else { panic!("{ended}") };
    assert!(matches!(cause, DatabaseError::Fenced { epoch: 1, found: 2, .. }), "{cause}");
    go_on(&second, &id, &shard).await;
    assert_eq!(site.results(1, &id), undisturbed().await);
}
