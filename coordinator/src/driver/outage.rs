//! What the driver does while its store cannot be written, as when the disk is full: it refuses whatever comes, keeps
//! the facts of the round that could not be stored, and tries again until they are.
//!
//! Nobody has been told of these facts, and nobody is until they are durable. Workers keep what they have measured and
//! report it again; what of it had been in the kept round is then a duplicate.

use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::command::{Command, RequestError};
use super::{Driver, Pending};
use crate::chronicle::EventKind;
use crate::store::StoreError;

/// How often the store is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// What ends a wait.
enum Wake {
    Command(Command),
    Retry,
    Stop,
}

impl Driver {
    /// Waits until the round's facts are stored.
    ///
    /// Errors: why they are not, when the driver is to stop before, or the store needs a person.
    pub(super) fn sit_out(
        &mut self,
        cause: StoreError,
        runtime: &Runtime,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        error!(%cause, "nothing is acknowledged until the store can be written again");
        self.metrics.cannot_store(&cause);
        self.chronicle.tell_now(EventKind::StoreUnwritable, cause.to_string());
        self.refuse_round(&cause);
        runtime.block_on(self.retry(cause, stop))?;
        info!("the store can be written again");
        self.chronicle.tell_now(EventKind::StoreWritable, "what had waited is stored");
        self.metrics.can_store();
        self.board.hurry();
        Ok(())
    }

    async fn retry(&mut self, mut cause: StoreError, stop: &CancellationToken) -> Result<(), StoreError> {
        let mut retries = tokio::time::interval(RETRY);
        retries.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick comes at once.
        retries.tick().await;
        loop {
            let wake = tokio::select! {
                biased;
                () = stop.cancelled() => Wake::Stop,
                _ = retries.tick() => Wake::Retry,
                command = self.commands.recv() => command.map_or(Wake::Stop, Wake::Command),
            };
            self.metrics.is_alive(self.clock.now());
            match wake {
                Wake::Command(command) => refuse(command, &cause),
                Wake::Stop => return Err(cause),
                Wake::Retry => match self.store_facts() {
                    Ok(()) => return Ok(()),
                    Err(again) if again.is_retryable() => {
                        self.metrics.cannot_store(&again);
                        cause = again;
                    }
                    Err(fatal) => return Err(fatal),
                },
            }
        }
    }

    /// Answers everything in the round with an error; leases that nobody hears of come back.
    fn refuse_round(&mut self, cause: &StoreError) {
        // What these have changed was stored before, and the overview that shows it may not come for long.
        for Pending { reply, answer, .. } in std::mem::take(&mut self.unshown) {
            let _ = reply.send(answer);
        }
        let changes = std::mem::take(&mut self.round.changes);
        for Pending { worker, reply, answer } in
            std::mem::take(&mut self.round.replies).into_iter().chain(changes)
        {
            self.take_back(worker, &answer);
            let _ = reply.send(Err(RequestError::NotStored(cause.clone())));
        }
        for query in std::mem::take(&mut self.round.queries) {
            query(Err(RequestError::NotStored(cause.clone())));
        }
    }
}

fn refuse(command: Command, cause: &StoreError) {
    let refusal = RequestError::NotStored(cause.clone());
    match command {
        // Whoever asked may have gone.
        Command::Input { reply, .. } | Command::LastCommit { reply, .. } => drop(reply.send(Err(refusal))),
        Command::Query(query) => query(Err(refusal)),
    }
}
