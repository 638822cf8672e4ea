//! Demotion in rounds of measurements side by side.
//!
//! The first round measures the model with nothing and with everything lowered, the second each group alone. From then
//! on a [`Belief`] is fitted to all that is measured, and a round takes the sets that save more than the best so far
//! with the largest chance times gain: each as though those taken before it had come out as expected, so that a round
//! does not ask the same thing twice. Larger sets, swaps and promotions no longer needed are all just sets with a
//! chance. When no set is left whose chance is worth a measurement, the best is the result.
//!
//! Source: the gain in saving times the chance to keep the target is the expected improvement of Jones, Schonlau and
//! Welch, "Efficient Global Optimization of Expensive Black-Box Functions", Journal of Global Optimization 13, 1998,
//! for a gain that is known and a target that may not be kept.

use std::collections::BTreeMap;

use super::belief::{Belief, Expectation};
use super::candidates::Candidates;
use super::outcome::{End, Found, Statement, Tradeoff, pareto};
use super::{Lowering, set::Set};
use crate::cost::Cost;
use crate::set_search::{Score, SetSearch, Step};
use crate::space::Space;

/// Sets whose chance is computed: those with the least expected loss for their gain.
const CONSIDERED: usize = 2048;
/// Sets whose gain times chance is looked at closely when a round is put together.
const SHORTLIST: usize = 150;

/// What is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// The score that the result must have at least.
    pub target: f64,
    /// What lowering is to save; without it each group counts one.
    pub cost: Option<(Space, Cost)>,
}

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Sets per round, but for the first two: more make fewer rounds and more sets in all.
    pub side_by_side: usize,
    /// The least chance to save one group more (or an average group's cost) that is worth a measurement.
    pub chance: f64,
    /// Sets in all, if there is a limit.
    pub at_most: Option<usize>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { side_by_side: 6, chance: 0.05, at_most: None }
    }
}

/// The search for the set of groups that saves most at the target.
pub struct Demotion {
    lowering: Lowering,
    objective: Objective,
    pace: Pace,
    /// What follows from the scores so far; a new search finds it again.
    measured: BTreeMap<Set, Score>,
    round: Vec<Set>,
    rounds: usize,
}

impl Demotion {
    /// Prepares a search.
    pub fn new(lowering: Lowering, objective: Objective, pace: Pace) -> Self {
        let mut search =
            Self { lowering, objective, pace, measured: BTreeMap::new(), round: Vec::new(), rounds: 0 };
        search.ask(vec![Set::empty(search.groups()), Set::full(search.groups())]);
        search
    }

    /// The best of what was measured so far.
    pub fn so_far(&self) -> Found {
        self.found(End::Open)
    }

    /// How many groups there are.
    pub fn groups(&self) -> usize {
        self.lowering.groups().len()
    }

    /// The assignment with these groups lowered.
    pub fn levels_of(&self, lowered: &[usize]) -> Vec<u8> {
        self.lowering.levels(lowered.iter().copied())
    }

    fn levels(&self, set: &Set) -> Vec<u8> {
        self.lowering.levels(set.iter())
    }

    fn saving(&self, set: &Set) -> f64 {
        match &self.objective.cost {
            None => set.len() as f64,
            Some((space, cost)) => {
                cost.value(space, &self.lowering.levels([])) - cost.value(space, &self.levels(set))
            }
        }
    }

    /// Makes a round of the sets that are not known yet, as far as the limit allows.
    fn ask(&mut self, sets: Vec<Set>) {
        let room = self.pace.at_most.map_or(usize::MAX, |most| most.saturating_sub(self.measured.len()));
        for set in sets {
            if self.round.len() < room && !self.measured.contains_key(&set) && !self.round.contains(&set) {
                self.round.push(set);
            }
        }
    }

    fn tradeoff(&self, set: &Set, score: Score) -> Tradeoff {
        Tradeoff { lowered: set.iter().collect(), saving: self.saving(set), score }
    }

    fn best(&self) -> Option<(&Set, Tradeoff)> {
        let good = self.measured.iter().filter(|(_, score)| score.value >= self.objective.target);
        let good = good.map(|(set, score)| (set, self.tradeoff(set, *score)));
        // The first of equals, in the order of sets.
        good.reduce(|best, next| {
            let order = next.1.saving.total_cmp(&best.1.saving);
            if order.then(next.1.score.value.total_cmp(&best.1.score.value)).is_gt() { next } else { best }
        })
    }

    fn found(&self, end: End) -> Found {
        let best = self.best().map(|(_, best)| best);
        let lowered = best.as_ref().map_or(&[][..], |best| &best.lowered);
        let statement = best.as_ref().and_then(|best| best.score.interval());
        let statement =
            statement.map(|score| Statement { score, is_sure: score.low >= self.objective.target });
        let measured = self.measured.iter().filter(|(_, score)| score.value.is_finite());
        Found {
            kept: (0..self.groups()).filter(|group| !lowered.contains(group)).collect(),
            statement,
            end,
            sets: self.measured.len(),
            rounds: self.rounds,
            pareto: pareto(measured.map(|(set, score)| self.tradeoff(set, *score)).collect()),
            best,
        }
    }

