//! The devices of a machine, and which of them a worker's `--device` means.

use bitloop_core::digest::Digest;
use bitloop_quant::device;

use crate::executor::Executor;
use crate::quant_executor::QuantExecutor;

/// The name that means every GPU, with a worker for each.
pub const ALL_GPUS: &str = "cuda:all";

/// A number that the kernel draws when it starts. Containers see that of their kernel, as no namespace hides it.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Characters of a machine's name.
const MACHINE_CHARS: usize = 16;

/// The devices of a machine. Tests offer ones that are not there.
pub trait Inventory {
    /// What all processes on the machine's kernel, and nobody else, find as its number; none where nothing tells.
    fn machine(&self) -> Option<String>;

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
    fn machine(&self) -> Option<String> {
        std::fs::read_to_string(BOOT_ID).ok().map(|number| number.trim().to_owned())
    }

    fn gpus(&self) -> Result<Vec<String>, InventoryError> {
        device::gpus().map_err(|error| InventoryError::Device(error.to_string()))
    }

    fn open(&self, name: &str, threads: usize) -> Result<Box<dyn Executor>, InventoryError> {
        let executor = QuantExecutor::new(name, threads);
        let executor = executor.map_err(|error| InventoryError::Device(error.to_string()))?;
        Ok(Box::new(executor))
    }
}

/// The name of a machine, by which a coordinator knows that two workers share its processor.
///
/// It is a digest of the machine's number, which is thereby told to nobody. Where the system has none, the host's name
/// must do, as if no two machines had the same.
pub fn machine_name(inventory: &dyn Inventory, host: &str) -> String {
    let number = inventory.machine().filter(|number| !number.is_empty());
    number.map_or_else(
        || host.to_owned(),
        |number| {
            let mut name = Digest::of(format!("bitloop machine {number}").as_bytes()).hex();
            name.truncate(MACHINE_CHARS);
            name
        },
    )
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
    #[derive(Default)]
    struct Fake {
        machine: Option<&'static str>,
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
        fn machine(&self) -> Option<String> {
            self.machine.map(str::to_owned)
        }

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

    /// Three GPUs, of which CUDA shows these.
    fn seeing(visible: &'static str) -> Fake {
        Fake { gpus: 3, visible: Some(visible), ..Fake::default() }
    }

    fn opened(fake: &Fake, name: &str) -> Result<Vec<String>, String> {
        let executors = executors(fake, name, 8).map_err(|error| error.to_string())?;
        Ok(executors.iter().map(|executor| executor.device().id).collect())
    }

    #[test]
    fn a_machine_is_named_by_its_number_and_without_one_by_its_host() {
        let named = |machine, host| machine_name(&Fake { machine, ..Fake::default() }, host);
        let number = "8f6b2d1c-0000-4000-8000-00aabbccddee";

        let name = named(Some(number), "pod-1");
        assert_eq!(name.len(), MACHINE_CHARS);
        assert!(!number.contains(&name[..4]), "its number is told to nobody: {name}");
        assert_eq!(named(Some(number), "pod-2"), name, "containers of one machine have names of their own");
        assert_ne!(named(Some("another"), "pod-1"), name, "machines of one name have numbers of their own");
        assert_eq!((named(None, "board").as_str(), named(Some(""), "board").as_str()), ("board", "board"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_has_a_number_of_its_own() {
        let number = Machine.machine().unwrap();

        assert_eq!(Machine.machine().as_deref(), Some(number.as_str()));
        assert!(number.len() > MACHINE_CHARS, "{number}");
    }

    #[test]
    fn every_visible_gpu_has_a_worker() {
        assert_eq!(
            opened(&Fake { gpus: 3, ..Fake::default() }, ALL_GPUS).unwrap(),
            ["gpu-0", "gpu-1", "gpu-2"]
        );
        assert_eq!(opened(&seeing("2,0"), ALL_GPUS).unwrap(), ["gpu-2", "gpu-0"]);
        assert_eq!(opened(&seeing("1"), "cuda:0").unwrap(), ["gpu-1"]);
    }

    #[test]
    fn a_gpu_that_is_hidden_is_not_there() {
        assert!(opened(&seeing("1"), "cuda:1").is_err());
        let none = opened(&seeing(""), ALL_GPUS).unwrap_err();
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
