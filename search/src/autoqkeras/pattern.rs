//! Patterns of layer names.

use regex::Regex;

/// A pattern that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pattern `{pattern}` is no regular expression that is understood here: {reason}")]
pub struct PatternError {
    /// The pattern.
    pub pattern: String,
    /// What is wrong in it.
    pub reason: String,
}

/// A regular expression that holds for names that begin with a match, as Python's `re.match` does.
#[derive(Clone, Debug)]
pub(crate) struct Pattern(Regex);

impl Pattern {
    /// Errors: [`PatternError`]; what other engines know besides (looking around, back references) is one too.
    pub(crate) fn new(pattern: &str) -> Result<Self, PatternError> {
        // By itself first: a stray bracket is not to close the group around it.
        compiled(pattern)?;
        compiled(&format!("^(?:{pattern})")).map(Self).map_err(|error| named(error, pattern))
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

/// A regular expression that holds for names that have a match anywhere, as Python's `re.search` does.
#[derive(Clone, Debug)]
pub(crate) struct Anywhere(Regex);

impl Anywhere {
    /// Errors: as [`Pattern::new`].
    pub(crate) fn new(pattern: &str) -> Result<Self, PatternError> {
        compiled(pattern).map(Self)
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

fn compiled(pattern: &str) -> Result<Regex, PatternError> {
    let reason = |error: regex::Error| match error {
        // The last line says what is wrong; those before it repeat the pattern and point into it.
        regex::Error::Syntax(text) => text.lines().last().unwrap_or_default().replace("error: ", ""),
        other => other.to_string(),
    };
    Regex::new(pattern).map_err(|error| PatternError { pattern: pattern.to_owned(), reason: reason(error) })
}

fn named(error: PatternError, pattern: &str) -> PatternError {
    PatternError { pattern: pattern.to_owned(), ..error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_hold_at_the_beginning_and_need_not_reach_the_end() {
        let holds = |pattern: &str, name: &str| Pattern::new(pattern).unwrap().matches(name);

        assert!(holds("conv", "conv2d_1") && holds("conv2d_1", "conv2d_10"));
        assert!(!holds("conv2d_1$", "conv2d_10") && !holds("2d", "conv2d_1"));
        assert!(holds("^a|b", "b1") && !holds("^a|b", "cb"), "both sides of an alternative are anchored");
        assert!(holds(r"^.*_\d$", "act_7") && holds("^(conv2d|bn)_[01]$", "bn_1"));
        assert!(Anywhere::new("2d").unwrap().matches("conv2d_1"));
    }

    #[test]
    fn a_pattern_that_is_none_says_why() {
        let refused = |pattern: &str| Pattern::new(pattern).map(|_| ()).unwrap_err().to_string();

        assert_eq!(
            refused("conv["),
            "the pattern `conv[` is no regular expression that is understood here: unclosed character class"
        );
        assert!(refused("a)(b").contains("`a)(b`"));
        assert!(refused("(?!dense)").contains("look-around"));
    }
}
