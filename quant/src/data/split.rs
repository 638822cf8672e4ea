use bitloop_core::spec::{DataSpec, ImageCount};

use super::DataError;
use crate::rng::rng;

/// Which images belong to which part; the parts do not overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSplit {
    /// Images that trainings learn from; none where they come from another file.
    pub training: Vec<usize>,
    /// Images that only set ranges.
    pub calibration: Vec<usize>,
    /// Images that searches see.
    pub selection: Vec<usize>,
    /// Images touched only by a final verification.
    pub report: Vec<usize>,
}

/// Splits `images` images by the seed of `spec`: a random order, cut into training, calibration, selection and report.
///
/// The order is a Fisher-Yates shuffle of `0..images` with [`rng`]`(seed, 0)`, so it depends on the seed and the number alone.
///
/// Errors: `TooFewImages`, `EmptyPart`, `TwoRests`, with the numbers.
pub fn split(images: usize, spec: &DataSpec) -> Result<ImageSplit, DataError> {
    let [training, calibration, selection, report] = lengths(images, spec)?;
    let mut rest = shuffled(images, spec).into_iter();
    let mut take = |len: usize| rest.by_ref().take(len).collect::<Vec<_>>();
    Ok(ImageSplit {
        training: take(training),
        calibration: take(calibration),
        selection: take(selection),
        report: take(report),
    })
}

/// Chooses the images to learn from, of a file of `images` that has no other parts, in the order that [`split`] would have.
///
/// Errors: `TooFewImages`.
pub fn training_images(images: usize, spec: &DataSpec) -> Result<Vec<usize>, DataError> {
    let mut order = shuffled(images, spec);
    if let Some(ImageCount::Count(count)) = spec.training {
        if count > images as u64 {
            return Err(DataError::TooFewTrainingImages { images, training: count });
        }
        order.truncate(count as usize);
    }
    Ok(order)
}

fn shuffled(images: usize, spec: &DataSpec) -> Vec<usize> {
    let mut order: Vec<usize> = (0..images).collect();
    rng(spec.seed, 0).shuffle(&mut order);
    order
}

/// Images of training, calibration, selection and report. A part that is not asked for is empty; one that is may not be.
fn lengths(images: usize, spec: &DataSpec) -> Result<[usize; 4], DataError> {
    let training = match (spec.training, spec.training_file()) {
        (Some(count), None) => count,
        (None, _) | (_, Some(_)) => ImageCount::Count(0),
    };
    let parts = [
        ("training", training),
        ("calibration", ImageCount::Count(spec.calibration)),
        ("selection", spec.selection),
        ("report", spec.report),
    ];
    let named = |count: ImageCount| match count {
        ImageCount::Count(count) => count,
        ImageCount::Rest => 0,
    };
    let taken = parts.iter().try_fold(0_u64, |sum, (_, count)| sum.checked_add(named(*count)));
    let Some(taken) = taken.filter(|taken| *taken <= images as u64) else {
        return Err(DataError::TooFewImages {
            images,
            training: named(training),
            calibration: spec.calibration,
            selection: named(spec.selection),
            report: named(spec.report),
        });
    };
    let rests = parts.iter().filter(|(_, count)| *count == ImageCount::Rest).count();
    if rests > 1 {
        return Err(DataError::TwoRests);
    }
    let length = |count: ImageCount| match count {
        ImageCount::Count(count) => count,
        ImageCount::Rest => images as u64 - taken,
    };
    let is_optional = |part: &str| match part {
        "training" => training == ImageCount::Count(0),
        // What trains has nothing to calibrate.
        "calibration" => spec.training.is_some(),
        _ => false,
    };
    let empty = parts.iter().find(|(part, count)| length(*count) == 0 && !is_optional(part));
    if let Some((part, _)) = empty {
        return Err(DataError::EmptyPart { part, images, others: taken });
    }
    // Each is at most `images`, which was a `usize`.
    Ok(parts.map(|(_, count)| length(count) as usize))
}
