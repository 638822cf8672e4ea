//! What a peer might send on purpose: nothing of it panics, and what is too long or moves a cursor is named.

use prost::Message;

use super::*;

/// Decodes bytes as a message and converts it; whatever comes of it, it comes without a panic.
fn read<M: Message + Default, T: TryFrom<M>>(bytes: &[u8]) {
    if let Ok(message) = M::decode(bytes) {
        let _ = T::try_from(message);
    }
}

fn read_all(bytes: &[u8]) {
    read::<v1::Shard, Shard>(bytes);
    read::<v1::Trial, TrialSpec>(bytes);
    read::<v1::EvaluateContext, EvaluateContext>(bytes);
    read::<v1::Report, Report>(bytes);
    read::<v1::WorkerInfo, WorkerInfo>(bytes);
    read::<v1::Evaluation, Evaluation>(bytes);
    if let Ok(request) = v1::CommitRequest::decode(bytes) {
        let _ = worker_id("worker", request.worker);
        let _ = reports(request.reports);
        let _ = millis("trial_ms", request.trial_ms);
    }
    if let Ok(request) = v1::SubmitRequest::decode(bytes) {
        let _ = (sources(&request.sources), priority(request.priority));
    }
    if let Ok(request) = v1::HeartbeatRequest::decode(bytes) {
        let _ = (worker_id("worker", request.worker), trial_keys("running", &request.running));
    }
    if let Ok(request) = v1::ReleaseRequest::decode(bytes) {
        let _ = (worker_id("worker", request.worker), trial_keys("trials", &request.trials));
        let _ = request.obstacle.map(Obstacle::try_from);
    }
    if let Ok(request) = v1::RegisterRequest::decode(bytes) {
        let _ = (request.info.map(WorkerInfo::try_from), trial_keys("held", &request.held));
        let _ = name("version", request.version);
    }
    if let Ok(request) = v1::MissingArtifactsRequest::decode(bytes) {
        let _ = digests("digests", &request.digests);
    }
    if let Ok(chunk) = v1::ArtifactChunk::decode(bytes) {
        let _ = digest("digest", &chunk.digest);
    }
    if let Ok(request) = v1::ExplainRequest::decode(bytes) {
        let _ = name("subject", request.subject);
    }
    if let Ok(request) = v1::WriteLinesRequest::decode(bytes) {
        let _ = (worker_id("worker", request.worker), log_lines(request.lines));
    }
    if let Ok(request) = v1::ActOnExperimentRequest::decode(bytes) {
        let _ = (action(request.action), name("experiment", request.experiment));
    }
    if let Ok(summary) = v1::ExperimentSummary::decode(bytes) {
        let _ = status(&summary);
    }
    if let Ok(request) = v1::IssueTokenRequest::decode(bytes) {
        let _ = crate::identity::Role::from_wire(request.role);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read_all(&bytes);
    }

    #[test]
    fn damaged_messages_never_panic(
        report in a_report(),
        context in a_context(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        for mut bytes in [v1::Report::from(&report).encode_to_vec(), v1::EvaluateContext::from(&context).encode_to_vec()] {
            for (at, byte) in &damage {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            read_all(&bytes);
            bytes.truncate(cut.index(bytes.len()));
            read_all(&bytes);
        }
    }

    #[test]
    fn whatever_an_error_says_arrives_in_a_form_that_is_accepted(reason in "\\PC{0,20}.{0,20}[\\x00-\\x1f\\u{202e}]{0,9}", device in ".{0,9}") {
        let provenance = Provenance { engine: "bitloop".to_owned(), device, kernels: "none".to_owned() };
        let result = TrialResult::Failed { reason };
        let outcome = Outcome { result, provenance, work: Work::default() };
        let report = Report { key: TrialKey(Digest::of(b"key")), outcome };

        prop_assert!(Report::try_from(v1::Report::from(&report)).is_ok());
    }
}

fn worker(host: &str) -> v1::WorkerInfo {
    let text = str::to_owned;
    let device = v1::Device { kind: v1::DeviceKind::Cpu.into(), id: text("cpu"), ..v1::Device::default() };
    v1::WorkerInfo {
        id: text("w1"),
        host: text(host),
        device: Some(device),
        threads: 1,
        ..v1::WorkerInfo::default()
    }
}

#[test]
fn names_that_are_too_long_or_move_a_cursor_are_refused() {
    let long = "x".repeat(NAME_BYTES_MAX + 1);
    let expected = ConvertError::TooLong { field: "host", len: long.len(), max: NAME_BYTES_MAX };
    assert_eq!(WorkerInfo::try_from(worker(&long)), Err(expected));
    assert!(WorkerInfo::try_from(worker(&long[1..])).is_ok());

    for wrong in ["two\nlines", "\u{1b}[2Jcleared", "\r", "back\u{8}", "\u{202e}turned", "\u{0}"] {
        let expected = ConvertError::Control { field: "host" };
        assert_eq!(WorkerInfo::try_from(worker(wrong)), Err(expected), "{wrong:?}");
    }
}

#[test]
fn lists_that_are_too_long_are_refused_before_they_are_read() {
    let keys = vec![Vec::new(); DIGESTS_MAX + 1];
    let expected = ConvertError::TooMany { field: "held", count: keys.len(), max: DIGESTS_MAX };
    assert_eq!(trial_keys("held", &keys), Err(expected));

    let many = vec![v1::Report::default(); REPORTS_MAX + 1];
    let expected = ConvertError::TooMany { field: "reports", count: many.len(), max: REPORTS_MAX };
    assert_eq!(reports(many), Err(expected));

    let digest = digest_to_wire(&Digest::of(b"a"));
    let many = (0..=SOURCES_MAX).map(|number| (number.to_string(), digest.clone())).collect();
    let expected = ConvertError::TooMany { field: "sources", count: SOURCES_MAX + 1, max: SOURCES_MAX };
    assert_eq!(sources(&many), Err(expected));
}

#[test]
fn numbers_that_are_none_are_refused() {
    for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(millis("trial_ms", wrong), Err(ConvertError::NotFinite { field: "trial_ms" }));
    }
    assert_eq!(millis("trial_ms", -1.0), Err(ConvertError::Negative { field: "trial_ms" }));
    assert_eq!(millis("trial_ms", 1e300), Err(ConvertError::Endless { field: "trial_ms" }));
    assert_eq!(millis("trial_ms", 0.5), Ok(0.5));
}

/// A digest is 32 bytes, whatever they are; its text, which names files, has no character that a path is made of.
#[test]
fn a_digest_from_the_wire_names_no_other_folder() {
    for wrong in [&b"../../../../etc/passwd"[..], b"/etc/passwd", b"..", b"."] {
        let len = wrong.len();
        assert_eq!(digest("digest", wrong), Err(ConvertError::DigestLength { field: "digest", len }));
    }
    let path: [u8; 32] = *b"../../../../../../../etc/passwd\0";
    let hex = digest("digest", &path).unwrap().hex();
    assert!(hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()), "{hex}");
}

