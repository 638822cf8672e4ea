//! The search itself: references, the list, the curve.

use std::cell::RefCell;

use super::curve::{Point, Skipped, curve, flag_rises};
use super::list::{Entry, sort};
use super::probe::{Probe, divide, half, line, walk};
use super::{Problem, Walk};
use crate::set_search::{Score, SetSearch, Step};

/// In which order the entries of the list are measured; it changes nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// All groups at the first candidate, then at the next, so that one calibration serves many.
    ByCandidate,
    /// All candidates of the first group, then of the next.
    ByGroup,
}

/// What is wanted of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// How the curve is measured.
    pub walk: Walk,
    /// How far below that of the float network the score may be. Without it the whole curve is measured.
    pub allowed_drop: Option<f64>,
    /// In which order the list is measured.
    pub order: Order,
}

/// Why a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Measuring the float network failed, so nothing can be compared.
    NoFloatScore,
    /// No uniform assignment could be measured.
    NoBaseline,
    /// The best uniform assignment is below what is allowed already; it is the result.
    BaselineIsBelow,
    /// The cheapest uniform assignment is good enough; it is the result.
    MinimumSuffices,
    /// The curve was walked; the result is the baseline where no point is good enough.
    Walked,
    /// The whole curve was measured; without an allowed drop there is no one result.
    Curve,
}

/// What a search came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixed {
    /// Why it ended.
    pub end: End,
    /// The score of the float network.
    pub float: Score,
    /// The scores of all groups at the same candidate, for each candidate that fits all.
    pub uniform: Vec<Option<Score>>,
    /// The candidate with the best uniform score, the first of equals; the curve begins there.
    pub baseline: usize,
    /// The candidate whose uniform assignment costs least.
    pub minimum: usize,
    /// What each group alone costs in score, sorted. Empty if it was not needed.
    pub list: Vec<Entry>,
    /// The curve, measured as far as its points have scores.
    pub curve: Vec<Point>,
    /// Entries of the list without a point.
    pub skipped: Vec<Skipped>,
    /// The points that were looked at, in order.
    pub probed: Vec<usize>,
    /// The result's point; none if it is a uniform assignment.
    pub chosen: Option<usize>,
    /// The result; none where there is no one result.
    pub levels: Option<Vec<u8>>,
}

/// The search for a mixed assignment along a curve.
pub struct Amp {
    problem: Problem,
    rule: Rule,
    stage: Stage,
    mixed: Mixed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    References,
    List,
    Curve,
    Over,
}

type Known<'a> = &'a dyn Fn(&[u8]) -> Option<Score>;

impl Amp {
    /// Prepares a search.
    pub fn new(problem: Problem, rule: Rule) -> Self {
        let mixed = Mixed {
            end: End::Curve,
            float: Score::failed(),
            uniform: vec![None; problem.candidates.len()],
            baseline: 0,
            minimum: 0,
            list: Vec::new(),
            curve: Vec::new(),
            skipped: Vec::new(),
            probed: Vec::new(),
            chosen: None,
            levels: None,
        };
        Self { problem, rule, stage: Stage::References, mixed }
    }

    /// What is known so far.
    pub fn so_far(&self) -> &Mixed {
        &self.mixed
    }

