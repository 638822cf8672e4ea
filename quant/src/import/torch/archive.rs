//! The zip archive of `torch.save`: `<name>/data.pkl`, `<name>/byteorder` and one entry `<name>/data/<key>` per storage.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::error::TorchError;
use super::pickle::Pickle;
use super::tensors::{self, Storages};
use super::zip::Archive;

const OBJECTS: &str = "data.pkl";
const BYTE_ORDER: &str = "byteorder";
const LITTLE: &[u8] = b"little";
/// The entry that only TorchScript has.
const SCRIPT: &str = "constants.pkl";

/// Reads an archive.
pub(super) fn read(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, TorchError> {
    let archive = Archive::new(bytes)?;
    let folder = folder_of(&archive)?;
    let required = |name: &str| {
        let name = format!("{folder}{name}");
        archive.content(&name)?.ok_or(TorchError::Entry { name })
    };
    if archive.names().any(|name| name.strip_prefix(folder) == Some(SCRIPT)) {
        return Err(TorchError::TorchScript);
    }
    // Before PyTorch 2.1 there was no such entry, and only little-endian machines mattered.
    if let Some(order) = archive.content(&format!("{folder}{BYTE_ORDER}"))?
        && order != LITTLE
    {
        return Err(TorchError::ByteOrder { found: String::from_utf8_lossy(order).into_owned() });
    }
    let pickle = Pickle::read(required(OBJECTS)?, 0)?;
    let mut storages = Storages::new();
    for (key, described) in tensors::described(&pickle)? {
        storages.insert(key, required(&format!("data/{key}"))?, described.bytes)?;
    }
    tensors::read(&pickle, &storages, bytes.len())
}

/// The folder, with its slash, that the one `data.pkl` lies in.
fn folder_of<'a>(archive: &Archive<'a>) -> Result<&'a str, TorchError> {
    let folders = archive.names().filter_map(|name| name.strip_suffix(OBJECTS));
    let mut folders = folders.filter(|folder| folder.is_empty() || folder.ends_with('/'));
    match (folders.next(), folders.next()) {
        (Some(folder), None) => Ok(folder),
        _ => Err(TorchError::Entry { name: OBJECTS.to_owned() }),
    }
}
