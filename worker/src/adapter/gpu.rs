//! NVIDIA's GPUs by the names that their driver has for them.

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