    /// What is searched.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    fn least(&self) -> Option<f64> {
        self.rule.allowed_drop.map(|drop| self.mixed.float.value - drop)
    }

    fn uniform(&self) -> impl Iterator<Item = (usize, Vec<u8>)> {
        (0..self.problem.candidates.len()).filter_map(|at| Some((at, self.problem.uniform(at)?)))
    }

    fn over(&mut self, end: End, levels: Option<Vec<u8>>) {
        self.stage = Stage::Over;
        self.mixed.end = end;
        self.mixed.levels = levels;
    }

    /// Takes the scores of the float network and of uniform assignments; returns what is missing.
    fn references(&mut self, known: Known<'_>) -> Vec<Vec<u8>> {
        let float = self.problem.float();
        let uniform: Vec<(usize, Vec<u8>)> = self.uniform().collect();
        let wanted = std::iter::once(float.clone()).chain(uniform.iter().map(|(_, levels)| levels.clone()));
        let missing = missing(wanted, known);
        if !missing.is_empty() {
            return missing;
        }
        self.mixed.float = known(&float).unwrap_or(Score::failed());
        for (candidate, levels) in &uniform {
            self.mixed.uniform[*candidate] = known(levels);
        }
        let score = |candidate: usize| self.mixed.uniform[candidate].map_or(f64::NEG_INFINITY, |s| s.value);
        let cost = |levels: &[u8]| self.problem.cost(levels);
        // The first of equals.
        let best =
            uniform.iter().reduce(|best, next| if score(next.0) > score(best.0) { next } else { best });
        let least =
            uniform.iter().reduce(|least, next| if cost(&next.1) < cost(&least.1) { next } else { least });
        let (Some((baseline, best)), Some((minimum, least))) = (best.cloned(), least.cloned()) else {
            self.over(End::NoBaseline, None);
            return Vec::new();
        };
        let scores = [score(baseline), score(minimum)];
        (self.mixed.baseline, self.mixed.minimum) = (baseline, minimum);
        self.stage = Stage::List;
        match self.least() {
            _ if !self.mixed.float.value.is_finite() => self.over(End::NoFloatScore, None),
            _ if !scores[0].is_finite() => self.over(End::NoBaseline, None),
            Some(limit) if scores[0] < limit => self.over(End::BaselineIsBelow, Some(best)),
            Some(limit) if scores[1] >= limit => self.over(End::MinimumSuffices, Some(least)),
            Some(_) | None => {}
        }
        Vec::new()
    }

    /// The entries of the list, in the order in which they are measured.
    fn entries(&self) -> Vec<(usize, usize)> {
        let groups = 0..self.problem.groups.len();
        let candidates = (0..self.problem.candidates.len()).filter(|at| *at != self.mixed.baseline);
        match self.rule.order {
            Order::ByGroup => {
                groups.flat_map(|group| candidates.clone().map(move |at| (group, at))).collect()
            }
            Order::ByCandidate => {
                candidates.flat_map(|at| groups.clone().map(move |group| (group, at))).collect()
            }
        }
    }

    /// Takes the scores of single groups; returns what is missing.
    fn list(&mut self, known: Known<'_>) -> Vec<Vec<u8>> {
        let problem = &self.problem;
        let entries = self.entries();
        let entries = entries
            .iter()
            .filter_map(|(group, candidate)| Some((*group, *candidate, problem.alone(*group, *candidate)?)));
        let entries: Vec<(usize, usize, Vec<u8>)> = entries.collect();
        let missing = missing(entries.iter().map(|(_, _, levels)| levels.clone()), known);
        let Some(baseline) = problem.uniform(self.mixed.baseline).filter(|_| missing.is_empty()) else {
            return missing;
        };
        let whole = problem.cost(&baseline);
        let mut list: Vec<Entry> = entries
            .into_iter()
            .map(|(group, candidate, levels)| {
                let mut lowered = baseline.clone();
                problem.apply(&mut lowered, group, candidate);
                let score = known(&levels).unwrap_or(Score::failed());
                Entry { group, candidate, score, reduction: whole - problem.cost(&lowered) }
            })
            .collect();
        sort(problem, &mut list);
        (self.mixed.curve, self.mixed.skipped) = curve(problem, &baseline, &list, self.rule.walk);
        self.mixed.list = list;
        self.stage = Stage::Curve;
        Vec::new()
    }

    /// Takes the scores of points; returns what is missing.
    fn curve(&mut self, known: Known<'_>) -> Vec<Vec<u8>> {
        for point in &mut self.mixed.curve {
            point.score = known(&point.levels);
        }
        let points = &self.mixed.curve;
        let looked_at = RefCell::new(Vec::new());
        let score = |point: usize| {
            looked_at.borrow_mut().push(point);
            points[point].score.map(|score| score.value)
        };
        let probe = match (self.rule.walk, self.least()) {
            (_, None) | (Walk::Complete, _) => return self.whole_curve(known),
            (Walk::BruteForce, Some(least)) => walk(points.len(), least, &score),
            (Walk::Binary, Some(least)) => divide(points.len(), least, &score, &half),
            (Walk::Interpolation, Some(least)) => divide(points.len(), least, &score, &line(least)),
        };
        let wanted = |point: usize| vec![points[point].levels.clone()];
        self.mixed.probed = looked_at.into_inner();
        match probe {
            Probe::Needs(point) => wanted(point),
            Probe::Last(chosen) => {
                self.choose(chosen);
                Vec::new()
            }
        }
    }

    /// Measures all points; the cheapest that is good enough is the result, wherever on the curve it is.
    fn whole_curve(&mut self, known: Known<'_>) -> Vec<Vec<u8>> {
        let missing = missing(self.mixed.curve.iter().map(|point| point.levels.clone()), known);
        if !missing.is_empty() {
            return missing;
        }
        self.mixed.probed = (0..self.mixed.curve.len()).collect();
        let Some(least) = self.least() else {
            flag_rises(&mut self.mixed.curve);
            self.over(End::Curve, None);
            return Vec::new();
        };
        let points = self.mixed.curve.iter().enumerate();
        let good = points.filter(|(_, point)| point.score.is_some_and(|score| score.value >= least));
        // The baseline is good enough, or the search had ended.
        let good = good.filter(|(_, point)| point.relative_cost < 1.0);
        let cheapest = good.reduce(|a, b| if b.1.relative_cost < a.1.relative_cost { b } else { a });
        self.choose(cheapest.map(|(place, _)| place));
        Vec::new()
    }

    /// The cheapest assignment that is measured and good enough, however far the curve is measured.
    pub fn cheapest_so_far(&self) -> Option<Vec<u8>> {
        let least = self.least()?;
        let points = self.mixed.curve.iter();
        let good = points.filter(|point| point.score.is_some_and(|score| score.value >= least));
        good.min_by(|a, b| a.relative_cost.total_cmp(&b.relative_cost)).map(|point| point.levels.clone())
    }

    fn choose(&mut self, chosen: Option<usize>) {
        flag_rises(&mut self.mixed.curve);
        self.mixed.chosen = chosen;
        let levels = match chosen {
            Some(point) => Some(self.mixed.curve[point].levels.clone()),
            None => self.problem.uniform(self.mixed.baseline),
        };
        self.over(End::Walked, levels);
    }

    /// All that was looked at so far, in order: the float network, uniform assignments, groups alone, points of the
    /// curve. An assignment stands there as often as it has a part in the search; it is measured once.
    pub fn looked_at(&self) -> Vec<Vec<u8>> {
        let mut all = vec![self.problem.float()];
        all.extend(self.uniform().map(|(_, levels)| levels));
        if !self.mixed.list.is_empty() {
            let entries = self.entries().into_iter();
            all.extend(entries.filter_map(|(group, candidate)| self.problem.alone(group, candidate)));
        }
        all.extend(self.mixed.probed.iter().map(|point| self.mixed.curve[*point].levels.clone()));
        all
    }
}

/// Those of `wanted` that are not known, in order and none twice.
fn missing(wanted: impl Iterator<Item = Vec<u8>>, known: Known<'_>) -> Vec<Vec<u8>> {
    let mut missing = Vec::new();
    for levels in wanted {
        if known(&levels).is_none() && !missing.contains(&levels) {
            missing.push(levels);
        }
    }
    missing
}

impl SetSearch for Amp {
    type Outcome = Mixed;

    fn next(&mut self, known: Known<'_>) -> Step<Mixed> {
        let known: Known<'_> = &|levels| known(levels).map(Score::checked);
        loop {
            let missing = match self.stage {
                Stage::References => self.references(known),
                Stage::List => self.list(known),
                Stage::Curve => self.curve(known),
                Stage::Over => return Step::Done(self.mixed.clone()),
            };
            if !missing.is_empty() {
                return Step::Measure(missing);
            }
        }
    }
}
