//! The devices that networks run on, and the classes within which results are equal to the last bit.
//!
//! Start at [`open`]. A GPU is asked for numbers that are known before it is trusted with any.

#[cfg(any(feature = "cuda", test))]
mod check;
#[cfg(feature = "cuda")]
mod gpu;
mod inventory;

pub use candle_core::Device;

pub use self::inventory::processor;
pub use crate::kernels::{KERNELS_VARIABLE, Kernels, KernelsError};

/// The device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The name is none.
    #[error("`{0}` is no device; write `cpu` or `cuda:0` (the number of a GPU)")]
    Unknown(String),
    /// CUDA needs another build.
    #[error("this bitloop was built without CUDA; build it with `cargo build --release --features cuda`")]
    WithoutCuda,
    /// The kernels that the environment asks for.
    #[error(transparent)]
    Kernels(#[from] KernelsError),
    /// There is no GPU of this number.
    #[error(
        "there is no device `{name}`: CUDA sees {count} GPU(s), the first one is `cuda:0`; `nvidia-smi` shows what is there, CUDA_VISIBLE_DEVICES hides GPUs"
    )]
    Missing {
        /// What was asked for.
        name: String,
        /// How many there are.
        count: usize,
    },
    /// The driver or the card refuses.
    #[error("device `{name}` cannot be opened: {reason}; `nvidia-smi` shows what is there")]
    Open {
        /// The device.
        name: String,
        /// What the driver says.
        reason: String,
    },
    /// It computes something else than a CPU, or nothing.
    #[error(
        "device `{name}` fails the test that every GPU goes through: {reason}; {KERNELS_VARIABLE}=candle does without bitloop's own kernels"
    )]
    Wrong {
        /// The device.
        name: String,
        /// What differs, or what the driver says.
        reason: String,
    },
}

/// A device that can be computed on.
#[derive(Clone, Debug)]
pub struct Opened {
    /// What candle computes on.
    pub device: Device,
    /// What it is; results of one class are equal to the last bit.
    pub inventory: bitloop_core::device::Device,
    /// What computes.
    pub kernels: Kernels,
}

/// Names of the GPUs that CUDA sees, for [`open`]. `CUDA_VISIBLE_DEVICES` hides others, and numbers them anew.
///
/// Errors: `WithoutCuda`, or what the driver says.
pub fn gpus() -> Result<Vec<String>, DeviceError> {
    count_gpus().map(|count| (0..count).map(|ordinal| format!("cuda:{ordinal}")).collect())
}

#[cfg(not(feature = "cuda"))]
fn count_gpus() -> Result<usize, DeviceError> {
    Err(DeviceError::WithoutCuda)
}

#[cfg(feature = "cuda")]
fn count_gpus() -> Result<usize, DeviceError> {
    gpu::count().map_err(|reason| DeviceError::Open { name: "cuda:all".to_owned(), reason })
}

/// Opens `cpu` or `cuda:N`.
///
/// A GPU computes a small network and a few quantizers, and is refused if a CPU says otherwise.
///
/// Errors: [`DeviceError`].
pub fn open(name: &str) -> Result<Opened, DeviceError> {
    if name == "cpu" {
        let kernels = Kernels::chosen()?;
        let inventory = inventory::cpu(class_of(cpu_class(), kernels));
        return Ok(Opened { device: Device::Cpu, inventory, kernels });
    }
    let ordinal = name.strip_prefix("cuda:").and_then(|ordinal| ordinal.parse().ok());
    open_gpu(name, ordinal.ok_or_else(|| DeviceError::Unknown(name.to_owned()))?)
}

#[cfg(not(feature = "cuda"))]
fn open_gpu(_name: &str, _ordinal: usize) -> Result<Opened, DeviceError> {
    Err(DeviceError::WithoutCuda)
}

#[cfg(feature = "cuda")]
fn open_gpu(name: &str, ordinal: usize) -> Result<Opened, DeviceError> {
    let refused = |reason: String| DeviceError::Open { name: name.to_owned(), reason };
    let count = gpu::count().map_err(refused)?;
    if ordinal >= count {
        return Err(DeviceError::Missing { name: name.to_owned(), count });
    }
    let (device, mut inventory) = gpu::open(ordinal).map_err(refused)?;
    let kernels = Kernels::chosen_for(&device)?;
    check::check(&device, kernels)
        .map_err(|reason| DeviceError::Wrong { name: name.to_owned(), reason: reason.to_string() })?;
    if kernels != Kernels::CUDA {
        inventory.class = class_of(inventory.class, kernels);
    }
    Ok(Opened { device, inventory, kernels })
}

/// The class of a device that computes with certain kernels: all of a CPU's own ones give the same bits.
fn class_of(class: String, kernels: Kernels) -> String {
    if kernels.are_exact() { class } else { format!("{class} with {}", kernels.name()) }
}

/// The class of this CPU with bitloop's own kernels: its model and widest instructions.
pub fn cpu_class() -> String {
    format!("{} {}", cpu_model(), simd_level())
}

fn cpu_model() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    field(&text, "model name").unwrap_or(std::env::consts::ARCH).to_owned()
}

/// The value of a `name : value` line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    let value = fields.find(|(field, _)| field.trim() == name).map(|(_, value)| value.trim());
    value.filter(|value| !value.is_empty())
}

/// The widest instructions that the kernels choose between; another level rounds differently.
#[cfg(target_arch = "x86_64")]
fn simd_level() -> &'static str {
    if std::arch::is_x86_feature_detected!("avx512f") {
        "avx512"
    } else if std::arch::is_x86_feature_detected!("fma") {
        "avx2+fma"
    } else {
        "sse2"
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn simd_level() -> &'static str {
    std::env::consts::ARCH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_names_are_devices() {
        assert!(open("cpu").is_ok_and(|opened| opened.device.is_cpu() && !opened.inventory.class.is_empty()));
        for wrong in ["", "CPU", "gpu", "cuda", "cuda:", "cuda:-1", "cuda:x", "cpu:0"] {
            assert!(matches!(open(wrong), Err(DeviceError::Unknown(_))), "{wrong}");
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_gpu_needs_the_other_build() {
        assert!(matches!(open("cuda:0"), Err(DeviceError::WithoutCuda)));
    }

    #[test]
    fn the_cpus_model_is_found() {
        let text = "processor\t: 0\nmodel\t\t: 85\nmodel name\t: Fast CPU @ 3 GHz\nflags\t: fma\n";
        assert_eq!(field(text, "model name"), Some("Fast CPU @ 3 GHz"));
        assert_eq!(field("processor : 0\n", "model name"), None);
    }
}
