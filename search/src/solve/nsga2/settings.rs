//! What a search by NSGA-II is started with.

/// Numbers of levels beyond which the operators' tables would be large.
const LEVELS_MAX: u8 = 64;

/// How long and how boldly to search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Assignments per generation.
    pub population: usize,
    /// Generations, the first among them: `population * generations` assignments are scored.
    pub generations: usize,
    /// Seed of all random draws.
    pub seed: u64,
    /// How two parents are mixed.
    pub crossover: Crossover,
    /// How children change.
    pub mutation: Mutation,
}

/// Simulated binary crossover, rounded to levels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crossover {
    /// Chance that two parents are mixed at all.
    pub probability: f64,
    /// Chance that a variable in which they differ is.
    pub per_variable: f64,
    /// The larger, the closer children are to their parents.
    pub eta: f64,
}

/// Polynomial mutation, rounded to levels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mutation {
    /// Chance that a child is mutated at all.
    pub probability: f64,
    /// Chance that a variable of it is; one variable on average if none is given.
    pub per_variable: Option<f64>,
    /// The larger, the smaller the steps.
    pub eta: f64,
}

impl Settings {
    /// The setting of the published search over widths: 100 generations of 100, both probabilities 1, both `eta` 3.
    pub fn published(seed: u64) -> Self {
        Self {
            population: 100,
            generations: 100,
            seed,
            crossover: Crossover { probability: 1.0, per_variable: 0.5, eta: 3.0 },
            mutation: Mutation { probability: 1.0, per_variable: None, eta: 3.0 },
        }
    }

    pub(super) fn check(&self, counts: &[u8], starts: &[Vec<u8>]) -> Result<(), SettingsError> {
        if self.population < 2 || self.generations == 0 {
            let Self { population, generations, .. } = *self;
            return Err(SettingsError::TooSmall { population, generations });
        }
        let chances = [
            ("crossover.probability", Some(self.crossover.probability)),
            ("crossover.per_variable", Some(self.crossover.per_variable)),
            ("mutation.probability", Some(self.mutation.probability)),
            ("mutation.per_variable", self.mutation.per_variable),
        ];
        for (name, chance) in chances {
            if let Some(value) = chance.filter(|chance| !(0.0..=1.0).contains(chance)) {
                return Err(SettingsError::Chance { name, value });
            }
        }
        for (name, value) in [("crossover.eta", self.crossover.eta), ("mutation.eta", self.mutation.eta)] {
            if !value.is_finite() || value < 0.0 {
                return Err(SettingsError::Eta { name, value });
            }
        }
        if counts.is_empty() {
            return Err(SettingsError::NoVariables);
        }
        if let Some(variable) = counts.iter().position(|levels| !(1..=LEVELS_MAX).contains(levels)) {
            return Err(SettingsError::Levels { variable, levels: counts[variable] });
        }
        let fits = |start: &&Vec<u8>| {
            start.len() == counts.len() && start.iter().zip(counts).all(|(level, levels)| level < levels)
        };
        match starts.iter().position(|start| !fits(&start)) {
            Some(start) => Err(SettingsError::Start(start)),
            None => Ok(()),
        }
    }
}

/// A search that can't begin.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// Nothing would be bred.
    #[error("a population of {population} over {generations} generations; at least 2 over 1 are needed")]
    TooSmall {
        /// Assignments per generation.
        population: usize,
        /// Generations.
        generations: usize,
    },
    /// A chance is not between 0 and 1.
    #[error("`{name}` is {value}; give a chance between 0 and 1")]
    Chance {
        /// Which setting.
        name: &'static str,
        /// Its value.
        value: f64,
    },
    /// An `eta` is negative or not finite.
    #[error("`{name}` is {value}; give a finite number that is not negative")]
    Eta {
        /// Which setting.
        name: &'static str,
        /// Its value.
        value: f64,
    },
    /// There is nothing to choose.
    #[error("no variable can be chosen; name at least one point to search")]
    NoVariables,
    /// A variable has no level, or too many.
    #[error("variable {variable} has {levels} levels; 1 to {LEVELS_MAX} are supported")]
    Levels {
        /// Which variable.
        variable: usize,
        /// Its levels.
        levels: u8,
    },
    /// A start is no assignment of the variables.
    #[error("start {0} has another length or a level that its variable lacks")]
    Start(usize),
}
