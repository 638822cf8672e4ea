//! gRPC: messages in, messages out. The only place of this crate that knows tonic.

mod service;
mod status;
mod streams;
#[cfg(test)]
mod tests;

use std::io;
use std::time::Duration;

use bitloop_proto::DESCRIPTOR;
use bitloop_proto::transport::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, MAX_MESSAGE_BYTES};
use bitloop_proto::v1::coordinator_server::CoordinatorServer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::{Connected, Router};

use crate::driver::Handle;
use service::Service;

/// Requests of one connection that are worked on at once. A worker has few; a command line has one.
const REQUESTS_PER_CONNECTION: usize = 64;

/// How long requests under way may take to end when the server stops.
const GRACE: Duration = Duration::from_secs(5);

/// Why the service ended, other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    #[error("the descriptors for gRPC reflection cannot be read: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    #[error("the gRPC service failed: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// What a client and the service may talk over.
pub(crate) trait Connection: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static {}

impl<C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static> Connection for C {}

/// Serves connections until `shutdown` is cancelled or no more can come.
pub(crate) async fn serve<C: Connection>(
    handle: Handle,
    incoming: impl Stream<Item = io::Result<C>>,
    shutdown: CancellationToken,
) -> Result<(), RpcError> {
    let router = router(handle, shutdown.clone()).await?;
    let serving = router.serve_with_incoming_shutdown(incoming, shutdown.clone().cancelled_owned());
    let patience = async {
        shutdown.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = serving => Ok(served?),
        // A peer that does not let go of its connection cannot hold up the end.
        () = patience => Ok(()),
    }
}

async fn router(handle: Handle, shutdown: CancellationToken) -> Result<Router, RpcError> {
    let service = CoordinatorServer::new(Service::new(handle, shutdown))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<CoordinatorServer<Service>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTOR)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    Ok(Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .concurrency_limit_per_connection(REQUESTS_PER_CONNECTION)
        .tcp_nodelay(true)
        .add_service(service)
        .add_service(health)
        .add_service(reflection))
}
