//! Values in the files of requests: f32, little-endian.

/// The bytes of values.
pub(crate) fn encoded(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The values of bytes; what is behind the last whole one is left out.
pub(crate) fn decoded(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}
