//! Damaged files of every kind: nothing panics, and what is accepted is sound. `BITLOOP_MUTATIONS` says how many.

use bitloop_core::spec::{Dataset, Split};

use super::formats::{grey, jpeg, png};
use super::{Folder, gzip, idx};
use crate::data::folder::tests::parses;
use crate::data::picture::Picture;
use crate::data::{load, read_images, read_labels};
use crate::rng::{Rng, rng};

/// Damaged files of each kind; all kinds together take about a second.
const MUTATIONS: u64 = 500;
/// Changes to a file at most.
const CHANGES_MAX: usize = 8;

fn mutations() -> u64 {
    std::env::var("BITLOOP_MUTATIONS").ok().and_then(|count| count.parse().ok()).unwrap_or(MUTATIONS)
}

/// `bytes` with a few of them changed, removed, repeated or cut off.
fn damaged(bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=rng.below(CHANGES_MAX) {
        let at = rng.below(bytes.len().max(1));
        let end = (at + 1 + rng.below(16)).min(bytes.len());
        match rng.below(8) {
            _ if bytes.is_empty() => bytes.push(rng.below(256) as u8),
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            3 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][rng.below(5)],
            4 => bytes[at] ^= 1 << rng.below(8),
            5 => bytes.swap(at, end - 1),
            _ => bytes[at] = rng.below(256) as u8,
        }
    }
    bytes
}

fn each_damaged(seed: u64, good: &[Vec<u8>], mut read: impl FnMut(&[u8])) {
    for step in 0..mutations() {
        let mut rng = rng(seed, step);
        let chosen = rng.below(good.len());
        read(&damaged(&good[chosen], &mut rng));
    }
}

#[test]
fn damaged_pictures_never_panic() {
    let values: Vec<u8> = (0..48).map(|i| i * 5).collect();
    let colours: Vec<[u8; 3]> = values.chunks(3).map(|value| [value[0], value[1], value[2]]).collect();
    let blocks: Vec<[u8; 1]> = values.iter().map(|value| [*value]).collect();
    let good = [
        grey([6, 8], &values),
        png([4, 4], png::ColorType::Rgb, &values),
        png([3, 4], png::ColorType::Rgba, &values),
        jpeg([6, 8], &blocks),
        jpeg([4, 4], &colours),
    ];
    let mut accepted = 0;

    each_damaged(11, &good, |bytes| {
        if let Ok(picture) = Picture::decode(bytes) {
            accepted += 1;
            assert!(matches!(picture.channels, 1 | 3));
            assert_eq!(picture.pixels.len(), picture.channels * picture.height * picture.width);
        }
    });

    assert!(accepted < mutations(), "damage is noticed");
}

#[test]
fn damaged_idx_files_never_panic() {
    let folder = Folder::new("mutated-idx");
    let images = idx(0x803, &[2, 3, 4], &[7; 24]);
    let labels = idx(0x801, &[5], &[1, 2, 3, 4, 5]);
    let good = [gzip(&images), gzip(&labels), images, labels];

    each_damaged(12, &good, |bytes| {
        let path = folder.write("file", bytes);
        if let Ok((shape, pixels)) = read_images(&path) {
            assert!(!pixels.is_empty() && pixels.len() % shape.elements() == 0);
        }
        if let Ok(labels) = read_labels(&path) {
            assert!(labels.len() < 1 << 16, "no more than the file can hold");
        }
    });
}

#[test]
fn damaged_cifar_files_never_panic() {
    let folder = Folder::new("mutated-cifar");
    let folders = [folder.0.clone()];
    let good = [vec![3; 2 * 3073], gzip(&vec![3; 2 * 3073])];

    each_damaged(13, &good, |bytes| {
        folder.write("test_batch.bin", bytes);
        if let Ok(images) = load(Dataset::Cifar10, Split::Test, &folders) {
            assert_eq!(images.pixels.len(), images.len() * 3072);
            assert!(images.labels.iter().all(|label| *label < 10));
        }
    });
}

#[test]
fn damaged_labels_files_never_panic() {
    let folder = Folder::new("mutated-labels");
    folder.write("1.png", b"");
    folder.write("2.png", b"");
    let good = [b"file,label\n1.png,3\n\"2.png\",9\n".to_vec(), b"1.png,1\r\n2.png,0".to_vec()];
    let mut accepted = 0;
    assert!(good.iter().all(|text| parses(text, &folder.0)));

    each_damaged(14, &good, |text| accepted += u64::from(parses(text, &folder.0)));

    assert!(accepted < mutations(), "damage is noticed");
}
