use std::path::{Path, PathBuf};

use bitloop_core::graph::Shape;
use bitloop_core::spec::Split;

use super::files::{Source, plain_or_gzip};
use super::{DataError, Images};

const SIDE: usize = 32;
const CHANNELS: usize = 3;
const PIXELS: usize = CHANNELS * SIDE * SIDE;
/// Images that are read from one file at most; the real ones have 10,000 or 50,000.
const IMAGES_MAX: u64 = 1 << 20;

/// Which labels the images get.
#[derive(Clone, Copy)]
pub(super) enum Labels {
    Ten,
    Fine,
    Coarse,
}

/// What the two data sets differ in.
struct Layout {
    name: &'static str,
    folder: &'static str,
    train: &'static [&'static str],
    test: &'static [&'static str],
    /// Bytes of labels before an image's pixels.
    labels: usize,
    /// The one of them that is used.
    label: usize,
    classes: u32,
    how_to_get: &'static str,
}

impl Labels {
    fn layout(self) -> Layout {
        let hundred = Layout {
            name: "CIFAR-100",
            folder: "cifar-100-binary",
            train: &["train.bin"],
            test: &["test.bin"],
            labels: 2,
            label: 1,
            classes: 100,
            how_to_get: "download the binary version from https://www.cs.toronto.edu/~kriz/cifar.html, unpack it and \
                         name the folder around `cifar-100-binary` with --dataset-dir",
        };
        match self {
            Self::Ten => Layout {
                name: "CIFAR-10",
                folder: "cifar-10-batches-bin",
                train: &[
                    "data_batch_1.bin",
                    "data_batch_2.bin",
                    "data_batch_3.bin",
                    "data_batch_4.bin",
                    "data_batch_5.bin",
                ],
                test: &["test_batch.bin"],
                labels: 1,
                label: 0,
                classes: 10,
                how_to_get: "download the binary version from https://www.cs.toronto.edu/~kriz/cifar.html, unpack it \
                             and name the folder around `cifar-10-batches-bin` with --dataset-dir",
            },
            Self::Fine => hundred,
            Self::Coarse => Layout { label: 0, classes: 20, ..hundred },
        }
    }
}

/// Reads one of the two parts of CIFAR-10 or CIFAR-100 from the first folder that has its binary version.
///
/// Shapes: `(3, 32, 32)` images, red before green before blue.
/// Errors: `NotFound`, `Io`, `Gzip`, `Records`, `NoImages`, `FileLabel`, each with the path.
/// Source: A. Krizhevsky, "The CIFAR-10 dataset" and "The CIFAR-100 dataset", section "Binary version".
pub(super) fn load(labels: Labels, split: Split, folders: &[PathBuf]) -> Result<Images, DataError> {
    let layout = labels.layout();
    let shape = Shape::image(CHANNELS, SIDE, SIDE);
    let mut images = Images { shape, pixels: Vec::new(), labels: Vec::new(), classes: layout.classes };
    for path in find(&layout, split, folders)? {
        append(&layout, &path, &mut images)?;
    }
    Ok(images)
}

fn find(layout: &Layout, split: Split, folders: &[PathBuf]) -> Result<Vec<PathBuf>, DataError> {
    let names = match split {
        Split::Train => layout.train,
        Split::Test => layout.test,
    };
    let mut places = Vec::new();
    for folder in folders {
        for folder in [folder.clone(), folder.join(layout.folder)] {
            let plain: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
            let found: Vec<Option<PathBuf>> = plain.iter().map(|path| plain_or_gzip(path)).collect();
            // One file shows where the data set is; the others are then expected beside it.
            if found.iter().any(Option::is_some) {
                return Ok(found
                    .into_iter()
                    .zip(plain)
                    .map(|(found, plain)| found.unwrap_or(plain))
                    .collect());
            }
            places.push(folder.join(names[0]));
        }
    }
    Err(DataError::NotFound { dataset: layout.name, how_to_get: layout.how_to_get, places })
}

fn append(layout: &Layout, path: &Path, images: &mut Images) -> Result<(), DataError> {
    let record = layout.labels + PIXELS;
    let limit = IMAGES_MAX * record as u64;
    let bytes = Source::open(path)?.read_up_to(limit + 1)?;
    let path = || path.to_owned();
    if bytes.is_empty() {
        return Err(DataError::NoImages { path: path() });
    }
    if bytes.len() % record != 0 || bytes.len() as u64 > limit {
        return Err(DataError::Records { path: path(), dataset: layout.name, bytes: bytes.len(), record });
    }
    for (image, record) in bytes.chunks_exact(record).enumerate() {
        let (labels, pixels) = record.split_at(layout.labels);
        let label = u32::from(labels[layout.label]);
        if label >= layout.classes {
            return Err(DataError::FileLabel { path: path(), image, label, classes: layout.classes });
        }
        images.labels.push(label);
        images.pixels.extend_from_slice(pixels);
    }
    Ok(())
}
