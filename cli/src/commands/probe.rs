//! `bitloop probe`: this program as a probe, which a worker starts.

use bitloop_worker::adapter::{OpenError, ServeError, serve_process};

use crate::failure::{Failure, Outcome};

pub(super) fn execute(probe: &str) -> Outcome {
    serve_process(probe).map_err(|error| match &error {
        ServeError::Open(OpenError::Unknown { .. } | OpenError::Options(_)) => {
            Failure::usage(error.to_string())
        }
        ServeError::Open(OpenError::Adapter(_)) | ServeError::Variables { .. } | ServeError::Output(_) => {
            error.into()
        }
    })
}
