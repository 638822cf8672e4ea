//! The files of [`Ask::Infer`](super::Ask::Infer): f32 values, little-endian, one image behind another.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::{AdapterError, Inputs};
use crate::probe::values::{decoded, encoded};

/// Images that are read and computed at a time.
const BLOCK_IMAGES: u64 = 32;

/// Calls `each` with one block of images after another.
///
/// Errors: `Unable` if the file cannot be read, `Failed` if it holds another number of values than `count` images of so many
/// elements; what `each` says.
pub(super) fn each_block(
    inputs: &Inputs<'_>,
    elements: usize,
    mut each: impl FnMut(Vec<f32>) -> Result<(), AdapterError>,
) -> Result<(), AdapterError> {
    let (path, image_bytes) = (inputs.images, (elements * size_of::<f32>()) as u64);
    let mut file = File::open(path).map_err(|error| unable("open", path, &error))?;
    let found = file.metadata().map_err(|error| unable("read", path, &error))?.len();
    if Some(found) != inputs.count.checked_mul(image_bytes) {
        let (path, count) = (path.display(), inputs.count);
        let reason = format!("{path} has {found} bytes; {count} images have {image_bytes} each");
        return Err(AdapterError::Failed(reason));
    }
    let mut left = inputs.count;
    while left > 0 {
        let images = left.min(BLOCK_IMAGES);
        let mut bytes = vec![0; (images * image_bytes) as usize];
        file.read_exact(&mut bytes).map_err(|error| unable("read", path, &error))?;
        each(decoded(&bytes))?;
        left -= images;
    }
    Ok(())
}

/// A file of values.
pub(super) struct Output<'a> {
    path: &'a Path,
    file: BufWriter<File>,
}

impl<'a> Output<'a> {
    /// Errors: `Unable`.
    pub(super) fn create(path: &'a Path) -> Result<Self, AdapterError> {
        let file = File::create(path).map_err(|error| unable("write", path, &error))?;
        Ok(Self { path, file: BufWriter::new(file) })
    }

    /// Errors: `Unable`.
    pub(super) fn write(&mut self, values: &[f32]) -> Result<(), AdapterError> {
        self.file.write_all(&encoded(values)).map_err(|error| unable("write", self.path, &error))
    }

    /// Goes to where the value of this number is, for what is not computed in the file's order.
    ///
    /// Errors: `Unable`.
    pub(super) fn seek(&mut self, value: u64) -> Result<(), AdapterError> {
        let start = SeekFrom::Start(value * size_of::<f32>() as u64);
        self.file.seek(start).map_err(|error| unable("write", self.path, &error)).map(|_| ())
    }

    /// Errors: `Unable`.
    pub(super) fn finish(mut self) -> Result<(), AdapterError> {
        self.file.flush().map_err(|error| unable("write", self.path, &error))
    }
}

fn unable(what: &str, path: &Path, error: &std::io::Error) -> AdapterError {
    AdapterError::Unable(format!("cannot {what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_come_in_blocks_and_none_may_be_missing_or_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images");
        let values: Vec<f32> = (0..70).map(|value| value as f32 * 0.5).collect();
        let mut output = Output::create(&path).unwrap();
        output.write(&values[..30]).unwrap();
        output.write(&values[30..]).unwrap();
        output.finish().unwrap();
        let read = |count| {
            let inputs = Inputs { images: &path, count, nodes: &[], output: Path::new("") };
            let (mut blocks, mut all) = (Vec::new(), Vec::new());
            let read = each_block(&inputs, 2, |block| {
                blocks.push(block.len());
                all.extend(block);
                Ok(())
            });
            read.map(|()| (blocks, all))
        };

        assert_eq!(read(35), Ok((vec![64, 6], values.clone())));
        for wrong in [34, 36, u64::MAX] {
            let error = read(wrong).unwrap_err();
            assert!(error.to_string().contains(&format!("{wrong} images have 8 each")), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let inputs =
            Inputs { images: Path::new("/missing/images"), count: 1, nodes: &[], output: Path::new("") };

        let error = each_block(&inputs, 1, |_| Ok(())).unwrap_err();

        assert!(error.to_string().contains("/missing/images"), "{error}");
        assert!(Output::create(Path::new("/missing/output")).is_err());
    }
}
