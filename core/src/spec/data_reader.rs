use super::reader::{Fields, Place};
use super::shared::{dataset, file_name};
use super::{DataSpec, Fit, ImageCount, ImageSource, Normalization, Resize, Split};

/// Most images in a part, far above any data set and far below where sums of counts overflow.
const IMAGES_MAX: u64 = 1_000_000_000;
/// Longest side of the images that a model gets, in pixels.
const SIDE_MAX: usize = 4096;
/// Largest standard deviation in units of the 0..1 scaled value; those for 0..255 are far above.
const STD_MAX: f64 = 10.0;
/// Smallest one: f32 still holds what is divided by it.
const STD_MIN: f64 = 1e-6;

const SPLITS: [(&str, Split); 2] = [("train", Split::Train), ("test", Split::Test)];
const EXAMPLES: &str =
    "add `dataset: fashion_mnist`, `images: FOLDER` or `idx: { images: FILE, labels: FILE }`";

/// Reads where images come from, how they are fitted, and how they are split; `trains` where the experiment's stages train.
pub(super) fn data(place: &Place<'_>, trains: bool) -> Option<DataSpec> {
    let fields = place.fields(&[
        "dataset",
        "split",
        "images",
        "labels",
        "idx",
        "resize",
        "pad",
        "crop",
        "normalize",
        "training",
        "calibration",
        "selection",
        "report",
        "seed",
    ])?;
    let source = source(&fields);
    let fit = fit(&fields);
    let normalize = fields.optional("normalize", None, |place| normalization(place).map(Some));
    let training = training(&fields, trains);
    let calibration = calibration(&fields, trains);
    let selection = fields.required("selection", "selection: 2000", image_count);
    let report = fields.optional("report", ImageCount::Rest, image_count);
    let seed = fields.optional("seed", 0, |place| place.integer(0..=u64::MAX));
    if selection == Some(ImageCount::Rest) && report == Some(ImageCount::Rest) {
        return fields.mistake(
            "selection",
            "`selection` and `report` cannot both be `rest`",
            "give one of them a number of images (`report` is `rest` unless given)",
        );
    }
    let spec = DataSpec {
        source: source?,
        fit: fit?,
        normalize: normalize?,
        training: training?,
        calibration: calibration?,
        selection: selection?,
        report: report?,
        seed: seed?,
    };
    let is_rest = [spec.selection, spec.report].contains(&ImageCount::Rest);
    if spec.training == Some(ImageCount::Rest) && spec.training_file().is_none() && is_rest {
        return fields.mistake(
            "training",
            "these images are split, and another part takes what is left of them",
            "give a number of images (`report` is `rest` unless given)",
        );
    }
    Some(spec)
}

/// A number of images, or `all`.
fn training(fields: &Fields<'_>, trains: bool) -> Option<Option<ImageCount>> {
    const EXAMPLE: &str = "training: 20000";
    if !trains {
        let hint = "remove it; only searches that train (`autoqkeras`) have training images";
        return fields.optional("training", None, |place| place.mistake("does not belong here", hint));
    }
    let read = |place: &Place<'_>| match place.as_text() {
        Some("all") => Some(ImageCount::Rest),
        Some(_) => place.expected("a whole number or `all`", format!("write `{EXAMPLE}`")),
        None => place.integer(1..=IMAGES_MAX).map(ImageCount::Count),
    };
    fields.required("training", EXAMPLE, read).map(Some)
}

/// What trains calibrates nothing, but the part may be kept free, so that splits are the same as another experiment's.
fn calibration(fields: &Fields<'_>, trains: bool) -> Option<u64> {
    let read = |place: &Place<'_>| place.integer(1..=IMAGES_MAX);
    match trains {
        true => fields.optional("calibration", 0, read),
        false => fields.required("calibration", "calibration: 512", read),
    }
}

fn source(fields: &Fields<'_>) -> Option<ImageSource> {
    let named: Vec<&'static str> =
        ["dataset", "images", "idx"].into_iter().filter(|key| fields.names(key)).collect();
    let split = fields.optional("split", Split::Test, |place| place.word(&SPLITS));
    let labels = fields.optional("labels", None, |place| file_name(place).map(Some));
    match named.as_slice() {
        [] => fields.mistake("dataset", "is missing", EXAMPLES),
        ["dataset"] => {
            let dataset = fields.required("dataset", "dataset: fashion_mnist", dataset);
            foreign(fields, "labels", "a data set has its own labels; remove it")?;
            Some(ImageSource::Dataset { dataset: dataset?, split: split? })
        }
        ["images"] => {
            let images = fields.required("images", "images: FOLDER", file_name);
            foreign(fields, "split", "a folder of images has no splits; remove it")?;
            Some(ImageSource::Folder { images: images?, labels: labels? })
        }
        ["idx"] => {
            let idx = fields.required("idx", "idx: { images: FILE, labels: FILE }", idx);
            let split = foreign(fields, "split", "a pair of IDX files has no splits; remove it");
            let labels = foreign(fields, "labels", "write `idx: { images: FILE, labels: FILE }`");
            split.and(labels).and(idx)
        }
        [first, others @ ..] => {
            for other in others {
                fields.mistake::<()>(
                    other,
                    format!("`{first}` says already where the images are"),
                    "keep one of them",
                );
            }
            None
        }
    }
}

