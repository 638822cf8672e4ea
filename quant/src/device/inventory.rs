//! What this machine has, as far as its system tells.

use bitloop_core::device::{Device, DeviceKind};

use super::cpu_class;

/// The processor, with the class that results measured on it have.
pub(super) fn cpu(class: String) -> Device {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    Device {
        kind: DeviceKind::Cpu,
        id: "cpu".to_owned(),
        class,
        cores: cores(&cpuinfo),
        memory_bytes: memory_bytes(&meminfo),
        features: features(),
        compute_capability: None,
    }
}

/// This machine's processor.
pub fn processor() -> Device {
    cpu(cpu_class())
}

/// The name of the GPU that CUDA numbers so, by which workers know that they share it: the UUID that CUDA tells.
///
/// Of a part that NVIDIA's MIG has cut off, CUDA 12 tells the UUID of the whole; `visible` is CUDA_VISIBLE_DEVICES, where the
/// part's own one stands, which CUDA 13 tells as well.
#[cfg(any(feature = "cuda", test))]
pub(super) fn gpu_id(uuid: &str, ordinal: usize, visible: Option<&str>) -> String {
    let named = visible.and_then(|visible| visible.split(',').nth(ordinal));
    match named.and_then(|named| named.trim().strip_prefix("MIG-")) {
        None => format!("gpu-{uuid}"),
        Some(part) => {
            let part = part.to_ascii_lowercase();
            let digits = part.replace('-', "");
            let is_uuid = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            // Old drivers name a part by the whole's UUID and two numbers.
            if is_uuid { format!("gpu-{digits}") } else { format!("mig-{part}") }
        }
    }
}

/// Physical cores: the pairs of socket and core, or where the system does not tell them, the threads that it runs.
fn cores(cpuinfo: &str) -> u32 {
    let values = |name: &str| -> Vec<&str> {
        let fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        fields.filter(|(field, _)| field.trim() == name).map(|(_, value)| value.trim()).collect()
    };
    let mut pairs: Vec<_> = values("physical id").into_iter().zip(values("core id")).collect();
    pairs.sort_unstable();
    pairs.dedup();
    let threads = || std::thread::available_parallelism().map_or(0, usize::from);
    let cores = if pairs.is_empty() { threads() } else { pairs.len() };
    u32::try_from(cores).unwrap_or(u32::MAX)
}

/// The memory that there is; 0 if the system does not tell.
fn memory_bytes(meminfo: &str) -> u64 {
    let total = super::field(meminfo, "MemTotal").and_then(|value| value.strip_suffix("kB"));
    total.and_then(|kib| kib.trim().parse::<u64>().ok()).map_or(0, |kib| kib.saturating_mul(1024))
}

/// What the kernels can make use of.
#[cfg(target_arch = "x86_64")]
fn features() -> Vec<String> {
    let known = [
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
        ("avx512vnni", std::arch::is_x86_feature_detected!("avx512vnni")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
    ];
    known.into_iter().filter(|(_, has)| *has).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> Vec<String> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hyperthreads_of_a_core_count_once() {
        let thread = |socket: u32, core: u32| format!("physical id\t: {socket}\ncore id\t\t: {core}\n\n");
        let text = [thread(0, 0), thread(0, 1), thread(0, 0), thread(1, 0)].concat();

        assert_eq!(cores(&text), 3);
    }

    #[test]
    fn two_parts_of_a_gpu_are_two_devices() {
        const WHOLE: &str = "0123456789abcdef0123456789abcdef";
        let id = |visible| gpu_id(WHOLE, 0, Some(visible));

        let part = id("MIG-B8CA2C5E-0000-5555-9999-00aabbccddee");
        assert_eq!(part, "gpu-b8ca2c5e00005555999900aabbccddee", "as CUDA 13 names it without the variable");
        assert_ne!(id("MIG-b8ca2c5e-0000-5555-9999-00aabbccddef"), part);
        assert_eq!(
            id("MIG-GPU-01234567-89ab-cdef-0123-456789abcdef/7/0"),
            "mig-gpu-01234567-89ab-cdef-0123-456789abcdef/7/0"
        );
        assert_ne!(id("MIG-GPU-01234567/7/0"), id("MIG-GPU-01234567/8/0"));
        // Whole ones are named by themselves, whatever hides others.
        let whole = format!("gpu-{WHOLE}");
        assert_eq!(gpu_id(WHOLE, 0, None), whole);
        assert_eq!([id("1"), id(""), id("GPU-01234567")], [whole.clone(), whole.clone(), whole.clone()]);
        assert_eq!(gpu_id(WHOLE, 1, Some("MIG-1")), whole);
    }

    #[test]
    fn memory_is_read_in_kib() {
        assert_eq!(memory_bytes("MemTotal:       32768 kB\nMemFree: 1 kB\n"), 32 << 20);
        assert_eq!(memory_bytes(""), 0);
    }

    #[test]
    fn this_machine_has_a_processor() {
        let processor = processor();

        assert_eq!((processor.kind, processor.id.as_str()), (DeviceKind::Cpu, "cpu"));
        assert!(processor.cores > 0 && !processor.class.is_empty());
        assert!(processor.features.is_sorted());
    }
}
