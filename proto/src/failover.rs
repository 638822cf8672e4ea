//! One channel to whichever of several coordinators answers.
//!
//! A coordinator that stands by refuses connections, so that trying in turn finds the one that works; after a broken
//! connection the channel tries again by itself, from the first on. Whoever accepts a connection may be a tunnel that ends at one
//! that stands by, or something else altogether: only an answered call tells, so each is asked over a connection of its own first.

use std::error::Error;
use std::io;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tonic::transport::{Channel, Uri};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::identity::TlsConnector;
use crate::transport::{CONNECT_TIMEOUT, ConnectError, Endpoint, SERVICE, UNNAMED_URL, innermost, tuned};

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

/// Dials one after another, until one answers. Where there is no other to go on with, nobody is asked.
async fn first<'a, S, F>(endpoints: &'a [Endpoint], dial: impl Fn(&'a Endpoint) -> F) -> io::Result<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    F: Future<Output = io::Result<S>>,
{
    if let [only] = endpoints {
        return in_time(dial(only)).await;
    }
    let mut reasons = Vec::new();
    for endpoint in endpoints {
        let reached = Box::pin(async {
            let asked = in_time(dial(endpoint)).await?;
            in_time(ask(asked)).await?;
            in_time(dial(endpoint)).await
        });
        match reached.await {
            Ok(stream) => return Ok(stream),
            Err(cause) => reasons.push(format!("{endpoint}: {cause}")),
        }
    }
    Err(io::Error::other(reasons.join("; ")))
}

async fn in_time<T>(step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let silent = |_| io::Error::other(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()));
    tokio::time::timeout(CONNECT_TIMEOUT, step).await.map_err(silent)?
}

/// Asks for the health of a coordinator, for which a stranger gets an answer too, if a refusal.
///
/// Errors: when what comes back is none of a coordinator's.
async fn ask(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> io::Result<()> {
    let mut stream = Some(stream);
    let connector = tower::service_fn(move |_: Uri| {
        let stream = stream.take().map(TokioIo::new).ok_or_else(|| io::Error::other("it hangs up"));
        async move { stream }
    });
    let settings = tonic::transport::Endpoint::from_static(UNNAMED_URL);
    let channel = settings.connect_with_connector(connector).await;
    let channel = channel.map_err(|error| io::Error::other(innermost(&error)))?;
    let question = HealthCheckRequest { service: SERVICE.to_owned() };
    match HealthClient::new(channel).check(question).await {
        Ok(_) => Ok(()),
        Err(refusal) if is_coordinators(&refusal) => Ok(()),
        Err(status) => {
            let reason = status.source().map_or_else(|| status.message().to_owned(), innermost);
            Err(io::Error::other(format!("it accepts connections and is no coordinator ({reason})")))
        }
    }
}

/// Whether a coordinator refuses: who has no certificate yet, or was shut out, or calls too often.
fn is_coordinators(refusal: &Status) -> bool {
    matches!(refusal.code(), Code::Unauthenticated | Code::PermissionDenied | Code::ResourceExhausted)
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
    use std::net::SocketAddr;

    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;
    use tonic::transport::server::TcpIncoming;
    use tonic::transport::{Channel, Server};
    use tonic_health::ServingStatus;
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;

    use crate::transport::{Connection, EndpointError, SERVICE};

    async fn listener() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        (listener, url)
    }

    /// Tells the health of a service for as long as what is returned lives.
    async fn serve(listener: TcpListener, service: &str) -> oneshot::Sender<()> {
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter.set_service_status(service, ServingStatus::Serving).await;
        let (living, over) = oneshot::channel::<()>();
        let server = Server::builder().add_service(health);
        tokio::spawn(server.serve_with_incoming_shutdown(TcpIncoming::from(listener), async {
            let _ = over.await;
        }));
        living
    }

    /// What accepts connections and is no coordinator does with them.
    #[derive(Clone, Copy, Debug)]
    enum Manner {
        HangsUp,
        SaysNothing,
        SpeaksHttp1,
    }

    fn accept(listener: TcpListener, manner: Manner) -> JoinHandle<()> {
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                match manner {
                    Manner::HangsUp => drop(stream),
                    Manner::SaysNothing => held.push(stream),
                    Manner::SpeaksHttp1 => {
                        // It may be gone by then.
                        let _ =
                            stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await;
                    }
                }
            }
        })
    }

    /// The port of a listener that ends just now.
    async fn rebound(address: SocketAddr) -> TcpListener {
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => return listener,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }

    async fn is_answered(channel: &Channel) -> bool {
        let question = HealthCheckRequest { service: SERVICE.to_owned() };
        HealthClient::new(channel.clone()).check(question).await.is_ok()
    }

    /// A broken connection fails a call before it is made anew.
    async fn await_answer(channel: &Channel) {
        while !is_answered(channel).await {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn whoever_answers_is_connected_to() {
        let (standing_by, first) = listener().await;
        let (working, second) = listener().await;
        drop(standing_by);
        let _working = serve(working, SERVICE).await;
        let connection = Connection::parse(&format!("{first},{second}")).unwrap();

        let channel = connection.connect().await.unwrap();

        assert!(is_answered(&channel).await);
        assert_eq!(connection.to_string(), format!("{first},{second}"));
    }

    #[tokio::test]
    async fn who_accepts_connections_and_is_no_coordinator_is_passed_over() {
        let (working, last) = listener().await;
        let _working = serve(working, SERVICE).await;
        let (other, first) = listener().await;
        let _other = serve(other, "another.Service").await;
        let mut urls = vec![first];
        for manner in [Manner::HangsUp, Manner::SaysNothing, Manner::SpeaksHttp1] {
            let (listener, url) = listener().await;
            accept(listener, manner);
            urls.push(url);
        }
        for url in &urls {
            let connection = Connection::parse(&format!("{url},{last}")).unwrap();

            let channel = connection.connect().await.unwrap();

            assert!(is_answered(&channel).await, "{urls:?}");
        }
        let refused = Connection::parse(&urls.join(",")).unwrap().connect().await.unwrap_err().to_string();
        for (url, reason) in
            urls.iter().zip(["no coordinator", "no coordinator", "within 3 s", "no coordinator"])
        {
            let said = refused.split("; ").find(|said| said.contains(&format!("{url}: ")));
            assert!(said.is_some_and(|said| said.contains(reason)), "{url}: {refused}");
        }
    }

    #[tokio::test]
    async fn a_channel_finds_whoever_took_over_and_the_first_one_again() {
        let (tunnel, first) = listener().await;
        let (working, second) = listener().await;
        let address = tunnel.local_addr().unwrap();
        let (living, over) = (serve(tunnel, SERVICE).await, serve(working, SERVICE).await);
        let channel = Connection::parse(&format!("{first},{second}")).unwrap().connect().await.unwrap();
        assert!(is_answered(&channel).await);

        // From now on the way to the first one ends at nobody.
        drop(living);
        let tunnel = accept(rebound(address).await, Manner::HangsUp);
        await_answer(&channel).await;

        tunnel.abort();
        let _again = serve(rebound(address).await, SERVICE).await;
        drop(over);
        await_answer(&channel).await;
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
