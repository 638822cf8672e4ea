//! `bitloop coordinator`: experiments for workers elsewhere.

use std::net::SocketAddr;

use bitloop_coordinator::store::{Address, PostgresStore, Standby, Store, StoreError};
use bitloop_coordinator::{Artifacts, Coordinator, DataDir, Elsewhere};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::run::StopSignal;
use crate::args::CoordinatorArguments;
use crate::failure::{Failure, Outcome};
use crate::show;

pub(super) async fn execute(arguments: &CoordinatorArguments) -> Outcome {
    let mut listening = listeners(arguments).await?;
    let data_dir = DataDir::open(&arguments.data.data_dir)?;
    let artifacts = artifacts(arguments)?;
    let mut stop = StopSignal::listen()?;
    let store: Option<Box<dyn Store>> = match &arguments.store {
        None => None,
        Some(url) if arguments.standby => {
            // Whoever connects meanwhile is to be refused, and to find the other coordinator.
            drop(listening);
            let Some(store) = stand_by(url, &mut stop).await? else { return Ok(()) };
            listening = listeners(arguments).await?;
            Some(Box::new(store))
        }
        Some(url) => Some(Box::new(database(PostgresStore::open(&address(url)?))?)),
    };
    let coordinator = Coordinator::open_with(data_dir, Elsewhere { store, artifacts })?;
    let (listener, monitored) = listening;
    if let Some(monitored) = &monitored {
        show::note(&format!("metrics on http://{}/metrics", monitored.local_addr()?));
    }
    // The one line of output that scripts wait for; port 0 is replaced by the port taken.
    show::data(&format!("listening on http://{}", listener.local_addr()?))?;
    let shutdown = CancellationToken::new();
    let monitoring = async {
        match monitored {
            Some(monitored) => coordinator.serve_http(monitored, shutdown.clone()).await,
            None => shutdown.cancelled().await,
        }
    };
    let served = tokio::select! {
        served = coordinator.serve(listener, shutdown.clone()) => served.map_err(Failure::from),
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
    let listener = listen(arguments.listen, "--listen", arguments.insecure).await?;
    let monitored = match arguments.http {
        Some(address) => Some(listen(address, "--http", arguments.insecure).await?),
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

/// Listens on an address that `flag` gave; one that other machines reach needs their user's word.
async fn listen(address: SocketAddr, flag: &str, insecure: bool) -> Result<TcpListener, Failure> {
    if !address.ip().is_loopback() {
        if !insecure {
            return Err(Failure::usage(format!(
                "{address} can be reached from other machines, and nothing is authenticated or encrypted yet; add \
                 --insecure if everyone on that network may use this coordinator"
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
