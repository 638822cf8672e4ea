//! Artifacts on their way, with those who would rather hold them up.

use tokio::runtime;
use tokio_stream::StreamExt;

use super::super::transfers::{Limits, Transfers};
use super::*;

/// Nothing takes longer unless it never comes.
const PATIENCE: Duration = Duration::from_secs(30);

/// More than the windows and buffers of a connection take.
const BIG_BYTES: usize = 8 << 20;

fn chunk(digest: &Digest, data: &[u8]) -> v1::ArtifactChunk {
    v1::ArtifactChunk { digest: digest.as_bytes().to_vec(), data: data.to_vec() }
}

#[test]
fn readers_that_read_nothing_keep_no_thread_from_others() {
    const THREADS: usize = 8;
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(THREADS)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let served = Served::start().await;
        let big = vec![7; BIG_BYTES];
        store(served.coordinator.handle().artifacts(), &big);
        let digest = Digest::of(&big).as_bytes().to_vec();
        let mut unread = Vec::new();
        for _ in 0..THREADS {
            let mut client = Client::new(served.connector.connect().await.unwrap());
            let request = v1::FetchArtifactRequest { digest: digest.clone() };
            unread.push(client.fetch_artifact(request).await.unwrap());
        }

        let mut client = served.client.clone();
        let stored = tokio::time::timeout(PATIENCE, store_all(&mut client)).await;

        assert!(stored.is_ok(), "no thread is left to store anything");
        drop(unread);
    });
}

/// What an artifact's reader gets.
async fn fetched(client: &mut Client, digest: &Digest) -> Result<Vec<u8>, tonic::Status> {
    let request = v1::FetchArtifactRequest { digest: digest.as_bytes().to_vec() };
    let (mut chunks, mut all) = (client.fetch_artifact(request).await?.into_inner(), Vec::new());
    while let Some(chunk) = chunks.message().await? {
        all.extend(chunk.data);
    }
    Ok(all)
}

/// Goal: no start of the coordinator is needed to have a model prepared again that rots or vanishes while it works.
#[tokio::test]
async fn an_artifact_that_a_reader_finds_damaged_or_missing_is_made_again() {
    let served = Served::start().await;
    let mut client = served.client.clone();
    store_all(&mut client).await;
    submit_plan(&mut client, "sweep").await;
    let epoch = client.register(registration("w1")).await.unwrap().into_inner().epoch;
    let prepared = next_shard(&mut client, epoch).await;
    client.commit(commit_request(&prepared, epoch)).await.unwrap();
    let digest = Digest::of(PREPARED);
    let blob = served.folder.path().join("artifacts").join(digest.hex());

    for damage in [Some("other"), None] {
        match damage {
            Some(bytes) => std::fs::write(&blob, bytes).unwrap(),
            None => std::fs::remove_file(&blob).unwrap(),
        }
        // Several workers may miss it, and what nobody ever made is missed by anybody who likes.
        for missed in [digest, digest, Digest::of(b"nobody's")] {
            assert_eq!(fetched(&mut client, &missed).await.unwrap_err().code(), Code::NotFound);
        }

        let again = next_shard(&mut client, epoch).await;
        assert_eq!(again.trials, prepared.trials, "it comes before the sweep");
        let chunks = [chunk(&digest, PREPARED)];
        client.store_artifact(tokio_stream::iter(chunks)).await.unwrap();
        let committed = client.commit(commit_request(&again, epoch)).await.unwrap().into_inner();
        assert_eq!((committed.accepted, committed.duplicates), (1, 0));
        assert_eq!(fetched(&mut client, &digest).await.unwrap(), PREPARED);
    }

    assert!(next_shard(&mut client, epoch).await.context.is_some(), "then the sweep goes on");
    let events = served.coordinator.handle().chronicle().events(None).events;
    let told = |kind: &str| events.iter().filter(|event| event.what.kind.as_str() == kind).count();
    assert_eq!((told("outcome_lost"), told("outcome_replaced")), (2, 2), "each loss is one");
}

