use std::collections::BTreeMap;

use bitloop_core::qkeras::{Grammar, ParseError, Quantizer};
use serde::{Deserialize, Serialize};

use super::{Class, Kind, Layer, Network};

/// The field of an activation's quantizer, which weighted layers have too.
const ACTIVATION: &str = "activation_quantizer";
/// The fields of layers that multiply by weights: the kernel's two names, which stand for the same, then the others.
const PRODUCT_FIELDS: [&str; 4] = ["kernel_quantizer", "depthwise_quantizer", "bias_quantizer", ACTIVATION];
/// The fields of batch normalization in the order of [`Layer::quantizers`].
const NORMALIZATION_FIELDS: [&str; 5] =
    ["gamma_quantizer", "beta_quantizer", "mean_quantizer", "variance_quantizer", "inverse_quantizer"];

/// The quantizers of a network as QKeras writes them, by the name of a layer or by the class of quantized ones.
///
/// A layer's name counts before its class, of which a network need not have any layers. An entry of `{}` makes a batch normalization a quantized one without
/// quantizers and leaves other layers as they are.
/// Source: specification of QKeras's `model_quantize`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct QuantizerDictionary {
    /// The entries.
    pub entries: BTreeMap<String, QuantizerEntry>,
}

/// What a dictionary says of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum QuantizerEntry {
    /// The quantizer of an activation layer.
    Activation(String),
    /// Quantizers by field (`kernel_quantizer`, `bias_quantizer`, ...); under `QActivation` by the activation's name.
    Fields(BTreeMap<String, Option<String>>),
}

/// Why a dictionary does not fit a network.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum QuantizeError {
    /// An entry for nothing.
    #[error(
        "the model has no layer `{name}`, and no quantized class is called so; it has {}",
        .layers.join(", ")
    )]
    UnknownLayer {
        /// The entry's name.
        name: String,
        /// The layers that can have an entry.
        layers: Vec<String>,
    },
    /// A layer of a class that has no such quantizer.
    #[error("the layer `{layer}` of class `{class}` has no {field}; {}", known_fields(.known))]
    UnknownField {
        /// The layer.
        layer: String,
        /// Its class.
        class: String,
        /// The field that was given.
        field: String,
        /// The fields that it has.
        known: Vec<&'static str>,
    },
    /// A weighted layer with other quantizers than the kernel's alone.
    #[error(
        "the layer `{layer}` has quantizers but none for its kernel; give a kernel_quantizer, or leave it out"
    )]
    NoKernel {
        /// The layer.
        layer: String,
    },
    /// A quantizer cannot be read.
    #[error("the layer `{layer}` has a quantizer that cannot be read: {error}")]
    Quantizer {
        /// The layer.
        layer: String,
        /// What is wrong in it.
        error: ParseError,
    },
}

fn known_fields(known: &[&str]) -> String {
    match known {
        [] => "leave it out, or write {}".to_owned(),
        known => format!("choose {}", known.join(", ")),
    }
}

impl Network {
    /// Returns the network with a dictionary's quantizers, as QKeras quantizes a model.
    ///
    /// Kernels' quantizers are promoted as QKeras's layers do it ([`Quantizer::as_kernel`]); a bias's quantizer counts
    /// where there is a bias. Activations inside quantized layers that have no quantizer of their own get one of
    /// `activation_bits`. With [`Grammar::Qkeras`] a layer without a kernel's quantizer is left as it is, as in QKeras.
    /// Errors: see [`QuantizeError`]; the first in the order of the layers, entries for nothing before all others.
    pub fn quantized(
        &self,
        dictionary: &QuantizerDictionary,
        activation_bits: u32,
        grammar: Grammar,
    ) -> Result<Self, QuantizeError> {
        self.check_names(dictionary)?;
        let mut network = self.clone();
        for layer in network.layers.iter_mut().filter(|layer| !layer.class.quantized) {
            let by_name = dictionary.entries.get(&layer.name);
            let by_class = || dictionary.entries.get(&Class::quantized(layer.class.kind.clone()).to_string());
            let fields = match (by_name, by_class) {
                (Some(entry), _) => layer.fields(entry),
                (None, by_class) => match by_class() {
                    Some(entry) => layer.fields_of_class(entry),
                    None => continue,
                },
            };
            layer.quantize(&fields, activation_bits, grammar)?;
        }
        Ok(network)
    }

    fn check_names(&self, dictionary: &QuantizerDictionary) -> Result<(), QuantizeError> {
        let is_class = |name: &str| Class::from(name.to_owned()).quantized;
        let is_known = |name: &str| is_class(name) || self.layer(name).is_some();
        let Some(name) = dictionary.entries.keys().find(|name| !is_known(name)) else {
            return Ok(());
        };
        let layers = self.layers.iter().filter(|layer| !layer.quantizer_fields().is_empty());
        let layers = layers.map(|layer| layer.name.clone()).collect();
        Err(QuantizeError::UnknownLayer { name: name.clone(), layers })
    }
}

/// Quantizers by field.
type Fields<'d> = BTreeMap<&'d str, &'d str>;

