//! One round of a search, from what is measured to what comes next: a pure function.

use std::collections::{BTreeMap, BTreeSet};

use bitloop_core::bits::BitConfig;
use bitloop_core::plan::SearchPlan;
use bitloop_core::report::Interval;
use bitloop_core::selection::{Front, FrontPoint, Selected, Selection};
use bitloop_core::trial::TrialSpec;

use super::devices::{Device, Devices, FINALISTS};
use super::solve::{Asked, Solved, cheapest, solve};
use crate::cost::Cost;
use crate::measurements::Measurements;
use crate::predict::intervals::NORMAL;
use crate::predict::{self, Prediction, Predictor};
use crate::searched::Searched;
use crate::solve::{self, Candidate, FrontOptions, Limit, Problem, SolveError, pareto_front};

/// Configs that a finished search keeps.
const TOP_KEPT: usize = 32;

/// A search is over after so many rounds without a better config, unless the predictor expects one.
const PATIENCE_ROUNDS: u64 = 4;

/// Points of a front, and nodes of each of its solves: a fraction of a second.
const FRONT_POINTS: usize = 16;
const FRONT_NODES: u64 = 1_000_000;

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
    /// Those on costs that are computed.
    pub(super) limits: Vec<Limit>,
    pub(super) devices: Devices,
    /// Trials that may still be proposed.
    pub(super) left: u64,
    pub(super) plan: SearchPlan,
}

/// What a round comes to.
pub(super) enum Outlook {
    /// These configs are measured next.
    Measure(Vec<BitConfig>),
    /// These are measured on the devices.
    Probe(Vec<TrialSpec>),
    /// Nothing better is expected, or nothing more may be measured.
    Over(Selection),
}

