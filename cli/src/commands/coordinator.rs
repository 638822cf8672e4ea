//! `bitloop coordinator`: experiments for workers elsewhere.

use std::net::SocketAddr;
use std::sync::Arc;

use bitloop_coordinator::security::Security;
use bitloop_coordinator::store::{Address, PostgresStore, Standby, Store, StoreError};
use bitloop_coordinator::{Artifacts, Coordinator, DataDir, Elsewhere};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::run::StopSignal;
use crate::args::CoordinatorArguments;
use crate::failure::{Failure, Outcome};
use crate::open_files;
use crate::show;

pub(super) async fn execute(arguments: &CoordinatorArguments) -> Outcome {
    let root = &arguments.data.data_dir;
    // A worker has two connections, and many systems start programs with 1024 files; whatever is left is made do with.
    open_files::raise_limit()?;
    let mut listening = listeners(arguments).await?;
    let data_dir = DataDir::open(root)?;
    let mut security = Security::open(root)?.map(Arc::new);
    let artifacts = artifacts(arguments)?;
    let mut stop = StopSignal::listen()?;
    let store: Option<Box<dyn Store>> = match &arguments.store {
        None => None,
        Some(url) if arguments.standby => {
            // Whoever connects meanwhile is to be refused, and to find the other coordinator.
            drop(listening);
            let Some(store) = stand_by(url, &mut stop).await? else { return Ok(()) };
            // The other coordinator has let members in and shut some out meanwhile.
            security = Security::open(root)?.map(Arc::new);
            listening = listeners(arguments).await?;
            Some(Box::new(store))
        }
        Some(url) => Some(Box::new(database(PostgresStore::open(&address(url)?))?)),
    };
    let coordinator =
        Coordinator::open_with(data_dir, Elsewhere { store, artifacts, took_over: arguments.standby })?;
    let (listener, monitored) = listening;
    // Loopback is for this machine's own monitoring.
    let http_security =
        security.clone().filter(|_| arguments.http.is_some_and(|http| !http.ip().is_loopback()));
    if let Some(monitored) = &monitored {
        let scheme = scheme(http_security.is_some());
        show::note(&format!("metrics on {scheme}://{}/metrics", monitored.local_addr()?));
    }
    // The one line of output that scripts wait for; port 0 is replaced by the port taken.
    show::data(&format!("listening on {}://{}", scheme(security.is_some()), listener.local_addr()?))?;
    let shutdown = CancellationToken::new();
    let monitoring = async {
        match monitored {
            Some(monitored) => coordinator.serve_http(http_security, monitored, shutdown.clone()).await,
            None => shutdown.cancelled().await,
        }
    };
    let serving = async {
        match security {
            Some(security) => coordinator.serve_secured(security, listener, shutdown.clone()).await,
            None => coordinator.serve(listener, shutdown.clone()).await,
        }
    };
    let served = tokio::select! {
        served = serving => served.map_err(Failure::from),
        () = monitoring => Ok(()),
        () = stop.received() => Ok(()),
    };
    shutdown.cancel();
    // Why the driver stopped says more than that the service did.
    coordinator.close().await?;
    served
}

/// Listens for the service, and for monitoring if that is wanted.
async fn listeners(arguments: &CoordinatorArguments) -> Result<(TcpListener, Option<TcpListener>), Failure> {
    let is_secured = Security::is_there(&arguments.data.data_dir);
    let protection = Protection { is_secured, insecure: arguments.insecure };
    let listener = protection.listen(arguments.listen, "--listen").await?;
    let monitored = match arguments.http {
        Some(address) => Some(protection.listen(address, "--http").await?),
        None => None,
    };
    Ok((listener, monitored))
}

/// The place for artifacts that is named; where facts lie in a database it should be one that other machines see.
fn artifacts(arguments: &CoordinatorArguments) -> Result<Option<Artifacts>, Failure> {
    if let Some(place) = &arguments.artifacts {
        return Artifacts::at(place).map(Some).map_err(|error| Failure::usage(error.to_string()));
    }
    if arguments.standby {
        return Err(Failure::usage(
            "--standby needs --artifacts with a folder or bucket that the other coordinator uses too; in this data \
             directory, what that one was sent is missing",
        ));
    }
    if arguments.store.is_some() {
        show::note(
            "warning: artifacts lie in this data directory alone; a coordinator elsewhere cannot take over without \
             --artifacts",
        );
    }
    Ok(None)
}

fn address(url: &str) -> Result<Address, Failure> {
    Address::parse(url).map_err(|error| Failure::usage(error.to_string()))
}

/// Waits for the end of another coordinator; none when told to stop before.
async fn stand_by(url: &str, stop: &mut StopSignal) -> Result<Option<PostgresStore>, Failure> {
    let standby = database(Standby::new(&address(url)?))?;
    show::note("standing by: this coordinator serves nothing while another one works on the database");
    let store = tokio::select! {
        waited = standby.wait() => database(waited)?,
        () = stop.received() => return Ok(None),
    };
    show::note("taking over");
    Ok(Some(store))
}

/// Mistakes in what was named are usage errors.
fn database<T>(done: Result<T, StoreError>) -> Result<T, Failure> {
    done.map_err(|error| match error.is_usage() {
        true => Failure::usage(error.to_string()),
        false => error.into(),
    })
}

fn scheme(is_secured: bool) -> &'static str {
    if is_secured { "https" } else { "http" }
}

/// What stands between a port and whoever reaches it.
#[derive(Clone, Copy)]
struct Protection {
    /// Whether `bitloop init` was run for the data directory.
    is_secured: bool,
    /// Whether the user wants none.
    insecure: bool,
}

impl Protection {
    /// Listens on an address that `flag` gave; one that other machines reach needs TLS, or their user's word.
    async fn listen(self, address: SocketAddr, flag: &str) -> Result<TcpListener, Failure> {
        if self.is_secured && self.insecure {
            return Err(Failure::usage(
                "--insecure contradicts `bitloop init`, which was run for this data directory; leave one out",
            ));
        }
        if !address.ip().is_loopback() && !self.is_secured {
            if !self.insecure {
                return Err(Failure::usage(format!(
                    "{address} can be reached from other machines: run `bitloop init` with the same --data-dir first, \
                     so that TLS and certificates protect it (docs/security.md), or add --insecure if everyone on that \
                     network may use this coordinator"
                )));
            }
            show::note(&format!(
                "warning: everyone who reaches {address} can use this coordinator and read its data"
            ));
        }
        TcpListener::bind(address).await.map_err(|error| {
            Failure::usage(format!(
                "cannot listen on {address}: {error}; stop what uses the port, or choose another with {flag}"
            ))
        })
    }
}
