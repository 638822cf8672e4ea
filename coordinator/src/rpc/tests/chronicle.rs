//! Trial logs and events over the wire.

use bitloop_core::state::{Action, WorkerInfo};

use super::*;

/// Nothing takes longer unless it never comes.
const PATIENCE: Duration = Duration::from_secs(30);

fn lines_of(worker: &str, shard: &Shard, text: &str) -> v1::WriteLinesRequest {
    let line = v1::LogLine {
        trial: shard.trials[0].0.0.as_bytes().to_vec(),
        alone: false,
        ago_ms: 5,
        level: "info".to_owned(),
        text: text.to_owned(),
    };
    v1::WriteLinesRequest { worker: worker.to_owned(), lines: vec![line], left_out: 0 }
}

/// A sweep of which w1 has the prepare trial; the epoch.
async fn begin(client: &mut Client) -> (Shard, u64) {
    store_all(client).await;
    submit_plan(client, "sweep").await;
    let epoch = client.register(registration("w1")).await.unwrap().into_inner().epoch;
    (next_shard(client, epoch).await, epoch)
}

fn log_request(shard: &Shard, follow: bool) -> v1::TrialLogRequest {
    v1::TrialLogRequest { trial: shard.trials[0].0.0.hex()[..12].to_owned(), follow }
}

async fn entries(stream: &mut tonic::Streaming<v1::TrialLogResponse>) -> Vec<v1::TrialLogEntry> {
    let mut entries = Vec::new();
    while let Some(answer) = stream.message().await.unwrap() {
        entries.extend(answer.entries);
    }
    entries
}

#[tokio::test]
async fn a_trial_is_followed_to_its_outcome_with_what_its_worker_writes() {
    let served = Served::start().await;
    let mut client = served.client.clone();
    let (shard, epoch) = begin(&mut client).await;
    let mut followed = client.trial_log(log_request(&shard, true)).await.unwrap().into_inner();
    let head = followed.message().await.unwrap().unwrap();
    assert_eq!((head.trial, head.standing.as_str()), (shard.trials[0].0.0.hex(), "measuring"));

    let refused =
        client.write_lines(lines_of("w1", &shard, "calibrating")).await.unwrap().into_inner().refused;
    assert_eq!(refused, 0);
    client.commit(commit_request(&shard, epoch)).await.unwrap();

    let entries = entries(&mut followed).await;
    let told: Vec<_> = entries.iter().map(|entry| (entry.what.as_str(), entry.text.as_str())).collect();
    assert_eq!(told[0].0, "leased");
    assert_eq!(told[1], ("line", "calibrating"));
    assert_eq!(told[2].0, "measured");
    served.stop().await;
}

/// The log holds an outcome, but the trial is measured once more; that nobody measures it now is no end either.
#[tokio::test]
async fn a_trial_is_followed_past_an_outcome_of_earlier_and_a_pause() {
    let folder = tempfile::tempdir().unwrap();
    let first = Arc::new(open_on(folder.path(), Box::new(MemoryStore::default())));
    let id = submit(&first.handle(), "sweep").await;
    let w1 = register(&first.handle(), "w1").await;
    work_once(&first.handle(), &w1).await;
    Arc::into_inner(first).unwrap().close().await.unwrap();

    // A store that was set back to before it.
    let served = Served::start_in(folder, Box::new(MemoryStore::default())).await;
    let mut client = served.client.clone();
    let handle = served.coordinator.handle();
    assert_eq!(submit(&handle, "sweep").await, id);
    register(&handle, "w1").await;
    let shard = handle.request_shard(&w1).await.unwrap().unwrap();
    handle.release(&w1, shard.lease, (None, None)).await.unwrap();
    handle.act(&id, Action::Pause).await.unwrap();
    let mut followed = client.trial_log(log_request(&shard, true)).await.unwrap().into_inner();
    assert_eq!(followed.message().await.unwrap().unwrap().standing, "unwanted");
    let mut told = Vec::new();
    while told.last().is_none_or(|what| what != "given_back") {
        let entries = followed.message().await.unwrap().unwrap().entries;
        told.extend(entries.into_iter().map(|entry| entry.what));
    }

    handle.act(&id, Action::Resume).await.unwrap();
    work_once(&handle, &w1).await;

    told.extend(entries(&mut followed).await.into_iter().map(|entry| entry.what));
    assert_eq!(told, ["leased", "measured", "leased", "given_back", "leased", "measured"]);
    drop((client, handle));
    served.stop().await;
}