/// A config within the limits that has been measured on all images.
struct Known {
    levels: Vec<u8>,
    /// The measurement and the prediction together.
    estimate: f64,
    /// What is lowered, where that is not the loss; otherwise the same for all.
    price: f64,
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
        let predictor = predictor.as_ref();
        let round = usize::try_from(self.plan.round.min(self.left)).unwrap_or(usize::MAX);
        let (problem, solved) = self.solved(predictor, round).map_err(|error| error.to_string())?;
        let mut known = self.known(&problem, predictor);
        let fresh = match self.lowered() {
            Some(lowered) => self.cheaper(&solved.pool, lowered, &known),
            None => self.fresh(&solved.pool, predictor, &known),
        };
        // Once no more finalists are measured, nothing new can be recommended.
        if !fresh.is_empty() && round > 0 && !self.devices.is_exhausted() {
            let next = fresh.into_iter().take(round).map(|levels| self.searched.assigned(&levels));
            return Ok(Outlook::Measure(next.collect()));
        }
        let finalists = self.finalists(&known);
        if !finalists.is_empty() {
            return Ok(Outlook::Probe(self.devices.trials(&finalists)));
        }
        // Whoever names a device is promised nothing that was not measured there.
        known.retain(|known| self.devices.is_measured(&self.searched.assigned(&known.levels)));
        if known.is_empty() && !self.devices.all.is_empty() {
            return Err(self.in_vain());
        }
        let mut notes = predictor.notes().to_vec();
        notes.extend(solved.notes());
        notes.extend(self.devices.notes());
        let prices = solved.prices(&problem).map_err(|error| error.to_string())?;
        let top = known.iter().take(TOP_KEPT).map(|known| self.selected(&problem, known)).collect();
        let fronts = self.fronts(predictor, &mut notes);
        Ok(Outlook::Over(Selection { top, proof: solved.proof(), prices, notes, fronts }))
    }

    /// The device whose cost is lowered, with the most that the loss may be; none if the loss is lowered.
    fn lowered(&self) -> Option<(&Device, f64)> {
        let lowers = self.plan.lowers.as_ref()?;
        self.devices.all.first().map(|device| (device, lowers.loss_max))
    }

    /// What is solved: limits on computed costs first, then those on devices.
    ///
    /// `tight` is how much of the tightening of the latter counts, in 0..=1.
    fn problem(&self, predictor: &dyn Predictor, tight: f64, form: impl Fn(&Device) -> Cost) -> Problem {
        let is_tightened = self.devices.tightened() > 0;
        let on_devices = self.devices.all.iter().filter_map(|device| {
            let limit = device.at_most()?;
            let tightened = if is_tightened { device.tightened()? } else { limit };
            Some(Limit { cost: form(device), at_most: limit - tight * (limit - tightened) })
        });
        Problem {
            space: self.searched.space.clone(),
            objective: predictor.form(),
            limits: self.limits.iter().cloned().chain(on_devices).collect(),
        }
    }

    /// Assignments that the predictor and the devices' models let expect to be best. Limits that were tightened so far that
    /// nothing keeps them are tightened less.
    fn solved(&self, predictor: &dyn Predictor, round: usize) -> Result<(Problem, Solved), SolveError> {
        let is_tightened = self.devices.tightened() > 0;
        let mut last = self.attempt(predictor, round, 1.0);
        for tight in [0.5, 0.25, 0.125, 0.0] {
            let is_infeasible = matches!(last.1, Err(SolveError::Infeasible { .. }));
            if is_infeasible && is_tightened {
                last = self.attempt(predictor, round, tight);
            }
        }
        match last {
            (problem, Ok(solved)) => Ok((problem, solved)),
            // What is left to choose from is what was measured.
            (problem, Err(SolveError::Infeasible { .. })) if !self.devices.own().is_empty() => {
                Ok((problem, Solved::default()))
            }
            (_, Err(error)) => Err(error),
        }
    }

    /// The same with limits tightened so far. Where prices of conversions tie too many layers together for the exact solver,
    /// they are taken at their average.
    fn attempt(
        &self,
        predictor: &dyn Predictor,
        round: usize,
        tight: f64,
    ) -> (Problem, Result<Solved, SolveError>) {
        let full = |device: &Device| device.form(&self.searched);
        let simpler = |device: &Device| device.simpler_form(&self.searched);
        let draw = self.tried.len() as u64;
        let solved = |problem: &Problem, form: &dyn Fn(&Device) -> Cost| match self.lowered() {
            Some((device, loss_max)) => {
                let allowed = |levels: &[u8]| predictor.predict(levels).value <= loss_max;
                let asked = Asked { method: self.plan.method, count: round, draw };
                cheapest(problem, &form(device), &asked, &allowed)
            }
            None => solve(problem, self.plan.method, round, draw),
        };
        let problem = self.problem(predictor, tight, full);
        let found = solved(&problem, &full);
        let is_tied = matches!(found, Err(SolveError::TooManyChoices { .. }));
        if !is_tied || !self.devices.all.iter().any(Device::has_changes) {
            return (problem, found);
        }
        let problem = self.problem(predictor, tight, simpler);
        let found = solved(&problem, &simpler);
        (problem, found)
    }

    /// What is measured on all images within the limits, best estimate first, or cheapest first where a cost is lowered.
    fn known(&self, problem: &Problem, predictor: &dyn Predictor) -> Vec<Known> {
        let all = self.measured.rows.iter().map(|row| (row.levels(&problem.space), row));
        let complete = all.filter(|(levels, _)| !self.partial.contains(levels));
        let within = complete.filter(|(levels, _)| self.keeps(problem, levels));
        let allowed = self.lowered().map_or(f64::INFINITY, |(_, loss_max)| loss_max);
        // A loss that was measured above the limit breaks it, whatever the predictor makes of it.
        let known = within.filter(|(_, row)| row.loss <= allowed).map(|(levels, row)| {
            let prediction = predictor.predict(&levels);
            let error = self.sampling.get(&row.changes).copied().unwrap_or(0.0);
            let estimate = together([row.loss, error], &prediction);
            let config = self.searched.assigned(&levels);
            let price = self.lowered().map_or(0.0, |(device, _)| device.value(&config).unwrap_or(f64::MAX));
            Known { estimate, price, levels, prediction }
        });
        let mut known: Vec<Known> = known.filter(|known| known.estimate <= allowed).collect();
        known.sort_by(|a, b| {
            let by_estimate = a.estimate.total_cmp(&b.estimate);
            a.price.total_cmp(&b.price).then(by_estimate).then_with(|| a.levels.cmp(&b.levels))
        });
        known
    }

    /// Whether an assignment keeps the limits: as measured where it was, else as predicted.
    fn keeps(&self, problem: &Problem, levels: &[u8]) -> bool {
        let candidate = Candidate::of(problem, levels.to_vec());
        let computed = &problem.limits[..self.limits.len()];
        if !candidate.keeps(computed) {
            return false;
        }
        let config = self.searched.assigned(levels);
        let mut limits = problem.limits[self.limits.len()..].iter().map(|limit| limit.at_most);
        self.devices.all.iter().all(|device| {
            let unmeasured = device.at_most().and_then(|_| limits.next());
            device.keeps(&config, unmeasured)
        })
    }

    /// The best known configs, as far as their measurements on the devices can say more: nothing new once there were enough.
    fn finalists(&self, known: &[Known]) -> Vec<BitConfig> {
        let is_exhausted = self.devices.is_exhausted();
        let first = known.iter().take(FINALISTS).map(|known| self.searched.assigned(&known.levels));
        let open = first.filter(|config| !self.devices.is_known(config));
        open.filter(|config| !is_exhausted || self.devices.is_measured(config)).collect()
    }

    /// Why nothing can be recommended.
    fn in_vain(&self) -> String {
        if let Some(nearest) = self.devices.nearest() {
            return format!(
                "no config that was measured on the devices keeps the limits; nearest to them came {nearest}"
            );
        }
        let least = self.measured.rows.iter().map(|row| row.loss).fold(f64::INFINITY, f64::min);
        match self.lowered() {
            Some((_, loss_max)) if least > loss_max => format!(
                "the loss of no config that was measured is as low as {loss_max}, the least is {least:.4}; allow more \
                 loss, or more `trials`"
            ),
            Some(_) | None => {
                "no config that was measured on all images is expected to keep the limits on devices; \
                               allow more `trials`, or higher limits"
                    .to_owned()
            }
        }
    }

    /// The fronts of predicted loss and predicted cost, one per device and cost; what cannot be solved is noted.
    fn fronts(&self, predictor: &dyn Predictor, notes: &mut Vec<String>) -> Vec<Front> {
        let problem = Problem {
            space: self.searched.space.clone(),
            objective: predictor.form(),
            limits: self.limits.clone(),
        };
        let options = FrontOptions { points_max: FRONT_POINTS, nodes_max: FRONT_NODES };
        let mut fronts = Vec::new();
        for device in &self.devices.all {
            // Without conversions, which tie layers together: a front is many solves.
            let cost = device.simpler_form(&self.searched);
            match pareto_front(&problem, &cost, &options) {
                Ok(points) => {
                    let (target, cost) = device.named();
                    let point = |point: solve::FrontPoint| {
                        let config = self.searched.assigned(&point.candidate.levels);
                        let loss = predictor.predict(&point.candidate.levels).value;
                        FrontPoint { loss, cost: device.predicted(&config), config }
                    };
                    let points = unbeaten(points.into_iter().map(point).collect());
                    fronts.push(Front { target, cost, points });
                }
                Err(error) => notes.push(format!("{}: there is no front: {error}", device.title)),
            }
        }
        fronts
    }

    /// Assignments that are predicted to cost less than the cheapest known one, cheapest first.
    fn cheaper(&self, pool: &[Vec<u8>], (device, _): (&Device, f64), known: &[Known]) -> Vec<Vec<u8>> {
        let best = known.first().map_or(f64::INFINITY, |known| known.price);
        let measured: BTreeSet<&Vec<u8>> = known.iter().map(|known| &known.levels).collect();
        let unknown =
            pool.iter().filter(|levels| !measured.contains(levels) && !self.refused.contains(*levels));
        let priced =
            unknown.filter_map(|levels| Some((device.value(&self.searched.assigned(levels))?, levels)));
        let mut cheaper: Vec<(f64, &Vec<u8>)> = priced.filter(|(price, _)| *price < best).collect();
        cheaper.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(b.1)));
        cheaper.into_iter().map(|(_, levels)| levels.clone()).collect()
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
        // Those of devices stand by themselves.
        let names = self.limits.iter().map(|limit| limit.cost.name.clone());
        let Prediction { value, low, high } = known.prediction;
        let config = self.searched.assigned(&known.levels);
        Selected {
            devices: self.devices.of(&config),
            config,
            predicted: Some(Interval { value, low, high }),
            costs: names.zip(costs).collect::<BTreeMap<_, _>>(),
        }
    }
}

/// The points that no other one beats in both, by ascending loss: prices that were left out while they were found may have
/// changed their order.
fn unbeaten(mut points: Vec<FrontPoint>) -> Vec<FrontPoint> {
    points.sort_by(|a, b| a.loss.total_cmp(&b.loss).then(a.cost.total_cmp(&b.cost)));
    let mut least = f64::INFINITY;
    points.retain(|point| {
        let is_cheaper = point.cost < least;
        least = least.min(point.cost);
        is_cheaper
    });
    points
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
