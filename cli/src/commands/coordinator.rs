//! `bitloop coordinator`: experiments for workers elsewhere.

use bitloop_coordinator::Coordinator;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::run::StopSignal;
use crate::args::CoordinatorArguments;
use crate::failure::{Failure, Outcome};
use crate::show;

pub(super) async fn execute(arguments: &CoordinatorArguments) -> Outcome {
    let address = arguments.listen;
    if !address.ip().is_loopback() {
        if !arguments.insecure {
            return Err(Failure::usage(format!(
                "{address} can be reached from other machines, and nothing is authenticated or encrypted yet; add \
                 --insecure if everyone on that network may use this coordinator"
            )));
        }
        show::note(&format!(
            "warning: everyone who reaches {address} can use this coordinator and read its data"
        ));
    }
    let listener = TcpListener::bind(address).await.map_err(|error| {
        Failure::usage(format!(
            "cannot listen on {address}: {error}; stop what uses the port, or choose another with --listen"
        ))
    })?;
    let coordinator = Coordinator::open(&arguments.data.data_dir)?;
    let mut stop = StopSignal::listen()?;
    // The one line of output that scripts wait for; port 0 is replaced by the port taken.
    show::data(&format!("listening on http://{}", listener.local_addr()?))?;
    let shutdown = CancellationToken::new();
    let served = tokio::select! {
        served = coordinator.serve(listener, shutdown.clone()) => served.map_err(Failure::from),
        () = stop.received() => Ok(()),
    };
    shutdown.cancel();
    // Why the driver stopped says more than that the service did.
    coordinator.close().await?;
    served
}
