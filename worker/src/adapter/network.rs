//! From the network that a request names to one that can be executed.

use std::sync::Arc;

use bitloop_quant::inference::{InferenceError, Quantized};
use bitloop_quant::prepare::Prepared;

use super::{AdapterError, Network};

/// Reads a prepared network with a width for each of its points.
///
/// Errors: `Unable` if the file cannot be read, `Failed` if it, or the bit config, makes no sense.
pub(super) fn quantized(network: &Network) -> Result<Quantized, AdapterError> {
    let path = network.prepared.as_ref().ok_or_else(|| {
        AdapterError::Failed(
            "this probe executes prepared networks alone, and none that was trained with its quantizers"
                .to_owned(),
        )
    })?;
    let bytes = std::fs::read(path)
        .map_err(|error| AdapterError::Unable(format!("cannot read {}: {error}", path.display())))?;
    let prepared = Prepared::from_bytes(&bytes)
        .map_err(|error| AdapterError::Failed(format!("{}: {error}", path.display())))?;
    Ok(Quantized::new(Arc::new(prepared), &network.bits)?)
}

/// Whatever keeps a network from being executed would do so anywhere, unless it is this machine.
impl From<InferenceError> for AdapterError {
    fn from(error: InferenceError) -> Self {
        match error.is_of_this_machine() {
            true => Self::Unable(error.to_string()),
            false => Self::Failed(error.to_string()),
        }
    }
}
