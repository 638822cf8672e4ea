use std::fmt;

/// A value as Python writes it in a quantizer's arguments.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction or an exponent.
    Float(f64),
    /// Numbers in brackets, separated by spaces.
    List(Vec<f64>),
    /// A text in quotes.
    Text(String),
}

impl Literal {
    /// Reads a value: a truth value, a whole number, a finite number, None, a list, or a text in quotes, tried in this
    /// order.
    ///
    /// `None` where it is none of these. Without `quoted`, the first and last character of any other text are taken
    /// for quotes, as QKeras does.
    pub(super) fn read(text: &str, quoted: bool) -> Option<Self> {
        match text {
            "True" => return Some(Self::Bool(true)),
            "False" => return Some(Self::Bool(false)),
            "None" => return Some(Self::None),
            _ => {}
        }
        if let Ok(number) = text.parse() {
            return Some(Self::Int(number));
        }
        if let Ok(number) = text.parse::<f64>() {
            return number.is_finite().then_some(Self::Float(number));
        }
        if let Some(list) = text.strip_prefix('[') {
            let numbers = list.strip_suffix(']')?.split_whitespace();
            let numbers = numbers.map(|number| number.parse().ok().filter(|number: &f64| number.is_finite()));
            return numbers.collect::<Option<_>>().map(Self::List);
        }
        let mut inside = text.chars();
        let ends = (inside.next()?, inside.next_back()?);
        (!quoted || matches!(ends, ('\'', '\'') | ('"', '"'))).then(|| Self::Text(inside.as_str().to_owned()))
    }

    /// The number that this is in Python, where truth values are numbers.
    pub(super) fn number(&self) -> Option<f64> {
        match *self {
            Self::Bool(value) => Some(f64::from(u8::from(value))),
            Self::Int(value) => Some(value as f64),
            Self::Float(value) => Some(value),
            Self::None | Self::List(_) | Self::Text(_) => None,
        }
    }

    /// The whole number that this is in Python.
    pub(super) fn whole(&self) -> Option<i64> {
        match *self {
            Self::Bool(value) => Some(i64::from(value)),
            Self::Int(value) => Some(value),
            Self::Float(value) if value.fract() == 0.0 && value.abs() < 1e9 => Some(value as i64),
            Self::Float(_) | Self::None | Self::List(_) | Self::Text(_) => None,
        }
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Bool(true) => f.write_str("True"),
            Self::Bool(false) => f.write_str("False"),
            Self::Int(value) => value.fmt(f),
            Self::Float(value) => f.write_str(&python_float(*value)),
            Self::List(values) => {
                let values: Vec<_> = values.iter().map(|value| python_float(*value)).collect();
                write!(f, "[{}]", values.join(" "))
            }
            Self::Text(text) => write!(f, "'{text}'"),
        }
    }
}

/// Returns a number as Python prints it: the shortest decimal, with an exponent of two digits or more and a sign where
/// there is one.
pub(super) fn python_float(value: f64) -> String {
    let plain = format!("{value:?}");
    match plain.split_once('e') {
        None => plain,
        Some((digits, exponent)) => {
            let digits = digits.strip_suffix(".0").unwrap_or(digits);
            match exponent.strip_prefix('-') {
                Some(exponent) => format!("{digits}e-{exponent:0>2}"),
                None => format!("{digits}e+{exponent:0>2}"),
            }
        }
    }
}
