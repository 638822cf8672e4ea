//! What is wrong with a search space, and what is only worth a word.

use bitloop_core::qkeras::ParseError;

use super::PatternError;
use crate::network::ResizeError;

/// Why there is no search space.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SpaceError {
    /// A pattern is no regular expression.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// A pattern of the limit holds for no layer.
    #[error("the limit's pattern `{0}` matches no layer of the network; correct it or leave it out")]
    MatchesNothing(String),
    /// A candidate is no quantizer.
    #[error("quantization_config.{section}: {error}")]
    NoQuantizer {
        /// The section.
        section: String,
        /// What is wrong in the string.
        error: ParseError,
    },
    /// A section that a layer needs is not there.
    #[error("quantization_config has no section `{section}`, which the layer `{layer}` chooses from")]
    MissingSection {
        /// The section.
        section: &'static str,
        /// The layer.
        layer: String,
    },
    /// An entry of the limit names what is no candidate.
    #[error("limit `{key}` names `{quantizer}`, which is not in quantization_config.{section}; add it there")]
    UnknownCandidate {
        /// The entry's key.
        key: String,
        /// What it names.
        quantizer: String,
        /// The section.
        section: &'static str,
    },
    /// An entry of an activation by itself is empty.
    #[error(
        "limit `{key}` says nothing of the layer `{layer}`; give it one bound, such as `[4]`, or leave it out"
    )]
    NoBound {
        /// The entry's key.
        key: String,
        /// The layer.
        layer: String,
    },
    /// An entry is too short for a layer.
    #[error(
        "limit `{key}` says nothing of the {field} of layer `{layer}`; give it kernel, bias and activation"
    )]
    ShortEntry {
        /// The entry's key.
        key: String,
        /// The layer.
        layer: String,
        /// What is to be chosen.
        field: &'static str,
    },
    /// A bound leaves nothing to choose.
    #[error("limit `{key}` leaves no candidate for the {field} of layer `{layer}`; raise it")]
    NoCandidates {
        /// The entry's key.
        key: String,
        /// The layer.
        layer: String,
        /// What is to be chosen.
        field: &'static str,
    },
    /// There are more candidates than a level can number.
    #[error("`{0}` has more than 255 values to choose from; leave some out")]
    TooManyValues(String),
    /// A limited layer is of a class that cannot be quantized here.
    #[error(
        "limit `{key}` touches the layer `{layer}`, but layers of class `{class}` cannot be quantized here; exclude it"
    )]
    Unsupported {
        /// The entry's key.
        key: String,
        /// The layer.
        layer: String,
        /// Its class.
        class: String,
    },
    /// There is no layer at an index.
    #[error("layer_indexes names {index}, but the network has {layers} layers")]
    UnknownIndex {
        /// The index.
        index: usize,
        /// Number of layers.
        layers: usize,
    },
    /// The pattern of exceptions holds for no layer.
    #[error("tune_filters_exceptions `{0}` matches no layer of the network; correct it or leave it out")]
    ExceptsNothing(String),
    /// QKeras needs a pattern where filters are tuned.
    #[error(
        "tune_filters needs tune_filters_exceptions where QKeras is followed; give a pattern, such as `^dense`"
    )]
    NoExceptions,
    /// Layers do not fit together with other filter counts.
    #[error("`{hyperparameter}` cannot be tuned: {error}; or name the layers in tune_filters_exceptions")]
    Filters {
        /// What is tuned.
        hyperparameter: String,
        /// Why not.
        error: ResizeError,
    },
    /// The network's output would have another size.
    #[error(
        "`{hyperparameter}` would change the size of the network's output at layer `{layer}`; name the layer that makes it in tune_filters_exceptions"
    )]
    Output {
        /// What is tuned.
        hyperparameter: String,
        /// The layer at the end.
        layer: String,
    },
    /// There is nothing to choose.
    #[error("no layer has anything to choose; is the limit that of another network?")]
    Nothing,
}

/// What whoever writes a search should know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpaceWarning {
    /// QKeras would ignore this pattern without a word.
    #[error("the limit's pattern `{0}` matches no layer of the network")]
    MatchesNothing(String),
    /// An empty list does not mean what it may seem to.
    #[error("limit `{0}` is empty: it takes the default, it does not leave layers as they are")]
    EmptyEntry(String),
    /// A section that no layer chooses from.
    #[error("quantization_config.{0} is not used by any layer")]
    UnusedSection(String),
    /// A choice that has no effect, as in QKeras.
    #[error("`{0}` is chosen and not used, as in QKeras: inline activations take activation_bits")]
    Ignored(String),
    /// A choice for a layer that is left out, as in QKeras.
    #[error("`{0}` is chosen for a layer outside layer_indexes, as in QKeras")]
    LeftOut(String),
}
