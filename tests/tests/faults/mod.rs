//! A layer of calls that come to harm, for clients and servers: what becomes of a call follows from a seed and its number.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bitloop_core::rng::rng;
use http_body_util::{BodyExt, Full};
use tokio::sync::watch;
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

/// How it is decided what becomes of calls.
#[derive(Clone, Copy, Debug)]
enum Choice {
    /// In a thousand calls, so many of each kind, drawn from a seed.
    Drawn { seed: u64, thousandths: usize },
    /// The first calls of each method meet the same fate.
    First { fate: Fate, calls: u64 },
}

/// What became of how many calls, by method and fate.
type Befallen = BTreeMap<(String, Fate), u64>;

/// Says what becomes of calls. Clones go on with the same count.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    choice: Choice,
    calls: Arc<AtomicU64>,
    befallen: watch::Sender<Befallen>,
}

impl Faults {
    /// Every call arrives.
    pub(crate) fn none() -> Self {
        Self::drawn(0, 0)
    }

    /// In a thousand calls, so many of each kind.
    pub(crate) fn drawn(seed: u64, thousandths: usize) -> Self {
        Self::choosing(Choice::Drawn { seed, thousandths })
    }

    /// The first calls of each method.
    pub(crate) fn first(fate: Fate, calls: u64) -> Self {
        Self::choosing(Choice::First { fate, calls })
    }

    fn choosing(choice: Choice) -> Self {
        Self { choice, calls: Arc::default(), befallen: watch::Sender::default() }
    }

    /// How many calls met with what.
    pub(crate) fn befallen(&self) -> BTreeMap<Fate, u64> {
        let mut fates = BTreeMap::new();
        for ((_, fate), calls) in self.befallen.borrow().iter() {
            *fates.entry(*fate).or_default() += calls;
        }
        fates
    }

    /// Waits until calls of all these methods have come to harm.
    pub(crate) async fn have_harmed(&self, methods: &[&str]) {
        let mut befallen = self.befallen.subscribe();
        let have = |befallen: &Befallen| methods.iter().all(|method| is_harmed(befallen, method));
        befallen.wait_for(have).await.expect("it is held here");
    }

    /// Those of these methods of which no call came to harm.
    pub(crate) fn unharmed<'a>(&self, methods: &[&'a str]) -> Vec<&'a str> {
        let befallen = self.befallen.borrow();
        methods.iter().filter(|method| !is_harmed(&befallen, method)).copied().collect()
    }

    /// What becomes of a call of a method.
    fn next(&self, method: &str) -> (Fate, Duration) {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let (mut fate, mut delay_ms) = (Fate::Arrives, DELAY_MS as u64);
        self.befallen.send_modify(|befallen| {
            (fate, delay_ms) = match self.choice {
                Choice::Drawn { seed, thousandths } => drawn(seed, number, thousandths),
                Choice::First { fate, calls } => {
                    let met: u64 = of_method(befallen, method).map(|(_, calls)| calls).sum();
                    (if met < calls { fate } else { Fate::Arrives }, DELAY_MS as u64)
                }
            };
            *befallen.entry((method.to_owned(), fate)).or_default() += 1;
        });
        (fate, Duration::from_millis(delay_ms))
    }
}

fn drawn(seed: u64, number: u64, thousandths: usize) -> (Fate, u64) {
    let mut draws = rng(seed, number);
    let kind = draws.below(1_000) / thousandths.max(1);
    let harm = if thousandths == 0 { None } else { Fate::HARM.get(kind) };
    (harm.copied().unwrap_or(Fate::Arrives), 1 + draws.below(DELAY_MS) as u64)
}

fn of_method<'a>(befallen: &'a Befallen, method: &'a str) -> impl Iterator<Item = (Fate, u64)> + 'a {
    let of_it = befallen.iter().filter(move |((known, _), _)| known == method);
    of_it.map(|((_, fate), calls)| (*fate, *calls))
}

fn is_harmed(befallen: &Befallen, method: &str) -> bool {
    of_method(befallen, method).any(|(fate, _)| fate != Fate::Arrives)
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
        let method = request.uri().path().rsplit('/').next().unwrap_or_default();
        let (fate, delay) = self.faults.next(method);
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
