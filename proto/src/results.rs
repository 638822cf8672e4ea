//! A report on its way to whoever asked, in parts.

use bitloop_core::digest::Digest;

use crate::convert::{ConvertError, digest};
use crate::v1;

/// Why the parts of a report are no report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResultsError {
    /// The last part did not come.
    #[error("the results ended before they were complete; ask for them again")]
    Incomplete,
    /// The parts are not those that were sent.
    #[error("the results arrived damaged, as {found} instead of {expected}; ask for them again")]
    Damaged {
        /// What the coordinator sent.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// The last part makes no sense.
    #[error("the results end in what is no digest: {0}")]
    Malformed(#[from] ConvertError),
}

/// The parts of a report that have come.
#[derive(Clone, Debug, Default)]
pub struct ResultsParts {
    report: Vec<u8>,
    last: v1::ResultsResponse,
}

impl ResultsParts {
    /// Takes the next part.
    pub fn take(&mut self, part: v1::ResultsResponse) {
        self.report.extend_from_slice(&part.report);
        self.last = v1::ResultsResponse { report: Vec::new(), ..part };
    }

    /// The JSON documents of the report and of what it took, if all of it has come.
    ///
    /// Errors: a [`ResultsError`].
    pub fn finish(self) -> Result<(Vec<u8>, Vec<u8>), ResultsError> {
        if self.last.digest.is_empty() {
            return Err(ResultsError::Incomplete);
        }
        let expected = digest("digest", &self.last.digest)?;
        match Digest::of(&self.report) {
            found if found == expected => Ok((self.report, self.last.effort)),
            found => Err(ResultsError::Damaged { expected, found }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(report: &[u8]) -> v1::ResultsResponse {
        v1::ResultsResponse { report: report.to_vec(), ..v1::ResultsResponse::default() }
    }

    fn last(report: &[u8]) -> v1::ResultsResponse {
        let digest = Digest::of(report).as_bytes().to_vec();
        v1::ResultsResponse { report: Vec::new(), effort: b"{}".to_vec(), digest }
    }

    fn put_together(parts: impl IntoIterator<Item = v1::ResultsResponse>) -> Result<Vec<u8>, ResultsError> {
        let mut all = ResultsParts::default();
        parts.into_iter().for_each(|part| all.take(part));
        all.finish().map(|(report, effort)| [report, effort].concat())
    }

    #[test]
    fn parts_make_the_report_that_was_sent_or_none() {
        let whole = put_together([part(b""), part(b"one "), part(b"two"), last(b"one two")]);
        assert_eq!(whole, Ok(b"one two{}".to_vec()));

        assert_eq!(put_together([]), Err(ResultsError::Incomplete));
        assert_eq!(put_together([part(b"one "), part(b"two")]), Err(ResultsError::Incomplete));
        let damaged = put_together([part(b"two"), part(b"one "), last(b"one two")]);
        assert!(matches!(damaged, Err(ResultsError::Damaged { .. })), "{damaged:?}");
        let malformed = put_together([v1::ResultsResponse { digest: vec![1], ..part(b"") }]);
        assert!(matches!(malformed, Err(ResultsError::Malformed(_))), "{malformed:?}");
    }
}
