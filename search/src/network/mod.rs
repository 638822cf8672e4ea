//! A network as Keras describes it: layers with classes, shapes and weights, as data.
//!
//! This is what AutoQKeras's rules speak of: which layers a limit touches, what QTools charges for them, what filter
//! tuning changes. Shapes are channels last and without the batch. It holds no weights and knows nothing of tensors or
//! of searching. Start reading at [`Network`] and [`Layer`]; [`Network::of_graph`] makes one from a
//! model's graph, [`Network::quantized`] gives it quantizers.

mod class;
mod graph;
mod quantize;
mod resize;

use bitloop_core::graph::Padding;
use serde::{Deserialize, Serialize};

pub use class::{Class, Kind};
pub use quantize::{QuantizeError, QuantizerDictionary, QuantizerEntry};
pub use resize::ResizeError;

/// A network as Keras describes it; layers stand in topological order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Network {
    /// The layers, the input layers among them.
    pub layers: Vec<Layer>,
}

/// One layer. What a class does not have is empty, zero, false or none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Layer {
    /// Unique within the network.
    pub name: String,
    /// The class, plain or quantized.
    pub class: Class,
    /// Names of the layers whose outputs it takes, in order.
    pub inbound: Vec<String>,
    /// Shape of each input, channels last, without the batch; an input layer repeats its output shape.
    pub input_shape: Vec<Vec<usize>>,
    /// Shape of the output, channels last, without the batch.
    pub output_shape: Vec<usize>,
    /// Output channels of a convolution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filters: Option<usize>,
    /// Output features of a dense layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub units: Option<usize>,
    /// Extents of a convolution's window.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kernel_size: Vec<usize>,
    /// Extents of a pooling window.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pool_size: Vec<usize>,
    /// Steps of a window.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub strides: Vec<usize>,
    /// What is put around the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub padding: Option<LayerPadding>,
    /// Whether a bias is added.
    pub use_bias: bool,
    /// The activation as written: a Keras name or a quantizer's string; `"None"` is none, see [`Layer::activation`].
    #[serde(rename = "activation", skip_serializing_if = "Option::is_none")]
    pub activation_text: Option<String>,
    /// Output channels per input channel of a depthwise convolution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth_multiplier: Option<usize>,
    /// Whether batch normalization multiplies by gamma.
    pub scale: bool,
    /// Whether batch normalization adds beta.
    pub center: bool,
    /// Weights in Keras's order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<Weight>,
    /// Quantizers' strings in the order of the weights (kernel, bias; or gamma, beta, mean, variance, inverse), none
    /// where a quantized layer leaves one out. Empty for plain layers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub quantizers: Vec<Option<String>>,
}

/// A weight tensor's name and shape, as Keras lays it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weight {
    /// `kernel`, `depthwise_kernel`, `bias`, `gamma`, `beta`, `moving_mean`, `moving_variance`.
    pub name: String,
    /// Extents: `(kh, kw, in / groups, out)`, `(kh, kw, channels, multiplier)`, `(in, out)` or `(channels,)`.
    pub shape: Vec<usize>,
}

impl Weight {
    /// Makes a weight.
    pub fn new(name: &str, shape: &[usize]) -> Self {
        Self { name: name.to_owned(), shape: shape.to_vec() }
    }

    /// Number of values.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// What is put around an image before a window slides over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerPadding {
    /// As many zeros as give `ceil(size / stride)` outputs.
    Same,
    /// Nothing.
    Valid,
    /// Numbers that Keras has no word for.
    Explicit(Padding),
}

impl Default for Class {
    fn default() -> Self {
        Self::plain(Kind::InputLayer)
    }
}

impl Network {
    /// Finds a layer by its name.
    pub fn layer(&self, name: &str) -> Option<&Layer> {
        self.layers.iter().find(|layer| layer.name == name)
    }

    /// Finds a layer by its name, to change it.
    pub fn layer_mut(&mut self, name: &str) -> Option<&mut Layer> {
        self.layers.iter_mut().find(|layer| layer.name == name)
    }

    /// The layers that take the output of `name`, in order.
    pub fn consumers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Layer> {
        self.layers.iter().filter(move |layer| layer.inbound.iter().any(|inbound| inbound == name))
    }
}

impl Layer {
    /// Number of values of the output.
    pub fn output_elements(&self) -> usize {
        self.output_shape.iter().product()
    }

    /// The activation, or none where there is none or it is written as `"None"`.
    pub fn activation(&self) -> Option<&str> {
        self.activation_text.as_deref().filter(|text| *text != "None")
    }

    /// Finds a weight by its name.
    pub fn weight(&self, name: &str) -> Option<&Weight> {
        self.weights.iter().find(|weight| weight.name == name)
    }

    /// The kernel: the first weight of a layer that multiplies by weights.
    pub fn kernel(&self) -> Option<&Weight> {
        self.weights.first().filter(|weight| weight.name.ends_with("kernel"))
    }

    /// The quantizer of the weight at `index`, as written; none where it is left out or the layer is plain.
    pub fn quantizer(&self, index: usize) -> Option<&str> {
        self.quantizers.get(index)?.as_deref()
    }
}

#[cfg(test)]
mod tests;
