/// A data set that bitloop can find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dataset {
    /// Fashion-MNIST: 28x28 grey images of clothes in ten classes.
    FashionMnist,
    /// MNIST: 28x28 grey images of handwritten digits.
    Mnist,
    /// Kuzushiji-MNIST: 28x28 grey images of ten cursive Japanese characters.
    Kmnist,
    /// CIFAR-10: 32x32 colour images in ten classes.
    Cifar10,
    /// CIFAR-100: 32x32 colour images with their hundred fine labels.
    Cifar100,
    /// CIFAR-100 with its twenty coarse labels.
    Cifar100Coarse,
}

impl Dataset {
    /// The word that names it in a file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FashionMnist => "fashion_mnist",
            Self::Mnist => "mnist",
            Self::Kmnist => "kmnist",
            Self::Cifar10 => "cifar10",
            Self::Cifar100 => "cifar100",
            Self::Cifar100Coarse => "cifar100_coarse",
        }
    }
}

/// Which of a data set's two files the images come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// The training images.
    Train,
    /// The test images.
    Test,
}

impl Split {
    /// The word that names it in a file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }
}

/// Where images come from. Paths are as written; relative ones start at the experiment file's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageSource {
    /// A data set that is looked up by its name.
    Dataset {
        /// Which.
        dataset: Dataset,
        /// Which of its files.
        split: Split,
    },
    /// Two IDX files, plain or compressed.
    Idx {
        /// The images' file.
        images: String,
        /// The labels' file.
        labels: String,
    },
    /// A folder of JPEG and PNG files.
    Folder {
        /// The folder.
        images: String,
        /// A CSV file with a line `file,label` for each image; without it every sub-folder is a class.
        labels: Option<String>,
    },
}

/// A size that images are resized to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// The shorter side becomes this long, the longer one keeps the proportion. In pixels.
    ShorterSide(usize),
    /// This height and width, in pixels.
    Exact([usize; 2]),
}

/// How images are brought to the size that the model takes: resized, then padded, then cropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fit {
    /// The first step.
    pub resize: Option<Resize>,
    /// Black pixels that are then added on each of the four sides.
    pub pad: usize,
    /// Height and width, in pixels, of the middle that is then kept.
    pub crop: Option<[usize; 2]>,
}

/// What replaces the model's own normalization of its input.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalization {
    /// Mean per channel, or one for all, in units of the 0..1 scaled value.
    pub mean: Vec<f32>,
    /// Standard deviation per channel, or one for all, in the same units; above zero.
    pub std: Vec<f32>,
}

/// How many images a part gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageCount {
    /// So many.
    Count(u64),
    /// What the other parts leave.
    Rest,
}

/// The images of an experiment and how they are split.
#[derive(Clone, Debug, PartialEq)]
pub struct DataSpec {
    /// Where the images come from.
    pub source: ImageSource,
    /// How they are brought to the model's size.
    pub fit: Fit,
    /// What replaces the model's normalization, if anything does.
    pub normalize: Option<Normalization>,
    /// Images that trainings learn from, where anything is trained: of the data set's training file where the others are
    /// of its test file, else of the same images.
    pub training: Option<ImageCount>,
    /// Images for calibration; 0 where nothing is calibrated.
    pub calibration: u64,
    /// Images that searches see.
    pub selection: ImageCount,
    /// Images touched only by a final verification.
    pub report: ImageCount,
    /// Seed of the split.
    pub seed: u64,
}

impl DataSpec {
    /// The same for the file that training images come from, if it is another one than the others'.
    pub fn training_file(&self) -> Option<Self> {
        match (self.training, &self.source) {
            (Some(_), ImageSource::Dataset { dataset, split: Split::Test }) => {
                let source = ImageSource::Dataset { dataset: *dataset, split: Split::Train };
                Some(Self { source, ..self.clone() })
            }
            (Some(_) | None, _) => None,
        }
    }
}
