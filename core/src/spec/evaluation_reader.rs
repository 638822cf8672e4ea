use super::reader::{Fields, Place};
use super::shared::parts_per_million;
use crate::evaluation::{Adaptive, CONFIDENCE_DEFAULT_PPM, EvaluationMode, PART_STEP_IMAGES};

/// Images of a part of an adaptive evaluation where none is given: few beside what a decision takes, enough to be
/// worth the way to a worker.
const ADAPTIVE_PART_IMAGES: u64 = 128;
const PART_IMAGES_MAX: u64 = 1_000_000_000;
/// Percentage points have four decimals, shares six: both are then whole parts per million.
const POINT_DECIMALS: u8 = 4;
const SHARE_DECIMALS: u8 = 6;
const TOLERANCE_MIN: f64 = 0.0001;
const TOLERANCE_MAX: f64 = 100.0;
/// Below a half an interval says less than its middle; closer to 1 no sample says anything.
const CONFIDENCE_MIN: f64 = 0.5;
const CONFIDENCE_MAX: f64 = 0.999999;

#[derive(Clone, Copy)]
enum Mode {
    Full,
    Adaptive,
}

const MODES: [(&str, Mode); 2] = [("full", Mode::Full), ("adaptive", Mode::Adaptive)];

/// `full`, or a mapping with a `mode`.
pub(super) fn evaluation(place: &Place<'_>) -> Option<EvaluationMode> {
    if !place.is_mapping() {
        return match place.word(&MODES)? {
            Mode::Full => Some(EvaluationMode::default()),
            Mode::Adaptive => {
                place.mistake("it is not said how exact", "write `{ mode: adaptive, tolerance: 1.0 }`")
            }
        };
    }
    let fields = place.fields(&["mode", "tolerance", "confidence", "part"])?;
    match fields.required("mode", "mode: adaptive", |place| place.word(&MODES))? {
        Mode::Full => full(&fields),
        Mode::Adaptive => adaptive(&fields),
    }
}

fn full(fields: &Fields<'_>) -> Option<EvaluationMode> {
    let mut is_right = true;
    for key in ["tolerance", "confidence"] {
        if fields.has(key) {
            is_right = false;
            let hint = "remove it, or write `mode: adaptive`";
            fields.mistake::<()>(key, "says nothing where all images are measured", hint);
        }
    }
    let part_images = part(fields)?;
    is_right.then_some(EvaluationMode::Full { part_images })
}

fn adaptive(fields: &Fields<'_>) -> Option<EvaluationMode> {
    let tolerance_ppm = fields.required("tolerance", "tolerance: 1.0", |place| {
        parts_per_million(place, place.number(TOLERANCE_MIN..=TOLERANCE_MAX)?, POINT_DECIMALS)
    });
    let confidence_ppm = fields.optional("confidence", CONFIDENCE_DEFAULT_PPM, |place| {
        parts_per_million(place, place.number(CONFIDENCE_MIN..=CONFIDENCE_MAX)?, SHARE_DECIMALS)
    });
    let part_images = part(fields);
    Some(EvaluationMode::Adaptive(Adaptive {
        tolerance_ppm: tolerance_ppm?,
        confidence_ppm: confidence_ppm?,
        part_images: part_images?.unwrap_or(ADAPTIVE_PART_IMAGES),
    }))
}

/// Images of a part, if the file says it.
fn part(fields: &Fields<'_>) -> Option<Option<u64>> {
    fields.optional("part", None, |place| part_images(place).map(Some))
}

fn part_images(place: &Place<'_>) -> Option<u64> {
    let images = place.integer(PART_STEP_IMAGES..=PART_IMAGES_MAX)?;
    if images % PART_STEP_IMAGES != 0 {
        let near = images.next_multiple_of(PART_STEP_IMAGES);
        let problem = format!("{images} is not a multiple of {PART_STEP_IMAGES}");
        return place
            .mistake(problem, format!("write {near}: workers take {PART_STEP_IMAGES} images at a time"));
    }
    Some(images)
}
