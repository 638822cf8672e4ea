//! The stream that `torch.save` wrote before 1.6: five pickles (a magic number, a protocol, facts about the machine,
//! the object, the keys of the storages), then each storage as its number of elements and its bytes.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::cursor::Cursor;
use super::error::TorchError;
use super::pickle::{Object, Pickle, Value};
use super::tensors::{self, Described, Storages};

/// 0x1950a86a20f9469cfc6c, least byte first.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const PROTOCOL: i64 = 1001;
const LITTLE_ENDIAN: &str = "little_endian";

/// Reads a stream.
pub(super) fn read(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, TorchError> {
    let magic = Pickle::read(bytes, 0)?;
    if !matches!(magic.root, Value::Long(found) if found == MAGIC) {
        return Err(TorchError::NotTorch);
    }
    let protocol = Pickle::read(bytes, magic.end)?;
    if !matches!(protocol.root, Value::Int(PROTOCOL)) {
        return Err(TorchError::NotTorch);
    }
    let machine = Pickle::read(bytes, protocol.end)?;
    check_byte_order(&machine)?;
    let content = Pickle::read(bytes, machine.end)?;
    let keys = Pickle::read(bytes, content.end)?;
    let storages = storages(bytes, &content, &keys)?;
    tensors::read(&content, &storages, bytes.len())
}

fn check_byte_order(machine: &Pickle<'_>) -> Result<(), TorchError> {
    let mut pairs = machine.pairs(machine.root).iter();
    match pairs.find(|pair| matches!(pair.0, Value::Text(LITTLE_ENDIAN))) {
        Some((_, Value::Bool(true))) => Ok(()),
        Some((_, Value::Bool(false))) => Err(TorchError::ByteOrder { found: "big".to_owned() }),
        _ => Err(TorchError::ByteOrder { found: "unknown".to_owned() }),
    }
}

/// Reads the storages in the order of their keys; nothing may be left over.
fn storages<'a>(
    bytes: &'a [u8],
    content: &Pickle<'a>,
    keys: &Pickle<'a>,
) -> Result<Storages<'a>, TorchError> {
    let Some(Object::List(names)) = keys.object(keys.root) else { return Err(TorchError::NotTorch) };
    let mut described = tensors::described(content)?;
    let mut input = Cursor::new(bytes, keys.end);
    let mut storages = Storages::new();
    for name in names {
        let Value::Text(key) = *name else { return Err(TorchError::NotTorch) };
        let wrong = || TorchError::Storage { key: key.to_owned() };
        // A key that is listed twice, or that no tensor has, is of no known type.
        let Described { elements, bytes, .. } = described.remove(key).ok_or_else(wrong)?;
        let truncated = || TorchError::Truncated { place: format!("storage `{key}`") };
        if input.u64().ok_or_else(truncated)? != elements as u64 {
            return Err(wrong());
        }
        storages.insert(key, input.take(bytes).ok_or_else(truncated)?, bytes)?;
    }
    match (described.keys().next(), bytes.len() - input.at()) {
        (Some(key), _) => Err(TorchError::Storage { key: (*key).to_owned() }),
        (None, 0) => Ok(storages),
        (None, bytes) => Err(TorchError::Trailing { bytes }),
    }
}
