//! Takes lines to the coordinator, beside everything else that a worker says.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use super::Ring;
use crate::client::Client;

/// Lines that come within this time go together.
const TOGETHER: Duration = Duration::from_millis(250);

/// Pause after a call that came to nothing.
const PAUSE: Duration = Duration::from_secs(2);

/// How long the worker's end waits for its last lines.
const FAREWELL: Duration = Duration::from_secs(1);

/// Attempts for the same lines where the coordinator answers but does not take them, as while the worker registers again.
const ATTEMPTS: u32 = 5;

/// The running task.
#[derive(Debug)]
pub(crate) struct Courier {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl Courier {
    pub(crate) fn start(ring: Arc<Ring>, client: Client) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            stopped.run_until_cancelled(carry(&ring, &client)).await;
            // The ring is whole wherever that broke off; the coordinator takes lines twice at worst.
            let farewell = async { while send(&ring, &client).await.is_ok_and(|sent| sent) {} };
            let _ = tokio::time::timeout(FAREWELL, farewell).await;
        });
        Self { task, stop }
    }

    /// Sends what is left, for a moment.
    pub(crate) async fn finish(self) {
        self.stop.cancel();
        if self.task.await.is_err() {
            error!("the task that sends log lines panicked");
        }
    }
}

async fn carry(ring: &Ring, client: &Client) {
    let mut refusals = 0;
    loop {
        ring.filled().await;
        tokio::time::sleep(TOGETHER).await;
        let Err(failure) = send(ring, client).await else {
            refusals = 0;
            continue;
        };
        // An absent coordinator is waited for, with as many lines as the ring holds.
        refusals += u32::from(!failure.is_away);
        if refusals >= ATTEMPTS {
            if let Some(batch) = ring.batch() {
                ring.forget(&batch);
            }
            refusals = 0;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

struct NotSent {
    is_away: bool,
}

/// Sends the oldest lines; returns whether there were any.
async fn send(ring: &Ring, client: &Client) -> Result<bool, NotSent> {
    let Some(batch) = ring.batch() else { return Ok(false) };
    match client.write_lines(&batch).await {
        Ok(refused) => {
            if refused > 0 {
                debug!(refused, "the coordinator does not keep some log lines");
            }
            ring.forget(&batch);
            Ok(true)
        }
        Err(error) => {
            debug!(%error, "log lines were not sent");
            Err(NotSent { is_away: error.is_retryable() })
        }
    }
}
