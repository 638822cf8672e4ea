//! Images with their labels: read from data sets or folders of image files, brought to what a model takes, split once
//! by seed, and carried as an artifact.
//!
//! Start at [`read`] (an experiment's images), [`load`] (a data set as it is), [`split`] (parts) and [`Images`]. Nothing
//! here reads the environment: the caller says where to look, and where decoded images are kept.

mod artifact;
mod cache;
mod cifar;
mod error;
mod files;
mod fit;
mod folder;
mod idx;
mod mnist;
mod picture;
mod picture_error;
mod resample;
mod source;
mod split;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::path::PathBuf;

use bitloop_core::graph::Shape;
use bitloop_core::spec::{Dataset, Split};
use bitloop_core::trial::ImageRange;

pub use error::DataError;
pub use idx::{read_images, read_labels};
pub use mnist::DEBIAN_FOLDER;
pub use picture_error::{LabelsError, PictureError};
pub use source::{Loaded, Origin, Request, read};
pub use split::{ImageSplit, split, training_images};

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

    /// Pixels of the images at some positions; none if there are fewer images.
    pub(crate) fn pixels_of(&self, positions: Range<usize>) -> &[u8] {
        let per_image = self.shape.elements();
        self.pixels.get(positions.start * per_image..positions.end * per_image).unwrap_or_default()
    }

    /// Returns mean and standard deviation of each channel's pixels.
    ///
    /// Shapes: `(channels,)` each. Units: the 0..1 scaled value. The deviation is at least that of half a grey level, so
    /// that it can be divided by.
    pub fn mean_and_deviation(&self) -> (Vec<f32>, Vec<f32>) {
        let channels = self.shape.channels().max(1);
        let plane = (self.shape.elements() / channels).max(1);
        let mut counts = vec![[0_u64; 256]; channels];
        for (index, pixels) in self.pixels.chunks_exact(plane).enumerate() {
            pixels.iter().for_each(|value| counts[index % channels][usize::from(*value)] += 1);
        }
        let moments = counts.iter().map(|counts| {
            let mean_of = |of: &dyn Fn(f64) -> f64| {
                let n = counts.iter().sum::<u64>().max(1) as f64;
                counts
                    .iter()
                    .zip(0_u8..=255)
                    .map(|(count, value)| *count as f64 * of(f64::from(value)))
                    .sum::<f64>()
                    / n
            };
            let mean = mean_of(&|value| value);
            let deviation = mean_of(&|value| (value - mean).powi(2)).sqrt();
            ((mean / 255.0) as f32, (deviation.max(0.5) / 255.0) as f32)
        });
        moments.unzip()
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
        Dataset::FashionMnist => mnist::FASHION_MNIST.load(split, folders),
        Dataset::Mnist => mnist::MNIST.load(split, folders),
        Dataset::Kmnist => mnist::KMNIST.load(split, folders),
        Dataset::Cifar10 => cifar::load(cifar::Labels::Ten, split, folders),
        Dataset::Cifar100 => cifar::load(cifar::Labels::Fine, split, folders),
        Dataset::Cifar100Coarse => cifar::load(cifar::Labels::Coarse, split, folders),
    }
}
