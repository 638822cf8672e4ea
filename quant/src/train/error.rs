use std::path::PathBuf;

use bitloop_core::graph::{GraphError, Shape};

use crate::data::DataError;
use crate::kernels::KernelsError;
use crate::lanes::LaneError;
use crate::model::ModelError;
use crate::qkeras::FitError;
use crate::zoo::ZooError;

/// Why a training stopped.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The architecture cannot be built for these images.
    #[error(transparent)]
    Architecture(#[from] ZooError),
    /// The built graph has no logits.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A node's operator has no gradients.
    #[error("node `{node}` cannot be trained; use another architecture")]
    Operator {
        /// Its name.
        node: String,
    },
    /// A node's quantizers have no place.
    #[error("node `{node}` cannot be quantized as asked: {reason}; leave that quantizer out")]
    Unquantizable {
        /// Its name.
        node: String,
        /// Why not.
        reason: &'static str,
    },
    /// A quantizer cannot be used for the values it is given.
    #[error("the {part} quantizer of node `{node}` cannot be used: {source}")]
    Quantizer {
        /// The node.
        node: String,
        /// `weight`, `bias` or `activation`.
        part: &'static str,
        /// Why not.
        source: FitError,
    },
    /// The images do not fit.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The images have classes that the network does not tell apart.
    #[error("the network has {logits} logits for images of {classes} classes; train one with as many logits")]
    Classes {
        /// Number of logits.
        logits: usize,
        /// Classes of the images.
        classes: u32,
    },
    /// The compute threads cannot be started.
    #[error(transparent)]
    Lanes(#[from] LaneError),
    /// The kernels that the environment asks for are not there.
    #[error(transparent)]
    Kernels(#[from] KernelsError),
    /// There are not enough images to hold some back and fill one batch.
    #[error(
        "{images} images are too few to hold back {validation} and train on batches of {batch}; lower `validation` or `batch`"
    )]
    TooFewImages {
        /// Images in the data set.
        images: usize,
        /// Images to be held back.
        validation: usize,
        /// Images per step.
        batch: usize,
    },
    /// There are not enough images to train on.
    #[error("{images} training images do not fill a batch of {batch}; give more images or lower `batch`")]
    TooFewTraining {
        /// Images to train on.
        images: usize,
        /// Images per step.
        batch: usize,
    },
    /// A number makes no sense.
    #[error("`{field}` is {value}; it must be {expected}")]
    Setting {
        /// Key in the training file.
        field: &'static str,
        /// What it is.
        value: f64,
        /// What it must be.
        expected: &'static str,
    },
    /// The images do not have the channels that the data set's mean and deviation are for.
    #[error("images of shape {0} do not belong to the data set; 1 channel is needed")]
    Images(Shape),
    /// The loss is no number before anything was learned.
    #[error(
        "the network's loss is {loss} before it has learned anything; look at its weights and quantizers"
    )]
    NoNumbers {
        /// Not finite.
        loss: f64,
    },
    /// The loss is no longer a number.
    #[error(
        "the loss is {loss} in epoch {epoch}, step {step}; lower `learning_rate`, clip the gradients' norm or warm up longer"
    )]
    Diverged {
        /// From 1.
        epoch: usize,
        /// From 1.
        step: usize,
        /// Not finite.
        loss: f64,
    },
    /// The validation loss is no longer a number.
    #[error("the validation loss is {loss} after epoch {epoch}; lower `learning_rate`")]
    DivergedBehind {
        /// From 1.
        epoch: usize,
        /// Not finite.
        loss: f64,
    },
    /// A half-finished training of another kind lies in the way.
    #[error(
        "{path} is a half-finished training with other settings or images; restore them, or delete the file to start again"
    )]
    Changed {
        /// The training state.
        path: PathBuf,
    },
    /// A training state cannot be read.
    #[error("{path} is no training state of this version ({reason}); delete it to start again")]
    State {
        /// The training state.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The disk refused.
    #[error("cannot {action} {path}: {source}; check the path and its permissions")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The checkpoint cannot be written.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// An operator refused its tensors.
    #[error("the network cannot be computed: {0}")]
    Compute(#[from] candle_core::Error),
}
