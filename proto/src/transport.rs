//! How clients and the coordinator reach each other: over TCP, or within one process.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_rustls::rustls::ClientConfig;
use tokio_stream::Stream;
use tonic::transport::{Channel, Endpoint as TonicEndpoint, Uri};

use crate::failover;
use crate::identity::Membership;

/// Size of the chunks in which artifacts travel.
pub const CHUNK_BYTES: usize = 256 * 1024;

/// The largest message that either side reads.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// How long one attempt to connect may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How often an idle connection is probed, so that a dead peer is noticed.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// How long the answer to a probe may take.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections within the process that wait to be accepted.
const PENDING_CONNECTIONS: usize = 64;

/// Buffer of a connection within the process, per direction.
const DUPLEX_BYTES: usize = 2 * CHUNK_BYTES;

/// The header of every answer that names the coordinator's version.
pub const VERSION_HEADER: &str = "bitloop-version";

/// The service whose health a coordinator tells.
pub const SERVICE: &str = "bitloop.v1.Coordinator";

/// What HTTP/2 needs for an address, where the connector has none or several.
pub(crate) const UNNAMED_URL: &str = "http://coordinator";

/// Where a coordinator listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    url: String,
    host: String,
    port: u16,
    is_secured: bool,
}

impl Endpoint {
    /// Reads `http://HOST:PORT` or `https://HOST:PORT`.
    ///
    /// Errors: an [`EndpointError`] that says what to write instead.
    pub fn parse(url: &str) -> Result<Self, EndpointError> {
        let text = url.strip_suffix('/').unwrap_or(url);
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(EndpointError::NoScheme { url: url.to_owned() });
        };
        if !["http", "https"].contains(&scheme) {
            return Err(EndpointError::Scheme { url: url.to_owned(), scheme: scheme.to_owned() });
        }
        let malformed = || EndpointError::Malformed { url: url.to_owned() };
        let uri: Uri = text.parse().map_err(|_| malformed())?;
        let authority = uri.authority().ok_or_else(malformed)?;
        if authority.host().is_empty() || authority.as_str() != rest || rest.contains('@') {
            return Err(malformed());
        }
        let Some(port) = authority.port_u16() else {
            return Err(EndpointError::NoPort { url: url.to_owned() });
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { url: text.to_owned(), host, port, is_secured: scheme == "https" })
    }

    /// Whether TLS is spoken there, and everyone has to say who they are.
    pub fn is_secured(&self) -> bool {
        self.is_secured
    }

    /// Host and port, to be connected to.
    pub(crate) fn place(&self) -> (&str, u16) {
        (&self.host, self.port)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

/// Why a text names no coordinator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// There is no scheme.
    #[error("`{url}` is no URL; write it as http://HOST:PORT")]
    NoScheme {
        /// What was given.
        url: String,
    },
    /// The scheme is not supported.
    #[error("`{url}` uses {scheme}; write it as https://HOST:PORT, or http://HOST:PORT without TLS")]
    Scheme {
        /// What was given.
        url: String,
        /// Its scheme.
        scheme: String,
    },
    /// There is no port.
    #[error("`{url}` names no port; write it as http://HOST:PORT")]
    NoPort {
        /// What was given.
        url: String,
    },
    /// There is no host, or more than host and port.
    #[error("`{url}` is not a host and a port; write it as http://HOST:PORT")]
    Malformed {
        /// What was given.
        url: String,
    },
}

/// Nobody answers; trying again later may help.
#[derive(Debug, thiserror::Error)]
#[error("the coordinator at {address} cannot be reached: {reason}")]
pub struct ConnectError {
    /// Where it was looked for.
    pub address: String,
    /// Why, as the system says.
    pub reason: String,
}

/// Connects over TCP, without TLS. The channel connects again by itself when a later call finds the connection broken.
///
/// Errors: when the first connection fails, or the endpoint is one of TLS, which needs an identity.
pub async fn connect(endpoint: &Endpoint) -> Result<Channel, ConnectError> {
    let failed = |error: &tonic::transport::Error| ConnectError {
        address: endpoint.to_string(),
        reason: innermost(error),
    };
    if endpoint.is_secured {
        let reason =
            "https needs an identity; get one with `bitloop join` and name its folder with --identity";
        return Err(ConnectError { address: endpoint.to_string(), reason: reason.to_owned() });
    }
    let settings = TonicEndpoint::from_shared(endpoint.url.clone()).map_err(|error| failed(&error))?;
    let connecting = tuned(settings).tcp_nodelay(true).connect_timeout(CONNECT_TIMEOUT);
    connecting.connect().await.map_err(|error| failed(&error))
}

