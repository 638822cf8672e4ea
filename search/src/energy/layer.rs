use bitloop_core::qkeras::{Activation, Grammar, Quantizer};
use serde::Serialize;

use super::{EnergyError, EnergyOptions, NumberType, Operator, View};
use crate::network::{Class, Kind, Layer};

mod merge;
mod normalization;
mod product;

/// What an operator does in its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Multiplies weights and inputs.
    Multiplier,
    /// Adds products up, and the bias to them.
    Accumulator,
    /// Divides gamma by the standard deviation.
    InternalDivider,
    /// Multiplies that and the input.
    InternalMultiplier,
    /// Adds beta.
    InternalAccumulator,
    /// Merges inputs value by value.
    Merge,
    /// Adds the values of a window.
    PoolAccumulator,
}

/// An operator in a layer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LayerOperator {
    /// What it does.
    pub role: Role,
    /// The operator.
    pub operator: Operator,
    /// How many of it each of the layer's operations is charged for; 0 where QTools charges nothing.
    pub times: u64,
}

/// A weight tensor as far as its price goes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parameter {
    /// Its name in Keras.
    pub name: &'static str,
    /// Number of values that are charged.
    pub elements: u64,
    /// Their type.
    pub number: NumberType,
}

/// The number types within a layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerTypes {
    /// The layer's name.
    pub name: String,
    /// Its class.
    pub class: Class,
    /// Type and number of values of each input.
    pub inputs: Vec<(NumberType, u64)>,
    /// Type of the output.
    pub output: NumberType,
    /// Number of values of the output.
    pub output_elements: u64,
    /// The weights.
    pub parameters: Vec<Parameter>,
    /// The operators.
    pub operators: Vec<LayerOperator>,
    /// How often each operator is needed for one image.
    pub operation_count: u64,
    /// Whether it is fed by the network's input.
    pub is_input: bool,
    /// Whether nothing takes its output.
    pub is_output: bool,
}

impl LayerTypes {
    /// Finds an operator by what it does.
    pub fn operator(&self, role: Role) -> Option<&Operator> {
        self.operators.iter().find(|operator| operator.role == role).map(|operator| &operator.operator)
    }

    /// Finds a weight by its name.
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }

    /// Whether a type in it is assumed, since QTools does not know the quantizer.
    pub fn is_assumed(&self) -> bool {
        let inputs = self.inputs.iter().map(|(number, _)| number);
        let parameters = self.parameters.iter().map(|parameter| &parameter.number);
        inputs.chain(parameters).chain([&self.output]).any(|number| number.assumed)
    }
}

/// What a layer takes.
pub(super) struct Inputs {
    pub(super) numbers: Vec<NumberType>,
    /// Whether one of them is the network's input.
    pub(super) is_input: bool,
}

/// What follows from a layer's class: everything but its shapes.
struct Work {
    output: NumberType,
    parameters: Vec<Parameter>,
    operators: Vec<LayerOperator>,
    operation_count: u64,
}

impl Work {
    /// Nothing is computed that has a price; what counts as operations are the values taken.
    fn none(layer: &Layer, output: NumberType) -> Self {
        Self { output, parameters: Vec::new(), operators: Vec::new(), operation_count: largest_input(layer) }
    }
}

/// What is known while a layer is typed.
struct Context<'c> {
    layer: &'c Layer,
    inputs: &'c Inputs,
    options: &'c EnergyOptions,
}

/// Returns the types within one layer. Whether it is an output is not known yet.
pub(super) fn types(
    layer: &Layer,
    inputs: &Inputs,
    options: &EnergyOptions,
) -> Result<LayerTypes, EnergyError> {
    let context = Context { layer, inputs, options };
    let work = context.work()?;
    let elements = layer.input_shape.iter().map(|shape| elements(shape));
    Ok(LayerTypes {
        name: layer.name.clone(),
        class: layer.class.clone(),
        inputs: inputs.numbers.iter().copied().zip(elements).collect(),
        output: work.output,
        output_elements: elements_of_output(layer),
        parameters: work.parameters,
        operators: work.operators,
        operation_count: work.operation_count,
        is_input: inputs.is_input,
        is_output: false,
    })
}

