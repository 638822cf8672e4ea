//! Artifacts on their way: how many at once, of whom, and how slow they may be.
//!
//! Whoever moves one takes a turn first, and every step of it is timed: a peer that neither reads nor sends keeps no
//! thread, file or turn from others for long.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tonic::Status;

use super::peer::{Client, Peer};

/// Clients whose turns are counted; beyond that, those without any are forgotten.
const CLIENTS_MAX: usize = 8_192;

/// What artifacts on their way may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// What each of them is, for who is told that it cannot be had.
    pub(super) noun: &'static str,
    /// Artifacts on their way at once.
    pub(super) at_once: usize,
    /// Those of one client, which may be the workers of a machine.
    pub(super) of_a_client: usize,
    /// How long a call waits for a turn whose answer begins with it; less than it may take.
    pub(super) turn_patience: Duration,
    /// How long one chunk may take.
    pub(super) chunk_patience: Duration,
    /// What all chunks together must come to, after the time for one.
    pub(super) bytes_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            noun: "artifact",
            at_once: 64,
            of_a_client: 16,
            turn_patience: Duration::from_secs(100),
            chunk_patience: Duration::from_secs(60),
            bytes_per_second: 64 * 1024,
        }
    }
}

/// The artifacts on their way.
#[derive(Debug)]
pub(super) struct Transfers {
    limits: Limits,
    all: Arc<Semaphore>,
    clients: Mutex<HashMap<Client, Arc<Semaphore>>>,
}

impl Default for Transfers {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Transfers {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, all: Arc::new(Semaphore::new(limits.at_once)), clients: Mutex::default() }
    }

    /// Waits for a turn to move an artifact, as long as it takes: for who can be told meanwhile that it will come. A client that
    /// has as many as it may waits for itself alone.
    pub(super) fn turn(&self, peer: Option<&Peer>) -> impl Future<Output = Transfer> + Send + 'static {
        let share = peer.and_then(Peer::client).map(|client| self.share(client));
        let (limits, all) = (self.limits, Arc::clone(&self.all));
        async move {
            let own = match share {
                Some(share) => Some(turn_of(share).await),
                None => None,
            };
            let all = turn_of(all).await;
            Transfer { limits, own, until: Box::pin(tokio::time::sleep(limits.chunk_patience)), _all: all }
        }
    }

    /// The same within the time that a call may take.
    pub(super) async fn begin(&self, peer: Option<&Peer>) -> Result<Transfer, Status> {
        let waited = tokio::time::timeout(self.limits.turn_patience, self.turn(peer)).await;
        let noun = self.limits.noun;
        waited
            .map_err(|_| Status::resource_exhausted(format!("too many {noun}s are on their way; try again")))
    }

    fn share(&self, client: Client) -> Arc<Semaphore> {
        // Every update is one insertion, or a removal of what nobody has.
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= CLIENTS_MAX {
            clients.retain(|_, share| Arc::strong_count(share) > 1);
        }
        let share =
            clients.entry(client).or_insert_with(|| Arc::new(Semaphore::new(self.limits.of_a_client)));
        Arc::clone(share)
    }
}

async fn turn_of(semaphore: Arc<Semaphore>) -> OwnedSemaphorePermit {
    semaphore.acquire_owned().await.expect("nobody closes the semaphore")
}

/// One artifact on its way. Its turn ends with it.
#[derive(Debug)]
pub(super) struct Transfer {
    limits: Limits,
    own: Option<OwnedSemaphorePermit>,
    /// When it has to have ended, at the pace so far.
    until: Pin<Box<Sleep>>,
    _all: OwnedSemaphorePermit,
}

impl Transfer {
    /// The client's own part of the turn, for what stays after all chunks have gone.
    pub(super) fn take_own(&mut self) -> Option<OwnedSemaphorePermit> {
        self.own.take()
    }

    /// Lets the pace count from now on, after something else has been waited for.
    pub(super) fn start(&mut self) {
        self.until = Box::pin(tokio::time::sleep(self.limits.chunk_patience));
    }

    /// Does what waits for the peer, if that comes to its end in time.
    pub(super) async fn step<T>(&mut self, step: impl Future<Output = T>) -> Result<T, Status> {
        let in_time = async {
            tokio::select! {
                biased;
                done = step => Some(done),
                () = &mut self.until => None,
            }
        };
        match tokio::time::timeout(self.limits.chunk_patience, in_time).await {
            Ok(Some(done)) => Ok(done),
            Ok(None) | Err(_) => {
                let noun = self.limits.noun;
                Err(Status::deadline_exceeded(format!("the {noun} moved too slowly; try again")))
            }
        }
    }

    /// Gives the time that these bytes may take at the slowest.
    pub(super) fn moved(&mut self, bytes: usize) {
        let time = Duration::from_secs_f64(bytes as f64 / f64::from(self.limits.bytes_per_second));
        let until = self.until.deadline() + time;
        self.until.as_mut().reset(until);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn limits() -> Limits {
        Limits { at_once: 2, of_a_client: 1, ..Limits::default() }
    }

    #[tokio::test]
    async fn a_client_waits_for_its_own_turn_and_others_do_not() {
        let transfers = Transfers::new(limits());
        let [near, far] = [1, 2].map(|connection| Peer::Open { connection });
        let mut context = Context::from_waker(Waker::noop());

        let first = transfers.begin(Some(&near)).await.unwrap();
        let mut second = pin!(transfers.begin(Some(&near)));
        assert!(second.as_mut().poll(&mut context).is_pending());
        let other = transfers.begin(Some(&far)).await.unwrap();
        // Both turns are taken, also for those who are not counted by themselves.
        assert!(pin!(transfers.begin(Some(&Peer::InProcess))).poll(&mut context).is_pending());
        drop((first, other));

        assert!(matches!(second.poll(&mut context), Poll::Ready(Ok(_))));
    }

    #[tokio::test]
    async fn whoever_waits_too_long_for_a_turn_is_told_so() {
        let transfers = Transfers::new(Limits { turn_patience: Duration::ZERO, ..limits() });
        let peer = Peer::Open { connection: 1 };

        let first = transfers.begin(Some(&peer)).await.unwrap();
        let refused = transfers.begin(Some(&peer)).await.unwrap_err();

        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        drop(first);
        assert!(transfers.begin(Some(&peer)).await.is_ok());
    }

    #[tokio::test]
    async fn many_small_steps_are_too_slow_together() {
        let moment = Duration::from_millis(100);
        let transfers =
            Transfers::new(Limits { chunk_patience: moment, bytes_per_second: 1_000, ..limits() });
        let mut transfer = transfers.begin(None).await.unwrap();

        // Each of them comes in time; what they move gives a thousandth of a second.
        let refused = loop {
            match transfer.step(tokio::time::sleep(moment / 50)).await {
                Ok(()) => transfer.moved(1),
                Err(refused) => break refused,
            }
        };
        assert_eq!(refused.code(), tonic::Code::DeadlineExceeded);

        let mut transfer = transfers.begin(None).await.unwrap();
        transfer.moved(1_000_000);
        let refused = transfer.step(std::future::pending::<()>()).await.unwrap_err();
        assert_eq!(
            refused.code(),
            tonic::Code::DeadlineExceeded,
            "a fast beginning is no excuse for one chunk"
        );
    }
}
