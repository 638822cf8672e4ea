//! The devices of a machine, and which of them a worker's `--device` means.

use bitloop_quant::device;

use crate::executor::Executor;
use crate::quant_executor::QuantExecutor;

/// The name that means every GPU, with a worker for each.
pub const ALL_GPUS: &str = "cuda:all";

/// The devices of a machine. Tests offer ones that are not there.
pub trait Inventory {
    /// Names of the GPUs that may be used, for [`Self::open`].
    ///
    /// Errors: why nobody knows.
    fn gpus(&self) -> Result<Vec<String>, InventoryError>;

    /// Opens a device for so many threads.
    ///
    /// Errors: why it cannot be used.
    fn open(&self, name: &str, threads: usize) -> Result<Box<dyn Executor>, InventoryError>;
}

/// Why a device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// It is not there, or does not work.
    #[error("{0}")]
    Device(String),
    /// There is no GPU to be had.
    #[error(
        "CUDA sees no GPU, so `{ALL_GPUS}` means none; `nvidia-smi` shows what is there, CUDA_VISIBLE_DEVICES hides GPUs"
    )]
    NoGpus,
}

/// The machine that this process runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine;

impl Inventory for Machine {
    fn gpus(&self) -> Result<Vec<String>, InventoryError> {
        device::gpus().map_err(|error| InventoryError::Device(error.to_string()))
    }

    fn open(&self, name: &str, threads: usize) -> Result<Box<dyn Executor>, InventoryError> {
        let executor = QuantExecutor::new(name, threads);
        let executor = executor.map_err(|error| InventoryError::Device(error.to_string()))?;
        Ok(Box::new(executor))
    }
}

/// Opens the devices that a name means: the one, or every GPU for [`ALL_GPUS`], which share the threads.
///
/// Errors: [`InventoryError`]; a GPU that cannot be used is not left out in silence.
pub fn executors(
    inventory: &dyn Inventory,
    name: &str,
    threads: usize,
) -> Result<Vec<Box<dyn Executor>>, InventoryError> {
    if name != ALL_GPUS {
        return Ok(vec![inventory.open(name, threads)?]);
    }
    let gpus = inventory.gpus()?;
    if gpus.is_empty() {
        return Err(InventoryError::NoGpus);
    }
    let threads = (threads / gpus.len()).max(1);
    gpus.iter().map(|name| inventory.open(name, threads)).collect()
}

#[cfg(test)]
mod tests {
    use bitloop_core::device::{Device, DeviceKind};
    use bitloop_core::trial::{Outcome, TrialSpec};

    use super::*;
    use crate::executor::{ExecuteError, Setting};

    /// GPUs that are not there; CUDA shows those whose numbers the variable names.
    struct Fake {
        gpus: usize,
        visible: Option<&'static str>,
    }

    struct Opened(Device, usize);

    impl Executor for Opened {
        fn device(&self) -> Device {
            self.0.clone()
        }

        fn run(
            &mut self,
            _: &[&TrialSpec],
            _: &Setting<'_>,
            _: &mut dyn FnMut(Outcome),
        ) -> Result<(), ExecuteError> {
            Err(ExecuteError::Device { reason: format!("{} threads measure nothing", self.1) })
        }
    }

    impl Fake {
        fn physical(&self) -> Vec<usize> {
            let numbers =
                |visible: &str| visible.split(',').filter_map(|number| number.parse().ok()).collect();
            self.visible.map_or_else(|| (0..self.gpus).collect(), numbers)
        }
    }

    impl Inventory for Fake {
        fn gpus(&self) -> Result<Vec<String>, InventoryError> {
            Ok((0..self.physical().len()).map(|ordinal| format!("cuda:{ordinal}")).collect())
        }

        fn open(&self, name: &str, threads: usize) -> Result<Box<dyn Executor>, InventoryError> {
            let ordinal: Option<usize> = name.strip_prefix("cuda:").and_then(|number| number.parse().ok());
            let gpu = ordinal.and_then(|ordinal| self.physical().get(ordinal).copied());
            let gpu = gpu.ok_or_else(|| InventoryError::Device(format!("there is no device `{name}`")))?;
            let device = Device { kind: DeviceKind::Cuda, id: format!("gpu-{gpu}"), ..Device::default() };
            Ok(Box::new(Opened(device, threads)))
        }
    }

    fn opened(fake: &Fake, name: &str) -> Result<Vec<String>, String> {
        let executors = executors(fake, name, 8).map_err(|error| error.to_string())?;
        Ok(executors.iter().map(|executor| executor.device().id).collect())
    }

    #[test]
    fn every_visible_gpu_has_a_worker() {
        assert_eq!(opened(&Fake { gpus: 3, visible: None }, ALL_GPUS).unwrap(), ["gpu-0", "gpu-1", "gpu-2"]);
        assert_eq!(opened(&Fake { gpus: 3, visible: Some("2,0") }, ALL_GPUS).unwrap(), ["gpu-2", "gpu-0"]);
        assert_eq!(opened(&Fake { gpus: 3, visible: Some("1") }, "cuda:0").unwrap(), ["gpu-1"]);
    }

    #[test]
    fn a_gpu_that_is_hidden_is_not_there() {
        assert!(opened(&Fake { gpus: 3, visible: Some("1") }, "cuda:1").is_err());
        let none = opened(&Fake { gpus: 3, visible: Some("") }, ALL_GPUS).unwrap_err();
        assert!(none.starts_with("CUDA sees no GPU"), "{none}");
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn without_the_feature_there_is_one_clear_error() {
        for name in ["cuda:0", ALL_GPUS] {
            let error = executors(&Machine, name, 1).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains("built without CUDA"), "{error}");
        }
    }
}
