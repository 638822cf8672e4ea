//! A layer of calls that come to harm, for clients and servers: what becomes of a call follows from a seed and its number.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bitloop_core::rng::rng;
use http_body_util::{BodyExt, Full};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, http};
use tonic::{Code, Status};
use tower::{Layer, Service};

/// How long a call that is held back waits at most, in milliseconds: longer than others take, so that they overtake it.
const DELAY_MS: usize = 100;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    /// Nothing happens to it.
    Arrives,
    /// It never gets there.
    RequestLost,
    /// It is carried out, and nobody hears of it.
    ReplyLost,
    /// The caller hears of a failure while it is carried out.
    FailsInFlight,
    /// It comes late.
    Late,
    /// It comes twice.
    Twice,
}

impl Fate {
    pub(crate) const HARM: [Self; 5] =
        [Self::RequestLost, Self::ReplyLost, Self::FailsInFlight, Self::Late, Self::Twice];
}

/// Draws what becomes of calls. Clones draw from the same sequence.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    seed: u64,
    /// Of each kind, in a thousand calls.
    thousandths: usize,
    calls: Arc<AtomicU64>,
    befallen: Arc<Mutex<BTreeMap<Fate, u64>>>,
}

impl Faults {
    /// Every call arrives.
    pub(crate) fn none() -> Self {
        Self::drawn(0, 0)
    }

    /// In a thousand calls, so many of each kind.
    pub(crate) fn drawn(seed: u64, thousandths: usize) -> Self {
        Self { seed, thousandths, calls: Arc::default(), befallen: Arc::default() }
    }

    /// How many calls met with what.
    pub(crate) fn befallen(&self) -> BTreeMap<Fate, u64> {
        self.befallen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn next(&self) -> (Fate, Duration) {
        let mut draws = rng(self.seed, self.calls.fetch_add(1, Ordering::Relaxed));
        let kind = draws.below(1_000) / self.thousandths.max(1);
        let harm = if self.thousandths == 0 { None } else { Fate::HARM.get(kind) };
        let fate = harm.copied().unwrap_or(Fate::Arrives);
        *self.befallen.lock().unwrap_or_else(PoisonError::into_inner).entry(fate).or_default() += 1;
        (fate, Duration::from_millis(1 + draws.below(DELAY_MS) as u64))
    }
}

impl<S> Layer<S> for Faults {
    type Service = Faulty<S>;

    fn layer(&self, inner: S) -> Faulty<S> {
        Faulty { inner, faults: self.clone() }
    }
}

/// A service whose calls come to harm.
#[derive(Clone, Debug)]
pub(crate) struct Faulty<S> {
    inner: S,
    faults: Faults,
}

impl<S> Service<http::Request<Body>> for Faulty<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>> + Send,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<Self::Response, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (fate, delay) = self.faults.next();
        // The one that is ready goes with the call.
        let ready = self.inner.clone();
        let service = std::mem::replace(&mut self.inner, ready);
        Box::pin(suffer(service, request, fate, delay))
    }
}

async fn suffer<S>(
    mut service: S,
    request: http::Request<Body>,
    fate: Fate,
    delay: Duration,
) -> Result<http::Response<Body>, S::Error>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + 'static,
    S::Error: Send,
    S::Future: Send,
{
    let lost = || Ok(Status::new(Code::Unavailable, format!("simulated: {fate:?}")).into_http());
    match fate {
        Fate::Arrives => service.call(request).await,
        Fate::RequestLost => lost(),
        Fate::ReplyLost => {
            service.call(request).await?;
            lost()
        }
        Fate::FailsInFlight => {
            // Streams end with their caller; everything else is carried out all the same.
            let Ok((request, _)) = twice(request).await else { return lost() };
            tokio::spawn(service.call(request));
            lost()
        }
        Fate::Late => {
            tokio::time::sleep(delay).await;
            service.call(request).await
        }
        Fate::Twice => {
            let mut again = service.clone();
            let Ok((first, second)) = twice(request).await else { return lost() };
            let answer = service.call(first).await;
            if std::future::poll_fn(|context| again.poll_ready(context)).await.is_ok() {
                tokio::spawn(again.call(second));
            }
            answer
        }
    }
}

/// Reads a whole request and makes two of it.
async fn twice(request: http::Request<Body>) -> Result<(http::Request<Body>, http::Request<Body>), Status> {
    let (head, body) = request.into_parts();
    let bytes = body.collect().await?.to_bytes();
    let copy = || {
        let mut copy = http::Request::new(Body::new(Full::new(bytes.clone())));
        copy.uri_mut().clone_from(&head.uri);
        copy.method_mut().clone_from(&head.method);
        copy.headers_mut().clone_from(&head.headers);
        *copy.version_mut() = head.version;
        copy
    };
    Ok((copy(), copy()))
}
