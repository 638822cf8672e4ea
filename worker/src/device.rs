//! On what a worker computes: what the user asked for, and the class that outcomes name.

use std::fmt;
use std::str::FromStr;

/// What `--device` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The CPU.
    #[default]
    Cpu,
    /// The CUDA device of this number.
    Cuda(usize),
}

/// Why a device cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// No device is called so.
    #[error("`{0}` is no device; choose cpu or cuda:N")]
    Unknown(String),
    /// The program has no code for it.
    #[error("this bitloop was built without CUDA; build with `cargo build --release --features cuda`")]
    BuiltWithoutCuda,
    /// The numerics cannot open it.
    #[error("{reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
}

impl FromStr for DeviceChoice {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let unknown = || DeviceError::Unknown(text.to_owned());
        match text.split_once(':') {
            None if text == "cpu" => Ok(Self::Cpu),
            Some(("cuda", ordinal)) => {
                let ordinal = ordinal.parse().map_err(|_| unknown())?;
                match cfg!(feature = "cuda") {
                    true => Ok(Self::Cuda(ordinal)),
                    false => Err(DeviceError::BuiltWithoutCuda),
                }
            }
            None | Some(_) => Err(unknown()),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

impl DeviceChoice {
    /// The class of the device: results of one class are equal to the last bit.
    pub(crate) fn class(self) -> String {
        match self {
            Self::Cpu => format!("{} {}", cpu_model(), simd_level()),
            Self::Cuda(ordinal) => format!("CUDA {}", gpu_model(ordinal)),
        }
    }
}

/// The GPU's name as the driver tells it; without that, GPUs of one number count as one class.
fn gpu_model(ordinal: usize) -> String {
    let folders = std::fs::read_dir("/proc/driver/nvidia/gpus").into_iter().flatten().flatten();
    let mut files: Vec<_> = folders.map(|folder| folder.path().join("information")).collect();
    files.sort();
    let text = files.get(ordinal).and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
    field(&text, "Model").map_or_else(|| format!("device {ordinal}"), str::to_owned)
}

fn cpu_model() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    model_name(&text).unwrap_or(std::env::consts::ARCH).to_owned()
}

fn model_name(cpuinfo: &str) -> Option<&str> {
    field(cpuinfo, "model name")
}

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
    fn devices_are_read_from_their_names() {
        assert_eq!("cpu".parse(), Ok(DeviceChoice::Cpu));
        for text in ["", "CPU", "gpu", "cuda", "cuda:", "cuda:x", "cuda:-1", "cpu:0"] {
            assert_eq!(text.parse::<DeviceChoice>(), Err(DeviceError::Unknown(text.to_owned())));
        }
    }

    #[test]
    fn a_cuda_device_needs_a_build_with_cuda() {
        let expected = match cfg!(feature = "cuda") {
            true => Ok(DeviceChoice::Cuda(1)),
            false => Err(DeviceError::BuiltWithoutCuda),
        };

        assert_eq!("cuda:1".parse::<DeviceChoice>(), expected);
    }

    #[test]
    fn the_cpus_model_is_found() {
        let text = "processor\t: 0\nmodel\t\t: 85\nmodel name\t: Fast CPU @ 3 GHz\nflags\t: fma\n";

        assert_eq!(model_name(text), Some("Fast CPU @ 3 GHz"));
        assert_eq!(model_name("processor : 0\n"), None);
    }
}
