//! The devices that networks run on.

pub use candle_core::Device;

/// The device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The name is none.
    #[error("`{0}` is no device; write `cpu` or `cuda:0` (the number of a GPU)")]
    Unknown(String),
    /// CUDA needs another build.
    #[error("this bitloop was built without CUDA; build it with `cargo build --release --features cuda`")]
    WithoutCuda,
    /// The driver or the card refuses.
    #[error("device `{name}` cannot be opened: {source}; `nvidia-smi` shows what is there")]
    Open {
        /// The device.
        name: String,
        /// What the driver says.
        source: candle_core::Error,
    },
}

/// Opens `cpu` or `cuda:N`.
///
/// Errors: [`DeviceError`].
pub fn open(name: &str) -> Result<Device, DeviceError> {
    if name == "cpu" {
        return Ok(Device::Cpu);
    }
    let number = name.strip_prefix("cuda:").and_then(|number| number.parse().ok());
    let number = number.ok_or_else(|| DeviceError::Unknown(name.to_owned()))?;
    if !candle_core::utils::cuda_is_available() {
        return Err(DeviceError::WithoutCuda);
    }
    Device::new_cuda(number).map_err(|source| DeviceError::Open { name: name.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_names_are_devices() {
        assert!(matches!(open("cpu"), Ok(Device::Cpu)));
        for wrong in ["", "gpu", "cuda", "cuda:", "cuda:-1", "cuda:x"] {
            assert!(matches!(open(wrong), Err(DeviceError::Unknown(_))), "{wrong}");
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_gpu_needs_the_other_build() {
        assert!(matches!(open("cuda:0"), Err(DeviceError::WithoutCuda)));
    }
}
