//! Who is at the other end of a connection, and how long it may last.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bitloop_proto::identity::Member;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

/// What HTTP/2 clients say first; whoever has not said as much is no client yet.
const PREFACE_BYTES: usize = 24;

/// Who calls. Every request carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// This very process.
    InProcess,
    /// Whoever reaches a port without TLS; each connection has a number.
    Open { connection: u64 },
    /// Whoever reaches a port with TLS and shows no certificate.
    Stranger { address: IpAddr },
    /// Somebody with a certificate of ours.
    Member(Member),
}

/// Who is counted as one, where each has its share of something: a member may have many connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Client {
    Connection(u64),
    Address(IpAddr),
    Member(String),
}

impl Peer {
    /// Whose share it has; none for this process, as that is this program.
    pub(crate) fn client(&self) -> Option<Client> {
        match self {
            Self::InProcess => None,
            Self::Open { connection } => Some(Client::Connection(*connection)),
            Self::Stranger { address } => Some(Client::Address(*address)),
            Self::Member(member) => Some(Client::Member(member.name.clone())),
        }
    }
}

/// What carries bytes.
pub(crate) trait Bytes: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<B: AsyncRead + AsyncWrite + Unpin + Send + 'static> Bytes for B {}

/// A connection with what is known of it.
pub(crate) struct Link {
    bytes: Box<dyn Bytes>,
    peer: Peer,
    /// Bytes of the preface that are still to come, and until when.
    preface: Option<(usize, Pin<Box<Sleep>>)>,
    /// Ends when it is to end, whatever happens.
    end: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    is_over: bool,
    /// Ends it for who shares its memory with others.
    cut: Option<Cut>,
    /// What it keeps others from having, such as its place.
    _held: Option<Box<dyn Send>>,
}

struct Cut {
    token: CancellationToken,
    done: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Cut {
    fn new() -> Self {
        let token = CancellationToken::new();
        Self { done: Box::pin(token.clone().cancelled_owned()), token }
    }
}

/// What every request carries of its connection.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    peer: Peer,
    cut: Option<CancellationToken>,
}

impl Connection {
    /// Who calls.
    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Ends the connection; none for this process, which cuts off nobody of its own.
    pub(super) fn cut(&self) -> Option<CancellationToken> {
        self.cut.clone()
    }
}

impl Link {
    /// A connection that lasts as long as both ends like.
    pub(crate) fn new(bytes: impl Bytes, peer: Peer) -> Self {
        let cut = peer.client().map(|_| Cut::new());
        Self { bytes: Box::new(bytes), peer, preface: None, end: None, is_over: false, cut, _held: None }
    }

    /// Lets go of something when it ends.
    pub(crate) fn holding(self, held: impl Send + 'static) -> Self {
        Self { _held: Some(Box::new(held)), ..self }
    }

    /// Ends it unless the client says what clients say within `patience`.
    pub(crate) fn greeted_within(self, patience: Duration) -> Self {
        Self { preface: Some((PREFACE_BYTES, Box::pin(tokio::time::sleep(patience)))), ..self }
    }

    /// Ends it with `end`; a client with a newer certificate connects again.
    pub(crate) fn ending_with(self, end: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { end: Some(Box::pin(end)), ..self }
    }

    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        let preface = self.preface.as_mut();
        self.is_over = self.is_over
            || preface.is_some_and(|(_, patience)| patience.as_mut().poll(context).is_ready())
            || self.end.as_mut().is_some_and(|end| end.as_mut().poll(context).is_ready())
            || self.cut.as_mut().is_some_and(|cut| cut.done.as_mut().poll(context).is_ready());
        self.is_over
    }

    /// Asked before every step in either direction: a peer that does not read keeps the server writing, which then reads
    /// nothing any more.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.is_over(context) {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => Ok(()),
        }
    }
}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let link = &mut *self;
        link.check(context)?;
        let before = buffer.filled().len();
        let polled = Pin::new(&mut *link.bytes).poll_read(context, buffer);
        if let Some((left, _)) = &mut link.preface {
            *left = left.saturating_sub(buffer.filled().len() - before);
            if *left == 0 {
                link.preface = None;
            }
        }
        polled
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut *self.bytes).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut *self.bytes).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut *self.bytes).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut *self.bytes).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.bytes.is_write_vectored()
    }
}

impl Connected for Link {
    type ConnectInfo = Connection;

    fn connect_info(&self) -> Connection {
        let cut = self.cut.as_ref().map(|cut| cut.token.clone());
        Connection { peer: self.peer.clone(), cut }
    }
}
