use std::fmt;

use super::{Grammar, ParseError, Problem, Quantizer};

/// What a layer's activation is: a quantizer, or a function that leaves its results in floats.
#[derive(Clone, Debug, PartialEq)]
pub enum Activation {
    /// A quantizer.
    Quantized(Quantizer),
    /// A float function.
    Float(FloatActivation),
}

macro_rules! float_activations {
    ($($(#[$doc:meta])* $variant:ident $name:literal,)*) => {
        /// The float activations of Keras 2.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FloatActivation { $($(#[$doc])* $variant,)* }

        impl FloatActivation {
            /// Every float activation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name that Keras knows it by.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

float_activations! {
    /// `x` for positive `x`, else `exp(x) - 1`.
    Elu "elu",
    /// `exp(x)`.
    Exponential "exponential",
    /// `x` times the normal distribution function of `x`.
    Gelu "gelu",
    /// `clip(0.2 x + 0.5, 0, 1)`.
    HardSigmoid "hard_sigmoid",
    /// `x` itself.
    Linear "linear",
    /// `x tanh(ln(1 + exp(x)))`.
    Mish "mish",
    /// `max(x, 0)`.
    Relu "relu",
    /// Scaled exponential linear unit.
    Selu "selu",
    /// `1 / (1 + exp(-x))`.
    Sigmoid "sigmoid",
    /// Exponentials divided by their sum over the last axis.
    Softmax "softmax",
    /// `ln(1 + exp(x))`.
    Softplus "softplus",
    /// `x / (1 + |x|)`.
    Softsign "softsign",
    /// `x` times its sigmoid.
    Swish "swish",
    /// Hyperbolic tangent.
    Tanh "tanh",
}

impl FloatActivation {
    /// Finds a float activation by its name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|activation| activation.name() == name)
    }
}

impl fmt::Display for FloatActivation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Activation {
    /// Reads a quantizer with its arguments, or the name of a float activation.
    ///
    /// Errors: what is wrong in the string, the first mistake of it.
    pub fn parse(text: &str, grammar: Grammar) -> Result<Self, ParseError> {
        match FloatActivation::named(text.trim()) {
            Some(activation) => Ok(Self::Float(activation)),
            None => {
                Quantizer::parse(text, grammar).map(Self::Quantized).map_err(|error| match error.problem {
                    Problem::FloatActivation(_) => {
                        ParseError { problem: Problem::ActivationArguments, ..error }
                    }
                    _ => error,
                })
            }
        }
    }

    /// The quantizer, if it is one.
    pub fn quantizer(&self) -> Option<&Quantizer> {
        match self {
            Self::Quantized(quantizer) => Some(quantizer),
            Self::Float(_) => None,
        }
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quantized(quantizer) => quantizer.fmt(f),
            Self::Float(activation) => activation.fmt(f),
        }
    }
}
