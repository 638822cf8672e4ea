//! Images with their labels: read from the files of a data set, split once by seed, and carried as an artifact.
//!
//! Start at [`load`] (files), [`split`] (parts) and [`Images`]. Nothing here reads the environment: the caller says
//! where to look.

mod artifact;
mod error;
mod fashion_mnist;
mod idx;
mod split;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::path::PathBuf;

use bitloop_core::graph::Shape;
use bitloop_core::spec::{Dataset, Split};
use bitloop_core::trial::ImageRange;

pub use error::DataError;
pub use fashion_mnist::DEBIAN_FOLDER;
pub use idx::{read_images, read_labels};
pub use split::{ImageSplit, split};

/// Images of one size with their labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// Channels, height and width.
    pub shape: Shape,
    /// `(n, channels, height, width)`, row-major.
    pub pixels: Vec<u8>,
    /// `(n,)`, each below `classes`.
    pub labels: Vec<u32>,
    /// Number of classes.
    pub classes: u32,
}

impl Images {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Returns the images at `indices`, in that order.
    ///
    /// Errors: `Index` for one behind the last image.
    pub fn subset(&self, indices: &[usize]) -> Result<Self, DataError> {
        let per_image = self.shape.elements();
        let mut pixels = Vec::with_capacity(indices.len() * per_image);
        let mut labels = Vec::with_capacity(indices.len());
        for &index in indices {
            let outside = || DataError::Index { index, images: self.len() };
            labels.push(*self.labels.get(index).ok_or_else(outside)?);
            let start = index * per_image;
            pixels.extend_from_slice(self.pixels.get(start..start + per_image).ok_or_else(outside)?);
        }
        Ok(Self { shape: self.shape.clone(), pixels, labels, classes: self.classes })
    }

    /// Returns the positions that a trial's range covers.
    ///
    /// Errors: `Range` if it is empty or ends behind the last image.
    pub fn range(&self, range: ImageRange) -> Result<Range<usize>, DataError> {
        let end = range.start.checked_add(range.len);
        match end.filter(|end| range.len > 0 && *end <= self.len() as u64) {
            // Both are at most the number of images, which is a `usize`.
            Some(end) => Ok(range.start as usize..end as usize),
            None => Err(DataError::Range { start: range.start, len: range.len, images: self.len() }),
        }
    }

    /// Checks that a network with inputs of `shape` can take the images.
    ///
    /// Errors: `Shape`.
    pub fn check_shape(&self, shape: &Shape) -> Result<(), DataError> {
        if self.shape == *shape && self.pixels.len() == self.len() * shape.elements() {
            return Ok(());
        }
        Err(DataError::Shape { expected: shape.clone(), found: self.shape.clone() })
    }

    /// Checks that every label is one of the classes.
    fn check_labels(&self) -> Result<(), DataError> {
        match self.labels.iter().position(|label| *label >= self.classes) {
            None => Ok(()),
            Some(image) => Err(DataError::Label { image, label: self.labels[image], classes: self.classes }),
        }
    }
}

/// Reads a data set from the first of `folders` that has it.
///
/// The usual order: `--dataset-dir`, the variable `BITLOOP_DATASETS`, [`DEBIAN_FOLDER`], then what lies beside the
/// experiment file.
///
/// Errors: `NotFound` with every place looked in, or what is wrong with the files that were found.
pub fn load(dataset: Dataset, split: Split, folders: &[PathBuf]) -> Result<Images, DataError> {
    match dataset {
        Dataset::FashionMnist => fashion_mnist::load(split, folders),
    }
}
