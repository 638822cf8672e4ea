//! One channel to whichever of several coordinators answers.
//!
//! A coordinator that stands by refuses connections, so that trying in turn finds the one that works; after a broken
//! connection the channel tries again by itself, from the first on.

use std::io;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tonic::transport::{Channel, Uri};

use crate::identity::TlsConnector;
use crate::transport::{CONNECT_TIMEOUT, ConnectError, Endpoint, UNNAMED_URL, innermost, tuned};

/// Connects to the first endpoint that answers, now and whenever the channel connects again.
///
/// Errors: when none answers now.
pub(crate) async fn connect(endpoints: &[Endpoint]) -> Result<Channel, ConnectError> {
    let dialled = endpoints.to_vec();
    let connector = tower::service_fn(move |_: Uri| {
        let endpoints = dialled.clone();
        async move { first(&endpoints, plain).await.map(TokioIo::new) }
    });
    let settings = tuned(tonic::transport::Endpoint::from_static(UNNAMED_URL));
    let connected = settings.connect_with_connector(connector).await;
    connected.map_err(|error| ConnectError { address: list(endpoints), reason: innermost(&error) })
}

/// The same over TLS. The connector speaks it, so that tonic must not: for it this is plain HTTP/2.
///
/// Errors: when none answers now, or none that can prove itself.
pub(crate) async fn connect_tls(
    endpoints: &[Endpoint],
    config: impl Fn() -> Arc<ClientConfig> + Clone + Send + Sync + 'static,
) -> Result<Channel, ConnectError> {
    let dialled = endpoints.to_vec();
    let connector = tower::service_fn(move |_: Uri| {
        let (endpoints, config) = (dialled.clone(), config());
        async move { first(&endpoints, |endpoint| tls(endpoint, Arc::clone(&config))).await.map(TokioIo::new) }
    });
    let settings = tuned(tonic::transport::Endpoint::from_static(UNNAMED_URL));
    let connected = settings.connect_with_connector(connector).await;
    connected.map_err(|error| ConnectError { address: list(endpoints), reason: innermost(&error) })
}

/// The endpoints as a user writes them.
pub(crate) fn list(endpoints: &[Endpoint]) -> String {
    endpoints.iter().map(Endpoint::to_string).collect::<Vec<_>>().join(",")
}

/// Dials one after another.
async fn first<'a, S, F: Future<Output = io::Result<S>>>(
    endpoints: &'a [Endpoint],
    dial: impl Fn(&'a Endpoint) -> F,
) -> io::Result<S> {
    let mut reasons = Vec::new();
    for endpoint in endpoints {
        let refused = match tokio::time::timeout(CONNECT_TIMEOUT, dial(endpoint)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(cause)) => cause,
            Err(_) => io::Error::other(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs())),
        };
        if endpoints.len() == 1 {
            return Err(refused);
        }
        reasons.push(format!("{endpoint}: {refused}"));
    }
    Err(io::Error::other(reasons.join("; ")))
}

async fn plain(endpoint: &Endpoint) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(endpoint.place()).await?;
    stream.set_nodelay(true).map(|()| stream)
}

async fn tls(endpoint: &Endpoint, config: Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    let (host, port) = endpoint.place();
    TlsConnector { host: host.to_owned(), port, config }.connect().await
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use crate::transport::{Connection, EndpointError};
    use crate::v1::ListWorkersRequest;
    use crate::v1::coordinator_client::CoordinatorClient;

    async fn listener() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        (listener, url)
    }

    #[tokio::test]
    async fn whoever_answers_is_connected_to() {
        let (standing_by, first) = listener().await;
        let (working, second) = listener().await;
        drop(standing_by);
        let connection = Connection::parse(&format!("{first},{second}")).unwrap();

        let (channel, accepted) = tokio::join!(connection.connect(), working.accept());

        assert!(channel.is_ok() && accepted.is_ok());
        assert_eq!(connection.to_string(), format!("{first},{second}"));
    }

    #[tokio::test]
    async fn a_channel_finds_whoever_took_over() {
        let (standing_by, first) = listener().await;
        let (working, second) = listener().await;
        let address = standing_by.local_addr().unwrap();
        drop(standing_by);
        let connection = Connection::parse(&format!("{first},{second}")).unwrap();
        let (channel, accepted) = tokio::join!(connection.connect(), working.accept());
        drop((accepted, working));
        let took_over = TcpListener::bind(address).await.unwrap();

        let mut client = CoordinatorClient::new(channel.unwrap());
        let calls = async {
            // The broken connection fails a call before it is made anew.
            while client.list_workers(ListWorkersRequest {}).await.is_err() {}
        };

        tokio::select! {
            accepted = took_over.accept() => assert!(accepted.is_ok()),
            () = calls => panic!("nobody answers calls here"),
        }
    }

    #[tokio::test]
    async fn where_nobody_answers_each_is_named_with_its_reason() {
        let [(one, first), (two, second)] = [listener().await, listener().await];
        drop((one, two));
        let connection = Connection::parse(&format!("{first},{second}")).unwrap();

        let refused = connection.connect().await.unwrap_err().to_string();

        for url in [first, second] {
            assert!(refused.contains(&format!("{url}: Connection refused")), "{refused}");
        }
    }

    #[test]
    fn one_url_is_no_list_and_each_of_a_list_is_checked() {
        assert!(matches!(Connection::parse("http://host:1"), Ok(Connection::Url(_))));
        assert!(matches!(Connection::parse("http://host:1,http://other:1"), Ok(Connection::Any(_))));
        let url = "other".to_owned();
        let refused = Connection::parse("http://host:1,other").unwrap_err();
        assert_eq!(refused, EndpointError::NoScheme { url });
    }
}
