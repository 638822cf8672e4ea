use flate2::Crc;

/// A zip archive to be; the fields of an entry are what its headers will say, true or not.
#[derive(Default)]
pub(crate) struct Archive {
    pub(crate) entries: Vec<Entry>,
    /// Whether sizes and offsets go where 64 bits fit.
    pub(crate) large: bool,
    pub(crate) comment: Vec<u8>,
}

#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) content: Vec<u8>,
    pub(crate) flags: u16,
    pub(crate) method: u16,
    /// What the directory says of the stored length.
    pub(crate) packed: u32,
    pub(crate) length: u32,
    pub(crate) checksum: u32,
    /// Place of the local header, if not where it really is.
    pub(crate) offset: Option<u32>,
}

impl Archive {
    pub(crate) fn add(&mut self, name: &str, content: &[u8]) {
        let mut checksum = Crc::new();
        checksum.update(content);
        let length = content.len() as u32;
        let (name, content, checksum) = (name.to_owned(), content.to_vec(), checksum.sum());
        let entry =
            Entry { name, content, flags: 0, method: 0, packed: length, length, checksum, offset: None };
        self.entries.push(entry);
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut directory = Vec::new();
        for entry in &self.entries {
            let offset = entry.offset.unwrap_or(bytes.len() as u32);
            // Sizes stand in the directory alone, as PyTorch writes it.
            bytes.extend_from_slice(b"PK\x03\x04");
            put_16(&mut bytes, &[20, entry.flags, entry.method, 0, 0]);
            put_32(&mut bytes, &[0, 0, 0]);
            put_16(&mut bytes, &[entry.name.len() as u16, 3]);
            bytes.extend_from_slice(entry.name.as_bytes());
            bytes.extend_from_slice(b"pad");
            bytes.extend_from_slice(&entry.content);
            self.list(entry, offset, &mut directory);
        }
        self.finish(bytes, &directory)
    }

    fn list(&self, entry: &Entry, offset: u32, directory: &mut Vec<u8>) {
        let shown = |value: u32| if self.large { u32::MAX } else { value };
        let mut extra = Vec::new();
        if self.large {
            put_16(&mut extra, &[0x4246, 2, 7, 1, 24]);
            put_64(&mut extra, &[entry.length.into(), entry.packed.into(), offset.into()]);
        }
        directory.extend_from_slice(b"PK\x01\x02");
        put_16(directory, &[20, 20, entry.flags, entry.method, 0, 0]);
        put_32(directory, &[entry.checksum, shown(entry.packed), shown(entry.length)]);
        put_16(directory, &[entry.name.len() as u16, extra.len() as u16, 0, 0, 0, 0, 0]);
        put_32(directory, &[shown(offset)]);
        directory.extend_from_slice(entry.name.as_bytes());
        directory.extend_from_slice(&extra);
    }

    fn finish(&self, mut bytes: Vec<u8>, directory: &[u8]) -> Vec<u8> {
        let start = bytes.len();
        bytes.extend_from_slice(directory);
        let (count, length) = (self.entries.len(), directory.len());
        if self.large {
            let end = bytes.len() as u64;
            bytes.extend_from_slice(b"PK\x06\x06");
            put_64(&mut bytes, &[44]);
            put_16(&mut bytes, &[45, 45]);
            put_32(&mut bytes, &[0, 0]);
            put_64(&mut bytes, &[count as u64, count as u64, length as u64, start as u64]);
            bytes.extend_from_slice(b"PK\x06\x07");
            put_32(&mut bytes, &[0]);
            put_64(&mut bytes, &[end]);
            put_32(&mut bytes, &[1]);
        }
        let count = if self.large { 0xffff } else { count as u16 };
        let shown = |value: usize| if self.large { u32::MAX } else { value as u32 };
        bytes.extend_from_slice(b"PK\x05\x06");
        put_16(&mut bytes, &[0, 0, count, count]);
        put_32(&mut bytes, &[shown(length), shown(start)]);
        put_16(&mut bytes, &[self.comment.len() as u16]);
        bytes.extend_from_slice(&self.comment);
        bytes
    }
}

fn put_16(bytes: &mut Vec<u8>, values: &[u16]) {
    values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
}

fn put_32(bytes: &mut Vec<u8>, values: &[u32]) {
    values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
}

fn put_64(bytes: &mut Vec<u8>, values: &[u64]) {
    values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
}
