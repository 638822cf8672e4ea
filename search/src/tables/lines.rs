//! Where in a text of CSV something is wrong, as an editor counts lines.

/// Counts line ends up to ever later positions; the csv reader's own count leaves out empty lines and, where lines end
/// in a carriage return and a line feed, the end before the record.
pub(super) struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    line: u64,
}

impl<'a> Lines<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Self { text: text.as_bytes(), at: 0, line: 1 }
    }

    /// The line, from 1, of the record that the reader found from `position` on; positions must not go back.
    pub(super) fn record(&mut self, position: Option<&csv::Position>) -> u64 {
        let byte = position.map_or(0, csv::Position::byte) as usize;
        let rest = self.text.get(byte..).unwrap_or_default();
        let begin = byte + rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let passed = self.text.get(self.at..begin).unwrap_or_default();
        self.line += passed.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.at = begin.max(self.at);
        self.line
    }
}

/// What is wrong with a record, without the reader's own count of lines.
pub(super) fn reason(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("there are {len} fields, not {expected_len} as in the header")
        }
        _ => error.to_string(),
    }
}
