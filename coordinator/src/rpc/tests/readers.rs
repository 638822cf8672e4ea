//! Many who look while trials are committed.

use std::collections::BTreeMap;

use bitloop_core::digest::Digest;

use super::*;

/// Sweeps, each on images of its own.
const SWEEPS: usize = 12;

const READERS: usize = 8;

/// What one reader has seen so far, to see that nothing turns back.
#[derive(Default)]
struct Seen {
    settled: BTreeMap<String, u64>,
    committed: u64,
    uptime_ms: u64,
    looks: u64,
}

impl Seen {
    fn check_experiments(&mut self, experiments: &[v1::ExperimentSummary]) {
        assert!(experiments.len() >= self.settled.len(), "an experiment is gone");
        for summary in experiments {
            let (id, settled) = (&summary.id, summary.settled);
            assert!(settled + summary.leased <= summary.total, "{summary:?}");
            assert!(summary.failed == 0 && summary.conflicts == 0, "{summary:?}");
            assert!(!is_over(summary) || settled == PLAN_TRIALS, "{summary:?}");
            let before = self.settled.insert(id.clone(), settled).unwrap_or(0);
            assert!(before <= settled, "{id} went back from {before} to {settled}");
        }
        self.looks += 1;
    }

    fn check(&mut self, overview: &v1::OverviewResponse) {
        self.check_experiments(&overview.experiments);
        let coordinator = overview.coordinator.as_ref().unwrap();
        let of_workers =
            |count: fn(&v1::WorkerSummary) -> u64| overview.workers.iter().map(count).sum::<u64>();
        let committed = of_workers(|worker| worker.committed);
        assert_eq!(of_workers(|worker| worker.leased), coordinator.leased);
        // The prepare trial is the same in all sweeps: measured once, settled in each.
        let measured = |summary: &v1::ExperimentSummary| summary.settled.saturating_sub(1);
        let measured: u64 = overview.experiments.iter().map(measured).sum();
        let is_prepared = overview.experiments.iter().any(|summary| summary.settled > 0);
        assert_eq!(committed, measured + u64::from(is_prepared), "the counts are of one moment");
        assert!(coordinator.succeeded >= committed, "what is counted is at least what was taken");
        assert!(self.committed <= committed && self.uptime_ms <= coordinator.uptime_ms);
        (self.committed, self.uptime_ms) = (committed, coordinator.uptime_ms);
    }
}

/// Looks in all ways until everything is finished.
async fn read(mut client: Client, sweeps: usize) -> Seen {
    let mut seen = Seen::default();
    loop {
        seen.check(&client.overview(v1::OverviewRequest {}).await.unwrap().into_inner());
        let listed = client.list_experiments(v1::ListExperimentsRequest {}).await.unwrap().into_inner();
        seen.check_experiments(&listed.experiments);
        client.list_workers(v1::ListWorkersRequest {}).await.unwrap();
        client.backlog(v1::BacklogRequest {}).await.unwrap();
        if let Some(first) = listed.experiments.first() {
            let experiment = first.id.clone();
            let shown = client.show_experiment(v1::ShowExperimentRequest { experiment }).await.unwrap();
            assert!(shown.into_inner().summary.unwrap().settled >= first.settled);
        }
        if listed.experiments.iter().filter(|summary| is_over(summary)).count() == sweeps {
            return seen;
        }
    }
}

/// Goal: however many look, every commit is made, and what they see is of one moment and never turns back.
#[tokio::test(flavor = "multi_thread")]
async fn readers_hold_up_nobody_and_see_counts_that_add_up() {
    let served = Served::start().await;
    let mut client = served.client.clone();
    store_all(&mut client).await;
    let epoch = client.register(registration("w1")).await.unwrap().into_inner().epoch;
    let readers: Vec<_> = (0..READERS).map(|_| tokio::spawn(read(client.clone(), SWEEPS))).collect();

    for sweep in 0..SWEEPS {
        let images = format!("images {sweep}");
        store(served.coordinator.handle().artifacts(), images.as_bytes());
        let plan = plan_on(&format!("sweep-{sweep}"), Digest::of(images.as_bytes())).to_document();
        let request = v1::SubmitRequest { plan, sources: Default::default(), priority: 0 };
        let submitted = client.submit(request).await.unwrap().into_inner().experiment;
        let listed = client.list_experiments(v1::ListExperimentsRequest {}).await.unwrap().into_inner();
        assert_eq!(listed.experiments.last().unwrap().id, submitted, "whoever submits sees it at once");
    }
    let mut accepted = 0;
    while accepted < SWEEPS as u64 * (PLAN_TRIALS - 1) + 1 {
        let shard = next_shard(&mut client, epoch).await;
        let committed = client.commit(commit_request(&shard, epoch)).await.unwrap().into_inner();
        accepted += u64::from(committed.accepted);
        assert_eq!((committed.duplicates, committed.conflicts), (0, 0));
    }

    for reader in readers {
        let seen = reader.await.unwrap();
        assert_eq!(seen.settled.len(), SWEEPS);
        assert!(seen.looks > 1);
    }
    drop(client);
    served.stop().await;
}

/// Goal: whoever hands in plans that take long to read keeps others waiting who do the same, and nobody else.
#[tokio::test]
async fn plans_that_are_read_hold_up_only_other_plans() {
    let served = Served::start().await;
    let mut client = served.client.clone();
    store_all(&mut client).await;
    let epoch = client.register(registration("w1")).await.unwrap().into_inner().epoch;
    let plans = served.coordinator.handle().plans.clone();
    let at_once = plans.available_permits();
    // As if so many were being read.
    let read = plans.acquire_many(at_once as u32).await.unwrap();

    let mut submitter = client.clone();
    let submitted = async { submit_plan(&mut submitter, "sweep").await };
    let beaten = async {
        let beat = v1::HeartbeatRequest { worker: "w1".to_owned(), epoch, lease: None, running: Vec::new() };
        client.heartbeat(beat).await.unwrap();
        let listed = client.list_experiments(v1::ListExperimentsRequest {}).await.unwrap().into_inner();
        assert_eq!(listed.experiments, [], "a plan waits for its turn");
        drop(read);
    };
    let (experiment, ()) = tokio::join!(submitted, beaten);

    assert!(experiment.starts_with("sweep-"));
    assert_eq!(plans.available_permits(), at_once, "each gives back its turn");
    drop((client, submitter));
    served.stop().await;
}