/// Connects over TLS to the first endpoint that answers; each connection, also a later one of the same channel, asks anew
/// what to prove itself with.
pub(crate) async fn connect_with(
    endpoints: &[Endpoint],
    config: impl Fn() -> Arc<ClientConfig> + Clone + Send + Sync + 'static,
) -> Result<Channel, ConnectError> {
    let refused = |reason: String| ConnectError { address: failover::list(endpoints), reason };
    if endpoints.iter().any(|endpoint| !endpoint.is_secured) {
        return Err(refused("an identity is for https://HOST:PORT only".to_owned()));
    }
    failover::connect_tls(endpoints, config).await
}

pub(crate) fn tuned(settings: TonicEndpoint) -> TonicEndpoint {
    settings
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
}

/// The cause at the end of the chain; the outer ones only say "transport error".
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Connections made within the process, for tonic's `serve_with_incoming`. It ends when every [`InProcess`] is gone.
#[derive(Debug)]
pub struct Incoming(mpsc::Receiver<DuplexStream>);

impl Stream for Incoming {
    type Item = io::Result<DuplexStream>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|stream| stream.map(Ok))
    }
}

/// Connects to a coordinator in the same process; no port is needed.
#[derive(Clone, Debug)]
pub struct InProcess(mpsc::Sender<DuplexStream>);

/// Returns both ends of the transport within the process.
pub fn in_process() -> (Incoming, InProcess) {
    let (sender, receiver) = mpsc::channel(PENDING_CONNECTIONS);
    (Incoming(receiver), InProcess(sender))
}

impl InProcess {
    /// Makes a new connection.
    ///
    /// Errors: when nobody accepts any more.
    pub async fn connect(&self) -> Result<Channel, ConnectError> {
        let sender = self.0.clone();
        let connector = tower::service_fn(move |_: Uri| {
            let sender = sender.clone();
            async move {
                let (near, far) = tokio::io::duplex(DUPLEX_BYTES);
                let closed =
                    |_| io::Error::new(io::ErrorKind::ConnectionRefused, "nobody accepts connections");
                sender.send(far).await.map_err(closed)?;
                Ok::<_, io::Error>(TokioIo::new(near))
            }
        });
        let settings = tuned(TonicEndpoint::from_static(UNNAMED_URL)).connect_timeout(CONNECT_TIMEOUT);
        settings
            .connect_with_connector(connector)
            .await
            .map_err(|error| ConnectError { address: "this process".to_owned(), reason: innermost(&error) })
    }
}

/// Either way to a coordinator.
#[derive(Clone, Debug)]
pub enum Connection {
    /// Over TCP, without TLS.
    Url(Endpoint),
    /// Over TCP, to whichever answers.
    Any(Vec<Endpoint>),
    /// Over TLS as a member, to whichever answers.
    Secured(Vec<Endpoint>, Membership),
    /// Within the process.
    InProcess(InProcess),
}

impl Connection {
    /// Reads the URL of a coordinator, or several with commas between them.
    ///
    /// Errors: those of [`Endpoint::parse`], for the first URL that is none.
    pub fn parse(urls: &str) -> Result<Self, EndpointError> {
        match urls.contains(',') {
            true => Ok(Self::Any(urls.split(',').map(Endpoint::parse).collect::<Result<_, _>>()?)),
            false => Endpoint::parse(urls).map(Self::Url),
        }
    }

    /// Makes a new connection.
    ///
    /// Errors: when nobody answers.
    pub async fn connect(&self) -> Result<Channel, ConnectError> {
        match self {
            Self::Url(endpoint) => connect(endpoint).await,
            Self::Any(endpoints) => failover::connect(endpoints).await,
            Self::Secured(endpoints, membership) => {
                let membership = membership.clone();
                connect_with(endpoints, move || membership.config()).await
            }
            Self::InProcess(connector) => connector.connect().await,
        }
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(endpoint) => endpoint.fmt(f),
            Self::Any(endpoints) | Self::Secured(endpoints, _) => f.write_str(&failover::list(endpoints)),
            Self::InProcess(_) => f.write_str("this process"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_with_host_and_port_is_an_endpoint() {
        for url in ["http://127.0.0.1:7070", "http://node-1:80/", "http://[::1]:7070", "https://node-1:80"] {
            assert_eq!(Endpoint::parse(url).unwrap().to_string(), url.trim_end_matches('/'));
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_is_wrong() {
        let owned = str::to_owned;

        let url = owned("127.0.0.1:7070");
        assert_eq!(Endpoint::parse(&url), Err(EndpointError::NoScheme { url }));
        let url = owned("ftp://host:1");
        let scheme = owned("ftp");
        assert_eq!(Endpoint::parse(&url), Err(EndpointError::Scheme { url, scheme }));
        let url = owned("http://host");
        assert_eq!(Endpoint::parse(&url), Err(EndpointError::NoPort { url }));
        for url in ["http:///", "http://:80", "http://host:1/path", "http://a@host:1", "http://ho st:1"] {
            let url = owned(url);
            assert_eq!(Endpoint::parse(&url), Err(EndpointError::Malformed { url }));
        }
    }
}
