//! Answers that wait for their readers: how many bytes of them there may be in memory. A reader may take its time as long as
//! nobody else needs the room.

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::Response;

use super::budget::{Budget, Held};
use super::peer::Connection;

/// Answers below this many bytes are neither counted nor timed: HTTP/2 itself takes as much for a stream.
const SMALL_BYTES: usize = 1_024;

/// How long a reader may take for a piece of an answer, beside the time for its bytes.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 0 } else { 60 });

/// The slowest pace of a reader.
const BYTES_PER_SECOND: f64 = if cfg!(test) { 1e9 } else { 64.0 * 1024.0 };

/// Counts what an answer keeps in memory until its reader has taken it.
pub(super) fn metered(
    budget: &Budget,
    connection: Option<&Connection>,
    answer: Response<Body>,
) -> Response<Body> {
    let held = connection.and_then(|connection| budget.held(Some(connection.peer())));
    let Some((cut, held)) = connection.and_then(Connection::cut).zip(held) else { return answer };
    let (head, body) = answer.into_parts();
    let mut unread = Unread { body, first: None, held, budget: budget.clone(), cut, watch: None };
    // What is there at once would be in memory, uncounted, as long as the reader asks for nothing.
    match unread.next_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(Err(refused))) => return refused.into_http(),
        Poll::Ready(first) => unread.first = Some(first),
        Poll::Pending => {}
    }
    Response::from_parts(head, Body::new(unread))
}

type Piece = Option<Result<Frame<Bytes>, Status>>;

/// An answer's body, a piece of which is counted from when it is there until the next one is asked for.
struct Unread {
    body: Body,
    /// What was there before anybody asked.
    first: Option<Piece>,
    held: Held,
    budget: Budget,
    /// Ends the connection.
    cut: CancellationToken,
    /// Dropped when the piece is taken.
    watch: Option<DropGuard>,
}

impl Unread {
    fn next_frame(&mut self, context: &mut Context<'_>) -> Poll<Piece> {
        self.held.clear();
        self.watch = None;
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let bytes = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, Bytes::len);
        if bytes < SMALL_BYTES {
            return Poll::Ready(frame);
        }
        if !self.held.grow(bytes) {
            return Poll::Ready(Some(Err(Status::resource_exhausted(
                "too many answers wait to be read; read them, then ask again",
            ))));
        }
        self.watch = Some(self.watched(bytes));
        Poll::Ready(frame)
    }

    /// Ends the connection if the piece is not taken in time and others need the room: nobody asks a stream for anything whose
    /// reader does not read, so nothing less ends it.
    fn watched(&self, bytes: usize) -> DropGuard {
        let (taken, cut, budget) = (CancellationToken::new(), self.cut.clone(), self.budget.clone());
        let patience = PATIENCE + Duration::from_secs_f64(bytes as f64 / BYTES_PER_SECOND);
        let guard = taken.clone().drop_guard();
        tokio::spawn(async move {
            let needed = async {
                tokio::time::sleep(patience).await;
                budget.pressed().await;
            };
            tokio::select! {
                () = taken.cancelled() => {}
                () = needed => cut.cancel(),
            }
        });
        guard
    }
}

impl HttpBody for Unread {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Piece> {
        match self.first.take() {
            Some(first) => Poll::Ready(first),
            None => self.next_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.first {
            Some(_) => SizeHint::default(),
            None => self.body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::super::peer::{Link, Peer};
    use super::*;

    const MIB: usize = 1 << 20;

    /// Nothing takes longer unless it never comes.
    const PATIENCE: Duration = Duration::from_secs(30);

    fn connection(number: u64) -> Connection {
        let (near, _) = tokio::io::duplex(1);
        tonic::transport::server::Connected::connect_info(&Link::new(near, Peer::Open { connection: number }))
    }

    fn answer(bytes: usize) -> Response<Body> {
        Response::new(Body::new(http_body_util::Full::new(Bytes::from(vec![0; bytes]))))
    }

    fn code(answer: &Response<Body>) -> Option<Code> {
        answer.headers().get("grpc-status").map(|status| Code::from_bytes(status.as_bytes()))
    }

    /// Takes all of an answer, as a server does once its reader has asked for it; its bytes.
    async fn read(answer: Response<Body>) -> usize {
        let mut body = answer.into_body();
        let mut bytes = 0;
        while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
        {
            bytes += frame.unwrap().data_ref().map_or(0, Bytes::len);
        }
        bytes
    }

    #[tokio::test]
    async fn who_reads_no_answers_gets_no_more_of_them_and_others_do() {
        let budget = Budget::default();
        let (lazy, other) = (connection(1), connection(2));

        let mut unread: Vec<_> = (0..320).map(|_| metered(&budget, Some(&lazy), answer(200 << 10))).collect();
        assert!(unread.iter().all(|answer| code(answer).is_none()), "64 MiB of a client may wait");
        let refused: Vec<_> = (0..8).map(|_| metered(&budget, Some(&lazy), answer(200 << 10))).collect();
        assert!(refused.iter().any(|answer| code(answer) == Some(Code::ResourceExhausted)));
        assert_eq!(code(&metered(&budget, Some(&lazy), answer(100))), None, "what is small is not counted");
        assert_eq!(read(metered(&budget, Some(&other), answer(200 << 10))).await, 200 << 10);

        drop(refused);
        assert_eq!(read(unread.remove(0)).await, 200 << 10);
        assert_eq!(code(&metered(&budget, Some(&lazy), answer(200 << 10))), None);
    }

    #[tokio::test]
    async fn those_who_do_not_read_go_when_others_need_the_room() {
        let budget = Budget::default();
        let lazy = [1, 2, 3, 4].map(connection);
        let unread = lazy.each_ref().map(|lazy| metered(&budget, Some(lazy), answer(64 * MIB)));
        let late = connection(5);

        // Those who have taken too long are told of as soon as somebody finds no room, and until then nobody goes.
        let cut = lazy[0].cut().unwrap();
        tokio::task::yield_now().await;
        assert!(!cut.is_cancelled());
        let asking = async {
            while !lazy.iter().all(|lazy| lazy.cut().unwrap().is_cancelled()) {
                let refused = metered(&budget, Some(&late), answer(MIB));
                assert_eq!(code(&refused), Some(Code::ResourceExhausted));
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.expect("those who do not read stay");

        drop(unread);
        assert_eq!(read(metered(&budget, Some(&late), answer(MIB))).await, MIB);
        assert!(!late.cut().unwrap().is_cancelled());
    }

    #[tokio::test]
    async fn a_connection_that_is_cut_ends() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut link = Link::new(near, Peer::Open { connection: 1 });
        tonic::transport::server::Connected::connect_info(&link).cut().unwrap().cancel();

        let read = tokio::io::AsyncReadExt::read(&mut link, &mut [0; 8]).await;

        assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        drop(link);
        assert_eq!(tokio::io::AsyncReadExt::read(&mut far, &mut [0; 8]).await.unwrap(), 0);
    }
}
