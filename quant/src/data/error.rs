use std::path::PathBuf;

use bitloop_core::graph::Shape;

/// What is wrong with images, their files or their split; every variant names the place.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is compressed and the compression is damaged.
    #[error("`{}` is a damaged gzip file ({source}); download it again", path.display())]
    Gzip {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        source: std::io::Error,
    },
    /// The file does not begin like the IDX file that is needed.
    #[error("`{}` is no IDX file of {expected}: it begins with {found:#010x}, not {magic:#010x}", path.display())]
    Magic {
        /// The file.
        path: PathBuf,
        /// `images` or `labels`.
        expected: &'static str,
        /// Its first four bytes, most significant first.
        found: u32,
        /// What they should be.
        magic: u32,
    },
    /// The file ends too early.
    #[error("`{}` is truncated: {found} bytes, its header promises {expected}; download it again", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Bytes by the header, the header included.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// The file goes on where it should end.
    #[error("`{}` has bytes behind the {expected} that its header promises; download it again", path.display())]
    Trailing {
        /// The file.
        path: PathBuf,
        /// Bytes by the header, the header included.
        expected: u64,
    },
    /// The header promises more than any data set of this kind has.
    #[error("the header of `{}` promises {} values, more than the {limit} that are read", path.display(), Shape(sizes.clone()))]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The extents in the header.
        sizes: Vec<usize>,
        /// The largest number of bytes that is read.
        limit: u64,
    },
    /// There are no images.
    #[error("`{}` holds no images", path.display())]
    NoImages {
        /// The file.
        path: PathBuf,
    },
    /// Images and labels do not belong together.
    #[error("`{}` holds {images} images, but `{}` {labels} labels", images_path.display(), labels_path.display())]
    Counts {
        /// The images' file.
        images_path: PathBuf,
        /// Number of images.
        images: usize,
        /// The labels' file.
        labels_path: PathBuf,
        /// Number of labels.
        labels: usize,
    },
    /// The images have another size than the data set's.
    #[error("the images of `{}` have shape {found}, those of {dataset} have {expected}", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// The data set.
        dataset: &'static str,
        /// Its shape.
        expected: Shape,
        /// The file's shape.
        found: Shape,
    },
    /// A label stands for no class.
    #[error("image {image} has label {label}, there are {classes} classes (0 to {})", classes.saturating_sub(1))]
    Label {
        /// Position of the image.
        image: usize,
        /// Its label.
        label: u32,
        /// Number of classes.
        classes: u32,
    },
    /// No folder has the files.
    #[error(
        "{dataset} was not found; looked for {}; install the Debian package {package}, or download the files from {source_url} into one folder and name it with --dataset-dir",
        list(places)
    )]
    NotFound {
        /// The data set.
        dataset: &'static str,
        /// Debian's package.
        package: &'static str,
        /// Where its makers publish it.
        source_url: &'static str,
        /// Every file that was tried.
        places: Vec<PathBuf>,
    },
    /// The images are there, their labels are not.
    #[error("`{}` has no labels beside it: neither `{}` nor the same with .gz exists", images.display(), labels.display())]
    LabelsNotFound {
        /// The images' file.
        images: PathBuf,
        /// The uncompressed labels' file.
        labels: PathBuf,
    },
    /// The data artifact cannot be read.
    #[error("the data artifact is damaged or of another kind: {reason}; submit the experiment again")]
    Artifact {
        /// What is wrong.
        reason: String,
    },
    /// The data artifact is of another version.
    #[error(
        "the data artifact has format version `{found}`, only `{supported}` is known; use the same bitloop release everywhere"
    )]
    Version {
        /// The artifact's.
        found: String,
        /// Ours.
        supported: &'static str,
    },
    /// An index points behind the last image.
    #[error("image {index} was asked for, there are {images}")]
    Index {
        /// The index.
        index: usize,
        /// Number of images.
        images: usize,
    },
    /// The range of a trial is empty or ends behind the last image.
    #[error("images {start} to {} were asked for, the data artifact has {images}; submit the experiment again", start.saturating_add(*len))]
    Range {
        /// First image.
        start: u64,
        /// Number of images.
        len: u64,
        /// Number of images that are there.
        images: usize,
    },
    /// The network takes other images.
    #[error(
        "the images have shape {found}, the model takes {expected}; use the data set that it was trained on"
    )]
    Shape {
        /// What the model takes.
        expected: Shape,
        /// What the images have.
        found: Shape,
    },
    /// A part of the split has no images.
    #[error("the {part} part of the split is empty: of {images} images, the other parts take {others}")]
    EmptyPart {
        /// `calibration`, `selection` or `report`.
        part: &'static str,
        /// Images of the data set.
        images: usize,
        /// What the other parts take.
        others: u64,
    },
    /// The parts take more images than there are.
    #[error(
        "the split takes {calibration} images for calibration, {selection} for selection and {report} for the report, but the data set has {images}"
    )]
    TooFewImages {
        /// Images of the data set.
        images: usize,
        /// Images for calibration.
        calibration: u64,
        /// Images for selection; 0 stands for the rest.
        selection: u64,
        /// Images for the report; 0 stands for the rest.
        report: u64,
    },
    /// Two parts take what the other leaves.
    #[error("only one of selection and report can be `rest`; give the other a number")]
    TwoRests,
}

fn list(places: &[PathBuf]) -> String {
    if places.is_empty() {
        return "it nowhere, as no folder is known".to_owned();
    }
    let places: Vec<String> = places.iter().map(|place| format!("`{}`", place.display())).collect();
    places.join(", ")
}
