//! NSGA-II: a population that approaches the Pareto front of objectives that are black boxes.
//!
//! For objectives that no exact solver can take apart, such as measurements on hardware. [`Nsga2`] is asked for a
//! generation and told its scores, so that a generation may be measured in parallel; [`minimise`] is the loop for
//! objectives that are functions, and [`Forms`] makes such functions of forms and limits. Where objectives are forms,
//! exact solutions or greedy descents as starts, and [`GreedyRepair`], make it far better.
//!
//! Source: Deb, Pratap, Agarwal and Meyarivan, "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II", IEEE
//! Transactions on Evolutionary Computation 6, 2002.

mod forms;
mod operators;
mod settings;

use std::cmp::Ordering;
use std::collections::HashSet;

use bitloop_core::rng::{Rng, rng};

pub use self::forms::{Forms, GreedyRepair};
use self::operators::Operators;
pub use self::settings::{Crossover, Mutation, Settings, SettingsError};
use crate::front::{crowding, lexicographic, non_dominated_sort};

/// Matings per child wanted, after which a generation is smaller: nearly everything within reach has been tried.
const MATINGS_PER_CHILD: usize = 20;

/// What an assignment is worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// What is minimised.
    pub objectives: Vec<f64>,
    /// By how much limits are exceeded, as shares of them, summed; 0 if all hold. Infinite where measuring failed.
    pub violation: f64,
}

/// Objectives and limits that need not be known as formulas.
pub trait Evaluate {
    /// Scores an assignment: one level per variable.
    fn score(&self, levels: &[u8]) -> Score;
}

impl<F: Fn(&[u8]) -> Score> Evaluate for F {
    fn score(&self, levels: &[u8]) -> Score {
        self(levels)
    }
}

/// Changes children before they are scored, for instance so that they keep limits.
pub trait Repair: Send {
    /// Changes an assignment in place.
    fn repair(&self, levels: &mut Vec<u8>);
}

/// An assignment with its objectives.
#[derive(Clone, Debug, PartialEq)]
pub struct Solution {
    /// One level per variable.
    pub levels: Vec<u8>,
    /// What was minimised.
    pub objectives: Vec<f64>,
}

/// Scores that don't fit the generation that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScoreError {
    /// One score per assignment is needed.
    #[error("the generation has {expected} assignments, but {got} scores came")]
    Count {
        /// Assignments asked for.
        expected: usize,
        /// Scores told.
        got: usize,
    },
    /// All scores have the same objectives.
    #[error("score {index} has {got} objectives where others have {expected}")]
    Objectives {
        /// Which score.
        index: usize,
        /// Objectives of the first score.
        expected: usize,
        /// Objectives of this one.
        got: usize,
    },
    /// A score holds NaN, or its violation is negative.
    #[error("score {0} is not a number; give what failed an infinite violation")]
    NotANumber(usize),
}

/// A search between generations.
pub struct Nsga2 {
    counts: Vec<u8>,
    settings: Settings,
    operators: Operators,
    repair: Option<Box<dyn Repair>>,
    /// Everything ever asked for: nothing is scored twice.
    seen: HashSet<Vec<u8>>,
    population: Vec<Member>,
    pending: Vec<Vec<u8>>,
    generation: usize,
}

struct Member {
    levels: Vec<u8>,
    score: Score,
    /// Which front it is in; all that violate a limit stand behind all that don't.
    rank: usize,
    crowding: f64,
}

impl Member {
    /// Puts the better one first: of the better front, or else less crowded.
    fn compare(&self, other: &Self) -> Ordering {
        self.rank.cmp(&other.rank).then_with(|| other.crowding.total_cmp(&self.crowding))
    }
}

impl Nsga2 {
    /// Begins a search over assignments of variables with these numbers of levels.
    ///
    /// `starts` come first in the first generation, as they are; random assignments fill it up.
    ///
    /// Errors: [`SettingsError`].
    pub fn new(counts: &[u8], settings: Settings, starts: &[Vec<u8>]) -> Result<Self, SettingsError> {
        settings.check(counts, starts)?;
        let operators = Operators::new(counts, settings.crossover, settings.mutation);
        let mut search = Self {
            counts: counts.to_vec(),
            settings,
            operators,
            repair: None,
            seen: HashSet::new(),
            population: Vec::new(),
            pending: Vec::new(),
            generation: 0,
        };
        for start in starts.iter().take(search.settings.population) {
            search.consider(start.clone());
        }
        search.fill();
        Ok(search)
    }

    /// The same search with a repair for all assignments but the first generation's.
    pub fn with_repair(mut self, repair: Box<dyn Repair>) -> Self {
        self.repair = Some(repair);
        self
    }

    /// The assignments to be scored next, none of them asked for before; empty when the search is over.
    pub fn ask(&self) -> &[Vec<u8>] {
        &self.pending
    }

    /// Takes the scores of the generation that [`Self::ask`] gives, in its order, and breeds the next.
    ///
    /// Errors: [`ScoreError`]; the search is then as before.
    pub fn tell(&mut self, scores: Vec<Score>) -> Result<(), ScoreError> {
        self.check(&scores)?;
        let children = std::mem::take(&mut self.pending).into_iter().zip(scores);
        let member = |(levels, score)| Member { levels, score, rank: 0, crowding: 0.0 };
        self.population.extend(children.map(member));
        self.select();
        self.generation += 1;
        if self.generation < self.settings.generations {
            self.breed();
        }
        Ok(())
    }

