use bitloop_core::spec::{DataSpec, ImageCount};

use super::DataError;
use crate::rng::rng;

/// Which images belong to which part; the parts do not overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSplit {
    /// Images that only set ranges.
    pub calibration: Vec<usize>,
    /// Images that searches see.
    pub selection: Vec<usize>,
    /// Images touched only by a final verification.
    pub report: Vec<usize>,
}

/// Splits `images` images by the seed of `spec`: a random order, cut into calibration, selection and report.
///
/// The order is a Fisher-Yates shuffle of `0..images` with [`rng`]`(seed, 0)`, so it depends on the seed and the number alone.
///
/// Errors: `TooFewImages`, `EmptyPart`, `TwoRests`, with the numbers.
pub fn split(images: usize, spec: &DataSpec) -> Result<ImageSplit, DataError> {
    let [calibration, selection, report] = lengths(images, spec)?;
    let mut order: Vec<usize> = (0..images).collect();
    rng(spec.seed, 0).shuffle(&mut order);
    let mut rest = order.into_iter();
    let mut take = |len: usize| rest.by_ref().take(len).collect::<Vec<_>>();
    Ok(ImageSplit { calibration: take(calibration), selection: take(selection), report: take(report) })
}

fn lengths(images: usize, spec: &DataSpec) -> Result<[usize; 3], DataError> {
    let available = images as u64;
    let named = |count: ImageCount| match count {
        ImageCount::Count(count) => count,
        ImageCount::Rest => 0,
    };
    let (selection, report) = (named(spec.selection), named(spec.report));
    let taken = spec.calibration.checked_add(selection);
    let taken = taken.and_then(|taken| taken.checked_add(report));
    let Some(taken) = taken.filter(|taken| *taken <= available) else {
        return Err(DataError::TooFewImages { images, calibration: spec.calibration, selection, report });
    };
    let rest = available - taken;
    let (selection, report) = match (spec.selection, spec.report) {
        (ImageCount::Rest, ImageCount::Rest) => return Err(DataError::TwoRests),
        (ImageCount::Rest, ImageCount::Count(_)) => (rest, report),
        (ImageCount::Count(_), ImageCount::Rest) => (selection, rest),
        (ImageCount::Count(_), ImageCount::Count(_)) => (selection, report),
    };
    let parts = [("calibration", spec.calibration), ("selection", selection), ("report", report)];
    if let Some((part, _)) = parts.iter().find(|(_, len)| *len == 0) {
        return Err(DataError::EmptyPart { part, images, others: taken });
    }
    // Each is at most `images`, which was a `usize`.
    Ok(parts.map(|(_, len)| len as usize))
}
