use bitloop_core::bits::{Bits, Choice};
use serde_json::{Map, Value};

use super::{ExportError, Exported};
use crate::prepare::Prepared;

/// Width that stands for a tensor without quantizer.
const FLOAT_BITS: u64 = 32;

/// Returns the widths as a JSON object from point to bits, in the order of the points; float counts as 32.
///
/// Source: the bit configs of HAWQ's quantization programs, which map a layer's name to its width.
pub fn bitconfig(exported: &Exported<'_>) -> String {
    let lines = exported.prepared.points.iter().zip(&exported.choices).map(|(point, choice)| {
        let bits = match choice {
            Choice::Float => FLOAT_BITS,
            Choice::Bits(bits) => u64::from(bits.get()),
        };
        // The order of the points would be lost in a map of JSON values.
        format!("  {}: {bits}", Value::from(point.name.as_str()))
    });
    format!("{{\n{}\n}}\n", lines.collect::<Vec<_>>().join(",\n"))
}

/// Reads such an object; points that it does not name get `otherwise`.
///
/// Errors: `NotBitConfig`, `UnknownPoint`, `Width`.
pub fn choices_of(prepared: &Prepared, text: &str, otherwise: Choice) -> Result<Vec<Choice>, ExportError> {
    let reason = |reason: String| ExportError::NotBitConfig { reason };
    let widths: Map<String, Value> = serde_json::from_str(text).map_err(|error| reason(error.to_string()))?;
    let mut choices = vec![otherwise; prepared.points.len()];
    for (name, width) in &widths {
        let index = prepared.points.iter().position(|point| point.name == *name);
        let index = index.ok_or_else(|| ExportError::UnknownPoint { name: name.clone() })?;
        let width = width.as_u64().ok_or_else(|| reason(format!("`{name}` has {width}")))?;
        choices[index] = match width {
            FLOAT_BITS => Choice::Float,
            _ => {
                let bits = u8::try_from(width).ok().and_then(|bits| Bits::new(bits).ok());
                Choice::Bits(bits.ok_or_else(|| ExportError::Width { name: name.clone(), bits: width })?)
            }
        };
    }
    Ok(choices)
}
