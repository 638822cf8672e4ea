use serde::{Deserialize, Serialize};

use super::estimate::{Estimate, median};
use super::quiet::quiet;
use super::session::Round;

/// Rounds of a window of the warm-up, whose medians are compared.
const WINDOW: usize = 5;

/// Two windows that differ by less than this part are warm.
const WARM: f64 = 0.01;

/// Rounds between two looks at the interval: a look takes longer than a round of a small network.
const LOOK_EVERY: usize = 20;

/// How long and how closely one measures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Patience {
    /// The fewest rounds that count.
    pub rounds_min: usize,
    /// The interval is narrow enough at this distance from the median, as a part of it.
    pub half_width: f64,
    /// The longest time for all turns together, warm-up counted, in nanoseconds.
    pub at_most_ns: f64,
    /// The shortest warm-up, in nanoseconds: what is slow for a while may look steady meanwhile.
    pub warm_up_ns: f64,
    /// The shortest turn, in nanoseconds: faster inferences are repeated within a turn, so that reading the clock costs nothing
    /// and caches hold what the turn needs, not what the other side left.
    pub turn_ns: f64,
}

impl Default for Patience {
    fn default() -> Self {
        Self { rounds_min: 60, half_width: 0.005, at_most_ns: 10e9, warm_up_ns: 0.2e9, turn_ns: 10e6 }
    }
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The config's.
    Config,
    /// The baseline's.
    Baseline,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Time so many inferences of one side together.
    Time {
        /// Which.
        side: Side,
        /// How many.
        inferences: u64,
    },
    /// It is enough; [`Pacing::rounds`] has what came of it.
    Done,
}

/// Decides what is timed next: first until both are warm, then in rounds whose order alternates (config first, baseline first),
/// so that what grows with time falls on both alike.
#[derive(Debug)]
pub struct Pacing {
    patience: Patience,
    inferences: [u64; 2],
    warm: bool,
    spent_ns: f64,
    rounds: Vec<Round>,
    /// The first half of a round.
    first: Option<(Side, f64)>,
}

impl Pacing {
    /// Begins with the warm-up.
    pub fn new(patience: Patience) -> Self {
        Self { patience, inferences: [1; 2], warm: false, spent_ns: 0.0, rounds: Vec::new(), first: None }
    }

    /// What is to be done next.
    pub fn step(&self) -> Step {
        if self.first.is_none() && self.is_enough() {
            return Step::Done;
        }
        let side = match self.first {
            Some((Side::Config, _)) => Side::Baseline,
            Some((Side::Baseline, _)) => Side::Config,
            None if self.rounds.len().is_multiple_of(2) => Side::Config,
            None => Side::Baseline,
        };
        Step::Time { side, inferences: self.inferences[side as usize] }
    }

    /// Takes what the last step's inferences took together, in nanoseconds.
    pub fn timed(&mut self, side: Side, elapsed_ns: f64) {
        let inferences = &mut self.inferences[side as usize];
        let one = (elapsed_ns / *inferences as f64).max(f64::MIN_POSITIVE);
        self.spent_ns += elapsed_ns;
        if !self.warm {
            // Only while warming up, so that all rounds that count are alike.
            *inferences = (self.patience.turn_ns / one).ceil().clamp(1.0, 1e6) as u64;
        }
        let Some((_, other)) = self.first.take() else {
            self.first = Some((side, one));
            return;
        };
        let (config, baseline) = match side {
            Side::Config => (one, other),
            Side::Baseline => (other, one),
        };
        self.rounds.push(Round { config, baseline });
        if !self.warm && self.spent_ns >= self.patience.warm_up_ns && self.is_warm() {
            self.warm = true;
            self.rounds.clear();
        }
    }

    /// The rounds after the warm-up, in the order of time. Of a warm-up that never ended the last ones, which are so few that
    /// nobody relies on them.
    pub fn rounds(&self) -> &[Round] {
        let first = if self.warm { 0 } else { self.rounds.len().saturating_sub(WINDOW) };
        &self.rounds[first..]
    }

    /// Whether times did not get shorter any more.
    fn is_warm(&self) -> bool {
        let Some(start) = self.rounds.len().checked_sub(2 * WINDOW) else { return false };
        let middle = |rounds: &[Round], of: fn(&Round) -> f64| {
            median(&mut rounds.iter().map(of).collect::<Vec<_>>()).unwrap_or_default()
        };
        let (before, after) = self.rounds[start..].split_at(WINDOW);
        [|round: &Round| round.config, |round: &Round| round.baseline]
            .into_iter()
            .all(|of| middle(after, of) > (1.0 - WARM) * middle(before, of))
    }

    fn is_enough(&self) -> bool {
        let Patience { rounds_min, half_width, at_most_ns, .. } = self.patience;
        if self.spent_ns >= at_most_ns {
            return !self.rounds.is_empty();
        }
        let count = self.rounds.len();
        self.warm && count >= rounds_min && (count - rounds_min).is_multiple_of(LOOK_EVERY) && {
            let quiet = quiet(&self.rounds);
            let times: Vec<f64> = quiet.iter().map(|round| round.config).collect();
            times.len() >= rounds_min
                && Estimate::of(&times).is_some_and(|estimate| estimate.half_width() <= half_width)
        }
    }
}
