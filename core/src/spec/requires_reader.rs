//! What stages ask of workers.

use std::collections::BTreeMap;

use super::reader::Place;
use crate::device::{DeviceKind, Requirements};

/// Longest key or value of a label.
pub const LABEL_BYTES_MAX: usize = 64;
/// Most labels of one thing.
pub const LABELS_MAX: usize = 16;

const UNITS: [(&str, u32); 4] = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];

/// Whether a text can be the key or the value of a label: 1 to 64 letters, digits, `-`, `_`, `.` and `/`.
pub fn is_label(text: &str) -> bool {
    let allowed = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.' | '/');
    (1..=LABEL_BYTES_MAX).contains(&text.len()) && text.chars().all(allowed)
}

/// Reads `{ device: cuda, gpu_memory: 8GiB, labels: { board: orin }, exclusive: true }`.
pub(super) fn requires(place: &Place<'_>) -> Option<Requirements> {
    let fields = place.fields(&["device", "gpu_memory", "labels", "exclusive"])?;
    let device = fields.optional("device", None, |place| device(place).map(Some));
    let gpu_memory_bytes = fields.optional("gpu_memory", None, |place| bytes(place).map(Some));
    let labels = fields.optional("labels", BTreeMap::new(), labels);
    let exclusive = fields.optional("exclusive", false, Place::flag);
    let read = Requirements {
        device: device?,
        gpu_memory_bytes: gpu_memory_bytes?,
        labels: labels?,
        exclusive: exclusive?,
        probe: None,
    };
    if read.device == Some(DeviceKind::Cpu) && read.gpu_memory_bytes.is_some() {
        return fields.mistake("gpu_memory", "a CPU has no GPU memory", "remove it, or write `device: cuda`");
    }
    Some(read)
}

/// The kind of a device.
pub(super) fn device(place: &Place<'_>) -> Option<DeviceKind> {
    // The nearest word would be the wrong one.
    if place.as_text() == Some("gpu") {
        return place.expected("`cpu` or `cuda`", "write `cuda` for a GPU");
    }
    place.word(&DeviceKind::ALL.map(|kind| (kind.as_str(), kind)))
}

/// An amount of memory in bytes.
pub(super) fn bytes(place: &Place<'_>) -> Option<u64> {
    const HINT: &str = "write a whole number and its unit, such as 8GiB or 512MiB";
    let text = place.text()?.trim();
    let read = UNITS.iter().find_map(|(unit, shift)| {
        let number: u64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
        number.checked_mul(1 << shift).filter(|bytes| *bytes > 0)
    });
    read.or_else(|| place.mistake(format!("`{text}` is no amount of memory"), HINT))
}

/// Labels: keys and values.
pub(super) fn labels(place: &Place<'_>) -> Option<BTreeMap<String, String>> {
    const HINT: &str = "keys and values are 1 to 64 letters, digits, `-`, `_`, `.` and `/`";
    let entries = place.entries("{ board: orin }")?;
    if entries.len() > LABELS_MAX {
        return place
            .mistake(format!("there are {} labels", entries.len()), format!("{LABELS_MAX} are allowed"));
    }
    let read = entries.iter().map(|(key, place)| {
        let value = place.text()?;
        if !is_label(key) || !is_label(value) {
            return place.mistake(format!("`{key}: {value}` is no label"), HINT);
        }
        Some((key.clone(), value.to_owned()))
    });
    read.collect()
}
