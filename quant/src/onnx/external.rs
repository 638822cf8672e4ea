//! Data of tensors that lies in a file beside the model.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use super::error::TensorError;
use super::schema::TensorProto;

/// Reads the `bytes` of a tensor from the file that it names.
///
/// Errors: `NoFolder`, `Location` (absolute, upwards, or through a link out of the folder), `Place`, `External`,
/// `Truncated`, `Length`; the memory is allocated when the file is known to be long enough.
pub(super) fn read(proto: &TensorProto, bytes: u64, folder: Option<&Path>) -> Result<Vec<u8>, TensorError> {
    let folder = folder.ok_or(TensorError::NoFolder)?;
    let path = inside(folder, &entry(proto, "location").unwrap_or_default())?;
    let offset = number(proto, "offset")?.unwrap_or(0);
    let length = number(proto, "length")?.unwrap_or(bytes);
    if length != bytes {
        let dims = proto.dims.clone();
        return Err(TensorError::Length { dims, expected: bytes, found: length, unit: "bytes" });
    }
    let io = |source| TensorError::External { path: path.clone(), source };
    let mut file = File::open(&path).map_err(io)?;
    let found = file.metadata().map_err(io)?.len();
    let expected = offset.saturating_add(bytes);
    if expected > found {
        return Err(TensorError::Truncated { path, expected, found });
    }
    let mut data = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
    file.seek(SeekFrom::Start(offset)).map_err(io)?;
    file.read_exact(&mut data).map_err(io)?;
    Ok(data)
}

fn entry(proto: &TensorProto, key: &str) -> Option<String> {
    proto.external_data.iter().find(|entry| entry.key == key).map(|entry| entry.value.clone())
}

fn number(proto: &TensorProto, key: &str) -> Result<Option<u64>, TensorError> {
    let Some(text) = entry(proto, key) else { return Ok(None) };
    match text.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(TensorError::Place { key: key.to_owned(), text }),
    }
}

/// Returns the file of this name, which must lie in the folder even where links are followed.
fn inside(folder: &Path, location: &str) -> Result<PathBuf, TensorError> {
    let outside = || TensorError::Location { location: location.to_owned() };
    let is_plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if location.is_empty()
        || location.contains(['\\', '\0'])
        || !Path::new(location).components().all(is_plain)
    {
        return Err(outside());
    }
    let path = folder.join(location);
    let io = |source| TensorError::External { path: path.clone(), source };
    let (real, root) = (path.canonicalize().map_err(io)?, folder.canonicalize().map_err(io)?);
    if !real.starts_with(root) || !real.is_file() {
        return Err(outside());
    }
    Ok(real)
}
