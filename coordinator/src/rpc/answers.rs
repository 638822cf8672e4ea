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
use tonic::codegen::http::{HeaderMap, Response};

use super::budget::{Budget, Held};
use super::peer::Connection;

/// So many bytes of an answer are neither counted nor timed, and a piece after them counts as no less: HTTP/2 itself takes as
/// much for a stream.
const SMALL_BYTES: usize = 1_024;

/// How long a reader may take for a piece of an answer, beside the time for its bytes.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 0 } else { 60 });

/// The slowest pace of a reader.
const BYTES_PER_SECOND: f64 = if cfg!(test) { 1e9 } else { 64.0 * 1024.0 };

/// Counts what an answer keeps in memory until it is on its way to its reader.
pub(super) fn metered(
    budget: &Budget,
    connection: Option<&Connection>,
    answer: Response<Body>,
) -> Response<Body> {
    let nothing = connection.and_then(|connection| budget.held(Some(connection.peer())));
    let Some((cut, nothing)) = connection.and_then(Connection::cut).zip(nothing) else { return answer };
    let (head, body) = answer.into_parts();
    let budget = budget.clone();
    let mut unread = Unread { body, first: None, uncounted: SMALL_BYTES, nothing, budget, cut };
    // What is there at once would be in memory, uncounted, as long as the reader asks for nothing.
    match unread.next_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(Err(refused))) => return refused.into_http(),
        Poll::Ready(first) => unread.first = Some(first),
        Poll::Pending => {}
    }
    Response::from_parts(head, Body::new(unread))
}

type Piece = Option<Result<Frame<Bytes>, Status>>;

/// An answer's body. HTTP/2 takes a whole piece as soon as its reader has room for one byte of it, and lets go of the body long
/// before it has sent all of that: so each piece is counted for as long as its bytes are anywhere.
struct Unread {
    body: Body,
    /// What was there before anybody asked.
    first: Option<Piece>,
    /// Bytes that may still pass without being counted.
    uncounted: usize,
    /// Of the share that pieces have something of.
    nothing: Held,
    budget: Budget,
    /// Ends the connection.
    cut: CancellationToken,
}

/// A piece of an answer that has not been sent.
struct Unsent {
    bytes: Bytes,
    _held: Held,
    _watch: DropGuard,
}

impl AsRef<[u8]> for Unsent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Unread {
    fn next_frame(&mut self, context: &mut Context<'_>) -> Poll<Piece> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame.map(|frame| self.counted(frame?)))
    }

    fn counted(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, Status> {
        let bytes = match frame.into_data() {
            Ok(bytes) => bytes,
            Err(other) => return Ok(other),
        };
        if let Some(left) = self.uncounted.checked_sub(bytes.len()) {
            self.uncounted = left;
            return Ok(Frame::data(bytes));
        }
        let (held, counted) = (self.nothing.another(), bytes.len().max(SMALL_BYTES));
        if !held.grow(counted) {
            return Err(Status::resource_exhausted(
                "too many answers wait to be read; read them, then ask again",
            ));
        }
        let unsent = Unsent { _held: held, _watch: self.watched(counted), bytes };
        Ok(Frame::data(Bytes::from_owner(unsent)))
    }

    /// Ends the connection if the piece is not sent in time and others need the room: a stream whose reader does not read comes
    /// to no end of its own, so nothing less ends it.
    fn watched(&self, bytes: usize) -> DropGuard {
        let (sent, cut, budget) = (CancellationToken::new(), self.cut.clone(), self.budget.clone());
        let patience = PATIENCE + Duration::from_secs_f64(bytes as f64 / BYTES_PER_SECOND);
        let guard = sent.clone().drop_guard();
        tokio::spawn(async move {
            let needed = async {
                tokio::time::sleep(patience).await;
                budget.pressed().await;
            };
            tokio::select! {
                () = sent.cancelled() => {}
                () = needed => cut.cancel(),
            }
        });
        guard
    }
}

/// The end of an answer, with why it ends here. HTTP/2 itself has no words for that.
fn last(refused: &Status) -> Result<Frame<Bytes>, Status> {
    let mut end = HeaderMap::new();
    refused.add_header(&mut end)?;
    Ok(Frame::trailers(end))
}

impl HttpBody for Unread {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Piece> {
        let piece = match self.first.take() {
            Some(first) => first,
            None => ready!(self.next_frame(context)),
        };
        Poll::Ready(piece.map(|piece| piece.or_else(|refused| last(&refused))))
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

    fn connection(number: u64) -> Connection {
        let (near, _) = tokio::io::duplex(1);
        tonic::transport::server::Connected::connect_info(&Link::new(near, Peer::Open { connection: number }))
    }

    #[tokio::test]
    async fn an_answer_of_small_pieces_is_counted_too_but_for_its_beginning() {
        let (budget, lazy) = (Budget::default(), connection(1));
        let piece = Bytes::from_static(&[0; 128]);
        let again = piece.clone();
        let pieces = std::iter::repeat_with(move || Ok::<_, Status>(Frame::data(again.clone())));
        let endless = http_body_util::StreamBody::new(tokio_stream::iter(pieces));

        let mut body = metered(&budget, Some(&lazy), Response::new(Body::new(endless))).into_body();
        let mut unsent = Vec::new();
        let end = loop {
            let frame = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
            match frame.unwrap().unwrap().into_data() {
                Ok(bytes) => unsent.push(bytes),
                Err(end) => break end.into_trailers().unwrap(),
            }
        };

        assert_eq!(unsent.len(), 8 + (64 << 20) / 1_024, "and HTTP/2 needs memory for each");
        assert_eq!(Code::from_bytes(end["grpc-status"].as_bytes()), Code::ResourceExhausted);
        let small = Response::new(Body::new(http_body_util::Full::new(piece)));
        assert!(!metered(&budget, Some(&lazy), small).headers().contains_key("grpc-status"));
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
