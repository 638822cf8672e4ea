//! How large the messages of each method may be. A role that may call little may not send much either.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bitloop_proto::transport::{CHUNK_BYTES, MAX_MESSAGE_BYTES};
use bitloop_proto::v1::coordinator_server::CoordinatorServer;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{BoxFuture, Service};
use tonic::server::NamedService;

use super::service;

/// For a few names and numbers.
pub(super) const SMALL_BYTES_MAX: usize = 64 * 1024;

/// For as many digests or keys as a request may have, of 34 bytes each, and what is beside them; also for a worker's lines.
const LIST_BYTES_MAX: usize = 3 << 20;

/// For a chunk of an artifact, which clients make smaller.
const CHUNK_BYTES_MAX: usize = 4 * CHUNK_BYTES;

type Server = CoordinatorServer<service::Service>;

/// The coordinator's service, with the limit of the method that is called.
#[derive(Clone)]
pub(super) struct ByMethod {
    small: Server,
    list: Server,
    chunk: Server,
    large: Server,
}

impl ByMethod {
    pub(super) fn new(service: service::Service) -> Self {
        let service = Arc::new(service);
        let server = |bytes_max| {
            CoordinatorServer::from_arc(Arc::clone(&service))
                .max_decoding_message_size(bytes_max)
                .max_encoding_message_size(MAX_MESSAGE_BYTES)
        };
        Self {
            small: server(SMALL_BYTES_MAX),
            list: server(LIST_BYTES_MAX),
            chunk: server(CHUNK_BYTES_MAX),
            large: server(MAX_MESSAGE_BYTES),
        }
    }

    fn of(&mut self, path: &str) -> &mut Server {
        match path {
            "/bitloop.v1.Coordinator/Submit" | "/bitloop.v1.Coordinator/Commit" => &mut self.large,
            "/bitloop.v1.Coordinator/StoreArtifact" => &mut self.chunk,
            "/bitloop.v1.Coordinator/MissingArtifacts"
            | "/bitloop.v1.Coordinator/WriteLines"
            | "/bitloop.v1.Coordinator/Register"
            | "/bitloop.v1.Coordinator/Heartbeat"
            | "/bitloop.v1.Coordinator/Release" => &mut self.list,
            _ => &mut self.small,
        }
    }
}

impl Service<Request<Body>> for ByMethod {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The servers behind it are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path().to_owned();
        self.of(&path).call(request)
    }
}

impl NamedService for ByMethod {
    const NAME: &'static str = Server::NAME;
}
