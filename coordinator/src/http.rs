//! `/metrics` and `/healthz` over HTTP, for monitoring. Whoever is slow here is cut off; the driver waits for nobody.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::driver::Handle;

/// Connections served at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 32;

/// How long a client may take to send its request's head.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);

/// How long a connection may last in all; each serves one request.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(10);

/// Within which the driver of a healthy coordinator answers.
const HEALTHY_WITHIN: Duration = Duration::from_secs(1);

/// How long to wait when no connection can be accepted, as when there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Most bytes of a request's head.
const HEAD_BYTES_MAX: usize = 8_192;

const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT_TYPE: &str = "text/plain; charset=utf-8";

/// Serves connections until `shutdown` is cancelled; those under way then are cut off.
pub(crate) async fn serve(handle: Handle, listener: TcpListener, shutdown: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let accepting = async {
        loop {
            let place = places.clone().acquire_owned().await.expect("nobody closes the semaphore");
            while connections.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((stream, _)) => {
                    let handle = handle.clone();
                    connections.spawn(async move {
                        serve_connection(handle, stream).await;
                        drop(place);
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

async fn serve_connection(handle: Handle, stream: TcpStream) {
    let service = service_fn(move |request| answer(handle.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(HEAD_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_PATIENCE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(cause)) => debug!(%cause, "a connection for metrics broke off"),
        Err(_) => debug!("a connection for metrics took too long"),
    }
}

async fn answer(handle: Handle, request: Request<Incoming>) -> Result<Response<String>, Infallible> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n");
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Ok(refusal);
    }
    Ok(match request.uri().path() {
        "/metrics" => {
            let overview = handle.overview().borrow().clone();
            let mut answer = text(StatusCode::OK, handle.metrics().to_text(&overview));
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(METRICS_TYPE));
            answer
        }
        "/healthz" => health(&handle).await,
        _ => text(StatusCode::NOT_FOUND, "there are /metrics and /healthz\n"),
    })
}

async fn health(handle: &Handle) -> Response<String> {
    match tokio::time::timeout(HEALTHY_WITHIN, handle.workers()).await {
        Ok(Ok(_)) => text(StatusCode::OK, "ok\n"),
        Ok(Err(cause)) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{cause}\n")),
        Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "the driver does not answer\n"),
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
