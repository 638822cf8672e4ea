//! One round of a search, from what is measured to what comes next: a pure function.

use std::collections::{BTreeMap, BTreeSet};

use bitloop_core::bits::BitConfig;
use bitloop_core::plan::SearchPlan;
use bitloop_core::report::Interval;
use bitloop_core::selection::{Selected, Selection};

use super::solve::solve;
use crate::measurements::Measurements;
use crate::predict::intervals::NORMAL;
use crate::predict::{self, Prediction, Predictor};
use crate::searched::Searched;
use crate::solve::{Candidate, Limit, Problem};

/// Configs that a finished search keeps.
const TOP_KEPT: usize = 32;

/// A search is over after so many rounds without a better config, unless the predictor expects one.
const PATIENCE_ROUNDS: u64 = 4;

/// All that a round depends on.
pub(super) struct Round {
    pub(super) measured: Measurements,
    /// What another sample of images would change, one standard error, by the changes of each row.
    pub(super) sampling: BTreeMap<Vec<(u32, u8)>, f64>,
    /// Assignments that this search has proposed, in order.
    pub(super) tried: Vec<Vec<u8>>,
    /// The same as a set.
    pub(super) refused: BTreeSet<Vec<u8>>,
    /// Assignments that are measured on some of the images only.
    pub(super) partial: BTreeSet<Vec<u8>>,
    pub(super) searched: Searched,
    pub(super) limits: Vec<Limit>,
    /// Trials that may still be proposed.
    pub(super) left: u64,
    pub(super) plan: SearchPlan,
}

/// What a round comes to.
pub(super) enum Outlook {
    /// These configs are measured next.
    Measure(Vec<BitConfig>),
    /// Nothing better is expected, or nothing more may be measured.
    Over(Selection),
}

/// A config within the limits that has been measured on all images.
struct Known {
    levels: Vec<u8>,
    /// The measurement and the prediction together.
    estimate: f64,
    prediction: Prediction,
}

impl Round {
    /// Decides what comes next.
    ///
    /// Errors: why there can be no search: no measurements, or limits that nothing keeps.
    pub(super) fn outlook(self) -> Result<Outlook, String> {
        let method =
            self.plan.predictor.parse().map_err(|error: predict::UnknownMethod| error.to_string())?;
        let predictor = predict::fit(method, &self.measured).map_err(|error| error.to_string())?;
        let problem = Problem {
            space: self.searched.space.clone(),
            objective: predictor.form(),
            limits: self.limits.clone(),
        };
        let round = usize::try_from(self.plan.round.min(self.left)).unwrap_or(usize::MAX);
        let draw = self.tried.len() as u64;
        let solved = solve(&problem, self.plan.method, round, draw).map_err(|error| error.to_string())?;
        let known = self.known(&problem, predictor.as_ref());
        let fresh = self.fresh(&solved.pool, predictor.as_ref(), &known);
        if !fresh.is_empty() && round > 0 {
            let next = fresh.into_iter().take(round).map(|levels| self.searched.assigned(&levels));
            return Ok(Outlook::Measure(next.collect()));
        }
        let mut notes = predictor.notes().to_vec();
        notes.extend(solved.notes());
        let prices = solved.prices(&problem).map_err(|error| error.to_string())?;
        let top = known.iter().take(TOP_KEPT).map(|known| self.selected(&problem, known)).collect();
        Ok(Outlook::Over(Selection { top, proof: solved.proof(), prices, notes, fronts: Vec::new() }))
    }

    /// What is measured on all images within the limits, best estimate first.
    fn known(&self, problem: &Problem, predictor: &dyn Predictor) -> Vec<Known> {
        let all = self.measured.rows.iter().map(|row| (row.levels(&problem.space), row));
        let complete = all.filter(|(levels, _)| !self.partial.contains(levels));
        let within =
            complete.filter(|(levels, _)| Candidate::of(problem, levels.clone()).keeps(&problem.limits));
        let known = within.map(|(levels, row)| {
            let prediction = predictor.predict(&levels);
            let error = self.sampling.get(&row.changes).copied().unwrap_or(0.0);
            Known { estimate: together([row.loss, error], &prediction), levels, prediction }
        });
        let mut known: Vec<Known> = known.collect();
        known.sort_by(|a, b| a.estimate.total_cmp(&b.estimate).then_with(|| a.levels.cmp(&b.levels)));
        known
    }

    /// Assignments that are worth measuring, most promising first: the solver's, unless they are known already or the
    /// predictor is sure enough that they are no better.
    fn fresh(&self, pool: &[Vec<u8>], predictor: &dyn Predictor, known: &[Known]) -> Vec<Vec<u8>> {
        // Not the least measurement: of many, that is a lucky one, and nothing would look better than it.
        let best = known.first().map_or(f64::INFINITY, |known| known.estimate);
        let measured: BTreeSet<&Vec<u8>> = known.iter().map(|known| &known.levels).collect();
        let is_patient = self.rounds_since_best(known) < PATIENCE_ROUNDS;
        let mut fresh: Vec<(f64, &Vec<u8>)> = pool
            .iter()
            .filter(|levels| !measured.contains(levels) && !self.refused.contains(*levels))
            .map(|levels| (predictor.predict(levels), levels))
            .filter(|(prediction, _)| prediction.value < best || (is_patient && prediction.low < best))
            .map(|(prediction, levels)| (prediction.low, levels))
            .collect();
        fresh.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(b.1)));
        fresh.into_iter().map(|(_, levels)| levels.clone()).collect()
    }

    /// Rounds of this search since it measured the best config that it knows; all of them if that came from elsewhere.
    fn rounds_since_best(&self, known: &[Known]) -> u64 {
        let is_best = |levels: &Vec<u8>| known.first().is_some_and(|best| best.levels == *levels);
        let since = match self.tried.iter().position(is_best) {
            Some(position) => self.tried.len() - position - 1,
            None => self.tried.len(),
        };
        since as u64 / self.plan.round.max(1)
    }

    fn selected(&self, problem: &Problem, known: &Known) -> Selected {
        let costs = Candidate::of(problem, known.levels.clone()).costs;
        let names = problem.limits.iter().map(|limit| limit.cost.name.clone());
        let Prediction { value, low, high } = known.prediction;
        Selected {
            config: self.searched.assigned(&known.levels),
            predicted: Some(Interval { value, low, high }),
            costs: names.zip(costs).collect::<BTreeMap<_, _>>(),
            devices: Vec::new(),
        }
    }
}

/// The mean of a loss with its sampling error and a prediction, weighted by what each is sure of: the best of many
/// measurements is lucky more often than not.
fn together([loss, error]: [f64; 2], prediction: &Prediction) -> f64 {
    let predicted = (prediction.high - prediction.low) / (2.0 * NORMAL);
    if !(error > 0.0 && predicted > 0.0) {
        return loss;
    }
    let (a, b) = (1.0 / (error * error), 1.0 / (predicted * predicted));
    (loss * a + prediction.value * b) / (a + b)
}
