//! Many who read metrics while a sweep goes on, workers that call their devices as they like, and a full disk.

use std::path::Path;

use bitloop_core::plan::ExperimentId;
use bitloop_core::state::WorkerId;

use super::*;

/// Who reads at once; each as fast as it can.
const READERS: usize = 8;

/// Sweeps on images of their own, so that each has trials of its own.
const SWEEPS: u8 = 6;

/// Submits sweeps and measures them, one commit per trial; returns their results files.
async fn sweep(handle: &Handle, root: &Path) -> Vec<Vec<u8>> {
    store_inputs(handle.artifacts());
    let worker = register(handle, "w1").await;
    let mut results = Vec::new();
    for number in 0..SWEEPS {
        let images = [number];
        store(handle.artifacts(), &images);
        let plan = plan_on(&format!("sweep{number}"), bitloop_core::digest::Digest::of(&images));
        let id = handle.submit(plan, Default::default(), 0).await.unwrap().experiment;
        one_by_one(handle, &worker, &id).await;
        results.push(std::fs::read(root.join(format!("results/{id}.csv"))).unwrap());
    }
    results
}

async fn one_by_one(handle: &Handle, worker: &WorkerId, id: &ExperimentId) {
    while let Some(shard) = next_shard(handle, worker, id).await {
        for report in reports(&shard) {
            handle.commit(worker, vec![report], 1.0).await.unwrap();
        }
    }
}

/// Reads until told to stop; returns how often. Nothing that is counted may ever become less.
async fn read_on(served: &Served, stop: &CancellationToken) -> u64 {
    let (mut before, mut times) = (BTreeMap::<String, f64>::new(), 0);
    while !stop.is_cancelled() {
        let now = metrics(served).await;
        for (name, value) in &before {
            let bare = name.split('{').next().unwrap();
            let is_counted = ["_total", "_bucket", "_sum", "_count"].iter().any(|end| bare.ends_with(end));
            assert!(!is_counted || now[name] >= *value, "{name} fell from {value} to {}", now[name]);
        }
        (before, times) = (now, times + 1);
    }
    times
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_under_load_see_counters_that_only_rise_and_change_no_result() {
    let calm = served().await;
    let undisturbed = sweep(&calm.coordinator.handle(), calm._folder.path()).await;
    let served = Arc::new(served().await);
    let stop = CancellationToken::new();
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let (served, stop) = (served.clone(), stop.clone());
            tokio::spawn(async move { read_on(&served, &stop).await })
        })
        .collect();
    // None of them has an end before the sweeps have one.
    let disturbed = sweep(&served.coordinator.handle(), served._folder.path()).await;
    stop.cancel();
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }

    assert_eq!(disturbed, undisturbed);
    let trials = metrics(&served).await["bitloop_trials_total{result=\"succeeded\"}"];
    assert_eq!(trials, metrics(&calm).await["bitloop_trials_total{result=\"succeeded\"}"]);
}

#[tokio::test]
async fn whatever_workers_say_the_number_of_series_has_a_bound() {
    let served = served().await;
    let handle = served.coordinator.handle();
    let series = metrics(&served).await.len();
    store_inputs(handle.artifacts());
    for number in 0..100 {
        let mut info = worker(&format!("worker-{number}\n\"}} 1"));
        info.device.class = format!("device {number} \\ \"quoted\"\nin two lines");
        info.labels = BTreeMap::from([(format!("marked{number}"), "x".to_owned())]);
        let worker = info.id.clone();
        handle.register(info, Vec::new()).await.unwrap();
        let images = [number];
        store(handle.artifacts(), &images);
        let plan = plan_on(&format!("named{number}"), bitloop_core::digest::Digest::of(&images));
        handle.submit(plan, Default::default(), 0).await.unwrap();
        work_once(&handle, &worker).await;
    }
    let mut overview = handle.overview();
    overview
        .wait_for(|overview| overview.workers.len() == 100 && overview.experiments.len() == 100)
        .await
        .unwrap();

    let after = metrics(&served).await;

    // Classes of devices in two families, with one for all further ones each.
    let most = series + 2 * 33;
    assert!(after.len() <= most, "{} series, at most {most} were expected", after.len());
    let named = |name: &str| after.keys().filter(|key| key.starts_with(name)).count();
    assert_eq!((named("bitloop_workers{"), named("bitloop_busy_seconds_total{")), (33, 33));
    assert_eq!(after["bitloop_workers{device=\"other\"}"], 68.0);
    assert!(
        !after.keys().any(|key| key.contains("worker-") || key.contains("marked") || key.contains("named"))
    );
}

#[tokio::test]
async fn a_full_disk_is_seen_and_so_is_that_it_is_over() {
    let disk = Failure::default();
    let store = FailingStore { inner: MemoryStore::default(), failure: disk.clone() };
    let served = served_with(Box::new(store)).await;
    let handle = served.coordinator.handle();
    submit(&handle, "sweep").await;
    let worker = register(&handle, "w1").await;
    let shard = handle.request_shard(&worker).await.unwrap().unwrap();
    assert_eq!(metrics(&served).await["bitloop_store_writable"], 1.0);

    disk.disk_full();
    handle.commit(&worker, reports(&shard), 1.0).await.unwrap_err();
    let during = metrics(&served).await;
    disk.clear();
    while handle.commit(&worker, reports(&shard), 1.0).await.is_err() {}
    let after = metrics(&served).await;

    assert_eq!((during["bitloop_store_writable"], after["bitloop_store_writable"]), (0.0, 1.0));
    assert!(during["bitloop_store_failures_total"] >= 1.0);
}
