use std::collections::BTreeMap;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::coordinator::Coordinator;
use crate::store::MemoryStore;
use crate::testing::*;

struct Served {
    coordinator: Coordinator,
    address: std::net::SocketAddr,
    _folder: tempfile::TempDir,
}

async fn served() -> Served {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = open_on(folder.path(), Box::new(MemoryStore::default()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(coordinator.handle(), listener, CancellationToken::new()));
    Served { coordinator, address, _folder: folder }
}

/// What comes back for some bytes until the connection ends.
async fn exchange(served: &Served, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

async fn metrics(served: &Served) -> BTreeMap<String, f64> {
    let answer = exchange(served, b"GET /metrics HTTP/1.1\r\nhost: here\r\n\r\n").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    parse(body)
}

/// Reads the text format strictly: each sample belongs to the family above it, and each histogram only rises.
fn parse(body: &str) -> BTreeMap<String, f64> {
    let (mut samples, mut family, mut last) = (BTreeMap::new(), String::new(), 0.0);
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let (word, rest) = comment.split_once(' ').unwrap();
            assert!(["HELP", "TYPE"].contains(&word), "{line}");
            family = rest.split_once(' ').unwrap().0.to_owned();
            last = 0.0;
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap();
        let value: f64 = value.parse().unwrap();
        let bare = name.split('{').next().unwrap();
        assert!(bare.chars().all(|char| char.is_ascii_lowercase() || char == '_'), "{line}");
        let suffix = bare.strip_prefix(&family).unwrap_or_else(|| panic!("{line} follows {family}"));
        assert!(["", "_bucket", "_sum", "_count"].contains(&suffix), "{line}");
        if suffix == "_bucket" {
            assert!(value >= last, "{line} is less than the bucket before");
            last = value;
        }
        if suffix == "_count" {
            assert_eq!(value, last, "{line} is not the last bucket's");
        }
        assert!(samples.insert(name.to_owned(), value).is_none(), "{line} comes twice");
    }
    samples
}

#[tokio::test]
async fn a_finished_sweep_is_seen_in_the_metrics() {
    let served = served().await;
    let handle = served.coordinator.handle();
    let id = submit(&handle, "sweep").await;
    let worker = register(&handle, "w1").await;
    let shard = handle.request_shard(&worker).await.unwrap().unwrap();
    handle.commit(&worker, reports(&shard), 500.0).await.unwrap();
    handle.commit(&worker, reports(&shard), 500.0).await.unwrap();
    handle.commit(&worker, other_reports(&shard), 500.0).await.unwrap();
    work_off(&handle, &worker, &id).await;
    let mut overview = handle.overview();
    overview.wait_for(|overview| overview.experiments[0].status.is_over()).await.unwrap();

    let metrics = metrics(&served).await;

    for (name, value) in [
        ("bitloop_epoch", 1.0),
        ("bitloop_trials_total{result=\"succeeded\"}", PLAN_TRIALS as f64),
        ("bitloop_trials_total{result=\"failed\"}", 0.0),
        ("bitloop_duplicates_total", 1.0),
        ("bitloop_conflicts_total", 1.0),
        ("bitloop_experiments{status=\"finished\"}", 1.0),
        ("bitloop_experiments{status=\"active\"}", 0.0),
        ("bitloop_queued_trials{kind=\"evaluate\"}", 0.0),
        ("bitloop_leases", 0.0),
        ("bitloop_backlog_trials{device=\"any\",exact=\"false\"}", 0.0),
        ("bitloop_backlog_seconds{device=\"cpu\",exact=\"true\"}", 0.0),
        ("bitloop_workers{device=\"cpu\"}", 1.0),
        ("bitloop_busy_seconds_total{device=\"cpu\"}", 0.5 * PLAN_TRIALS as f64),
        ("bitloop_store_failures_total", 0.0),
    ] {
        assert_eq!(metrics.get(name), Some(&value), "{name}");
    }
    assert!(metrics["bitloop_commit_seconds_count"] >= 4.0);
}

#[tokio::test]
async fn what_is_no_good_request_is_refused() {
    let served = served().await;
    for (request, status) in [
        (&b"GET /healthz HTTP/1.1\r\nhost: here\r\n\r\n"[..], "200"),
        (b"GET / HTTP/1.1\r\nhost: here\r\n\r\n", "404"),
        (b"DELETE /metrics HTTP/1.1\r\nhost: here\r\n\r\n", "405"),
        (b"\x16\x03\x01 this is no HTTP\r\n\r\n", "400"),
    ] {
        let answer = exchange(&served, request).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{answer}");
    }
}
