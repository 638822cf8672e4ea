use std::borrow::Cow;

use super::{Literal, ParseError, Problem};

/// How closely the strings that name quantizers are read as QKeras reads them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grammar {
    /// What QKeras would drop or misread without a word is an error.
    #[default]
    Strict,
    /// As QKeras: with two or more `(` the arguments are dropped, and a text needs no quotes but loses its ends.
    Qkeras,
}

/// A name with its arguments.
pub(super) struct Call<'t> {
    pub(super) name: &'t str,
    /// `None` without parentheses.
    pub(super) arguments: Option<Arguments<'t>>,
}

/// Arguments in order: positional ones, then keywords.
#[derive(Default)]
pub(super) struct Arguments<'t> {
    pub(super) positional: Vec<Literal>,
    pub(super) keywords: Vec<(&'t str, Literal)>,
}

impl Grammar {
    /// Splits a string into a name and its arguments.
    ///
    /// Errors: what is wrong with parentheses or with an argument.
    pub(super) fn call(self, text: &str) -> Result<Call<'_>, Problem> {
        let text = text.trim();
        let Some((name, rest)) = text.split_once('(') else {
            return Ok(Call { name: text, arguments: None });
        };
        let name = name.trim();
        if rest.contains('(') {
            return match self {
                Self::Strict => Err(Problem::Parentheses),
                Self::Qkeras => Ok(Call { name, arguments: Some(Arguments::default()) }),
            };
        }
        let inside =
            rest.strip_suffix(')').filter(|inside| !inside.contains(')')).ok_or(Problem::Unclosed)?;
        Ok(Call { name, arguments: Some(self.arguments(inside)?) })
    }

    fn arguments(self, inside: &str) -> Result<Arguments<'_>, Problem> {
        let mut arguments = Arguments::default();
        if inside.trim().is_empty() {
            return Ok(arguments);
        }
        for (place, argument) in inside.split(',').map(str::trim).enumerate() {
            if argument.is_empty() {
                return Err(Problem::EmptyArgument(place + 1));
            }
            match argument.split_once('=') {
                Some((key, value)) => {
                    arguments.keywords.push((key.trim(), self.value(value.trim())?));
                }
                None if !arguments.keywords.is_empty() => {
                    return Err(Problem::PositionalAfterKeyword(argument.to_owned()));
                }
                None => arguments.positional.push(self.value(argument)?),
            }
        }
        Ok(arguments)
    }

    fn value(self, text: &str) -> Result<Literal, Problem> {
        Literal::read(text, self == Self::Strict).ok_or_else(|| Problem::Value(text.to_owned()))
    }
}

impl Arguments<'_> {
    /// Names every argument by the parameter it is for.
    ///
    /// Errors: more positional arguments than parameters, unknown or repeated names.
    pub(super) fn named(
        self,
        parameters: &'static [&'static str],
    ) -> Result<Vec<(&'static str, Literal)>, Problem> {
        if self.positional.len() > parameters.len() {
            let given = self.positional.len();
            return Err(Problem::TooManyArguments { given, parameters: parameters.len() });
        }
        let mut named: Vec<(&'static str, Literal)> =
            parameters.iter().copied().zip(self.positional).collect();
        for (key, value) in self.keywords {
            let Some(parameter) = parameters.iter().copied().find(|parameter| *parameter == key) else {
                return Err(Problem::UnknownParameter { name: key.to_owned(), known: parameters.join(", ") });
            };
            if named.iter().any(|(given, _)| *given == parameter) {
                return Err(Problem::Repeated(key.to_owned()));
            }
            named.push((parameter, value));
        }
        Ok(named)
    }
}

impl Problem {
    /// Says in which string the problem is.
    pub(super) fn within<'t>(self, text: impl Into<Cow<'t, str>>) -> ParseError {
        ParseError { text: text.into().into_owned(), problem: self }
    }
}
