//! What people are told of trials that come back.

use bitloop_core::state::{Obstacle, ObstacleKind};

use super::*;

#[tokio::test]
async fn a_worker_that_gives_back_again_and_again_is_told_of_once() {
    let fixture = Fixture::new();
    let coordinator = fixture.open();
    let handle = coordinator.handle();
    submit(&handle, "sweep").await;
    let worker = register(&handle, "w1").await;

    for rest_ms in [1_000, 2_000, 4_000, 8_000, 16_000] {
        let shard = handle.request_shard(&worker).await.unwrap().unwrap();
        let trials = shard.trials.iter().map(|(key, _)| *key).collect();
        let obstacle = Obstacle { kind: ObstacleKind::Supply, reason: "the model is gone".into(), trials };
        handle.release(&worker, shard.lease, (None, Some(obstacle))).await.unwrap();
        for _ in 0..rest_ms / 1_000 {
            fixture.clock_ms.fetch_add(1_000, Ordering::SeqCst);
            handle.heartbeat(&worker, None, Vec::new()).await.unwrap();
        }
    }

    let page = handle.chronicle().events(None);
    let told: Vec<&str> = page
        .events
        .iter()
        .filter(|event| event.what.kind.as_str() == "worker_unable")
        .map(|event| event.what.text.as_str())
        .collect();
    assert_eq!(told, ["it gave trials back 3 times in a row: the model is gone"]);
    let metrics = handle.metrics().to_text(&handle.overview().borrow());
    assert!(metrics.contains("\nbitloop_give_backs_total 5\n"), "{metrics}");
}
