use std::path::Path;

use bitloop_core::graph::Shape;

use super::DataError;
use super::files::Source;

/// Two zero bytes, the type (8: unsigned byte), the number of axes.
const IMAGES_MAGIC: u32 = 0x0000_0803;
const LABELS_MAGIC: u32 = 0x0000_0801;
/// Bytes of data that are read at most (4 GiB), so that a damaged header cannot fill the memory.
const LIMIT: u64 = 1 << 32;

/// Reads grey images from an IDX file, plain or compressed with gzip.
///
/// Shapes: `(1, height, width)` of one image, and `(n, 1, height, width)` pixels.
/// Errors: `Io`, `Gzip`, `Magic`, `Truncated`, `Trailing`, `TooLarge`, `NoImages`, each with the path.
/// Source: Y. LeCun, C. Cortes, C. Burges, The MNIST database, section "File formats".
pub fn read_images(path: &Path) -> Result<(Shape, Vec<u8>), DataError> {
    let (sizes, pixels) = read(path, "images", IMAGES_MAGIC)?;
    if pixels.is_empty() {
        return Err(DataError::NoImages { path: path.to_owned() });
    }
    Ok((Shape::image(1, sizes[1], sizes[2]), pixels))
}

/// Reads labels from an IDX file, plain or compressed with gzip.
///
/// Errors: those of [`read_images`], without `NoImages`.
pub fn read_labels(path: &Path) -> Result<Vec<u8>, DataError> {
    let (_, labels) = read(path, "labels", LABELS_MAGIC)?;
    Ok(labels)
}

fn read(path: &Path, expected: &'static str, magic: u32) -> Result<(Vec<usize>, Vec<u8>), DataError> {
    let mut source = Source::open(path)?;
    let axes = (magic & 0xff) as usize;
    let header_len = 4 + 4 * axes;
    let header = source.read_up_to(header_len as u64)?;
    let words: Vec<u32> =
        header.chunks_exact(4).map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]])).collect();
    if let Some(found) = words.first().copied().filter(|found| *found != magic) {
        return Err(DataError::Magic { path: path.to_owned(), expected, found, magic });
    }
    let truncated = |expected: u64, found: usize| DataError::Truncated {
        path: path.to_owned(),
        expected,
        found: found as u64,
    };
    if header.len() < header_len {
        return Err(truncated(header_len as u64, header.len()));
    }
    let sizes: Vec<usize> = words[1..].iter().map(|size| *size as usize).collect();
    let len = sizes.iter().try_fold(1_u64, |product, size| product.checked_mul(*size as u64));
    let Some(len) = len.filter(|len| *len <= LIMIT) else {
        return Err(DataError::TooLarge { path: path.to_owned(), sizes, limit: LIMIT });
    };
    let total = header_len as u64 + len;
    // One byte more than needed shows whether the file ends where it should.
    let data = source.read_up_to(len + 1)?;
    if (data.len() as u64) < len {
        return Err(truncated(total, header_len + data.len()));
    }
    if data.len() as u64 > len {
        return Err(DataError::Trailing { path: path.to_owned(), expected: total });
    }
    Ok((sizes, data))
}
