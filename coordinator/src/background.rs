//! A runtime for clients that are async, used by code that waits: the driver's thread and the threads for the disk.

use std::future::Future;
use std::io;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// One thread that drives futures. Whoever waits may be on any thread, also on one that drives another runtime.
#[derive(Debug)]
pub(crate) struct Background {
    /// Taken when this is dropped.
    runtime: Option<Runtime>,
}

impl Background {
    pub(crate) fn start(name: &str) -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).thread_name(name).enable_all().build()?;
        Ok(Self { runtime: Some(runtime) })
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is taken only when this is dropped")
    }

    /// Drives a future beside everything else.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.runtime().spawn(future)
    }

    /// Waits for a future; none if it takes longer than `limit`, and then it is dropped.
    pub(crate) fn wait<T: Send + 'static>(
        &self,
        limit: Duration,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (sender, receiver) = sync_channel(1);
        self.spawn(async move {
            let done = tokio::time::timeout(limit, future).await.ok();
            // Whoever waits does not go away.
            let _ = sender.send(done);
        });
        receiver.recv().expect("the future does not panic, and its runtime is there while it is waited for")
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for its thread is not allowed on a thread that drives another runtime.
            runtime.shutdown_background();
        }
    }
}
