//! Heartbeats, on a thread and a connection of their own: neither compute nor a slow transfer delays them.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bitloop_core::state::WorkerId;
use bitloop_core::trial::TrialKey;
use bitloop_core::worker::{Beat, Input};
use bitloop_proto::transport::Connection;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::debug;

use crate::client::{Client, ClientError};
use crate::clock;
use crate::presence::Presence;

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
    /// Takes what the answers mean for the session.
    pub(crate) answers: mpsc::Sender<Input>,
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
        let answer = match &client {
            Some(client) => beat(client, &pulse.presence).await,
            None => match Client::connect(&pulse.connection, &pulse.worker).await {
                Ok(connected) => beat(client.insert(connected), &pulse.presence).await,
                Err(error) => {
                    debug!(%error, "no heartbeat");
                    Some(Input::Silence)
                }
            },
        };
        // Without a session there is nobody to tell, and soon no heartbeat either.
        if let Some(answer) = answer {
            let _ = pulse.answers.send(answer).await;
        }
    }
}

/// Sends a heartbeat; returns what the session has to know of the answer.
async fn beat(client: &Client, presence: &Presence) -> Option<Input> {
    let (beat, running) = presence.beat()?;
    let sent = clock::now();
    match client.heartbeat(beat, &running).await {
        Ok(answer) if answer.lease_valid => {
            let given_back = give_back(client, presence, (beat, &answer.recalled)).await;
            let ago_ms = clock::elapsed(sent).as_millis() as u64;
            given_back.or(Some(Input::Heard { beat, ago_ms }))
        }
        Ok(_) => Some(Input::LeaseVoid(beat)),
        Err(ClientError::NotRegistered { .. }) => Some(Input::Displaced(beat.epoch)),
        Err(error) => {
            debug!(%error, "no heartbeat");
            Some(Input::Silence)
        }
    }
}

/// Gives trials back that others wait for and that are not begun, with those of earlier heartbeats that could not be.
async fn give_back(
    client: &Client,
    presence: &Presence,
    (beat, recalled): (Beat, &[TrialKey]),
) -> Option<Input> {
    let lease = beat.lease?;
    let trials = presence.withdraw(recalled);
    if trials.is_empty() {
        return None;
    }
    match client.release(beat.epoch, lease, (&trials, None)).await {
        Ok(()) => {
            presence.gave_back(&trials);
            Some(Input::GivenBack { beat, trials })
        }
        Err(error) => {
            debug!(%error, "unbegun trials were not given back yet");
            None
        }
    }
}
