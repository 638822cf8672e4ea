use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a layer computes, named as Keras names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Where the network's input comes in.
    InputLayer,
    /// Matrix product.
    Dense,
    /// Convolution over one axis.
    Conv1D,
    /// Convolution over two axes.
    Conv2D,
    /// Convolution of every channel by itself.
    DepthwiseConv2D,
    /// The gradient of a convolution.
    Conv2DTranspose,
    /// Depthwise and pointwise convolution in one layer, over one axis.
    SeparableConv1D,
    /// Depthwise and pointwise convolution in one layer, over two axes.
    SeparableConv2D,
    /// Plain recurrent layer.
    SimpleRnn,
    /// Long short-term memory.
    Lstm,
    /// Gated recurrent unit.
    Gru,
    /// A recurrent layer in both directions.
    Bidirectional,
    /// A function of each value.
    Activation,
    /// An activation whose quantizer adapts its range while training.
    AdaptiveActivation,
    /// Batch normalization.
    BatchNormalization,
    /// Largest value of a window.
    MaxPooling2D,
    /// Mean of a window.
    AveragePooling2D,
    /// Mean over the image.
    GlobalAveragePooling2D,
    /// Sum of tensors.
    Add,
    /// Difference of two tensors.
    Subtract,
    /// Product of tensors, value by value.
    Multiply,
    /// Largest of tensors, value by value.
    Maximum,
    /// Smallest of tensors, value by value.
    Minimum,
    /// Mean of tensors, value by value.
    Average,
    /// Tensors joined along an axis.
    Concatenate,
    /// All values in one axis.
    Flatten,
    /// The values in their order, with other extents.
    Reshape,
    /// Values dropped while training.
    Dropout,
    /// Zeros around an image.
    ZeroPadding2D,
    /// Values repeated.
    UpSampling2D,
    /// Anything else, by its class name.
    Other(String),
}

const KINDS: &[(&str, Kind)] = &[
    ("InputLayer", Kind::InputLayer),
    ("Dense", Kind::Dense),
    ("Conv1D", Kind::Conv1D),
    ("Conv2D", Kind::Conv2D),
    ("DepthwiseConv2D", Kind::DepthwiseConv2D),
    ("Conv2DTranspose", Kind::Conv2DTranspose),
    ("SeparableConv1D", Kind::SeparableConv1D),
    ("SeparableConv2D", Kind::SeparableConv2D),
    ("SimpleRNN", Kind::SimpleRnn),
    ("LSTM", Kind::Lstm),
    ("GRU", Kind::Gru),
    ("Bidirectional", Kind::Bidirectional),
    ("Activation", Kind::Activation),
    ("AdaptiveActivation", Kind::AdaptiveActivation),
    ("BatchNormalization", Kind::BatchNormalization),
    ("MaxPooling2D", Kind::MaxPooling2D),
    ("AveragePooling2D", Kind::AveragePooling2D),
    ("GlobalAveragePooling2D", Kind::GlobalAveragePooling2D),
    ("Add", Kind::Add),
    ("Subtract", Kind::Subtract),
    ("Multiply", Kind::Multiply),
    ("Maximum", Kind::Maximum),
    ("Minimum", Kind::Minimum),
    ("Average", Kind::Average),
    ("Concatenate", Kind::Concatenate),
    ("Flatten", Kind::Flatten),
    ("Reshape", Kind::Reshape),
    ("Dropout", Kind::Dropout),
    ("ZeroPadding2D", Kind::ZeroPadding2D),
    ("UpSampling2D", Kind::UpSampling2D),
];

impl Kind {
    /// Returns the class name without the `Q` of quantized layers.
    pub fn as_str(&self) -> &str {
        if let Self::Other(name) = self {
            return name;
        }
        KINDS.iter().find(|(_, kind)| kind == self).map_or("", |(name, _)| name)
    }
}

/// A layer's class: its kind, and whether it is the quantized twin of the plain one (`QDense` of `Dense`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Class {
    /// What it computes.
    pub kind: Kind,
    /// Whether its name begins with `Q`.
    pub quantized: bool,
}

impl Class {
    /// The plain layer of a kind.
    pub fn plain(kind: Kind) -> Self {
        Self { kind, quantized: false }
    }

    /// The quantized layer of a kind.
    pub fn quantized(kind: Kind) -> Self {
        Self { kind, quantized: true }
    }

    fn of_name(name: &str) -> Self {
        let known = |name: &str| KINDS.iter().find(|(known, _)| *known == name).map(|(_, kind)| kind.clone());
        if let Some(kind) = known(name) {
            return Self::plain(kind);
        }
        match name.strip_prefix('Q').and_then(known) {
            Some(kind) => Self::quantized(kind),
            None => Self::plain(Kind::Other(name.to_owned())),
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.quantized { "Q" } else { "" }, self.kind.as_str())
    }
}

impl FromStr for Class {
    type Err = Infallible;

    /// Reads a class name; names that are not known are kept as they are.
    fn from_str(name: &str) -> Result<Self, Infallible> {
        Ok(Self::of_name(name))
    }
}

impl From<String> for Class {
    fn from(name: String) -> Self {
        Self::of_name(&name)
    }
}

impl From<Class> for String {
    fn from(class: Class) -> Self {
        class.to_string()
    }
}
