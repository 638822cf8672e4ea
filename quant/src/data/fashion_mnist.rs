use std::path::{Path, PathBuf};

use bitloop_core::graph::Shape;
use bitloop_core::spec::Split;

use super::{DataError, Images, idx};

/// Where Debian's package `dataset-fashion-mnist` puts the files.
pub const DEBIAN_FOLDER: &str = "/usr/share/datasets/fashion-mnist";

const NAME: &str = "Fashion-MNIST";
const PACKAGE: &str = "dataset-fashion-mnist";
const SOURCE_URL: &str = "https://github.com/zalandoresearch/fashion-mnist";
/// The data set's name as a folder inside a folder of data sets.
const FOLDER: &str = "fashion-mnist";
const SIZE: usize = 28;
const CLASSES: u32 = 10;

/// Reads one of the two files from the first folder that has it.
pub(super) fn load(split: Split, folders: &[PathBuf]) -> Result<Images, DataError> {
    let stem = match split {
        Split::Train => "train",
        Split::Test => "t10k",
    };
    let (images_path, labels_path) = find(stem, folders)?;
    let (shape, pixels) = idx::read_images(&images_path)?;
    let expected = Shape::image(1, SIZE, SIZE);
    if shape != expected {
        return Err(DataError::Size { path: images_path, dataset: NAME, expected, found: shape });
    }
    let labels = idx::read_labels(&labels_path)?;
    let images = pixels.len() / shape.elements();
    if images != labels.len() {
        return Err(DataError::Counts { images_path, images, labels_path, labels: labels.len() });
    }
    let images =
        Images { shape, pixels, labels: labels.into_iter().map(u32::from).collect(), classes: CLASSES };
    images.check_labels()?;
    Ok(images)
}

fn find(stem: &str, folders: &[PathBuf]) -> Result<(PathBuf, PathBuf), DataError> {
    let mut places = Vec::new();
    for folder in folders {
        for folder in [folder.clone(), folder.join(FOLDER)] {
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
    Err(DataError::NotFound { dataset: NAME, package: PACKAGE, source_url: SOURCE_URL, places })
}

fn plain_or_gzip(plain: &Path) -> Option<PathBuf> {
    let mut name = plain.as_os_str().to_owned();
    name.push(".gz");
    [plain.to_owned(), PathBuf::from(name)].into_iter().find(|path| path.is_file())
}
