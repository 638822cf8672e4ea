use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::Path;

use bitloop_core::graph::Shape;
use flate2::bufread::MultiGzDecoder;

use super::DataError;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
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
    let io = |source| DataError::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(io)?;
    let mut start = Vec::new();
    file.by_ref().take(2).read_to_end(&mut start).map_err(io)?;
    let compressed = start == GZIP_MAGIC;
    let whole = BufReader::new(Cursor::new(start).chain(file));
    if !compressed {
        return parse(path, whole, expected, magic).map_err(|mistake| mistake.or_io(io));
    }
    let gzip = |source| DataError::Gzip { path: path.to_owned(), source };
    parse(path, MultiGzDecoder::new(whole), expected, magic).map_err(|mistake| mistake.or_io(gzip))
}

/// What a reader says, still without the knowledge whether the file or its compression is to blame.
enum Mistake {
    Io(std::io::Error),
    Content(DataError),
}

impl Mistake {
    fn or_io(self, io: impl FnOnce(std::io::Error) -> DataError) -> DataError {
        match self {
            Self::Io(error) => io(error),
            Self::Content(error) => error,
        }
    }
}

fn parse(
    path: &Path,
    mut reader: impl Read,
    expected: &'static str,
    magic: u32,
) -> Result<(Vec<usize>, Vec<u8>), Mistake> {
    let axes = (magic & 0xff) as usize;
    let header_len = 4 + 4 * axes;
    let header = read_up_to(&mut reader, header_len as u64)?;
    let words: Vec<u32> =
        header.chunks_exact(4).map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]])).collect();
    if let Some(found) = words.first().copied().filter(|found| *found != magic) {
        return Err(Mistake::Content(DataError::Magic { path: path.to_owned(), expected, found, magic }));
    }
    let truncated = |expected: u64, found: usize| {
        Mistake::Content(DataError::Truncated { path: path.to_owned(), expected, found: found as u64 })
    };
    if header.len() < header_len {
        return Err(truncated(header_len as u64, header.len()));
    }
    let sizes: Vec<usize> = words[1..].iter().map(|size| *size as usize).collect();
    let len = sizes.iter().try_fold(1_u64, |product, size| product.checked_mul(*size as u64));
    let Some(len) = len.filter(|len| *len <= LIMIT) else {
        return Err(Mistake::Content(DataError::TooLarge { path: path.to_owned(), sizes, limit: LIMIT }));
    };
    let total = header_len as u64 + len;
    // One byte more than needed shows whether the file ends where it should.
    let data = read_up_to(&mut reader, len + 1)?;
    if (data.len() as u64) < len {
        return Err(truncated(total, header_len + data.len()));
    }
    if data.len() as u64 > len {
        return Err(Mistake::Content(DataError::Trailing { path: path.to_owned(), expected: total }));
    }
    Ok((sizes, data))
}

fn read_up_to(reader: &mut impl Read, limit: u64) -> Result<Vec<u8>, Mistake> {
    let mut bytes = Vec::new();
    reader.take(limit).read_to_end(&mut bytes).map_err(Mistake::Io)?;
    Ok(bytes)
}
