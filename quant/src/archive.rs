//! Safetensors bytes that depend on their content alone, so that a digest can name them.
//!
//! The `safetensors` crate reads; writing is done here because its metadata is a hash map, whose order changes
//! from one program start to the next.

use std::collections::BTreeMap;

use serde_json::json;

/// The key of the header's entry that is no tensor.
const METADATA: &str = "__metadata__";
/// The data behind the header starts at a multiple of this, so that the file can be mapped into memory.
const ALIGNMENT: usize = 8;

/// One tensor to be written.
pub(crate) struct Entry<'a> {
    /// Safetensors' word for the type: `F32`, `U32`, `U8`.
    pub(crate) dtype: &'static str,
    /// The extents.
    pub(crate) shape: &'a [usize],
    /// Row-major values, least byte first.
    pub(crate) bytes: Vec<u8>,
}

/// Returns a safetensors file with metadata and tensors in the order of their names.
pub(crate) fn to_bytes(metadata: BTreeMap<&str, String>, tensors: &BTreeMap<&str, Entry<'_>>) -> Vec<u8> {
    let mut header = format!("{{{}:{}", json!(METADATA), text_of(&metadata));
    let mut end = 0;
    for (name, entry) in tensors {
        let start = end;
        end += entry.bytes.len();
        let (dtype, shape) = (json!(entry.dtype), json!(entry.shape));
        header += &format!(
            r#",{}:{{"dtype":{dtype},"shape":{shape},"data_offsets":[{start},{end}]}}"#,
            json!(name)
        );
    }
    header.push('}');
    let mut header = header.into_bytes();
    header.resize(header.len().next_multiple_of(ALIGNMENT), b' ');

    let mut bytes = Vec::with_capacity(8 + header.len() + end);
    bytes.extend_from_slice(&(header.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&header);
    for entry in tensors.values() {
        bytes.extend_from_slice(&entry.bytes);
    }
    bytes
}

/// Writes a JSON object in the order of its keys, which `Value` does only without the feature `preserve_order`.
fn text_of(metadata: &BTreeMap<&str, String>) -> String {
    let pairs: Vec<String> =
        metadata.iter().map(|(key, value)| format!("{}:{}", json!(key), json!(value))).collect();
    format!("{{{}}}", pairs.join(","))
}

/// Returns f32 values as bytes.
pub(crate) fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Returns bytes as f32 values; bytes behind the last whole value are ignored.
pub(crate) fn f32_values(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|chunk| f32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]])).collect()
}

/// Returns bytes as u32 values; bytes behind the last whole value are ignored.
pub(crate) fn u32_values(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|chunk| u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]])).collect()
}
