//! Decoded images, kept so that unchanged files are decoded once.
//!
//! An entry is named by what it was made from and begins with the digest of the rest, so a damaged one is noticed and
//! made again.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bitloop_core::digest::Digest;

use super::Images;

/// Bytes that entries take together at most (8 GiB); beyond it the oldest ones go.
const BYTES_MAX: u64 = 8 << 30;
const ENDING: &str = "images";
const PART_ENDING: &str = "part";
const DIGEST_BYTES: usize = 32;

/// Where the entry of a key lies.
pub(super) fn entry(folder: &Path, key: &Digest) -> PathBuf {
    folder.join(key.hex()).with_extension(ENDING)
}

/// Reads an entry; none if it is missing or damaged in any way.
pub(super) fn read(entry: &Path) -> Option<Images> {
    let bytes = fs::read(entry).ok()?;
    let (digest, artifact) = bytes.split_at_checked(DIGEST_BYTES)?;
    if Digest::of(artifact).as_bytes() != digest {
        return None;
    }
    Images::from_bytes(artifact).ok()
}

/// Writes an entry, whole or not at all, and removes the oldest ones beyond the limit.
pub(super) fn write(entry: &Path, images: &Images) -> io::Result<()> {
    write_within(entry, images, BYTES_MAX)
}

fn write_within(entry: &Path, images: &Images, bytes_max: u64) -> io::Result<()> {
    let folder = entry.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let artifact = images.to_bytes();
    // Two processes may decode the same images at once.
    let part = entry.with_extension(format!("{}.{PART_ENDING}", std::process::id()));
    let written = write_part(&part, &artifact).and_then(|()| fs::rename(&part, entry));
    if written.is_err() {
        let _ = fs::remove_file(&part);
        return written;
    }
    remove_oldest(folder, entry, bytes_max)
}

fn write_part(part: &Path, artifact: &[u8]) -> io::Result<()> {
    let mut file = File::create(part)?;
    file.write_all(Digest::of(artifact).as_bytes())?;
    file.write_all(artifact)?;
    file.sync_all()
}

/// Removes entries, the oldest first, until the rest stays within the limit; `keep` stays in any case.
fn remove_oldest(folder: &Path, keep: &Path, bytes_max: u64) -> io::Result<()> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_ours = path.extension().is_some_and(|ending| ending == ENDING || ending == PART_ENDING);
        // Another process may have removed it meanwhile.
        if let Some(metadata) = fs::metadata(&path).ok().filter(|_| is_ours) {
            entries.push((metadata.modified()?, path, metadata.len()));
        }
    }
    entries.sort();
    let mut bytes: u64 = entries.iter().map(|(_, _, len)| len).sum();
    for (_, path, len) in entries {
        if bytes <= bytes_max {
            break;
        }
        if path != keep {
            let _ = fs::remove_file(&path);
            bytes -= len;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bitloop_core::graph::Shape;

    use super::*;
    use crate::data::tests::Folder;

    fn images() -> Images {
        Images { shape: Shape::image(1, 2, 2), pixels: (0..8).collect(), labels: vec![1, 0], classes: 2 }
    }

    #[test]
    fn an_entry_gives_its_images_back() {
        let folder = Folder::new("cache-entry");
        let entry = entry(&folder.0.join("new"), &Digest::of(b"key"));

        assert!(read(&entry).is_none());
        write(&entry, &images()).unwrap();

        assert_eq!(read(&entry), Some(images()));
        assert_eq!(fs::read_dir(entry.parent().unwrap()).unwrap().count(), 1, "no unfinished file is left");
    }

    #[test]
    fn no_damage_to_an_entry_goes_unnoticed() {
        let folder = Folder::new("cache-damage");
        let entry = entry(&folder.0, &Digest::of(b"key"));
        write(&entry, &images()).unwrap();
        let good = fs::read(&entry).unwrap();

        for at in 0..good.len() {
            let mut damaged = good.clone();
            damaged[at] ^= 1;
            fs::write(&entry, damaged).unwrap();
            assert!(read(&entry).is_none(), "byte {at}");
            fs::write(&entry, &good[..at]).unwrap();
            assert!(read(&entry).is_none(), "{at} bytes");
        }
    }

    #[test]
    fn the_oldest_entries_make_room_for_a_new_one() {
        let folder = Folder::new("cache-room");
        let of = |name: &[u8]| entry(&folder.0, &Digest::of(name));
        folder.write("foreign.txt", &[0; 10_000]);
        write(&of(b"first"), &images()).unwrap();
        let len = fs::metadata(of(b"first")).unwrap().len();
        let back =
            fs::metadata(of(b"first")).unwrap().modified().unwrap() - std::time::Duration::from_secs(9);
        File::options().write(true).open(of(b"first")).unwrap().set_modified(back).unwrap();
        write(&of(b"second"), &images()).unwrap();

        write_within(&of(b"third"), &images(), 2 * len).unwrap();

        let there = [b"first".as_slice(), b"second", b"third"].map(|name| of(name).exists());
        assert_eq!(there, [false, true, true]);
        write_within(&of(b"fourth"), &images(), 1).unwrap();
        assert!(of(b"fourth").exists() && !of(b"third").exists(), "what was just made stays");
        assert!(folder.0.join("foreign.txt").exists(), "other files are left alone");
    }
}
