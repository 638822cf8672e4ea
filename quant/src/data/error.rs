use std::path::PathBuf;

use bitloop_core::graph::Shape;

use super::{LabelsError, PictureError};

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
    /// A file's label stands for no class.
    #[error(
        "`{}`: image {image} has label {label}, there are {classes} classes (0 to {})",
        path.display(),
        classes.saturating_sub(1)
    )]
    FileLabel {
        /// The file.
        path: PathBuf,
        /// Position of the image in it.
        image: usize,
        /// Its label.
        label: u32,
        /// Number of classes.
        classes: u32,
    },
    /// A CIFAR file does not consist of whole images.
    #[error(
        "`{}` has {bytes} bytes, which are no {dataset} images of {record} bytes each; download it again",
        path.display()
    )]
    Records {
        /// The file.
        path: PathBuf,
        /// The data set.
        dataset: &'static str,
        /// The file's bytes, as far as they are read.
        bytes: usize,
        /// Bytes of an image with its labels.
        record: usize,
    },
    /// No folder has the files.
    #[error("{dataset} was not found; looked for {}; {how_to_get}", list(places))]
    NotFound {
        /// The data set.
        dataset: &'static str,
        /// What to do about it.
        how_to_get: &'static str,
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
    /// The network takes something else than images.
    #[error("a shape of {shape} is no image; the model must take channels, height and width")]
    NotAnImage {
        /// The shape.
        shape: Shape,
    },
    /// The classes of images and model are not the same.
    #[error(
        "`{source_name}` has {found} classes, the model tells {wanted} apart; use the images that it was trained for, or a labels file with its class numbers"
    )]
    Classes {
        /// The data set or the folder.
        source_name: String,
        /// Its classes.
        found: u32,
        /// The model's.
        wanted: u32,
    },
    /// An image file cannot be used.
    #[error("`{}` {reason}", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: PictureError,
    },
    /// The images of a data set cannot be brought to what the model takes.
    #[error("every image {reason}")]
    Fit {
        /// Why.
        reason: PictureError,
    },
    /// A line of a labels file is wrong.
    #[error("`{}`, line {line}: {reason}", path.display())]
    Labels {
        /// The labels file.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// Why.
        reason: LabelsError,
    },
    /// A folder of images has no classes.
    #[error(
        "`{}` has no sub-folders; put the images of each class into one, or name a labels file with `labels`",
        folder.display()
    )]
    NoClasses {
        /// The folder.
        folder: PathBuf,
    },
    /// A class has no images.
    #[error("`{}` holds no JPEG or PNG files; add some, or remove the folder", folder.display())]
    EmptyClass {
        /// The class's folder.
        folder: PathBuf,
    },
    /// The images need more memory than they get.
    #[error(
        "{images} images of {per_image} bytes each are more than the {limit} bytes that are held; name fewer in a labels file, or crop them smaller"
    )]
    TooMany {
        /// Number of images.
        images: usize,
        /// Bytes of each.
        per_image: usize,
        /// The most bytes that are held.
        limit: usize,
    },
    /// A file became another one between two looks at it.
    #[error("`{}` changed while it was read; try again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A part of the split has no images.
    #[error("the {part} part of the split is empty: of {images} images, the other parts take {others}")]
    EmptyPart {
        /// `training`, `calibration`, `selection` or `report`.
        part: &'static str,
        /// Images of the data set.
        images: usize,
        /// What the other parts take.
        others: u64,
    },
    /// The parts take more images than there are.
    #[error(
        "the split takes {}{calibration} images for calibration, {selection} for selection and {report} for the report, but the data set has {images}",
        if *.training > 0 { format!("{training} images for training, ") } else { String::new() }
    )]
    TooFewImages {
        /// Images of the data set.
        images: usize,
        /// Images to learn from, of the same ones; 0 stands for none, or the rest.
        training: u64,
        /// Images for calibration.
        calibration: u64,
        /// Images for selection; 0 stands for the rest.
        selection: u64,
        /// Images for the report; 0 stands for the rest.
        report: u64,
    },
    /// There are fewer images to learn from than are asked for.
    #[error("`data.training` takes {training} images, but the training file has {images}")]
    TooFewTrainingImages {
        /// Images of the file.
        images: usize,
        /// What is asked for.
        training: u64,
    },
    /// Two parts take what the other leaves.
    #[error("only one part can take the rest of the images; give the others a number")]
    TwoRests,
}

fn list(places: &[PathBuf]) -> String {
    if places.is_empty() {
        return "it nowhere, as no folder is known".to_owned();
    }
    let places: Vec<String> = places.iter().map(|place| format!("`{}`", place.display())).collect();
    places.join(", ")
}
