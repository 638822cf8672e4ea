//! `/metrics` and `/healthz` over HTTP, for monitoring. Whoever is slow here is cut off; the driver waits for nobody.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::driver::Handle;
use crate::places::Places;
use crate::security::Security;

/// Connections served at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 32;

/// Connections of one address that is not this machine's.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 8;

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// To send its request's head.
    head: Duration,
    /// In all, also for the handshake and for reading the answer; each connection serves one request.
    connection: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { head: Duration::from_secs(5), connection: Duration::from_secs(10) }
    }
}

/// Within which the driver of a healthy coordinator answers.
const HEALTHY_WITHIN: Duration = Duration::from_secs(1);

/// How long to wait when no connection can be accepted, as when there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Most bytes of a request's head.
const HEAD_BYTES_MAX: usize = 8_192;

const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT_TYPE: &str = "text/plain; charset=utf-8";

/// Serves connections until `shutdown` is cancelled; those under way then are cut off.
pub(crate) async fn serve(
    handle: Handle,
    security: Option<Arc<Security>>,
    listener: TcpListener,
    shutdown: CancellationToken,
) {
    let site = Site { handle, security, patience: Patience::default() };
    serve_site(site, listener, shutdown).await;
}

async fn serve_site(site: Site, listener: TcpListener, shutdown: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let shares = Places::new(CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX);
    let mut connections = JoinSet::new();
    let accepting = async {
        loop {
            let place = places.clone().acquire_owned().await.expect("nobody closes the semaphore");
            while connections.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((stream, address)) => {
                    // An address with more than its share is cut off at once.
                    let Some(share) = shares.take(address.ip()) else { continue };
                    let site = site.clone();
                    connections.spawn(async move {
                        site.serve_connection(stream).await;
                        drop((place, share));
                    });
                }
                Err(cause) => {
                    warn!(%cause, "a connection for metrics cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = accepting => {}
    }
}

/// What there is to see, and for whom.
#[derive(Clone)]
struct Site {
    handle: Handle,
    security: Option<Arc<Security>>,
    patience: Patience,
}

impl Site {
    async fn serve_connection(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        match tokio::time::timeout(self.patience.connection, self.exchange(stream)).await {
            Ok(()) => {}
            Err(_) => debug!("a connection for metrics took too long"),
        }
    }

    async fn exchange(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let Some(security) = self.security.clone() else {
            return self.converse(stream).await;
        };
        let config = match security.http_config() {
            Ok(config) => config,
            Err(error) => return warn!(%error, "no TLS for metrics"),
        };
        match TlsAcceptor::from(config).accept(stream).await {
            Ok(stream) => self.converse(stream).await,
            Err(cause) => debug!(%cause, "no handshake for metrics"),
        }
    }

    async fn converse(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let service = service_fn(|request| self.answer(request));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.patience.head)
            .max_buf_size(HEAD_BYTES_MAX)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(cause) = connection.await {
            debug!(%cause, "a connection for metrics broke off");
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<String>, Infallible> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n");
            refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Ok(refusal);
        }
        Ok(match request.uri().path() {
            "/metrics" if self.may_see_metrics(&request) => self.metrics(),
            "/metrics" => {
                let mut refusal = text(StatusCode::UNAUTHORIZED, "a token is needed: docs/operations.md\n");
                refusal.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                refusal
            }
            "/healthz" => self.health().await,
            _ => text(StatusCode::NOT_FOUND, "there are /metrics and /healthz\n"),
        })
    }

    fn may_see_metrics(&self, request: &Request<Incoming>) -> bool {
        let Some(security) = &self.security else { return true };
        let shown = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = shown.and_then(|value| value.strip_prefix("Bearer "));
        token.is_some_and(|token| security.is_metrics_token(token.trim()))
    }

    fn metrics(&self) -> Response<String> {
        let overview = self.handle.overview().borrow().clone();
        let mut answer = text(StatusCode::OK, self.handle.metrics().to_text(&overview));
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(METRICS_TYPE));
        answer
    }

    /// Whether all is well. Why not is for this machine's eyes: it may name files.
    async fn health(&self) -> Response<String> {
        let answered = tokio::time::timeout(HEALTHY_WITHIN, self.handle.answers()).await;
        let reason = match answered {
            Ok(Ok(_)) => return text(StatusCode::OK, "ok\n"),
            Ok(Err(cause)) => format!("{cause}\n"),
            Err(_) => "the driver does not answer\n".to_owned(),
        };
        match self.security {
            None => text(StatusCode::SERVICE_UNAVAILABLE, reason),
            Some(_) => text(StatusCode::SERVICE_UNAVAILABLE, "not healthy; its log says why\n"),
        }
    }
}

fn text(status: StatusCode, body: impl Into<String>) -> Response<String> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(TEXT_TYPE));
    response
}

#[cfg(test)]
mod tests;
