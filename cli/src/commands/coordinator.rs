//! `bitloop coordinator`: experiments for workers elsewhere.

use std::net::SocketAddr;

use bitloop_coordinator::Coordinator;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::run::StopSignal;
use crate::args::CoordinatorArguments;
use crate::failure::{Failure, Outcome};
use crate::show;

pub(super) async fn execute(arguments: &CoordinatorArguments) -> Outcome {
    let listener = listen(arguments.listen, "--listen", arguments.insecure).await?;
    let monitored = match arguments.http {
        Some(address) => Some(listen(address, "--http", arguments.insecure).await?),
        None => None,
    };
    let coordinator = Coordinator::open(&arguments.data.data_dir)?;
    let mut stop = StopSignal::listen()?;
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
