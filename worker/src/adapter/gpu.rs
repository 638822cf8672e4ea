//! NVIDIA's GPUs: the names that their driver has for them, and its counter of their energy.

use super::Meter;
use crate::probe::protocol::device_name;

/// What the driver calls a GPU, or a part of one, that is named in its way or in workers'; none where the name is no GPU's.
pub(super) fn driver_name(name: &str) -> Option<String> {
    let known = device_name(name);
    if let Some(part) = known.strip_prefix("mig-gpu-") {
        return Some(format!("MIG-GPU-{part}"));
    }
    let is_hexadecimal = |digits: &&str| digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let digits = known.strip_prefix("gpu-").filter(|digits| digits.len() == 32).filter(is_hexadecimal)?;
    // Workers' names do not tell a part from a whole; the driver's do.
    let kind = if name.to_ascii_lowercase().starts_with("mig-") { "MIG" } else { "GPU" };
    let (a, rest) = digits.split_at(8);
    let (b, rest) = rest.split_at(4);
    let (c, rest) = rest.split_at(4);
    let (d, e) = rest.split_at(4);
    Some(format!("{kind}-{a}-{b}-{c}-{d}-{e}"))
}

/// The energy counter of the GPU that is named so; none of other devices, and in programs without the feature `cuda`.
pub(super) fn meter(name: &str) -> Option<Box<dyn Meter>> {
    counter(&driver_name(name)?)
}

#[cfg(feature = "cuda")]
fn counter(uuid: &str) -> Option<Box<dyn Meter>> {
    nvml::Nvml::open(uuid).map(|nvml| Box::new(nvml) as Box<dyn Meter>)
}

#[cfg(not(feature = "cuda"))]
fn counter(_uuid: &str) -> Option<Box<dyn Meter>> {
    None
}

#[cfg(feature = "cuda")]
mod nvml {
    use super::Meter;

    /// NVML's library, as drivers install it; the name without a version comes with development files alone.
    const LIBRARY: &str = "libnvidia-ml.so.1";

    /// A GPU's counter moves every 20 to 100 milliseconds: a stretch of so many nanoseconds is a few tens of steps.
    const STRETCH_NS: f64 = 2e9;

    /// The energy counter of one GPU.
    pub(super) struct Nvml {
        library: nvml_wrapper::Nvml,
        uuid: String,
        start_mj: u64,
    }

    impl Nvml {
        /// None without the library, for a part of a GPU, and for GPUs that have no counter (before Volta).
        pub(super) fn open(uuid: &str) -> Option<Self> {
            let library = nvml_wrapper::Nvml::builder().lib_path(LIBRARY.as_ref()).init().ok()?;
            let mut nvml = Self { library, uuid: uuid.to_owned(), start_mj: 0 };
            nvml.start_mj = nvml.millijoules()?;
            Some(nvml)
        }

        fn millijoules(&self) -> Option<u64> {
            let device = self.library.device_by_uuid(self.uuid.as_str()).ok()?;
            device.total_energy_consumption().ok()
        }
    }

    impl Meter for Nvml {
        fn source(&self) -> String {
            "nvml".to_owned()
        }

        fn stretch_ns(&self) -> f64 {
            STRETCH_NS
        }

        fn joules(&mut self) -> Option<f64> {
            let millijoules = self.millijoules()?.checked_sub(self.start_mj)?;
            Some(millijoules as f64 / 1e3)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_has_the_drivers_name_however_it_is_named() {
        let whole = "GPU-01234567-89ab-cdef-0123-456789abcdef";

        assert_eq!(driver_name("gpu-0123456789abcdef0123456789abcdef").as_deref(), Some(whole));
        assert_eq!(driver_name(whole).as_deref(), Some(whole));
        assert_eq!(
            driver_name(&whole.replace("GPU", "MIG")),
            Some(whole.replace("GPU", "MIG")),
            "a part stays one"
        );
        assert_eq!(driver_name("mig-gpu-01234567/7/0").as_deref(), Some("MIG-GPU-01234567/7/0"));
        for other in ["cpu", "orin-1", "gpu-1", "GPU-01234567", "gpu-x123456789abcdef0123456789abcdef"] {
            assert_eq!(driver_name(other), None, "{other}");
        }
    }
}