impl Layer {
    /// The fields that an entry for a layer of its class can have.
    fn quantizer_fields(&self) -> &'static [&'static str] {
        match &self.class.kind {
            Kind::Dense | Kind::Conv1D | Kind::Conv2D | Kind::DepthwiseConv2D | Kind::Conv2DTranspose => {
                &PRODUCT_FIELDS
            }
            Kind::BatchNormalization => &NORMALIZATION_FIELDS,
            Kind::Activation | Kind::AdaptiveActivation => &[ACTIVATION],
            Kind::InputLayer
            | Kind::SeparableConv1D
            | Kind::SeparableConv2D
            | Kind::SimpleRnn
            | Kind::Lstm
            | Kind::Gru
            | Kind::Bidirectional
            | Kind::MaxPooling2D
            | Kind::AveragePooling2D
            | Kind::GlobalAveragePooling2D
            | Kind::Add
            | Kind::Subtract
            | Kind::Multiply
            | Kind::Maximum
            | Kind::Minimum
            | Kind::Average
            | Kind::Concatenate
            | Kind::Flatten
            | Kind::Reshape
            | Kind::Dropout
            | Kind::ZeroPadding2D
            | Kind::UpSampling2D
            | Kind::Other(_) => &[],
        }
    }

    fn fields<'d>(&self, entry: &'d QuantizerEntry) -> Fields<'d> {
        match entry {
            QuantizerEntry::Activation(text) => Fields::from([(ACTIVATION, text.as_str())]),
            QuantizerEntry::Fields(fields) => {
                let given = |(field, text): (&'d String, &'d Option<String>)| {
                    Some((field.as_str(), text.as_deref().filter(|text| *text != "None")?))
                };
                fields.iter().filter_map(given).collect()
            }
        }
    }

    /// The same of an entry for a class: activations are told apart by their names.
    fn fields_of_class<'d>(&self, entry: &'d QuantizerEntry) -> Fields<'d> {
        let fields = self.fields(entry);
        match (&self.class.kind, entry, self.activation()) {
            (Kind::Activation, QuantizerEntry::Fields(_), Some(name)) => {
                fields.get(name).map(|text| (ACTIVATION, *text)).into_iter().collect()
            }
            _ => fields,
        }
    }

    fn quantize(
        &mut self,
        fields: &Fields<'_>,
        activation_bits: u32,
        grammar: Grammar,
    ) -> Result<(), QuantizeError> {
        let known = self.quantizer_fields();
        if let Some(field) = fields.keys().find(|field| !known.contains(field)) {
            return Err(QuantizeError::UnknownField {
                layer: self.name.clone(),
                class: self.class.to_string(),
                field: (*field).to_owned(),
                known: known.to_vec(),
            });
        }
        let quantized = match &self.class.kind {
            Kind::BatchNormalization => {
                let quantizers = NORMALIZATION_FIELDS.map(|field| fields.get(field).copied());
                self.quantize_normalization(quantizers, grammar)
            }
            Kind::Activation | Kind::AdaptiveActivation => match fields.get(ACTIVATION) {
                Some(text) => self.quantize_activation(text, grammar),
                None => Ok(()),
            },
            _ if fields.is_empty() => Ok(()),
            _ => {
                let [kernel, depthwise, bias, activation] =
                    PRODUCT_FIELDS.map(|field| fields.get(field).copied());
                match (kernel.or(depthwise), grammar) {
                    (None, Grammar::Strict) => {
                        return Err(QuantizeError::NoKernel { layer: self.name.clone() });
                    }
                    (None, Grammar::Qkeras) => Ok(()),
                    (kernel, _) => self
                        .quantize_weights([kernel, bias], grammar)
                        .and_then(|()| self.quantize_inline(activation, activation_bits, grammar)),
                }
            }
        };
        quantized.map_err(|error| QuantizeError::Quantizer { layer: self.name.clone(), error })
    }

    /// Makes it the quantized layer with quantizers for kernel and bias.
    pub(crate) fn quantize_weights(
        &mut self,
        [kernel, bias]: [Option<&str>; 2],
        grammar: Grammar,
    ) -> Result<(), ParseError> {
        let kernel = kernel.map(|text| Quantizer::parse(text, grammar)).transpose()?;
        let bias = bias.filter(|_| self.use_bias).map(|text| spelled(text, grammar)).transpose()?;
        self.class.quantized = true;
        self.quantizers = vec![kernel.map(|kernel| kernel.as_kernel().spelling()), bias];
        Ok(())
    }

    /// Gives a quantized layer the activation chosen, or one of its own function with the bits that all have.
    pub(crate) fn quantize_inline(
        &mut self,
        chosen: Option<&str>,
        bits: u32,
        grammar: Grammar,
    ) -> Result<(), ParseError> {
        let text = match (chosen, self.activation()) {
            (Some(text), _) => text.to_owned(),
            (None, Some("relu")) => format!("quantized_relu({bits})"),
            (None, Some("tanh")) => format!("quantized_tanh({bits})"),
            (None, Some("sigmoid")) => format!("quantized_sigmoid({bits})"),
            (None, _) => return Ok(()),
        };
        self.activation_text = Some(spelled(&text, grammar)?);
        Ok(())
    }

    fn quantize_activation(&mut self, text: &str, grammar: Grammar) -> Result<(), ParseError> {
        self.activation_text = Some(spelled(text, grammar)?);
        self.class.quantized = true;
        Ok(())
    }

    /// Makes a batch normalization the quantized one.
    pub(crate) fn quantize_normalization(
        &mut self,
        quantizers: [Option<&str>; NORMALIZATION_FIELDS.len()],
        grammar: Grammar,
    ) -> Result<(), ParseError> {
        let texts = quantizers.into_iter().map(|text| text.map(|text| spelled(text, grammar)).transpose());
        self.quantizers = texts.collect::<Result<_, _>>()?;
        self.class.quantized = true;
        self.activation_text = Some("None".to_owned());
        Ok(())
    }
}

fn spelled(text: &str, grammar: Grammar) -> Result<String, ParseError> {
    Quantizer::parse(text, grammar).map(|quantizer| quantizer.spelling())
}