impl Context<'_> {
    fn work(&self) -> Result<Work, EnergyError> {
        if self.inputs.numbers.len() > self.layer.input_shape.len() {
            return Err(self.incomplete("input shapes"));
        }
        match &self.layer.class.kind {
            Kind::Dense | Kind::Conv1D | Kind::Conv2D | Kind::DepthwiseConv2D | Kind::Conv2DTranspose => {
                self.products()
            }
            Kind::BatchNormalization => self.normalization(),
            Kind::Activation | Kind::AdaptiveActivation => Ok(Work::none(self.layer, self.activation()?)),
            Kind::Add | Kind::Subtract => self.sum(),
            Kind::Multiply => self.elementwise_product(),
            Kind::Maximum | Kind::Minimum | Kind::Average | Kind::Concatenate => {
                Ok(Work::none(self.layer, self.referred(self.union())))
            }
            Kind::AveragePooling2D | Kind::GlobalAveragePooling2D => self.mean(),
            Kind::MaxPooling2D
            | Kind::Flatten
            | Kind::Reshape
            | Kind::ZeroPadding2D
            | Kind::UpSampling2D
            | Kind::InputLayer
            | Kind::Dropout => Ok(Work::none(self.layer, self.passed_on())),
            // Without weights nothing is multiplied; with weights it would pass for free.
            Kind::Other(_) if self.options.qkeras || self.layer.weights.is_empty() => {
                Ok(Work::none(self.layer, self.passed_on()))
            }
            Kind::Other(_)
            | Kind::SeparableConv1D
            | Kind::SeparableConv2D
            | Kind::SimpleRnn
            | Kind::Lstm
            | Kind::Gru
            | Kind::Bidirectional => Err(EnergyError::NoPriceOfLayer {
                layer: self.layer.name.clone(),
                class: self.layer.class.to_string(),
            }),
        }
    }

    /// Whether the layer's types are those of plain layers.
    fn is_plain(&self) -> bool {
        self.options.view == View::Reference || !self.layer.class.quantized
    }

    /// The only or first input; a layer without any, such as a constant, has what plain weights have.
    fn input(&self) -> NumberType {
        self.inputs.numbers.first().copied().unwrap_or(self.options.plain_weights)
    }

    /// In references every result is one of plain layers.
    fn referred(&self, number: NumberType) -> NumberType {
        match self.options.view {
            View::Reference => self.options.plain_accumulator,
            View::Trial => number,
        }
    }

    /// The type behind a layer that only moves values.
    fn passed_on(&self) -> NumberType {
        if self.options.view == View::Reference && !self.inputs.is_input {
            return self.options.plain_accumulator;
        }
        let number = self.union();
        let is_misread =
            matches!(number.name, "stochastic_binary" | "bernoulli" | "quantized_tanh" | "quantized_ulaw");
        // QTools converts the type a second time, and takes what it does not find then for stochastic_ternary.
        match self.options.qkeras && is_misread {
            true => NumberType { name: "stochastic_ternary", ..NumberType::ternary(2) },
            false => number,
        }
    }

    /// The type that holds the values of all inputs.
    fn union(&self) -> NumberType {
        let mut numbers = self.inputs.numbers.iter().copied();
        let first = numbers.next().unwrap_or(self.options.plain_weights);
        numbers.fold(first, |left, right| left.union(&right))
    }

    fn activation(&self) -> Result<NumberType, EnergyError> {
        if self.is_plain() {
            return Ok(self.options.plain_accumulator);
        }
        let Some(text) = self.layer.activation() else {
            return Err(self.incomplete("activation"));
        };
        match (self.activation_of(text)?, self.options.qkeras) {
            (Some(number), _) => Ok(number),
            (None, true) => Err(self.unknown(text)),
            (None, false) => Ok(self.options.plain_accumulator),
        }
    }

    /// The type that an activation gives; none where it is a float function or unknown to QTools.
    fn activation_of(&self, text: &str) -> Result<Option<NumberType>, EnergyError> {
        let activation = Activation::parse(text, self.grammar()).map_err(|error| self.unreadable(error))?;
        let number = |quantizer: &Quantizer| NumberType::of_quantizer(quantizer, self.options.qkeras);
        Ok(activation.quantizer().and_then(number))
    }

    /// The type of the weight at `index`, or `default` where the layer has no quantizer for it.
    fn weight(&self, index: usize, default: NumberType) -> Result<NumberType, EnergyError> {
        if self.is_plain() {
            return Ok(self.options.plain_weights);
        }
        let Some(text) = self.layer.quantizer(index) else {
            return Ok(default);
        };
        let quantizer = Quantizer::parse(text, self.grammar()).map_err(|error| self.unreadable(error))?;
        NumberType::of_quantizer(&quantizer, self.options.qkeras).ok_or_else(|| self.unknown(text))
    }

    /// Number of different values of the weight at `index`, if it was counted.
    fn values(&self, index: usize) -> Option<u64> {
        self.options.values.get(&self.layer.name)?.get(index).copied()
    }

    fn grammar(&self) -> Grammar {
        if self.options.qkeras { Grammar::Qkeras } else { Grammar::Strict }
    }

    fn unreadable(&self, error: bitloop_core::qkeras::ParseError) -> EnergyError {
        EnergyError::Quantizer { layer: self.layer.name.clone(), error }
    }

    fn unknown(&self, quantizer: &str) -> EnergyError {
        let (layer, quantizer) = (self.layer.name.clone(), quantizer.to_owned());
        EnergyError::UnknownQuantizer { layer, quantizer }
    }

    fn incomplete(&self, missing: &'static str) -> EnergyError {
        EnergyError::Incomplete { layer: self.layer.name.clone(), missing }
    }

    /// Stops where QTools would, if it is to be followed.
    fn mends(&self) -> Result<(), EnergyError> {
        if !self.options.qkeras {
            return Ok(());
        }
        let (layer, class) = (self.layer.name.clone(), self.layer.class.to_string());
        Err(EnergyError::QtoolsFails { layer, class })
    }
}

fn elements(shape: &[usize]) -> u64 {
    shape.iter().map(|extent| *extent as u64).product()
}

fn elements_of_output(layer: &Layer) -> u64 {
    elements(&layer.output_shape)
}

fn largest_input(layer: &Layer) -> u64 {
    layer.input_shape.iter().map(|shape| elements(shape)).max().unwrap_or(0)
}
