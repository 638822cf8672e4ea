//! Damaged files of every format: an answer each time, without a panic and within bounded memory.
//!
//! `BITLOOP_MUTATIONS=1000000` tries as many files per format instead of the default.

use std::path::Path;

use crate::files::{TensorEntry, f32_bytes, legacy_file, state_dict, zip_file};
use bitloop_quant::import::torch::from_bytes;
use bitloop_quant::rng::{Rng, rng};

const SEED: u64 = 0x7031;
/// Damaged files per format, where nobody asks for more.
const MUTATIONS: u64 = 5000;
/// Memory that reading may take at one time: so many bytes for each of the file, and a constant for messages.
const MEMORY_PER_BYTE_MAX: u64 = 256;
const MEMORY_MAX: u64 = 16 << 10;

fn mutations() -> u64 {
    std::env::var("BITLOOP_MUTATIONS").map_or(MUTATIONS, |count| count.parse().unwrap())
}

/// Numbers that lengths and offsets are wrong with most often.
const INTERESTING: [u64; 12] =
    [0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, i64::MAX as u64, u64::MAX];

/// Changes a few places: a bit, a byte, a number, or a piece that is removed, doubled or moved.
fn damage(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..1 + rng.below(4) {
        if bytes.is_empty() {
            return;
        }
        let at = rng.below(bytes.len());
        let length = 1 + rng.below((bytes.len() - at).min(32));
        match rng.below(7) {
            0 => bytes[at] ^= 1 << rng.below(8),
            1 => bytes[at] = rng.below(256) as u8,
            2 => {
                let number = INTERESTING[rng.below(INTERESTING.len())].to_le_bytes();
                let width = [1, 2, 4, 8][rng.below(4)].min(bytes.len() - at);
                bytes[at..at + width].copy_from_slice(&number[..width]);
            }
            3 => drop(bytes.drain(at..at + length)),
            4 => {
                let piece = bytes[at..at + length].to_vec();
                let to = rng.below(bytes.len());
                bytes.splice(to..to, piece);
            }
            5 => {
                let piece = bytes[at..at + length].to_vec();
                let to = rng.below(bytes.len() - length + 1);
                bytes[to..to + length].copy_from_slice(&piece);
            }
            _ => bytes.truncate(at),
        }
    }
}

/// Reads one damaged file and gives its peak of memory, and whether it was read all the same.
fn attempt(bytes: &[u8], what: &str, step: u64) -> (u64, bool) {
    let mut fine = false;
    let taken = allocation_counter::measure(|| fine = from_bytes(bytes).is_ok());
    let limit = MEMORY_MAX + MEMORY_PER_BYTE_MAX * bytes.len() as u64;
    let peak = taken.bytes_max;
    assert!(peak <= limit, "{what}, step {step}: {peak} bytes of memory for {} of file", bytes.len());
    (peak, fine)
}

/// Tries damaged files, each damaged from the original and wrapped after that.
fn try_all(what: &str, original: &[u8], wrap: &dyn Fn(&[u8]) -> Vec<u8>) {
    let (mut peak, mut fine) = (0, 0u64);
    let count = mutations();
    for step in 0..count {
        let mut rng = rng(SEED, step);
        let mut bytes = original.to_vec();
        damage(&mut bytes, &mut rng);
        let (taken, read) = attempt(&wrap(&bytes), what, step);
        peak = peak.max(taken);
        fine += u64::from(read);
    }
    eprintln!("{what}: {count} damaged files, {fine} still read, at most {peak} bytes of memory at a time");
    assert!(fine < count, "{what}: no damage was noticed");
}

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/torch");
    std::fs::read(folder.join(name)).unwrap()
}

fn as_it_is(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

fn entries() -> [TensorEntry; 2] {
    [TensorEntry::vector("a", "0", 2), TensorEntry::vector("b", "1", 3)]
}

fn storages() -> [(&'static str, Vec<u8>); 2] {
    [("0", f32_bytes(&[1.0, 2.0])), ("1", f32_bytes(&[3.0, 4.0, 5.0]))]
}

#[test]
fn damaged_archives_are_answered() {
    try_all("zip", &fixture("types_zip_2_6.pt"), &as_it_is);
    try_all("zip, small", &zip_file(&state_dict(&entries(), false), &storages()), &as_it_is);
}

#[test]
fn damaged_pickles_in_sound_archives_are_answered() {
    // The checksum is made after the damage, so that it does not hide the pickle.
    let wrap = |pickle: &[u8]| zip_file(pickle, &storages());
    try_all("pickle in zip", &state_dict(&entries(), false), &wrap);
}

#[test]
fn damaged_legacy_streams_are_answered() {
    try_all("legacy", &fixture("checkpoint_legacy_2_6.pt"), &as_it_is);
    try_all("legacy, types", &fixture("types_legacy_2_6.pt"), &as_it_is);
    try_all("legacy, small", &legacy_file(&state_dict(&entries(), true), &storages()), &as_it_is);
}

#[test]
fn damaged_safetensors_are_answered() {
    let header = r#"{"__metadata__":{"by":"test"},"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"b":{"dtype":"F16","shape":[2],"data_offsets":[8,12]}}"#;
    let file = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0x3c; 12]].concat();
    try_all("safetensors", &file, &as_it_is);
}

#[test]
fn operations_that_make_the_most_of_few_bytes_stay_within_the_same_memory() {
    // Each makes a value, a container or a memory of one, from one byte.
    for opcode in [b"N".as_slice(), b"]", b"}", b")", b"]\x94", b"]2", b"(", b"(t", b"]N\x85"] {
        for count in [1000, 60_000] {
            let pickle = [b"\x80\x04".as_slice(), &opcode.repeat(count), b"."].concat();
            let (peak, _) = attempt(&zip_file(&pickle, &[]), &format!("{opcode:x?}"), count as u64);
            eprintln!("{count} times {opcode:x?}: {} bytes of memory per byte", peak / pickle.len() as u64);
        }
    }
}