/// Reports a key that the chosen source does not have.
fn foreign(fields: &Fields<'_>, key: &'static str, hint: &str) -> Option<()> {
    fields.optional(key, (), |place| place.mistake("does not belong here", hint))
}

fn idx(place: &Place<'_>) -> Option<ImageSource> {
    let fields = place.fields(&["images", "labels"])?;
    let images = fields.required("images", "images: images-idx3-ubyte.gz", file_name);
    let labels = fields.required("labels", "labels: labels-idx1-ubyte.gz", file_name);
    Some(ImageSource::Idx { images: images?, labels: labels? })
}

fn fit(fields: &Fields<'_>) -> Option<Fit> {
    let resize = fields.optional("resize", None, |place| {
        let resize = match place.is_list() {
            true => height_and_width(place).map(Resize::Exact),
            false => side(place).map(Resize::ShorterSide),
        };
        resize.map(Some)
    });
    let pad = fields.optional("pad", 0, |place| place.size(0..=SIDE_MAX));
    let crop = fields.optional("crop", None, |place| {
        let crop = match place.is_list() {
            true => height_and_width(place),
            false => side(place).map(|side| [side, side]),
        };
        crop.map(Some)
    });
    let fit = Fit { resize: resize?, pad: pad?, crop: crop? };
    if let (Some(resize), Some(crop)) = (fit.resize, fit.crop) {
        // Of a shorter side only the crop's shorter side can be known to be too long.
        let (resized, wanted) = match resize {
            Resize::ShorterSide(side) => ([side; 2], [crop[0].min(crop[1]); 2]),
            Resize::Exact(size) => (size, crop),
        };
        let padded = resized.map(|side| side + 2 * fit.pad);
        if wanted[0] > padded[0] || wanted[1] > padded[1] {
            return fields.mistake(
                "crop",
                format!("a crop of {} does not fit into what `resize` gives", sides(crop)),
                "make the crop smaller, or `resize` or `pad` larger",
            );
        }
    }
    Some(fit)
}

fn side(place: &Place<'_>) -> Option<usize> {
    place.size(1..=SIDE_MAX)
}

fn height_and_width(place: &Place<'_>) -> Option<[usize; 2]> {
    const EXAMPLE: &str = "[224, 224]";
    match place.list(EXAMPLE, side)?.as_slice() {
        [height, width] => Some([*height, *width]),
        other => place.mistake(
            format!("a list of {} is no height and width", other.len()),
            format!("write a list such as `{EXAMPLE}`"),
        ),
    }
}

fn sides([height, width]: [usize; 2]) -> String {
    format!("{height}x{width}")
}

fn normalization(place: &Place<'_>) -> Option<Normalization> {
    let fields = place.fields(&["mean", "std"])?;
    let mean = fields.required("mean", "mean: [0.485, 0.456, 0.406]", |place| {
        channels(place, |place| place.number(-1.0..=1.0))
    });
    let std = fields.required("std", "std: [0.229, 0.224, 0.225]", |place| {
        channels(place, |place| place.number(STD_MIN..=STD_MAX))
    });
    let (mean, std) = (mean?, std?);
    if mean.len() != std.len() && mean.len() != 1 && std.len() != 1 {
        return fields.mistake(
            "std",
            format!("has {} numbers for {} of `mean`", std.len(), mean.len()),
            "write one number per channel in both",
        );
    }
    Some(Normalization { mean, std })
}

/// One number for all channels or a list of one per channel.
fn channels(place: &Place<'_>, read: impl Fn(&Place<'_>) -> Option<f64>) -> Option<Vec<f32>> {
    let numbers = match place.is_list() {
        true => place.list("[0.5, 0.5, 0.5]", read)?,
        false => vec![read(place)?],
    };
    Some(numbers.into_iter().map(|number| number as f32).collect())
}

fn image_count(place: &Place<'_>) -> Option<ImageCount> {
    match place.as_text() {
        Some("rest") => Some(ImageCount::Rest),
        Some(_) => {
            place.expected("a whole number or `rest`", format!("write `rest` or a number up to {IMAGES_MAX}"))
        }
        None => place.integer(1..=IMAGES_MAX).map(ImageCount::Count),
    }
}
