//! Writers of the formats that `import::torch` reads, so that tests can make any file, also such as PyTorch never would.

mod archive;
mod pickle;

pub(crate) use archive::Archive;
pub(crate) use pickle::PickleWriter;

/// Writes a tensor to a file of one of the formats.
#[derive(Clone, Debug)]
pub(crate) struct TensorEntry {
    pub(crate) name: String,
    /// Class of the storage.
    pub(crate) class: &'static str,
    pub(crate) key: String,
    /// Elements of the storage.
    pub(crate) elements: i64,
    pub(crate) offset: i64,
    pub(crate) shape: Vec<i64>,
    pub(crate) strides: Vec<i64>,
}

impl TensorEntry {
    /// A contiguous f32 vector that has a storage of its own.
    pub(crate) fn vector(name: &str, key: &str, elements: i64) -> Self {
        Self {
            name: name.to_owned(),
            class: "FloatStorage",
            key: key.to_owned(),
            elements,
            offset: 0,
            shape: vec![elements],
            strides: vec![1],
        }
    }
}

/// Returns values as the bytes of a `FloatStorage`.
pub(crate) fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Returns the pickle of an ordered dict of tensors.
pub(crate) fn state_dict(tensors: &[TensorEntry], legacy: bool) -> Vec<u8> {
    let mut writer = PickleWriter::new();
    writer.ordered_dict();
    writer.mark();
    for tensor in tensors {
        writer.text(&tensor.name);
        writer.tensor(tensor, legacy);
    }
    writer.op(b'u');
    writer.end()
}

/// Returns an archive with a pickle and storages, as `torch.save` lays it out.
pub(crate) fn zip_file(pickle: &[u8], storages: &[(&str, Vec<u8>)]) -> Vec<u8> {
    zip_entries(pickle, storages).bytes()
}

/// The same, to be changed before its bytes are made.
pub(crate) fn zip_entries(pickle: &[u8], storages: &[(&str, Vec<u8>)]) -> Archive {
    let mut archive = Archive::default();
    archive.add("weights/data.pkl", pickle);
    archive.add("weights/byteorder", b"little");
    for (key, content) in storages {
        archive.add(&format!("weights/data/{key}"), content);
    }
    archive.add("weights/version", b"3\n");
    archive
}

/// An archive whose state dict has one entry `weight` that the closure writes.
pub(crate) fn with_weight(write: impl FnOnce(&mut PickleWriter)) -> Vec<u8> {
    let mut writer = PickleWriter::new();
    writer.op(b'}');
    writer.text("weight");
    write(&mut writer);
    writer.op(b's');
    zip_file(&writer.end(), &[("0", f32_bytes(&[1.0, 2.0]))])
}

/// The first three pickles of the legacy format.
pub(crate) fn legacy_head(little_endian: bool) -> Vec<u8> {
    let mut bytes = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.".to_vec();
    let mut machine = PickleWriter::new();
    machine.op(b'}');
    machine.text("little_endian");
    machine.op(if little_endian { 0x88 } else { 0x89 });
    machine.op(b's');
    bytes.extend(machine.end());
    bytes
}

/// Returns a legacy stream with an object's pickle and f32 storages.
pub(crate) fn legacy_file(pickle: &[u8], storages: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = legacy_head(true);
    bytes.extend_from_slice(pickle);
    let mut keys = PickleWriter::new();
    keys.op(b']');
    keys.mark();
    storages.iter().for_each(|(key, _)| keys.text(key));
    keys.op(b'e');
    bytes.extend(keys.end());
    for (_, content) in storages {
        bytes.extend_from_slice(&(content.len() as u64 / 4).to_le_bytes());
        bytes.extend_from_slice(content);
    }
    bytes
}