    /// Puts the next round together; the reason to end if there is none.
    fn decide(&mut self) -> Option<End> {
        let is_good =
            |set: &Set| self.measured.get(set).is_some_and(|score| score.value >= self.objective.target);
        let (none, all) = (Set::empty(self.groups()), Set::full(self.groups()));
        if !is_good(&none) {
            return Some(if self.measured.contains_key(&none) { End::Unreachable } else { End::Spent });
        }
        if is_good(&all) {
            return Some(End::AllLowered);
        }
        let next = match self.rounds {
            1 => (0..self.groups()).map(|group| none.clone().with(group)).collect(),
            _ => self.promising(),
        };
        let is_settled = next.iter().all(|set| self.measured.contains_key(set));
        // A round of single groups may have nothing new, where there is but one.
        let next = if is_settled && self.rounds == 1 { self.promising() } else { next };
        self.ask(next);
        match (self.round.is_empty(), is_settled) {
            (false, _) => None,
            (true, true) => Some(End::Settled),
            (true, false) => Some(End::Spent),
        }
    }

    /// The sets that are worth measuring, at most a round of them.
    fn promising(&self) -> Vec<Set> {
        let Some((best, tradeoff)) = self.best() else { return Vec::new() };
        let Some(high) = self.measured.get(&Set::empty(self.groups())) else { return Vec::new() };
        let finite = self.measured.iter().filter(|(_, score)| score.value.is_finite());
        let losses: Vec<(Set, f64)> =
            finite.map(|(set, score)| (set.clone(), high.value - score.value)).collect();
        let belief = Belief::fit(self.groups(), &losses);
        let allowed = high.value - self.objective.target;
        let saving = |set: &Set| self.saving(set);
        let unit = saving(&Set::full(self.groups())).abs() / self.groups().max(1) as f64;
        let exchange = allowed / tradeoff.saving.max(unit).max(f64::MIN_POSITIVE);
        let candidates = Candidates { belief: &belief, groups: self.groups(), saving: &saving, exchange };
        let unknown = candidates.around(best).into_iter().filter(|set| !self.measured.contains_key(set));
        let gains = unknown.map(|set| (saving(&set) - tradeoff.saving, set)).filter(|(gain, _)| *gain > 0.0);
        let mut considered: Vec<(f64, f64, Set)> =
            gains.map(|(gain, set)| (belief.loss(&set) - exchange * gain, gain, set)).collect();
        considered.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.2.cmp(&b.2)));
        considered.truncate(CONSIDERED);
        let candidate = |(_, gain, set)| Candidate { gain, expectation: belief.expect(&set), set };
        let mut options: Vec<Candidate> = considered.into_iter().map(candidate).collect();
        options.sort_by(|a, b| b.worth(allowed).total_cmp(&a.worth(allowed)).then_with(|| a.set.cmp(&b.set)));
        if options.first().is_none_or(|first| first.worth(allowed) < self.pace.chance * unit) {
            return Vec::new();
        }
        options.truncate(SHORTLIST);
        // What a round takes later is worth less by then; half is still better than a round of its own.
        pick(&belief, options, allowed, (self.pace.side_by_side.max(1), self.pace.chance * unit / 2.0))
    }
}

/// A set that saves more than the best.
struct Candidate {
    set: Set,
    gain: f64,
    expectation: Expectation,
}

impl Candidate {
    /// The gain times the chance that the loss is allowed.
    fn worth(&self, allowed: f64) -> f64 {
        self.gain * normal((allowed - self.expectation.loss) / self.expectation.variance.sqrt())
    }
}

/// Takes the worthiest, one after another, each supposing that those before it come out as expected.
fn pick(belief: &Belief, mut options: Vec<Candidate>, allowed: f64, (most, least): (usize, f64)) -> Vec<Set> {
    let mut picked = Vec::new();
    while picked.len() < most {
        let worths = options.iter().enumerate().map(|(place, option)| (place, option.worth(allowed)));
        let Some((place, worth)) = worths.reduce(|best, next| if next.1 > best.1 { next } else { best })
        else {
            break;
        };
        if worth < least {
            break;
        }
        let taken = options.remove(place);
        for option in &mut options {
            belief.suppose((&option.set, &mut option.expectation), (&taken.set, &taken.expectation));
        }
        picked.push(taken.set);
    }
    picked
}

/// The normal distribution function, within 2.5e-4 and by arithmetic alone, so that it is the same everywhere.
///
/// Source: Abramowitz and Stegun, "Handbook of Mathematical Functions", 1964, equation 26.2.18.
fn normal(z: f64) -> f64 {
    const C: [f64; 4] = [0.196_854, 0.115_194, 0.000_344, 0.019_527];
    let x = z.abs();
    let upper = 0.5 / (1.0 + x * (C[0] + x * (C[1] + x * (C[2] + x * C[3])))).powi(4);
    if z < 0.0 { upper } else { 1.0 - upper }
}

impl SetSearch for Demotion {
    type Outcome = Found;

    fn next(&mut self, known: &dyn Fn(&[u8]) -> Option<Score>) -> Step<Found> {
        loop {
            let scores: Vec<Option<Score>> = self.round.iter().map(|set| known(&self.levels(set))).collect();
            let missing = self.round.iter().zip(&scores).filter(|(_, score)| score.is_none());
            let missing: Vec<Vec<u8>> = missing.map(|(set, _)| self.levels(set)).collect();
            if !missing.is_empty() {
                return Step::Measure(missing);
            }
            self.rounds += usize::from(!self.round.is_empty());
            let scores = scores.into_iter().flatten().map(Score::checked);
            self.measured.extend(self.round.drain(..).zip(scores));
            if let Some(end) = self.decide() {
                return Step::Done(self.found(end));
            }
        }
    }
}