/// Requests that have no field but what others have too, a name or a digest, or bytes that nothing here reads.
const LIKE_OTHERS: [&str; 16] = [
    "FetchArtifactRequest",
    "ListExperimentsRequest",
    "ShowExperimentRequest",
    "WatchExperimentRequest",
    "ResultsRequest",
    "ListWorkersRequest",
    "BacklogRequest",
    "OverviewRequest",
    "TrialLogRequest",
    "EventsRequest",
    "RequestShardRequest",
    "FetchContextRequest",
    "LeaveRequest",
    "JoinRequest",
    "RenewRequest",
    "RevokeRequest",
];

#[test]
fn every_request_is_fuzzed() {
    let proto = include_str!("../../../bitloop/v1/coordinator.proto");
    let target = include_str!("../../../../fuzz/targets/wire.rs");
    let here = include_str!("malformed.rs");
    let requests =
        proto.lines().filter_map(|line| line.trim().strip_prefix("rpc ")?.split(['(', ')']).nth(1));
    let requests: Vec<&str> = requests.map(|name| name.trim_start_matches("stream ")).collect();
    assert!(requests.len() >= 20, "{requests:?}");

    for name in requests {
        let decoded = format!("v1::{name}");
        assert!(target.contains(&decoded), "fuzz/targets/wire.rs does not read {name}");
        assert!(
            LIKE_OTHERS.contains(&name) || here.contains(&format!("{decoded}::decode")),
            "{name} is not read here"
        );
    }
}

#[test]
fn lines_of_a_log_are_short_and_move_no_cursor() {
    let line = |text: &str| v1::LogLine {
        trial: vec![7; 32],
        level: "info".to_owned(),
        text: text.to_owned(),
        ..v1::LogLine::default()
    };
    let read = |text: &str| LogLine::try_from(line(text)).map(|line| line.text);

    assert_eq!(read("top-1 93 %, \u{3bb}"), Ok("top-1 93 %, \u{3bb}".to_owned()));
    for control in ["\u{1b}[2J", "two\nlines", "\u{202e}turned", "\r"] {
        assert_eq!(read(control), Err(ConvertError::Control { field: "text" }), "{control:?}");
        assert!(read(&to_log_line(control)).is_ok(), "what is sent can be read");
    }
    let long = "x".repeat(LINE_BYTES_MAX + 1);
    let too_long = ConvertError::TooLong { field: "text", len: long.len(), max: LINE_BYTES_MAX };
    assert_eq!(read(&long), Err(too_long));
    assert!(read(&to_log_line(&long)).is_ok());
    assert!(log_lines(vec![line(""); LINES_MAX]).is_ok());
    assert!(log_lines(vec![line(""); LINES_MAX + 1]).is_err());
}
