//! With the feature `otel`: a collector of our own sees one trace from a submission to what was committed of it.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// A collector that keeps what it is sent.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans.into_iter();
        let spans = resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans);
        self.0.lock().expect("nobody panics with it").extend(spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// Has a collector listen, as long as the runtime lives; returns where.
fn serve(runtime: &tokio::runtime::Runtime, collector: impl TraceService) -> String {
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(collector));
    runtime.spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    endpoint
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("cli is a folder of the repository").to_path_buf()
}

/// Runs the quick start's sweep of weights with traces to an endpoint.
fn run(endpoint: &str, data_dir: &Path) -> Output {
    run_with(endpoint, data_dir, &[])
}

/// The same with more variables.
fn run_with(endpoint: &str, data_dir: &Path, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitloop"));
    command.env_clear().current_dir(root()).env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
    command.envs(variables.iter().copied());
    command.args(["run", "configs/sensitivity_weights.yaml", "--workers", "1", "--data-dir"]).arg(data_dir);
    command.output().expect("the program starts")
}

fn results(data_dir: &Path) -> Vec<u8> {
    let mut files = std::fs::read_dir(data_dir.join("results")).expect("a folder of results");
    std::fs::read(files.next().expect("a file").expect("an entry").path()).expect("results")
}

#[test]
fn one_trace_leads_from_the_submission_to_what_was_committed() {
    let collector = Collector::default();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let endpoint = serve(&runtime, collector.clone());
    let folder = tempfile::tempdir().expect("a folder");

    let done = run(&endpoint, folder.path());

    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let spans = collector.0.lock().expect("nobody panics with it").clone();
    let by_id: BTreeMap<&[u8], &Span> = spans.iter().map(|span| (span.span_id.as_slice(), span)).collect();
    let submissions: Vec<&Span> = spans.iter().filter(|span| span.name == "submit").collect();
    assert_eq!(submissions.len(), 1, "{:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>());
    let path = |span: &Span| {
        let mut names = vec![span.name.clone()];
        let mut at = span.clone();
        while let Some(parent) = by_id.get(at.parent_span_id.as_slice()) {
            names.push(parent.name.clone());
            at = (*parent).clone();
        }
        names
    };
    // A commit's call in the coordinator, below the worker's, below the shard, its lease, and the submission's call.
    let whole = ["call", "commit", "shard", "lease", "call", "submit"];
    let calls: Vec<&Span> = spans.iter().filter(|span| path(span) == whole).collect();
    assert!(calls.len() >= 2, "{:?}", spans.iter().map(path).collect::<Vec<_>>());
    assert!(calls.iter().all(|span| span.trace_id == submissions[0].trace_id));
    assert!(spans.iter().any(|span| path(span) == ["measure", "shard", "lease", "call", "submit"]));
    for name in ["lease", "shard", "commit"] {
        let of_trace = spans.iter().filter(|span| span.name == name);
        assert!(of_trace.clone().count() >= 2, "{name}");
        assert!(of_trace.clone().all(|span| span.trace_id == submissions[0].trace_id), "{name}");
    }
}

#[test]
fn a_collector_that_is_not_there_or_says_nothing_changes_nothing() {
    let (calm, gone, mute) = (
        tempfile::tempdir().expect("a folder"),
        tempfile::tempdir().expect("a folder"),
        tempfile::tempdir().expect("a folder"),
    );
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = |listener: &TcpListener| format!("http://{}", listener.local_addr().expect("an address"));
    let (nowhere, silence) = (url(&closed), url(&silent));
    drop(closed);

    for (endpoint, folder) in [("", &calm), (&nowhere, &gone), (&silence, &mute)] {
        let done = run(endpoint, folder.path());
        assert!(done.status.success(), "{endpoint}: {}", String::from_utf8_lossy(&done.stderr));
    }

    assert!(results(calm.path()) == results(gone.path()) && results(calm.path()) == results(mute.path()));
}

/// Goal: who named a wrong port is told so, once, and what to name instead.
#[test]
fn spans_that_are_lost_are_told_with_what_to_do() {
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port");
    let nowhere = format!("http://{}", closed.local_addr().expect("an address"));
    drop(closed);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let web = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else { return };
            // Whoever does not speak HTTP/1 finds this hard to read.
            let _ = connection.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
            let _ = std::io::copy(&mut connection, &mut std::io::sink());
        }
    });
    let other = "http://no-such-host.invalid:4318/v1/traces".to_owned();

    for endpoint in [nowhere, web, other] {
        let folder = tempfile::tempdir().expect("a folder");
        let done = run_with(&endpoint, folder.path(), &[("OTEL_BSP_SCHEDULE_DELAY", "10")]);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{said}");
        let lines: Vec<&str> = said.lines().filter(|line| line.contains("spans are lost")).collect();
        assert_eq!(lines.len(), 1, "{endpoint}: {said}");
        assert!(lines[0].contains("WARN") && lines[0].contains(&endpoint), "{said}");
        assert!(lines[0].contains("gRPC port of a collector, 4317 as a rule"), "{said}");
        assert_eq!(
            lines[0].contains("4318 is the port for OTLP over HTTP"),
            endpoint.contains(":4318"),
            "{said}"
        );
    }
}

/// A collector that refuses every other two batches.
#[derive(Clone, Default)]
struct Moody(Arc<AtomicUsize>);

#[tonic::async_trait]
impl TraceService for Moody {
    async fn export(
        &self,
        _: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        match self.0.fetch_add(1, Ordering::Relaxed) % 4 {
            0 | 1 => Err(Status::permission_denied("not now")),
            _ => Ok(Response::new(ExportTraceServiceResponse::default())),
        }
    }
}

#[test]
fn lost_spans_are_told_again_only_after_some_have_arrived() {
    let collector = Moody::default();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let endpoint = serve(&runtime, collector.clone());
    let folder = tempfile::tempdir().expect("a folder");

    let done = run_with(&endpoint, folder.path(), &[("OTEL_BSP_SCHEDULE_DELAY", "10")]);

    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    let batches = collector.0.load(Ordering::Relaxed);
    assert!(done.status.success() && batches > 4, "{batches} batches: {said}");
    assert_eq!(said.matches("spans are lost").count(), batches.div_ceil(4), "{batches} batches: {said}");
}

#[test]
fn what_is_no_endpoint_is_a_mistake_of_the_command_line() {
    let folder = tempfile::tempdir().expect("a folder");
    for endpoint in ["https://collector:4317", "collector"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bitloop"));
        let done = command.env_clear().args(["list", "--otlp-endpoint", endpoint]).output();
        let done = done.expect("the program starts");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(2), "{said}");
        assert!(said.contains("http://HOST:PORT"), "{said}");
    }
    // The variable is other programs' too, and may be right for them.
    let done = run("https://collector:4317", folder.path());
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{said}");
    assert!(
        said.contains("warning: OTEL_EXPORTER_OTLP_ENDPOINT: ") && said.contains("nothing is traced"),
        "{said}"
    );
}
