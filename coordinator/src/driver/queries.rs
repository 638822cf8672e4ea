//! Questions about the state, answered between rounds as far as workers' calls can wait for that.

use std::time::Duration;

use super::Driver;

/// Questions that may wait for a later round; with so many a round takes no more commands.
pub(super) const QUERIES_WAITING: usize = 1_024;

/// How long a round answers questions.
const ANSWERING_MAX: Duration = Duration::from_millis(20);

impl Driver {
    /// Answers what is asked, at least the first of it; returns whether something is left for the next round.
    pub(super) fn answer_queries(&mut self) -> bool {
        let mut queries = std::mem::take(&mut self.round.queries).into_iter();
        let (view, began) = (self.view(self.clock.now()), self.clock.elapsed());
        for query in queries.by_ref() {
            query(Ok(&view));
            if self.clock.elapsed().saturating_sub(began) >= ANSWERING_MAX {
                break;
            }
        }
        self.round.queries = queries.collect();
        !self.round.queries.is_empty()
    }
}
