//! How candle's errors read inside ours: one line, without the backtrace that would differ from machine to machine.

use candle_core::Error;

/// Returns an error's message with its context, outermost first.
pub(crate) fn one_line(error: &Error) -> String {
    match error {
        Error::WithBacktrace { inner, .. } => one_line(inner),
        Error::Context { inner, context } => format!("{context}: {}", one_line(inner)),
        other => other.to_string().replace('\n', " "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_one_line_and_no_backtrace() {
        let error = Error::msg("shapes differ").bt().context("in node `conv`".to_owned());

        assert_eq!(one_line(&error), "in node `conv`: shapes differ");
    }
}