    /// What the population holds that keeps all limits and that none of it dominates, in lexicographic order.
    pub fn front(&self) -> Vec<Solution> {
        let best = self.population.iter().filter(|member| member.rank == 0 && member.score.violation <= 0.0);
        let solution = |member: &Member| Solution {
            levels: member.levels.clone(),
            objectives: member.score.objectives.clone(),
        };
        let mut front: Vec<Solution> = best.map(solution).collect();
        front.sort_by(|a, b| {
            lexicographic(&a.objectives, &b.objectives).then_with(|| a.levels.cmp(&b.levels))
        });
        front
    }

    fn check(&self, scores: &[Score]) -> Result<(), ScoreError> {
        let (expected, got) = (self.pending.len(), scores.len());
        if got != expected {
            return Err(ScoreError::Count { expected, got });
        }
        let first = self.population.first().map(|member| &member.score).or(scores.first());
        let expected = first.map_or(0, |score| score.objectives.len());
        for (index, Score { objectives, violation }) in scores.iter().enumerate() {
            if objectives.len() != expected {
                return Err(ScoreError::Objectives { index, expected, got: objectives.len() });
            }
            if violation.is_nan() || *violation < 0.0 || objectives.iter().any(|objective| objective.is_nan())
            {
                return Err(ScoreError::NotANumber(index));
            }
        }
        Ok(())
    }

    fn consider(&mut self, levels: Vec<u8>) {
        if self.seen.insert(levels.clone()) {
            self.pending.push(levels);
        }
    }

    /// Fills the first generation with random assignments.
    fn fill(&mut self) {
        let mut rng = rng(self.settings.seed, 0);
        let wanted = self.settings.population;
        for _ in 0..wanted * MATINGS_PER_CHILD {
            if self.pending.len() >= wanted {
                break;
            }
            let levels = self.counts.iter().map(|count| rng.below(usize::from(*count)) as u8).collect();
            self.consider(levels);
        }
    }

    fn breed(&mut self) {
        let mut rng = rng(self.settings.seed, self.generation as u64);
        let wanted = self.settings.population;
        let mut winners = Vec::new();
        for _ in 0..wanted * MATINGS_PER_CHILD {
            while winners.len() < 2 {
                winners.extend(self.tournament(&mut rng));
            }
            let parents = [winners.pop(), winners.pop()].map(|winner| {
                let member = winner.expect("a tournament was held if fewer than two winners were left");
                self.population[member].levels.as_slice()
            });
            for mut child in self.operators.children(parents, &mut rng) {
                if let Some(repair) = &self.repair {
                    repair.repair(&mut child);
                }
                self.consider(child);
            }
            if self.pending.len() >= wanted {
                break;
            }
        }
        self.pending.truncate(wanted);
    }

    /// Pairs up the population at random and gives the better of each pair, so that nobody competes more often than
    /// others; the odd one wins unopposed.
    fn tournament(&self, rng: &mut Rng) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.population.len()).collect();
        rng.shuffle(&mut order);
        let better = |pair: &[usize]| {
            let [a, b] = [pair[0], pair[pair.len() - 1]];
            if self.population[a].compare(&self.population[b]).is_le() { a } else { b }
        };
        order.chunks(2).map(better).collect()
    }

    /// Ranks parents and children together and keeps the best.
    fn select(&mut self) {
        let mut chosen = Vec::with_capacity(self.settings.population);
        for (rank, front) in self.fronts().iter().enumerate() {
            let objectives: Vec<&[f64]> =
                self.population.iter().map(|member| member.score.objectives.as_slice()).collect();
            let mut members: Vec<(usize, f64)> =
                front.iter().copied().zip(crowding(&objectives, front)).collect();
            let room = self.settings.population - chosen.len();
            if members.len() > room {
                members.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
                members.truncate(room);
            }
            chosen.extend(members.into_iter().map(|(member, crowding)| (member, rank, crowding)));
        }
        let mut pool: Vec<Option<Member>> =
            std::mem::take(&mut self.population).into_iter().map(Some).collect();
        let member = |(index, rank, crowding): (usize, usize, f64)| {
            pool[index].take().map(|member| Member { rank, crowding, ..member })
        };
        self.population = chosen.into_iter().filter_map(member).collect();
    }

    /// The population in fronts: those that keep all limits by dominance, then the others by their violation.
    fn fronts(&self) -> Vec<Vec<usize>> {
        let violation = |member: &usize| self.population[*member].score.violation;
        let (feasible, mut others): (Vec<usize>, Vec<usize>) =
            (0..self.population.len()).partition(|member| violation(member) <= 0.0);
        let objectives: Vec<&[f64]> =
            feasible.iter().map(|member| self.population[*member].score.objectives.as_slice()).collect();
        let sorted = non_dominated_sort(&objectives);
        let mut fronts: Vec<Vec<usize>> = sorted
            .into_iter()
            .map(|front| front.into_iter().map(|place| feasible[place]).collect())
            .collect();
        others.sort_by(|a, b| violation(a).total_cmp(&violation(b)).then(a.cmp(b)));
        let tied = others.chunk_by(|a, b| violation(a) == violation(b));
        fronts.extend(tied.map(<[usize]>::to_vec));
        fronts
    }
}

/// Searches until the generations are spent, scoring one assignment after another.
///
/// Errors: [`ScoreError`] if `evaluate` gives scores that don't fit together.
pub fn minimise(mut search: Nsga2, evaluate: &dyn Evaluate) -> Result<Vec<Solution>, ScoreError> {
    while !search.ask().is_empty() {
        let scores = search.ask().iter().map(|levels| evaluate.score(levels)).collect();
        search.tell(scores)?;
    }
    Ok(search.front())
}

#[cfg(test)]
mod tests;
