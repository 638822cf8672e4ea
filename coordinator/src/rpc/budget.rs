//! How many bytes of requests there may be in memory: those that arrive, and those that are worked on. Answers that wait for
//! their readers have a budget of their own (`answers.rs`).

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::Notify;
use tonic::Status;
use tonic::body::Body;

use super::peer::{Client, Peer};

/// Bytes of all clients: sixteen of the largest requests.
const BYTES_MAX: usize = 256 << 20;

/// Bytes of one client: four of them.
const OF_A_CLIENT_MAX: usize = 64 << 20;

/// The bytes in memory. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Budget(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    taken: Mutex<Taken>,
    /// Told when there is no room for one client because of the others.
    pressed: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    clients: HashMap<Client, usize>,
}

impl Budget {
    /// Counts what a request's body brings for as long as both it and what is returned are there; nothing of this process.
    pub(super) fn meter(&self, peer: Option<&Peer>, body: Body) -> (Body, Option<Arc<Held>>) {
        let Some(held) = self.held(peer) else { return (body, None) };
        let held = Arc::new(held);
        let metered = Metered { body, held: Arc::clone(&held) };
        (Body::new(metered), Some(held))
    }
}

impl Budget {
    /// Nothing yet of a client's share; none for this process.
    pub(super) fn held(&self, peer: Option<&Peer>) -> Option<Held> {
        let client = peer.and_then(Peer::client)?;
        Some(Held { budget: self.clone(), client, bytes: Mutex::new(0) })
    }

    /// Waits until somebody needs the room that others have.
    pub(super) async fn pressed(&self) {
        self.0.pressed.notified().await;
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Counts change together, without anything between that could panic.
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one request or a piece of an answer holds; given back when dropped.
#[derive(Debug)]
pub(super) struct Held {
    budget: Budget,
    client: Client,
    bytes: Mutex<usize>,
}

impl Held {
    /// Nothing yet of the same client's share.
    pub(super) fn another(&self) -> Self {
        Self { budget: self.budget.clone(), client: self.client.clone(), bytes: Mutex::new(0) }
    }

    /// Takes more, if it is there.
    pub(super) fn grow(&self, more: usize) -> bool {
        let mut taken = self.budget.taken();
        let own = taken.clients.get(&self.client).copied().unwrap_or(0);
        if own + more > OF_A_CLIENT_MAX {
            return false;
        }
        if taken.all + more > BYTES_MAX {
            self.budget.0.pressed.notify_waiters();
            return false;
        }
        taken.all += more;
        taken.clients.insert(self.client.clone(), own + more);
        *self.bytes.lock().unwrap_or_else(PoisonError::into_inner) += more;
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let bytes = std::mem::take(self.bytes.get_mut().unwrap_or_else(PoisonError::into_inner));
        if bytes == 0 {
            return;
        }
        let mut taken = self.budget.taken();
        taken.all -= bytes;
        if let Some(own) = taken.clients.get_mut(&self.client) {
            *own -= bytes;
            if *own == 0 {
                taken.clients.remove(&self.client);
            }
        }
    }
}

/// A body that is counted as it arrives.
struct Metered {
    body: Body,
    held: Arc<Held>,
}

impl HttpBody for Metered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let bytes = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, Bytes::len);
        Poll::Ready(match self.held.grow(bytes) {
            true => frame,
            false => Some(Err(Status::resource_exhausted("too many large requests at once; try again"))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    const MIB: usize = 1 << 20;

    /// A body of one chunk, as it comes from a client.
    fn body(bytes: usize) -> Body {
        Body::new(http_body_util::Full::new(Bytes::from(vec![0; bytes])))
    }

    /// Reads a body to its end as a server does; what it returns is still worked on.
    async fn received(budget: &Budget, connection: u64, bytes: usize) -> Result<Option<Arc<Held>>, Code> {
        let (mut body, held) = budget.meter(Some(&Peer::Open { connection }), body(bytes));
        while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
        {
            frame.map_err(|status| status.code())?;
        }
        Ok(held)
    }

    #[tokio::test]
    async fn clients_have_their_share_and_get_it_back_when_they_are_answered() {
        let budget = Budget::default();
        let refused = Err(Code::ResourceExhausted);

        let first = received(&budget, 1, 40 * MIB).await.unwrap();
        assert_eq!(received(&budget, 1, 40 * MIB).await.map(drop), refused);
        let others = [2, 3, 4].map(|connection| received(&budget, connection, 64 * MIB));
        let [second, third, fourth] = others;
        let others = [second.await.unwrap(), third.await.unwrap(), fourth.await.unwrap()];
        assert_eq!(received(&budget, 5, 30 * MIB).await.map(drop), refused, "all of it is taken");

        drop(first);
        drop(received(&budget, 1, 64 * MIB).await.unwrap());
        drop(others);
        let taken = budget.taken();
        assert_eq!((taken.all, taken.clients.len()), (0, 0));
    }
}
