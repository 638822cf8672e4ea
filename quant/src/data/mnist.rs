use std::path::{Path, PathBuf};

use bitloop_core::graph::Shape;
use bitloop_core::spec::Split;

use super::files::plain_or_gzip;
use super::{DataError, Images, idx};

/// Where Debian's package `dataset-fashion-mnist` puts the files.
pub const DEBIAN_FOLDER: &str = "/usr/share/datasets/fashion-mnist";

const SIZE: usize = 28;
const CLASSES: u32 = 10;

/// One of the data sets whose files are named like MNIST's; the names alone do not tell them apart.
pub(super) struct Family {
    name: &'static str,
    /// Folders that it is found in, inside a folder of data sets.
    folders: &'static [&'static str],
    /// Whether its files may also lie in the folder of data sets itself, whatever that is called.
    is_anywhere: bool,
    how_to_get: &'static str,
}

pub(super) const FASHION_MNIST: Family = Family {
    name: "Fashion-MNIST",
    folders: &["fashion-mnist", "FashionMNIST/raw"],
    is_anywhere: true,
    how_to_get: "install the Debian package dataset-fashion-mnist, or download the files from \
                 https://github.com/zalandoresearch/fashion-mnist into one folder and name it with --dataset-dir",
};

pub(super) const MNIST: Family = Family {
    name: "MNIST",
    folders: &["mnist", "MNIST/raw"],
    is_anywhere: false,
    how_to_get: "download the files from http://yann.lecun.com/exdb/mnist into a folder `mnist` and name the folder \
                 around it with --dataset-dir",
};

pub(super) const KMNIST: Family = Family {
    name: "KMNIST",
    folders: &["kmnist", "KMNIST/raw"],
    is_anywhere: false,
    how_to_get: "download the files from http://codh.rois.ac.jp/kmnist into a folder `kmnist` and name the folder \
                 around it with --dataset-dir",
};

impl Family {
    /// Reads one of the two pairs of files from the first folder that has it.
    pub(super) fn load(&self, split: Split, folders: &[PathBuf]) -> Result<Images, DataError> {
        let stem = match split {
            Split::Train => "train",
            Split::Test => "t10k",
        };
        let (images_path, labels_path) = self.find(stem, folders)?;
        let (shape, pixels) = idx::read_images(&images_path)?;
        let expected = Shape::image(1, SIZE, SIZE);
        if shape != expected {
            return Err(DataError::Size { path: images_path, dataset: self.name, expected, found: shape });
        }
        pair((images_path, labels_path), (shape, pixels), CLASSES)
    }

    fn find(&self, stem: &str, folders: &[PathBuf]) -> Result<(PathBuf, PathBuf), DataError> {
        let mut places = Vec::new();
        for folder in folders {
            let is_it = self.is_anywhere || self.folders.iter().any(|name| folder.ends_with(name));
            let itself = is_it.then(|| folder.clone());
            let inside = self.folders.iter().map(|name| folder.join(name));
            for folder in itself.into_iter().chain(inside) {
                let plain = folder.join(format!("{stem}-images-idx3-ubyte"));
                let Some(images) = plain_or_gzip(&plain) else {
                    places.push(plain.with_file_name(format!("{stem}-images-idx3-ubyte[.gz]")));
                    continue;
                };
                let plain = folder.join(format!("{stem}-labels-idx1-ubyte"));
                return match plain_or_gzip(&plain) {
                    Some(labels) => Ok((images, labels)),
                    None => Err(DataError::LabelsNotFound { images, labels: plain }),
                };
            }
        }
        Err(DataError::NotFound { dataset: self.name, how_to_get: self.how_to_get, places })
    }
}

/// Reads any two IDX files whose labels are below `classes`.
pub(super) fn load_pair(images_path: &Path, labels_path: &Path, classes: u32) -> Result<Images, DataError> {
    let images = idx::read_images(images_path)?;
    pair((images_path.to_owned(), labels_path.to_owned()), images, classes)
}

fn pair(
    (images_path, labels_path): (PathBuf, PathBuf),
    (shape, pixels): (Shape, Vec<u8>),
    classes: u32,
) -> Result<Images, DataError> {
    let labels: Vec<u32> = idx::read_labels(&labels_path)?.into_iter().map(u32::from).collect();
    let images = pixels.len() / shape.elements();
    if images != labels.len() {
        return Err(DataError::Counts { images_path, images, labels_path, labels: labels.len() });
    }
    if let Some(image) = labels.iter().position(|label| *label >= classes) {
        return Err(DataError::FileLabel { path: labels_path, image, label: labels[image], classes });
    }
    Ok(Images { shape, pixels, labels, classes })
}
