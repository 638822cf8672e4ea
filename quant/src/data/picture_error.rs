use std::path::PathBuf;

use bitloop_core::graph::Shape;

/// Why a picture cannot be used; the message goes on from the file's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    /// There are no bytes.
    #[error("is an empty file; remove it, or copy it again")]
    Empty,
    /// Neither JPEG nor PNG.
    #[error("is neither a JPEG nor a PNG file; convert it, or remove it")]
    Format,
    /// The file has more bytes than are read.
    #[error("has {bytes} bytes, more than the {limit} that are read")]
    FileSize {
        /// Its bytes.
        bytes: u64,
        /// The most that are read.
        limit: u64,
    },
    /// A side is 0, or there are too many pixels.
    #[error("has {height}x{width} pixels; between 1 and {limit} pixels are read")]
    Size {
        /// By the header, or as resized.
        height: usize,
        /// By the header, or as resized.
        width: usize,
        /// The most pixels.
        limit: usize,
    },
    /// The JPEG decoder gives up.
    #[error("is a damaged or unusual JPEG file ({reason}); copy it again, or save it anew")]
    Jpeg {
        /// What the decoder says.
        reason: String,
    },
    /// The PNG decoder gives up.
    #[error("is a damaged or unusual PNG file ({reason}); copy it again, or save it anew")]
    Png {
        /// What the decoder says.
        reason: String,
    },
    /// No rule leads from these channels to those of the model.
    #[error("has {found} channel(s), the model takes {wanted}; only 1 and 3 can be converted")]
    Channels {
        /// The picture's.
        found: usize,
        /// The model's.
        wanted: usize,
    },
    /// The crop is larger than the picture.
    #[error(
        "is {}x{} before the crop to {}x{}; resize it to more, or pad it",
        found[0], found[1], wanted[0], wanted[1]
    )]
    Crop {
        /// Height and width.
        found: [usize; 2],
        /// Height and width.
        wanted: [usize; 2],
    },
    /// The picture does not have the model's size in the end.
    #[error("has shape {found}, the model takes {wanted}; set `data.resize`, `data.pad` or `data.crop`")]
    Fit {
        /// After resizing, padding and cropping.
        found: Shape,
        /// The model's.
        wanted: Shape,
    },
}

/// Why a line of a labels file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelsError {
    /// The file is far too long for what it is.
    #[error("the file has {bytes} bytes, more than the {limit} that are read")]
    TooLong {
        /// Its bytes.
        bytes: u64,
        /// The most that are read.
        limit: u64,
    },
    /// No UTF-8.
    #[error("the line is no text; save the file as UTF-8")]
    NotText,
    /// There is no line.
    #[error("no image is named; write a line such as `0001.jpg,7` for each")]
    Nothing,
    /// Too few or too many fields.
    #[error("expected `file,label`, found {found} field(s); put names with commas in quotation marks")]
    Fields {
        /// How many.
        found: usize,
    },
    /// The label is no number of a class.
    #[error(
        "label `{label}` is no whole number; write the number of the class (a header must read `file,label`)"
    )]
    NotANumber {
        /// As written.
        label: String,
    },
    /// The model has fewer classes.
    #[error("label {label} is no class of the model, which tells {classes} apart (0 to {})", classes.saturating_sub(1))]
    NoClass {
        /// The label.
        label: u32,
        /// The model's classes.
        classes: u32,
    },
    /// There is no such file.
    #[error("there is no file `{file}` in `{}`; names start at the images' folder", folder.display())]
    Missing {
        /// As written.
        file: String,
        /// The images' folder.
        folder: PathBuf,
    },
    /// A file has two labels.
    #[error("`{file}` has a label already, in line {first}; keep one of them")]
    Twice {
        /// As written.
        file: String,
        /// From 1.
        first: u64,
    },
}