fn last_cursor(served: &Served) -> String {
    let (handle, mut last) = (served.coordinator.handle(), None);
    while let Some(event) = handle.chronicle().events(last).events.last() {
        last = Some(event.cursor);
    }
    last.unwrap().to_string()
}

#[tokio::test]
async fn who_wants_one_experiment_is_told_how_far_all_events_were_looked_at() {
    let served = Served::start().await;
    let mut client = served.client.clone();
    begin(&mut client).await;
    let request =
        v1::EventsRequest { experiment: "sweep".to_owned(), follow: true, ..v1::EventsRequest::default() };
    let mut stream = client.events(request.clone()).await.unwrap().into_inner();
    let mut cursor = String::new();
    // More than are kept, none of the experiment, while it is there all the time.
    for number in 0..5_000 {
        served.coordinator.handle().register(worker(&format!("w{}", number % 10)), Vec::new()).await.unwrap();
        if number % 1_000 == 999 {
            let last = last_cursor(&served);
            while cursor != last {
                let answer = stream.message().await.unwrap().unwrap();
                assert_eq!(answer.missed, 0);
                cursor = answer.cursor;
            }
        }
    }

    let again = v1::EventsRequest { after: cursor, follow: false, ..request };
    let mut again = client.events(again).await.unwrap().into_inner();

    assert_eq!(again.message().await.unwrap(), None, "nothing was missed, and nothing happened since");
    drop((client, stream));
    served.stop().await;
}

/// Goal: whoever follows a trial is let go, also where the record of its outcome was lost.
#[tokio::test]
async fn following_a_trial_ends_though_nothing_is_written_of_its_outcome() {
    let served = Served::start().await;
    let mut client = served.client.clone();
    let (shard, epoch) = begin(&mut client).await;
    let mut followed = client.trial_log(log_request(&shard, true)).await.unwrap().into_inner();
    while followed.message().await.unwrap().unwrap().entries.is_empty() {}
    std::fs::remove_dir_all(served.folder.path().join("logs/trials")).unwrap();

    client.commit(commit_request(&shard, epoch)).await.unwrap();

    let rest = tokio::time::timeout(PATIENCE, entries(&mut followed)).await.expect("it ends");
    assert!(rest.iter().all(|entry| entry.what != "measured"), "the test is to hide the outcome: {rest:?}");
    served.stop().await;
}

#[tokio::test]
async fn few_logs_are_read_at_once_and_others_wait_for_their_turn() {
    let served = Served::start().await;
    let mut client = served.client.clone();
    let (shard, _) = begin(&mut client).await;
    let readers = served.coordinator.handle().chronicle().readers();
    let others = u32::try_from(readers.available_permits()).unwrap();
    let others = readers.acquire_many(others).await.unwrap();

    let mut log = client.trial_log(log_request(&shard, false)).await.unwrap().into_inner();
    assert!(log.message().await.unwrap().unwrap().entries.is_empty(), "the head needs no file");
    assert!(tokio::time::timeout(Duration::from_millis(200), log.message()).await.is_err());
    drop(others);

    assert!(!entries(&mut log).await.is_empty());
    served.stop().await;
}

