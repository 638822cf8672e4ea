use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::parameters::Parameters;
use super::*;

macro_rules! quantizers {
    ($($(#[$doc:meta])* $variant:ident($parameters:ty),)*) => {
        /// A quantizer of QKeras with its parameters.
        ///
        /// `Display` prints what `str()` prints in QKeras, which leaves parameters out; [`Quantizer::spelling`] and serde
        /// keep all of them. Source: QKeras 0.9.0.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Quantizer { $($(#[$doc])* $variant($parameters),)* }

        impl Quantizer {
            /// The name of every quantizer.
            pub const NAMES: &'static [&'static str] = &[$(<$parameters>::NAME,)*];

            /// The class's name in QKeras.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => <$parameters>::NAME,)* }
            }

            /// The parameters that differ from their defaults, in order.
            pub fn changes(&self) -> Vec<(&'static str, Literal)> {
                match self { $(Self::$variant(parameters) => parameters.changes(),)* }
            }

            /// Says whether the parameters are ones that the quantizer can work with.
            ///
            /// Errors: the first that is not. What [`Quantizer::parse`] gives was checked.
            pub fn check(&self) -> Result<(), Problem> {
                match self { $(Self::$variant(parameters) => parameters.check(),)* }
            }

            fn read(name: &str, arguments: Vec<(&'static str, Literal)>) -> Option<Result<Self, Problem>> {
                match name {
                    $(<$parameters>::NAME => {
                        Some(<$parameters>::with(arguments).map(Self::$variant))
                    })*
                    _ => None,
                }
            }

            fn parameters(name: &str) -> Option<&'static [&'static str]> {
                match name {
                    $(<$parameters>::NAME => Some(<$parameters>::NAMES),)*
                    _ => None,
                }
            }
        }

        $(impl From<$parameters> for Quantizer {
            fn from(parameters: $parameters) -> Self {
                Self::$variant(parameters)
            }
        })*
    };
}

quantizers! {
    /// Fixed point.
    Bits(QuantizedBits),
    /// ReLU in fixed point.
    Relu(QuantizedRelu),
    /// Powers of two with a sign.
    Po2(QuantizedPo2),
    /// Powers of two of a ReLU.
    ReluPo2(QuantizedReluPo2),
    /// The sign.
    Binary(Binary),
    /// The sign, or 0 near it.
    Ternary(Ternary),
    /// Ternary, drawn in training.
    StochasticTernary(StochasticTernary),
    /// The sign, drawn in training.
    StochasticBinary(StochasticBinary),
    /// 0 or 1, always drawn.
    Bernoulli(Bernoulli),
    /// Hyperbolic tangent in fixed point.
    Tanh(QuantizedTanh),
    /// Sigmoid in fixed point.
    Sigmoid(QuantizedSigmoid),
    /// Fixed point, clipped before it is rounded.
    Linear(QuantizedLinear),
    /// Logarithmic companding.
    Ulaw(QuantizedUlaw),
    /// Hard swish in fixed point.
    Hswish(QuantizedHswish),
}

impl Quantizer {
    /// Reads a quantizer's name and arguments: `name`, or `name(4, 0, alpha='auto')`.
    ///
    /// Errors: the first mistake in the string.
    pub fn parse(text: &str, grammar: Grammar) -> Result<Self, ParseError> {
        Self::read_call(text, grammar).map_err(|problem| problem.within(text))
    }

    fn read_call(text: &str, grammar: Grammar) -> Result<Self, Problem> {
        let grammar::Call { name, arguments } = grammar.call(text)?;
        let Some(parameters) = Self::parameters(name) else {
            return Err(match FloatActivation::named(name) {
                Some(_) => Problem::FloatActivation(name.to_owned()),
                None => Problem::UnknownName { name: name.to_owned(), known: Self::NAMES.join(", ") },
            });
        };
        let arguments = arguments.unwrap_or_default().named(parameters)?;
        let quantizer = Self::read(name, arguments).expect("a name with parameters is one that is read")?;
        quantizer.check().map(|()| quantizer)
    }

    /// Returns the shortest string of ours that [`Quantizer::parse`] makes the same quantizer of: what QKeras prints where
    /// that says all, else every parameter that differs from its default by name.
    pub fn spelling(&self) -> String {
        let printed = self.to_string();
        if printed.parse().as_ref() == Ok(self) {
            return printed;
        }
        let changes: Vec<_> = self.changes().iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{}({})", self.name(), changes.join(","))
    }

    /// Returns the quantizer that a layer makes of it for its kernel: where no alpha is given, scales are found per
    /// channel as powers of two, and fixed point becomes symmetric.
    ///
    /// Quantizers without an alpha stay as they are. Source: QKeras 0.9.0, the layers' constructors.
    pub fn as_kernel(&self) -> Self {
        let mut kernel = self.clone();
        let Some(alpha) = kernel.alpha_mut().filter(|alpha| alpha.is_none()) else {
            return kernel;
        };
        *alpha = Some(Alpha::AutoPo2);
        match &mut kernel {
            Self::Bits(parameters) => parameters.symmetric = true,
            Self::Linear(parameters) => parameters.symmetric = true,
            Self::Hswish(parameters) => parameters.symmetric = true,
            Self::Relu(_) | Self::Po2(_) | Self::ReluPo2(_) | Self::Binary(_) | Self::Ternary(_) => {}
            Self::StochasticTernary(_) | Self::StochasticBinary(_) | Self::Bernoulli(_) => {}
            Self::Tanh(_) | Self::Sigmoid(_) | Self::Ulaw(_) => {}
        }
        kernel
    }

    fn alpha_mut(&mut self) -> Option<&mut Option<Alpha>> {
        match self {
            Self::Bits(parameters) => Some(&mut parameters.alpha),
            Self::Linear(parameters) => Some(&mut parameters.alpha),
            Self::Hswish(parameters) => Some(&mut parameters.alpha),
            Self::Binary(parameters) => Some(&mut parameters.alpha),
            Self::Ternary(parameters) => Some(&mut parameters.alpha),
            Self::StochasticTernary(parameters) => Some(&mut parameters.alpha),
            Self::StochasticBinary(parameters) => Some(&mut parameters.alpha),
            Self::Bernoulli(parameters) => Some(&mut parameters.alpha),
            Self::Relu(_) | Self::Po2(_) | Self::ReluPo2(_) => None,
            Self::Tanh(_) | Self::Sigmoid(_) | Self::Ulaw(_) => None,
        }
    }
}

impl FromStr for Quantizer {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text, Grammar::Strict)
    }
}

impl Serialize for Quantizer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.spelling())
    }
}

impl<'de> Deserialize<'de> for Quantizer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
