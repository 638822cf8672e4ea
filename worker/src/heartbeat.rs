//! Heartbeats, on a thread and a connection of their own: neither compute nor a slow transfer delays them.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bitloop_core::state::WorkerId;
use bitloop_core::trial::TrialKey;
use bitloop_proto::transport::Connection;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::debug;

use crate::client::{Client, ClientError};
use crate::presence::{Beat, Presence};

/// The shortest period, should a coordinator ask for none.
const SHORTEST: Duration = Duration::from_millis(50);

/// The running thread; dropping it stops the thread.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    thread: JoinHandle<()>,
    stop: DropGuard,
}

/// Where heartbeats go and what they say.
pub(crate) struct Pulse {
    pub(crate) connection: Connection,
    pub(crate) worker: WorkerId,
    pub(crate) presence: Arc<Presence>,
    pub(crate) period: Duration,
}

impl Heartbeat {
    pub(crate) fn start(pulse: Pulse) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("heartbeat".to_owned()).spawn(move || {
            runtime.block_on(stopped.run_until_cancelled(beat_forever(&pulse)));
        })?;
        Ok(Self { thread, stop: stop.drop_guard() })
    }

    /// Stops the thread and returns it for joining.
    pub(crate) fn stop(self) -> JoinHandle<()> {
        drop(self.stop);
        self.thread
    }
}

async fn beat_forever(pulse: &Pulse) {
    let mut ticks = tokio::time::interval(pulse.period.max(SHORTEST));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut client = None;
    loop {
        ticks.tick().await;
        let client = match &client {
            Some(client) => client,
            None => match Client::connect(&pulse.connection, &pulse.worker).await {
                Ok(connected) => client.insert(connected),
                Err(error) => {
                    debug!(%error, "no heartbeat");
                    continue;
                }
            },
        };
        beat(client, &pulse.presence).await;
    }
}

async fn beat(client: &Client, presence: &Presence) {
    let Some(beat) = presence.beat() else { return };
    match client.heartbeat(beat.epoch, beat.lease, &beat.running).await {
        Ok(answer) if answer.lease_valid => give_back(client, presence, (&beat, &answer.recalled)).await,
        Ok(_) => presence.revoke(&beat),
        Err(ClientError::NotRegistered { .. }) => presence.displace(beat.epoch),
        Err(error) => debug!(%error, "no heartbeat"),
    }
}

/// Gives trials back that others wait for and that are not begun.
async fn give_back(client: &Client, presence: &Presence, (beat, recalled): (&Beat, &[TrialKey])) {
    let (Some(lease), false) = (beat.lease, recalled.is_empty()) else { return };
    let trials = presence.withdraw(recalled);
    // Without an answer the trials stay under the lease until it ends.
    if !trials.is_empty()
        && let Err(error) = client.release(beat.epoch, lease, &trials).await
    {
        debug!(%error, "unbegun trials were not given back");
    }
}
