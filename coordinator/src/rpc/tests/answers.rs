//! Answers that nobody reads, as what HTTP/2 is served by keeps them.

use std::convert::Infallible;
use std::future::{Ready, poll_fn, ready};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::TokioIo;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{HeaderMap, Request, Response, Uri};
use tonic::server::NamedService;
use tonic::transport::Endpoint;

use super::*;

/// Nothing takes longer unless it never comes.
const PATIENCE: Duration = Duration::from_secs(30);

/// An eighth of what the answers of one client may take, and far more than a window lets through.
const ANSWER_BYTES: usize = 8 << 20;

/// So many of them are in memory for one client.
const OF_A_CLIENT: usize = 8;

/// So many clients have all the memory that there is.
const CLIENTS: u64 = 4;

/// Answers every call with these pieces.
#[derive(Clone)]
struct Answering(Vec<Bytes>);

impl NamedService for Answering {
    const NAME: &'static str = "bitloop.v1.Coordinator";
}

impl Service<Request<Body>> for Answering {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        let mut end = HeaderMap::new();
        Status::ok("").add_header(&mut end).unwrap();
        let frames: Vec<_> = self.0.iter().cloned().map(Frame::data).chain([Frame::trailers(end)]).collect();
        let frames = tokio_stream::iter(frames.into_iter().map(Ok::<_, Infallible>));
        ready(Ok(Response::new(Body::new(StreamBody::new(frames)))))
    }
}

/// A server of such answers, as long as connections may come. However many there are, they are the same bytes.
fn answering(pieces: &[usize]) -> mpsc::Sender<io::Result<Link>> {
    let (sender, links) = mpsc::channel(WAITING_MAX);
    let service = Answering(pieces.iter().map(|bytes| Bytes::from(vec![0; *bytes])).collect());
    tokio::spawn(server(None).add_service(service).serve_with_incoming(ReceiverStream::new(links)));
    sender
}

/// A client that lets its connection send as much as it likes and each answer as much as is usual.
async fn client(links: &mpsc::Sender<io::Result<Link>>, connection: u64) -> Channel {
    let (near, far) = tokio::io::duplex(1 << 16);
    links.send(Ok(Link::new(near, Peer::Open { connection }))).await.unwrap();
    let mut far = Some(far);
    let connector = tower::service_fn(move |_: Uri| {
        let far = far.take().map(TokioIo::new).ok_or(io::ErrorKind::ConnectionRefused);
        ready(far.map_err(io::Error::from))
    });
    Endpoint::from_static("http://server")
        .initial_stream_window_size(65_535)
        .initial_connection_window_size(1 << 30)
        .connect_with_connector(connector)
        .await
        .unwrap()
}

/// Asks for something; the answer has begun and is not read.
async fn ask(client: &mut Channel) -> Result<Response<Body>, tonic::transport::Error> {
    poll_fn(|context| client.poll_ready(context)).await?;
    let request = Request::post("/bitloop.v1.Coordinator/Overview").body(Body::empty()).unwrap();
    client.call(request).await
}

fn code(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|status| Code::from_bytes(status.as_bytes()))
}

fn is_refused(answer: &Response<Body>) -> bool {
    code(answer.headers()) == Some(Code::ResourceExhausted)
}

async fn fill(client: &mut Channel) -> Vec<Response<Body>> {
    let mut unread = Vec::new();
    for number in 0..OF_A_CLIENT {
        let answer = ask(client).await.unwrap();
        assert!(!is_refused(&answer), "answer {number} has room");
        unread.push(answer);
    }
    unread
}

/// Asks until there is an answer, and reads it.
async fn read_one(client: &mut Channel) -> usize {
    let asking = async {
        loop {
            let answer = ask(client).await.unwrap();
            if !is_refused(&answer) {
                return answer.into_body().collect().await.unwrap().to_bytes().len();
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("there is never room")
}

#[tokio::test]
async fn who_reads_no_answers_gets_no_more_of_them_and_others_do() {
    let links = answering(&[ANSWER_BYTES]);
    let (mut lazy, mut other) = (client(&links, 1).await, client(&links, 2).await);

    let mut unread = fill(&mut lazy).await;

    assert!(is_refused(&ask(&mut lazy).await.unwrap()));
    assert_eq!(
        ask(&mut other).await.unwrap().into_body().collect().await.unwrap().to_bytes().len(),
        ANSWER_BYTES
    );
    // What is read makes room, and so does what nobody wants any more.
    unread.pop().unwrap().into_body().collect().await.unwrap();
    assert_eq!(read_one(&mut lazy).await, ANSWER_BYTES);
    unread.push(ask(&mut lazy).await.unwrap());
    assert!(is_refused(&ask(&mut lazy).await.unwrap()));
    drop(unread);
    assert_eq!(read_one(&mut lazy).await, ANSWER_BYTES);
}

#[tokio::test]
async fn those_who_do_not_read_go_when_others_need_the_room() {
    let links = answering(&[ANSWER_BYTES]);
    let mut lazy = Vec::new();
    for connection in 1..=CLIENTS {
        let mut client = client(&links, connection).await;
        let unread = fill(&mut client).await;
        lazy.push((client, unread));
    }
    let mut late = client(&links, CLIENTS + 1).await;

    // Nobody has needed the room until now.
    assert!(is_refused(&ask(&mut lazy[0].0).await.unwrap()));
    assert!(is_refused(&ask(&mut late).await.unwrap()));

    assert_eq!(read_one(&mut late).await, ANSWER_BYTES);
    let mut gone = 0;
    for (mut client, unread) in lazy {
        let Err(_ended) = ask(&mut client).await else { continue };
        gone += 1;
        for answer in unread {
            assert!(answer.into_body().collect().await.is_err(), "what it had not read is gone");
        }
    }
    assert!(gone > 0, "somebody has made room");
    assert_eq!(read_one(&mut late).await, ANSWER_BYTES, "who reads stays");
}

#[tokio::test]
async fn an_answer_in_pieces_that_finds_no_room_any_more_says_so() {
    let links = answering(&[ANSWER_BYTES, OF_A_CLIENT * ANSWER_BYTES]);

    let answer = ask(&mut client(&links, 1).await).await.unwrap();
    assert!(!is_refused(&answer), "the first piece has room");
    let read = tokio::time::timeout(PATIENCE, answer.into_body().collect()).await.unwrap().unwrap();

    let end = read.trailers().cloned();
    assert_eq!(read.to_bytes().len(), ANSWER_BYTES);
    assert_eq!(end.as_ref().and_then(code), Some(Code::ResourceExhausted));
}
