//! gRPC: messages in, messages out. The only place of this crate that knows tonic.

mod accept;
mod access;
mod answers;
mod budget;
mod chronicle;
mod gate;
mod membership;
mod origins;
mod overview;
mod owners;
mod peer;
mod rates;
mod results;
mod service;
mod sizes;
mod status;
mod streams;
#[cfg(test)]
mod tests;
mod transfers;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bitloop_proto::DESCRIPTOR;
use bitloop_proto::transport::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT};
use bitloop_proto::v1::coordinator_server::CoordinatorServer;
use bitloop_proto::v1::membership_server::MembershipServer;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tower::layer::util::{Identity, Stack};

use crate::driver::Handle;
use crate::security::Security;
use accept::{Door, Limits, WAITING_MAX};
pub(crate) use chronicle::entry_to_wire;
use gate::GateLayer;
use membership::Members;
use owners::Owners;
pub(crate) use peer::{Link, Peer};
use service::Service;
use sizes::{ByMethod, SMALL_BYTES_MAX};

/// This program's version; workers of another one are refused.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Requests of one connection that are worked on at once. A worker has few; a command line has one.
const REQUESTS_PER_CONNECTION: usize = 64;

/// Streams of one connection, of which some may wait for the others.
const STREAMS_PER_CONNECTION: u32 = 2 * REQUESTS_PER_CONNECTION as u32;

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

/// Most bytes of a request's headers.
const HEADER_BYTES_MAX: u32 = 16 * 1024;

/// Where TCP connections come in, and who is let in.
pub(crate) struct Port {
    listener: TcpListener,
    security: Option<Arc<Security>>,
    limits: Limits,
}

impl Port {
    /// Lets members in where there is security, else everyone.
    pub(crate) fn new(listener: TcpListener, security: Option<Arc<Security>>) -> Self {
        Self { listener, security, limits: Limits::default() }
    }
}

/// Serves TCP connections until `shutdown` is cancelled.
pub(crate) async fn serve_tcp(
    handle: Handle,
    port: Port,
    shutdown: CancellationToken,
) -> Result<(), RpcError> {
    let Port { listener, security, limits } = port;
    let (sender, links) = mpsc::channel(WAITING_MAX);
    let door = Door::new(listener, security.clone(), limits);
    let serving = serve(handle, security, ReceiverStream::new(links), shutdown);
    // The door is shut when the server takes no more.
    tokio::join!(serving, door.accept(sender)).0
}

/// Serves connections until `shutdown` is cancelled or no more can come.
pub(crate) async fn serve(
    handle: Handle,
    security: Option<Arc<Security>>,
    incoming: impl Stream<Item = io::Result<Link>>,
    shutdown: CancellationToken,
) -> Result<(), RpcError> {
    let router = router(handle, security, shutdown.clone()).await?;
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

async fn router(
    handle: Handle,
    security: Option<Arc<Security>>,
    shutdown: CancellationToken,
) -> Result<Router<Stack<GateLayer, Identity>>, RpcError> {
    let owners = Arc::new(Owners::default());
    let service = ByMethod::new(Service::new(handle, Arc::clone(&owners), shutdown));
    let members = MembershipServer::new(Members::new(security.clone(), owners))
        .max_decoding_message_size(membership::REQUEST_BYTES_MAX);
    let (reporter, health) = tonic_health::server::health_reporter();
    let health = health.max_decoding_message_size(SMALL_BYTES_MAX);
    reporter.set_serving::<CoordinatorServer<Service>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTOR)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?
        .max_decoding_message_size(SMALL_BYTES_MAX);
    Ok(server(security).add_service(service).add_service(members).add_service(health).add_service(reflection))
}

/// What every connection is served by, and what its calls go through before any service.
fn server(security: Option<Arc<Security>>) -> Server<Stack<GateLayer, Identity>> {
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .concurrency_limit_per_connection(REQUESTS_PER_CONNECTION)
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .tcp_nodelay(true)
        .layer(GateLayer::new(security))
}
