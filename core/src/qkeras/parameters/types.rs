use crate::qkeras::{Literal, Problem};

/// A scale: given, or found from the values.
#[derive(Clone, Debug, PartialEq)]
pub enum Alpha {
    /// One for all values.
    Number(f64),
    /// One for each index of the last axis.
    List(Vec<f64>),
    /// Found per channel.
    Auto,
    /// Found per channel, a power of two.
    AutoPo2,
}

impl Alpha {
    /// Says whether scales are found from the values.
    pub fn is_auto(&self) -> bool {
        matches!(self, Self::Auto | Self::AutoPo2)
    }
}

/// One number for an axis or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Axes {
    /// One number.
    One(i32),
    /// A list.
    Many(Vec<i32>),
}

/// How the logarithm of a magnitude becomes an exponent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log2Rounding {
    /// Half to even.
    Nearest,
    /// Down.
    Floor,
}

/// A type that parameters have.
pub(super) trait Parameter: Sized {
    /// What it is, to follow "is".
    const EXPECTED: &'static str;

    /// Takes a literal; `None` where it is of another type.
    fn of(value: &Literal) -> Option<Self>;

    /// The literal that [`Parameter::of`] makes the same value of.
    fn literal(&self) -> Literal;
}

/// Reads a parameter's value.
///
/// Errors: a value of another type.
pub(super) fn read<P: Parameter>(parameter: &'static str, value: Literal) -> Result<P, Problem> {
    P::of(&value).ok_or(Problem::Type { parameter, expected: P::EXPECTED, value })
}

impl Parameter for bool {
    const EXPECTED: &'static str = "True, False, 1 or 0";

    fn of(value: &Literal) -> Option<Self> {
        match value.whole()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn literal(&self) -> Literal {
        Literal::Bool(*self)
    }
}

impl Parameter for u32 {
    const EXPECTED: &'static str = "a whole number of at least 0";

    fn of(value: &Literal) -> Option<Self> {
        value.whole()?.try_into().ok()
    }

    fn literal(&self) -> Literal {
        Literal::Int(i64::from(*self))
    }
}

impl Parameter for i32 {
    const EXPECTED: &'static str = "a whole number";

    fn of(value: &Literal) -> Option<Self> {
        value.whole()?.try_into().ok()
    }

    fn literal(&self) -> Literal {
        Literal::Int(i64::from(*self))
    }
}

impl Parameter for f64 {
    const EXPECTED: &'static str = "a number";

    fn of(value: &Literal) -> Option<Self> {
        value.number()
    }

    fn literal(&self) -> Literal {
        Literal::Float(*self)
    }
}

impl Parameter for Vec<f64> {
    const EXPECTED: &'static str = "a list of numbers like [1 2 3]";

    fn of(value: &Literal) -> Option<Self> {
        match value {
            Literal::List(values) => Some(values.clone()),
            Literal::None | Literal::Bool(_) | Literal::Int(_) | Literal::Float(_) | Literal::Text(_) => None,
        }
    }

    fn literal(&self) -> Literal {
        Literal::List(self.clone())
    }
}

impl Parameter for String {
    const EXPECTED: &'static str = "a text in quotes";

    fn of(value: &Literal) -> Option<Self> {
        match value {
            Literal::Text(text) => Some(text.clone()),
            Literal::None | Literal::Bool(_) | Literal::Int(_) | Literal::Float(_) | Literal::List(_) => None,
        }
    }

    fn literal(&self) -> Literal {
        Literal::Text(self.clone())
    }
}

impl Parameter for Alpha {
    const EXPECTED: &'static str = "None, a number, a list of numbers, 'auto' or 'auto_po2'";

    fn of(value: &Literal) -> Option<Self> {
        match value {
            Literal::Text(text) if text == "auto" => Some(Self::Auto),
            Literal::Text(text) if text == "auto_po2" => Some(Self::AutoPo2),
            Literal::List(values) => Some(Self::List(values.clone())),
            Literal::None | Literal::Bool(_) | Literal::Int(_) | Literal::Float(_) | Literal::Text(_) => {
                value.number().map(Self::Number)
            }
        }
    }

    fn literal(&self) -> Literal {
        match self {
            Self::Number(value) => Literal::Float(*value),
            Self::List(values) => Literal::List(values.clone()),
            Self::Auto => Literal::Text("auto".to_owned()),
            Self::AutoPo2 => Literal::Text("auto_po2".to_owned()),
        }
    }
}

impl Parameter for Axes {
    const EXPECTED: &'static str = "None, a whole number or a list of them";

    fn of(value: &Literal) -> Option<Self> {
        match value {
            Literal::List(values) => {
                let wholes = values.iter().map(|value| i32::of(&Literal::Float(*value)));
                wholes.collect::<Option<_>>().map(Self::Many)
            }
            Literal::None | Literal::Bool(_) | Literal::Int(_) | Literal::Float(_) | Literal::Text(_) => {
                i32::of(value).map(Self::One)
            }
        }
    }

    fn literal(&self) -> Literal {
        match self {
            Self::One(value) => value.literal(),
            Self::Many(values) => Literal::List(values.iter().map(|value| f64::from(*value)).collect()),
        }
    }
}

impl Parameter for Log2Rounding {
    const EXPECTED: &'static str = "'rnd' or 'floor'";

    fn of(value: &Literal) -> Option<Self> {
        match String::of(value)?.as_str() {
            "rnd" => Some(Self::Nearest),
            "floor" => Some(Self::Floor),
            _ => None,
        }
    }

    fn literal(&self) -> Literal {
        Literal::Text(
            match self {
                Self::Nearest => "rnd",
                Self::Floor => "floor",
            }
            .to_owned(),
        )
    }
}

impl<P: Parameter> Parameter for Option<P> {
    const EXPECTED: &'static str = P::EXPECTED;

    fn of(value: &Literal) -> Option<Self> {
        match value {
            Literal::None => Some(None),
            Literal::Bool(_) | Literal::Int(_) | Literal::Float(_) | Literal::List(_) | Literal::Text(_) => {
                P::of(value).map(Some)
            }
        }
    }

    fn literal(&self) -> Literal {
        self.as_ref().map_or(Literal::None, P::literal)
    }
}
