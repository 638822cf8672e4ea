//! Programs beside others that are not as they should be: standard error that nobody reads, and coordinators that refuse an
//! answer for a while.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bitloop_tests::experiment::Experiment;
use bitloop_tests::is_required;
use bitloop_tests::process::{Process, await_that, binary, bitloop, say};
use http_body_util::{BodyExt, Full};
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Bytes, http};
use tonic::server::NamedService;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Status};
use tower::Service;

/// What takes no more, as a journal that is stuck or a pager that waits for a key; and its other end.
fn full() -> (Stdio, UnixStream) {
    let (reader, mut writer) = UnixStream::pair().expect("a pair of sockets");
    writer.set_nonblocking(true).expect("sockets can");
    loop {
        match writer.write(&[b'\n'; 4096]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    writer.set_nonblocking(false).expect("sockets can");
    (Stdio::from(OwnedFd::from(writer)), reader)
}

/// Goal: a terminal that is held, or a journal that is stuck, holds up no experiment and no end of a service.
#[test]
fn standard_error_that_nobody_reads_holds_up_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let experiment = Experiment::new(folder.path(), "unread", "all", 100);
    let (stuck, _pager) = full();
    let command =
        bitloop(folder.path(), ["coordinator", "-v", "--listen", "127.0.0.1:0", "--data-dir", "data"]);
    let coordinator = Process::start_with_error(command, stuck);
    await_that("the coordinator listens", || coordinator.out().contains("listening on "));
    let url = coordinator.out().trim().trim_start_matches("listening on ").to_owned();
    let (stuck, _journal) = full();
    let command = bitloop(folder.path(), ["worker", "-v", "--threads", "1", "--coordinator", &url]);
    let worker = Process::start_with_error(command, stuck);

    let id = say(folder.path(), ["submit", &experiment.path(), "--coordinator", &url]).ok().out;
    say(folder.path(), ["watch", id.trim(), "--coordinator", &url]).ok();
    say(folder.path(), ["list", "--coordinator", &url]).ok();

    for service in [worker, coordinator] {
        service.signal("TERM");
        service.end().ok();
    }
}

/// How a call ends.
#[derive(Clone, Debug)]
enum Answer {
    /// With one message, and behind it this code.
    Message(&'static [u8], Code),
    /// Without any.
    Refusal(Code),
}

/// A coordinator that answers calls one after another as it is told, and none beyond.
#[derive(Clone)]
struct Scripted(Arc<Mutex<VecDeque<Answer>>>);

impl NamedService for Scripted {
    const NAME: &'static str = "bitloop.v1.Coordinator";
}

impl Service<http::Request<Body>> for Scripted {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        let next = self.0.lock().expect("nobody panics with it").pop_front();
        let answer = match next.unwrap_or(Answer::Refusal(Code::Aborted)) {
            Answer::Refusal(code) => refusal(code).into_http(),
            Answer::Message(message, code) => {
                let length = u32::try_from(message.len()).expect("it is short").to_be_bytes();
                let frame = Bytes::from([&[0], length.as_slice(), message].concat());
                let mut trailers = http::HeaderMap::new();
                refusal(code).add_header(&mut trailers).expect("it has no strange letters");
                let body = Full::new(frame).with_trailers(async move { Some(Ok(trailers)) });
                let answer = http::Response::builder().header("content-type", "application/grpc");
                answer.body(Body::new(body)).expect("these are headers")
            }
        };
        Box::pin(async move { Ok(answer) })
    }
}

fn refusal(code: Code) -> Status {
    Status::new(code, format!("as told: {code:?}"))
}

/// A coordinator that answers so, as long as the runtime lives; its URL, and what it has left to answer.
fn scripted(answers: &[Answer]) -> (tokio::runtime::Runtime, String, Scripted) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let service = Scripted(Arc::new(Mutex::new(answers.iter().cloned().collect())));
    let server = Server::builder().add_service(service.clone());
    runtime.spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    (runtime, url, service)
}

impl Scripted {
    fn left(&self) -> usize {
        self.0.lock().expect("nobody panics with it").len()
    }
}

/// Goal: who follows what happens is not left alone because a coordinator had too much to do for a moment.
#[test]
fn following_goes_on_while_too_much_is_asked_and_ends_when_it_is_refused() {
    // A trial's name, for `logs`; for `events` a place to go on from.
    let commands =
        [(vec!["events", "--follow"], b"".as_slice()), (vec!["logs", "ab", "--follow"], b"\n\x02ab")];
    for (command, message) in commands {
        let (_runtime, url, coordinator) = scripted(&[
            Answer::Message(message, Code::ResourceExhausted),
            Answer::Refusal(Code::ResourceExhausted),
            Answer::Refusal(Code::PermissionDenied),
        ]);
        let folder = tempfile::tempdir().expect("a folder");

        let said = say(folder.path(), [command.as_slice(), &["--coordinator", &url]].concat());

        assert_eq!((said.status.code(), coordinator.left()), (Some(1), 0), "{said:?}");
        assert_eq!(said.err.matches("as told: ResourceExhausted; asking again\n").count(), 2, "{said:?}");
        assert!(said.err.ends_with("error: as told: PermissionDenied\n"), "{said:?}");
    }
}

/// Goal: whoever watches a cluster keeps the screen whatever the coordinator answers, unless it is "no".
#[test]
fn top_stays_on_the_screen_until_it_is_refused() {
    let (_runtime, url, coordinator) = scripted(&[
        Answer::Message(b"", Code::Ok),
        Answer::Refusal(Code::ResourceExhausted),
        Answer::Refusal(Code::Internal),
        Answer::Message(b"", Code::Ok),
        Answer::Refusal(Code::Unauthenticated),
    ]);
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = std::process::Command::new("script");
    let line = format!("'{}' top --every 100ms --coordinator {url}", binary().display());
    command.args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"]);
    command.current_dir(folder.path()).env("TERM", "xterm").stdin(Stdio::null());
    let said = match command.output() {
        Ok(said) => said,
        Err(reason) => {
            assert!(!is_required("script"), "{reason}");
            drop(writeln!(std::io::stderr(), "skipped: no `script`, which makes a terminal: {reason}"));
            return;
        }
    };

    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert_eq!((said.status.code(), coordinator.left()), (Some(1), 0), "{text:?}");
    assert!(text.trim_end().ends_with("error: as told: Unauthenticated"), "{text:?}");
}
