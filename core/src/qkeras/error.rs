use super::Literal;

/// A string that names no quantizer, with what is wrong in it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("`{text}` is not understood: {problem}")]
pub struct ParseError {
    /// The whole string.
    pub text: String,
    /// What is wrong in it.
    pub problem: Problem,
}

/// What is wrong in the name of a quantizer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Problem {
    /// Neither a quantizer nor a float activation is called so.
    #[error("nothing is called `{name}`; quantizers are {known}")]
    UnknownName {
        /// The name as written.
        name: String,
        /// The names of all quantizers.
        known: String,
    },
    /// A float activation stands where only a quantizer can.
    #[error("`{0}` is a float activation; a quantizer is needed here")]
    FloatActivation(String),
    /// A float activation has arguments.
    #[error("float activations take no arguments")]
    ActivationArguments,
    /// Parentheses are nested or repeated; QKeras would take all defaults.
    #[error("exactly one `(` is allowed; QKeras would drop all arguments and take the defaults")]
    Parentheses,
    /// The arguments do not end with the string.
    #[error("the arguments must end with one `)` at the end")]
    Unclosed,
    /// An argument is empty.
    #[error("argument {0} is empty")]
    EmptyArgument(usize),
    /// Python allows no positional argument there.
    #[error("positional argument `{0}` follows a keyword argument")]
    PositionalAfterKeyword(String),
    /// There are more positional arguments than parameters.
    #[error("{given} positional arguments are given, but there are {parameters} parameters")]
    TooManyArguments {
        /// How many are given.
        given: usize,
        /// How many the quantizer has.
        parameters: usize,
    },
    /// The quantizer has no such parameter.
    #[error("there is no parameter `{name}`; parameters are {known}")]
    UnknownParameter {
        /// The name as written.
        name: String,
        /// The names of the quantizer's parameters.
        known: String,
    },
    /// A parameter is given twice.
    #[error("`{0}` is given twice")]
    Repeated(String),
    /// A value is no number, truth value, list or quoted text.
    #[error(
        "value `{0}` is neither True, False, None, a finite number, a list like [1 2 3] nor a text in quotes"
    )]
    Value(String),
    /// A value has another type than its parameter.
    #[error("`{parameter}` is {expected}, not {value}")]
    Type {
        /// The parameter's name.
        parameter: &'static str,
        /// What it takes.
        expected: &'static str,
        /// The value given.
        value: Literal,
    },
    /// A value is one that the quantizer cannot work with.
    #[error("`{parameter}` {rule}")]
    Invalid {
        /// The parameter's name.
        parameter: &'static str,
        /// What holds for valid values.
        rule: &'static str,
    },
}