#[tokio::test]
async fn what_names_no_trial_is_refused_in_one_sentence() {
    let served = Served::start().await;
    let mut client = served.client.clone();
    begin(&mut client).await;

    for (trial, code, words) in [
        ("sweep", Code::InvalidArgument, "names no trial"),
        ("ab", Code::InvalidArgument, "names no trial"),
        ("000000000000", Code::NotFound, "no trial's key begins so"),
        ("\u{1b}[2J", Code::InvalidArgument, "trial"),
    ] {
        let request = v1::TrialLogRequest { trial: trial.to_owned(), follow: true };
        let refused = client.trial_log(request).await.unwrap_err();
        assert_eq!(refused.code(), code, "{trial}: {refused}");
        assert!(refused.message().contains(words), "{refused}");
    }
    let request = v1::EventsRequest { after: "yesterday".to_owned(), ..v1::EventsRequest::default() };
    assert_eq!(client.events(request).await.unwrap_err().code(), Code::InvalidArgument);
    let request = v1::EventsRequest { experiment: "none".to_owned(), ..v1::EventsRequest::default() };
    assert_eq!(client.events(request).await.unwrap_err().code(), Code::NotFound);
    served.stop().await;
}

#[tokio::test]
async fn a_worker_writes_about_its_own_trials_and_nothing_hostile() {
    let served = Served::start().await;
    let mut client = served.client.clone();
    let (shard, _) = begin(&mut client).await;
    client.register(registration("w2")).await.unwrap();

    let unknown = client.write_lines(lines_of("w2", &shard, "not its own")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::FailedPrecondition, "it has had no lease");
    let other = Shard {
        trials: vec![(bitloop_core::trial::TrialKey(Digest::of(b"x")), shard.trials[0].1.clone())],
        ..shard.clone()
    };
    let refused = client.write_lines(lines_of("w1", &other, "of nobody")).await.unwrap().into_inner().refused;
    assert_eq!(refused, 1);
    for text in ["\u{1b}]0;title\u{7}", "two\nlines", &"x".repeat(5_000)] {
        let refused = client.write_lines(lines_of("w1", &shard, text)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{text:?}");
    }
    let mut many = lines_of("w1", &shard, "one of many");
    many.lines = vec![many.lines[0].clone(); 1_000];
    assert_eq!(client.write_lines(many).await.unwrap_err().code(), Code::InvalidArgument);

    let mut log = client.trial_log(log_request(&shard, false)).await.unwrap().into_inner();
    assert!(entries(&mut log).await.iter().all(|entry| entry.what != "line"), "nothing of it was kept");
    served.stop().await;
}

#[tokio::test]
async fn events_of_one_experiment_are_told_from_all_others() {
    let served = Served::start().await;
    let mut client = served.client.clone();
    begin(&mut client).await;
    let experiment = submit_plan(&mut client, "other").await;

    let request = v1::EventsRequest { experiment: "other".to_owned(), ..v1::EventsRequest::default() };
    let mut stream = client.events(request).await.unwrap().into_inner();
    let answer = stream.message().await.unwrap().unwrap();

    let events: Vec<_> =
        answer.events.iter().map(|event| (event.kind.as_str(), &event.experiments[0])).collect();
    assert_eq!(events, [("experiment_submitted", &experiment)]);
    assert_eq!(stream.message().await.unwrap(), None, "without `follow` it ends");
    served.stop().await;
}

#[tokio::test]
async fn a_reader_that_takes_nothing_holds_up_nobody_and_is_told_what_it_missed() {
    let served = Served::start().await;
    let mut client = served.client.clone();
    store_all(&mut client).await;
    let request = v1::EventsRequest { follow: true, ..v1::EventsRequest::default() };
    let mut slow = client.events(request).await.unwrap().into_inner();
    let first = slow.message().await.unwrap().unwrap();
    assert_eq!(first.events[0].kind, "coordinator_started");

    // Far more than waits in the connection and in memory together, while nothing is taken.
    let (count, host) = (12_000, "h".repeat(256));
    for number in 0..count {
        let info = WorkerInfo { host: host.clone(), ..worker(&format!("w{}", number % 10)) };
        served.coordinator.handle().register(info, Vec::new()).await.unwrap();
    }

    let (mut seen, mut missed) = (0, 0);
    while seen + missed < count {
        let answer = slow.message().await.unwrap().unwrap();
        missed += answer.missed;
        seen += answer.events.len() as u64;
    }
    assert_eq!(seen + missed, count, "each one was seen, or counted as missed");
    assert!(missed > 0, "the test is to be made larger");
    served.stop().await;
}
