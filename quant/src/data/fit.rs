use bitloop_core::graph::Shape;
use bitloop_core::spec::{Fit, Resize};

use super::PictureError;
use super::picture::{Picture, check_size};
use super::resample::resize;

/// Returns a picture as a model takes it: with its channels, then resized, padded and cropped as `fit` says.
///
/// Shapes: `wanted` is channels, height, width.
/// Errors: `Channels`, `Size`, `Crop`, and `Fit` if the result has another size than the model takes.
pub(super) fn fitted(picture: Picture, fit: &Fit, wanted: [usize; 3]) -> Result<Picture, PictureError> {
    let picture = picture.with_channels(wanted[0])?;
    let picture = match fit.resize {
        None => picture,
        Some(Resize::Exact(size)) => resize(picture, size),
        Some(Resize::ShorterSide(side)) => {
            let size = check_size(with_shorter_side([picture.height, picture.width], side))?;
            resize(picture, size)
        }
    };
    let picture = if fit.pad == 0 { picture } else { padded(&picture, fit.pad)? };
    let picture = match fit.crop {
        None => picture,
        Some(size) => middle(&picture, size)?,
    };
    let found = [picture.channels, picture.height, picture.width];
    match found == wanted {
        true => Ok(picture),
        false => Err(PictureError::Fit { found: Shape(found.to_vec()), wanted: Shape(wanted.to_vec()) }),
    }
}

/// The longer side is rounded down, as torchvision's `Resize` does.
fn with_shorter_side([height, width]: [usize; 2], side: usize) -> [usize; 2] {
    // A longest side of 2^16 fits the product by far; the shorter one is never 0.
    let long = |long: usize, short: usize| side * long / short;
    match height <= width {
        true => [side, long(width, height)],
        false => [long(height, width), side],
    }
}

fn padded(picture: &Picture, pad: usize) -> Result<Picture, PictureError> {
    let [height, width] = check_size([picture.height + 2 * pad, picture.width + 2 * pad])?;
    let mut pixels = vec![0; picture.channels * height * width];
    let rows = pixels.chunks_exact_mut(width).collect::<Vec<_>>();
    let inner =
        rows.into_iter().enumerate().filter(|(row, _)| (pad..pad + picture.height).contains(&(row % height)));
    for ((_, row), from) in inner.zip(picture.pixels.chunks_exact(picture.width)) {
        row[pad..pad + picture.width].copy_from_slice(from);
    }
    Ok(Picture { height, width, pixels, ..*picture })
}

fn middle(picture: &Picture, [height, width]: [usize; 2]) -> Result<Picture, PictureError> {
    if height > picture.height || width > picture.width {
        return Err(PictureError::Crop { found: [picture.height, picture.width], wanted: [height, width] });
    }
    let (top, left) = (before(picture.height - height), before(picture.width - width));
    let mut pixels = Vec::with_capacity(picture.channels * height * width);
    for plane in picture.pixels.chunks_exact(picture.height * picture.width) {
        for row in plane.chunks_exact(picture.width).skip(top).take(height) {
            pixels.extend_from_slice(&row[left..left + width]);
        }
    }
    Ok(Picture { height, width, pixels, ..*picture })
}

/// What is cut off before the middle: half, and of odd numbers the even one of the two halves, as torchvision's
/// `CenterCrop` does.
fn before(cut: usize) -> usize {
    let half = cut / 2;
    half + (cut % 2) * (half % 2)
}
