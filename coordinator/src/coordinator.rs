//! A running coordinator: opens everything in order and ends it in order.

use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use bitloop_proto::transport::Incoming;
use tokio::net::TcpListener;
use tokio::runtime;
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::artifacts::Artifacts;
use crate::clock::Clock;
use crate::data_dir::{DataDir, DataDirError};
use crate::driver::{Driver, Handle, Parts};
use crate::http;
use crate::rpc::{self, Link, Peer, Port, RpcError};
use crate::security::Security;
use crate::store::{DiskStore, Store, StoreError};

/// A coordinator on one data directory. Dropping it stops it like [`Coordinator::close`], but only logs the error.
#[derive(Debug)]
pub struct Coordinator {
    handle: Handle,
    stop: CancellationToken,
    /// Cancelled when the driver has ended, for whatever reason.
    stopped: CancellationToken,
    driver: Option<JoinHandle<Result<(), StoreError>>>,
}

/// What a coordinator keeps elsewhere than in its data directory.
#[derive(Default)]
pub struct Elsewhere {
    pub store: Option<Box<dyn Store>>,
    pub artifacts: Option<Artifacts>,
    /// Whether another coordinator worked on the store until now.
    pub took_over: bool,
}

/// Why a coordinator cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the driver's thread cannot be started: {0}")]
    Thread(io::Error),
}

/// Why a coordinator ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Rpc(#[from] RpcError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the driver has stopped; the log says why")]
    Stopped,
    #[error("the driver panicked; this is a bug, nothing that was acknowledged is lost")]
    Panicked,
}

impl Coordinator {
    /// Opens a data directory, replays its store and starts the driver.
    pub fn open(root: &Path) -> Result<Self, OpenError> {
        Self::open_with(DataDir::open(root)?, Elsewhere::default())
    }

    /// Like [`Coordinator::open`], with facts or artifacts elsewhere than in the data directory.
    pub fn open_with(data_dir: DataDir, elsewhere: Elsewhere) -> Result<Self, OpenError> {
        let store = match elsewhere.store {
            Some(store) => store,
            None => Box::new(DiskStore::open(data_dir.root())?),
        };
        let artifacts = elsewhere.artifacts.unwrap_or_else(|| Artifacts::in_folder(data_dir.artifacts()));
        let (clock, took_over) = (Clock::system(), elsewhere.took_over);
        Self::start(Parts { store, data_dir, artifacts, clock, took_over })
    }

    pub(crate) fn start(parts: Parts) -> Result<Self, OpenError> {
        let (driver, handle) = Driver::open(parts)?;
        let runtime =
            runtime::Builder::new_current_thread().enable_time().build().map_err(OpenError::Thread)?;
        let (stop, stopped) = (CancellationToken::new(), CancellationToken::new());
        let (stop_of_driver, ended) = (stop.clone(), stopped.clone().drop_guard());
        let body = move || {
            let result = driver.run(&runtime, &stop_of_driver);
            drop(ended);
            result
        };
        let builder = thread::Builder::new().name("bitloop-driver".to_owned());
        let driver = builder.spawn(body).map_err(OpenError::Thread)?;
        Ok(Self { handle, stop, stopped, driver: Some(driver) })
    }

    /// The way to the driver within this process.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Serves TCP connections until `shutdown` is cancelled; whoever reaches the port may do everything.
    ///
    /// Errors: when the service fails, or the driver stops because its store cannot be written; [`Coordinator::close`]
    /// then says why.
    pub async fn serve(&self, listener: TcpListener, shutdown: CancellationToken) -> Result<(), ServeError> {
        let port = Port::new(listener, None);
        self.serve_until(shutdown, |ended| rpc::serve_tcp(self.handle(), port, ended)).await
    }

    /// Serves TCP connections over TLS until `shutdown` is cancelled; who may do what stands in clients' certificates.
    ///
    /// Errors: those of [`Coordinator::serve`].
    pub async fn serve_secured(
        &self,
        security: Arc<Security>,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> Result<(), ServeError> {
        let port = Port::new(listener, Some(security));
        self.serve_until(shutdown, |ended| rpc::serve_tcp(self.handle(), port, ended)).await
    }

    /// Serves connections made within this process until `shutdown` is cancelled.
    ///
    /// Errors: those of [`Coordinator::serve`].
    pub async fn serve_incoming(
        &self,
        incoming: Incoming,
        shutdown: CancellationToken,
    ) -> Result<(), ServeError> {
        let links = incoming.map(|stream| stream.map(|stream| Link::new(stream, Peer::InProcess)));
        self.serve_until(shutdown, |ended| rpc::serve(self.handle(), None, links, ended)).await
    }

    /// Serves `/metrics` and `/healthz` over HTTP until `shutdown` is cancelled: with security over TLS, and the metrics
    /// to those who have their token.
    pub async fn serve_http(
        &self,
        security: Option<Arc<Security>>,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) {
        http::serve(self.handle(), security, listener, shutdown).await;
    }

    /// Stops the driver and waits until everything is on disk and the directory is free.
    ///
    /// Errors: why the driver had stopped before, if it had.
    pub async fn close(mut self) -> Result<(), ServeError> {
        self.stop.cancel();
        let Some(driver) = self.driver.take() else {
            return Ok(());
        };
        let joined = tokio::task::spawn_blocking(|| driver.join()).await;
        match joined {
            Ok(Ok(result)) => Ok(result?),
            Ok(Err(_)) | Err(_) => Err(ServeError::Panicked),
        }
    }

    async fn serve_until<S: Future<Output = Result<(), RpcError>>>(
        &self,
        shutdown: CancellationToken,
        serve: impl FnOnce(CancellationToken) -> S,
    ) -> Result<(), ServeError> {
        let ended = shutdown.child_token();
        let mut serving = pin!(serve(ended.clone()));
        tokio::select! {
            served = &mut serving => Ok(served?),
            () = self.stopped.cancelled() => {
                ended.cancel();
                serving.await?;
                Err(ServeError::Stopped)
            }
        }
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(driver) = self.driver.take() {
            // The directory must be free when this returns.
            if let Ok(Err(cause)) = driver.join() {
                error!(%cause, "facts could not be stored; nothing was acknowledged any more");
            }
        }
    }
}
