//! Accepts connections over TCP: as many as there are places for, each only if it says who it is in time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bitloop_proto::identity::Member;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::peer::{Link, Peer};
use crate::clock::Clock;
use crate::complaints::Complaints;
use crate::places::{Place, Places};
use crate::security::Security;

/// What connections may take and how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections in all. A worker has one or two.
    pub(crate) connections: usize,
    /// Connections from one address that is not this machine's.
    pub(crate) per_address: usize,
    /// Connections without a certificate, which are only good for joining.
    pub(crate) strangers: usize,
    /// Those of them from one address, whichever it is.
    pub(crate) strangers_per_address: usize,
    /// How long such a connection may last.
    pub(crate) stranger_patience: Duration,
    /// How long a client may take for the handshake, and again for the first words of HTTP/2.
    pub(crate) greeting_patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            per_address: 512,
            strangers: 64,
            strangers_per_address: 8,
            stranger_patience: Duration::from_secs(30),
            greeting_patience: Duration::from_secs(5),
        }
    }
}

/// How long to wait when no connection can be accepted, as when there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections that wait to be served.
pub(crate) const WAITING_MAX: usize = 64;

/// Where connections come in.
pub(crate) struct Door {
    listener: TcpListener,
    /// None where everyone who reaches the port may do everything.
    security: Option<Arc<Security>>,
    places: Places,
    strangers: Places,
    limits: Limits,
    turned_away: Complaints,
    strangers_turned_away: Arc<Complaints>,
}

impl Door {
    pub(crate) fn new(listener: TcpListener, security: Option<Arc<Security>>, limits: Limits) -> Self {
        let places = Places::as_the_system_allows(limits.connections, limits.per_address);
        let strangers = Places::new(limits.strangers, limits.strangers_per_address).sparing_nobody();
        let complaints = || Complaints::new(Clock::system());
        let (turned_away, strangers_turned_away) = (complaints(), Arc::new(complaints()));
        Self { listener, security, places, strangers, limits, turned_away, strangers_turned_away }
    }

    /// Hands connections over until nobody takes them any more.
    pub(crate) async fn accept(self, links: mpsc::Sender<io::Result<Link>>) {
        let mut greetings = JoinSet::new();
        let mut number = 0;
        loop {
            while greetings.try_join_next().is_some() {}
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = links.closed() => return,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(cause) => {
                    warn!(%cause, "a connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(place) = self.places.take(address.ip()) else {
                if let Some(times) = self.turned_away.add() {
                    let Limits { connections, per_address, .. } = self.limits;
                    warn!(
                        %address, times, connections, per_address,
                        "connections are turned away: all places, or all of this address, are taken"
                    );
                }
                continue;
            };
            number += 1;
            let Some(security) = &self.security else {
                let link = Link::new(stream, Peer::Open { connection: number });
                let link = link.holding(place).greeted_within(self.limits.greeting_patience);
                if links.send(Ok(link)).await.is_err() {
                    return;
                }
                continue;
            };
            let (strangers, limits) = (self.strangers.clone(), self.limits);
            let turned_away = Arc::clone(&self.strangers_turned_away);
            let arrival = Arrival { stream, address, place, strangers, turned_away, limits };
            let (security, links) = (Arc::clone(security), links.clone());
            greetings.spawn(async move {
                if let Some(link) = arrival.greet(security).await {
                    // The server has ended if nobody takes it.
                    let _ = links.send(Ok(link)).await;
                }
            });
        }
    }
}

/// A connection that has said nothing yet.
struct Arrival {
    stream: TcpStream,
    address: SocketAddr,
    place: Place,
    strangers: Places,
    /// Of strangers.
    turned_away: Arc<Complaints>,
    limits: Limits,
}

impl Arrival {
    /// Does the handshake; none if it fails, takes too long, or the certificate is nobody's.
    async fn greet(self, security: Arc<Security>) -> Option<Link> {
        let Self { stream, address, place, strangers, turned_away, limits } = self;
        let config = match security.server_config() {
            Ok(config) => config,
            Err(error) => {
                warn!(%error, "no TLS for a new connection");
                return None;
            }
        };
        // Nagle's algorithm would hold small answers back; a socket that refuses has gone.
        stream.set_nodelay(true).ok()?;
        let handshake = TlsAcceptor::from(config).accept(stream);
        let stream = match tokio::time::timeout(limits.greeting_patience, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(cause)) => {
                debug!(%address, %cause, "no handshake");
                return None;
            }
            Err(_) => {
                debug!(%address, "the handshake took too long");
                return None;
            }
        };
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let peer = match shown {
            Some(certificate) => Peer::Member(Member::of_certificate(certificate)?),
            None => Peer::Stranger { address: address.ip() },
        };
        let link = Link::new(stream, peer.clone()).greeted_within(limits.greeting_patience);
        match peer {
            Peer::Member(member) if !security.is_revoked(&member) => {
                Some(link.holding(place).ending_with(async move { security.end_of(&member).await }))
            }
            // Who is shut out is told so, and takes no other place than who never was in.
            Peer::Member(_) | Peer::Stranger { .. } | Peer::Open { .. } | Peer::InProcess => {
                let Some(place_of_strangers) = strangers.take(address.ip()) else {
                    if let Some(times) = turned_away.add() {
                        let Limits { strangers, strangers_per_address, .. } = limits;
                        warn!(
                            %address, times, strangers, strangers_per_address,
                            "connections without a valid certificate are turned away: all places for them, or all of \
                             this address, are taken, so that nobody may be able to join"
                        );
                    }
                    return None;
                };
                let patience = tokio::time::sleep(limits.stranger_patience);
                Some(link.holding((place, place_of_strangers)).ending_with(patience))
            }
        }
    }
}
