//! What every call goes through before its service sees it: who calls, whether they may, how often, how long.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bitloop_proto::trace;
use bitloop_proto::transport::VERSION_HEADER;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{HeaderValue, Request, Response};
use tonic::codegen::{BoxFuture, Service};
use tonic::metadata::MetadataMap;
use tower::Layer;
use tracing::{Instrument, Span, info_span};

use super::VERSION;
use super::access;
use super::answers::metered;
use super::budget::Budget;
use super::peer::{Connection, Peer};
use super::rates::Rates;
use crate::clock;
use crate::security::{Refusal, Security};

/// How long a call may take until its answer begins; longer than any long poll and any commit.
const PATIENCE: Duration = Duration::from_secs(120);

/// The one method whose request may take as long as it moves; it looks after itself.
const UPLOAD: &str = "/bitloop.v1.Coordinator/StoreArtifact";

/// Puts a [`Gate`] before every service.
#[derive(Clone, Debug)]
pub(super) struct GateLayer {
    rates: Arc<Rates>,
    requests: Budget,
    answers: Budget,
    security: Option<Arc<Security>>,
}

impl GateLayer {
    pub(super) fn new(security: Option<Arc<Security>>) -> Self {
        Self { rates: Arc::default(), requests: Budget::default(), answers: Budget::default(), security }
    }
}

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Gate<S> {
        let Self { rates, requests, answers, security } = self.clone();
        Gate { inner, rates, requests, answers, security }
    }
}

/// A service that is only reached by those who may.
#[derive(Clone, Debug)]
pub(super) struct Gate<S> {
    inner: S,
    rates: Arc<Rates>,
    requests: Budget,
    answers: Budget,
    security: Option<Arc<Security>>,
}

impl<S> Gate<S> {
    fn check(&self, request: &Request<Body>) -> Result<(), Status> {
        // No connection is without one; if one were, it would be refused.
        let Some(peer) = request.extensions().get::<Peer>() else {
            return Err(Status::unauthenticated("nobody is known to be at the other end"));
        };
        if !self.rates.allow(peer, request.uri().path(), clock::instant()) {
            return Err(Status::resource_exhausted("too many calls in a short time; wait a second"));
        }
        if let (Some(security), Peer::Member(member)) = (&self.security, peer)
            && security.is_revoked(member)
        {
            return Err(Status::unauthenticated(Refusal::Revoked.to_string()));
        }
        access::check(peer, request.uri().path())
    }
}

/// The part of a trace that a request takes here; none for a request that is part of no trace.
fn span(request: &Request<Body>) -> Span {
    if !trace::is_carried() {
        return Span::none();
    }
    let metadata = MetadataMap::from_headers(request.headers().clone());
    let Some(context) = trace::read(&metadata) else { return Span::none() };
    let method = request.uri().path().rsplit('/').next().unwrap_or_default();
    trace::below(info_span!(target: trace::TARGET, "call", method), Some(&context))
}

/// Says which version answers, so that one who cannot make sense of the answer knows why.
fn introduced(mut answer: Response<Body>) -> Response<Body> {
    answer.headers_mut().insert(VERSION_HEADER, HeaderValue::from_static(VERSION));
    answer
}

impl<S> Service<Request<Body>> for Gate<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<Response<Body>, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let connection = request.extensions().get::<Connection>().cloned();
        if let Some(connection) = &connection {
            request.extensions_mut().insert(connection.peer().clone());
        }
        if let Err(refusal) = self.check(&request) {
            return Box::pin(async move { Ok(refusal.into_http()) });
        }
        let span = span(&request);
        if request.uri().path() == UPLOAD {
            let answer = span.in_scope(|| self.inner.call(request)).instrument(span);
            return Box::pin(async move { answer.await.map(introduced) });
        }
        let (mut held, answers) = (None, self.answers.clone());
        let request = request.map(|body| {
            let (body, bytes) = self.requests.meter(connection.as_ref().map(Connection::peer), body);
            held = bytes;
            body
        });
        let answer = span.in_scope(|| self.inner.call(request)).instrument(span);
        Box::pin(async move {
            // What the request brought is in memory until it is answered.
            let _held = held;
            let answer = match tokio::time::timeout(PATIENCE, answer).await {
                Ok(answer) => answer,
                Err(_) => Ok(Status::deadline_exceeded("the request did not come to its end").into_http()),
            };
            answer.map(|answer| introduced(metered(&answers, connection.as_ref(), answer)))
        })
    }
}