#[tokio::test]
async fn an_upload_is_not_kept_open_by_empty_chunks() {
    let served = Served::start().await;
    let mut client = served.client.clone();
    let (empty, some) = (Digest::of(b""), Digest::of(b"bytes"));

    let stored = client.store_artifact(tokio_stream::iter([chunk(&empty, b"")])).await.unwrap();
    assert_eq!(stored.into_inner().size, 0);
    let chunks = [chunk(&some, b""), chunk(&some, b"bytes")];
    client.store_artifact(tokio_stream::iter(chunks)).await.unwrap();

    let other = Digest::of(b"other bytes");
    let chunks = [chunk(&other, b"other "), chunk(&other, b""), chunk(&other, b"bytes")];
    let refused = client.store_artifact(tokio_stream::iter(chunks)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("empty"), "{refused}");
}

#[tokio::test]
async fn an_artifact_that_nobody_reads_gives_its_turn_to_others_and_says_why() {
    let served = Served::start().await;
    let handle = served.coordinator.handle();
    let big = vec![7; BIG_BYTES];
    store(handle.artifacts(), &big);
    let moment = Duration::from_millis(100);
    let transfers = Transfers::new(Limits { at_once: 1, chunk_patience: moment, ..Limits::default() });
    let big = (handle.artifacts().clone(), Digest::of(&big));
    let metrics = || handle.metrics().clone();

    let turn = transfers.begin(None).await.unwrap();
    let mut unread = streams::send(big.clone(), async { turn }, metrics());
    let next = transfers.begin(None).await.unwrap();

    let late = loop {
        match unread.next().await.expect("an artifact that is cut off says so") {
            Ok(_) => {}
            Err(late) => break late,
        }
    };
    assert_eq!(late.code(), Code::DeadlineExceeded);
    assert!(unread.next().await.is_none());
    let read: Vec<_> = streams::send(big, async { next }, metrics()).collect().await;
    let bytes: usize = read.into_iter().map(|chunk| chunk.unwrap().data.len()).sum();
    assert_eq!(bytes, BIG_BYTES);
}

#[tokio::test]
async fn an_artifact_says_that_it_will_come_while_it_waits_for_its_turn() {
    let served = Served::start().await;
    let handle = served.coordinator.handle();
    store(handle.artifacts(), b"weights");
    let transfers = Transfers::new(Limits { at_once: 1, turn_patience: Duration::ZERO, ..Limits::default() });
    let other = transfers.begin(None).await.unwrap();

    let artifact = (handle.artifacts().clone(), Digest::of(b"weights"));
    let mut chunks = streams::send(artifact, transfers.turn(None), handle.metrics().clone());
    for _ in 0..2 {
        assert_eq!(chunks.next().await.unwrap().unwrap(), chunk(&Digest::of(b"weights"), b""));
    }
    drop(other);

    let read: Vec<_> = chunks.map(|chunk| chunk.unwrap().data).collect().await;
    assert_eq!(read.concat(), b"weights");
}

/// Goal: however many workers start at once, none of them gives its trials back because it has to wait for a model.
#[tokio::test]
async fn a_download_has_begun_while_it_waits_for_its_turn() {
    let served = Served::start().await;
    let big = vec![7; BIG_BYTES];
    store(served.coordinator.handle().artifacts(), &big);
    let digest = Digest::of(&big).as_bytes().to_vec();
    let fetch = async || {
        let mut client = Client::new(served.connector.connect().await.unwrap());
        let request = v1::FetchArtifactRequest { digest: digest.clone() };
        client.fetch_artifact(request).await.unwrap().into_inner()
    };
    let mut others = Vec::new();
    for _ in 0..Limits::default().at_once {
        let mut other = fetch().await;
        other.message().await.unwrap().unwrap();
        others.push(other);
    }

    let mut waiting = tokio::time::timeout(PATIENCE, fetch()).await.expect("it begins at once");
    drop(others);

    let mut bytes = 0;
    while let Some(chunk) = waiting.message().await.unwrap() {
        bytes += chunk.data.len();
    }
    assert_eq!(bytes, BIG_BYTES);
}
