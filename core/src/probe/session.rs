use serde::{Deserialize, Serialize};

use super::estimate::{Estimate, median};
use super::quiet::quiet;

/// The widest interval of a steady measurement, as a part of the median.
const STEADY: f64 = 0.03;

/// The farthest that a frequency may move to either side. With what a level moves by from hour to hour besides, times would move by more
/// than [`STEADY`].
const STILL: f64 = 0.0166;

/// Fewer rounds say nothing of how far off their median may be: of one or two, the interval has no width.
const ROUNDS_MIN: usize = 6;

/// The most of the processors' time that others may have.
const QUIET: f64 = 0.2;

/// Values farther from the median than so many times the usual distance are outliers.
const OUTLIER: f64 = 5.0;

/// Makes the median distance from the median an estimate of a normal distribution's standard deviation.
const TO_DEVIATION: f64 = 1.4826;

/// One turn of both, in nanoseconds an inference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// The config's.
    pub config: f64,
    /// The baseline's.
    pub baseline: f64,
}

/// Why a measurement is not to be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unsteady {
    /// So few rounds that their interval says nothing; there are as few, too, where the warm-up never ended.
    Few(u64),
    /// The interval is wider than 3 % of the median to one side: this part.
    Wide(f64),
    /// From the first third of the rounds to the last the median moved by this part, farther than chance moves it.
    Drift(f64),
    /// Others had this part of the processors' time meanwhile: what they slow down steadily neither widens the interval nor drifts.
    Busy(f64),
    /// The processor's frequency moved by this part to either side meanwhile, as nobody keeps it: at another time it may be any.
    Clock(f64),
}

impl Unsteady {
    /// What speaks against times in the order in which they were taken, which come to `estimate`.
    pub fn of(times: &[f64], estimate: Estimate) -> Option<Self> {
        let few = (times.len() < ROUNDS_MIN).then_some(Self::Few(times.len() as u64));
        few.or_else(|| drift(times)).or_else(|| Self::if_wide(estimate))
    }

    /// That others had too much of the processors' time, if anyone knows how much they had.
    pub fn if_busy(others: Option<f64>) -> Option<Self> {
        others.filter(|others| *others > QUIET).map(Self::Busy)
    }

    /// That the frequency moved too far, if anyone knows how far it did.
    pub fn if_restless(clock: Option<f64>) -> Option<Self> {
        clock.filter(|moved| *moved > STILL).map(Self::Clock)
    }

    /// What is said of an interval, if it is too wide.
    pub fn if_wide(estimate: Estimate) -> Option<Self> {
        Some(estimate.half_width()).filter(|half| *half > STEADY).map(Self::Wide)
    }

    /// The word used in results.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Few(_) => "few",
            Self::Wide(_) => "wide",
            Self::Drift(_) => "drift",
            Self::Busy(_) => "busy",
            Self::Clock(_) => "clock",
        }
    }
}

/// What one process measured in one go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Of the config, in nanoseconds an inference.
    pub config: Estimate,
    /// Of the baseline.
    pub baseline: Estimate,
    /// Of the config's time as a part of the baseline's in the same round; what both suffer from is not in it.
    pub ratio: Estimate,
    /// How many rounds count.
    pub rounds: u64,
    /// How many do not, as the baseline says that something disturbed them.
    #[serde(default, skip_serializing_if = "is_none")]
    pub disturbed: u64,
    /// How many of the config's times lie far from the median. They count: a median is not moved by them.
    pub outliers: u64,
    /// Why it is not to be relied on, if so.
    pub unsteady: Option<Unsteady>,
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

impl Session {
    /// What rounds in the order of time came to, as far as they count; none of no rounds.
    pub fn of(all: &[Round]) -> Option<Self> {
        let rounds = quiet(all);
        let times: Vec<f64> = rounds.iter().map(|round| round.config).collect();
        let baselines: Vec<f64> = rounds.iter().map(|round| round.baseline).collect();
        let ratios: Vec<f64> = rounds.iter().map(|round| round.config / round.baseline).collect();
        let config = Estimate::of(&times)?;
        Some(Self {
            config,
            baseline: Estimate::of(&baselines)?,
            ratio: Estimate::of(&ratios)?,
            rounds: rounds.len() as u64,
            disturbed: (all.len() - rounds.len()) as u64,
            outliers: outliers(&times, config.median),
            unsteady: Unsteady::of(&times, config),
        })
    }

    /// The same beside others that had a part of the processors' time, if anyone knows.
    #[must_use]
    pub fn beside(mut self, others: Option<f64>) -> Self {
        self.unsteady = self.unsteady.or(Unsteady::if_busy(others));
        self
    }
}

/// How far times moved while they were taken, if they moved farther than the intervals of both ends and [`STEADY`] allow.
fn drift(times: &[f64]) -> Option<Unsteady> {
    let third = times.len() / 3;
    let (first, last) = (Estimate::of(&times[..third])?, Estimate::of(&times[times.len() - third..])?);
    let moved = last.median / first.median - 1.0;
    let chance = first.half_width() + last.half_width();
    (moved.abs() > STEADY.max(chance)).then_some(Unsteady::Drift(moved))
}

fn outliers(times: &[f64], middle: f64) -> u64 {
    let mut distances: Vec<f64> = times.iter().map(|time| (time - middle).abs()).collect();
    let Some(usual) = median(&mut distances) else { return 0 };
    let far = OUTLIER * TO_DEVIATION * usual;
    distances.iter().filter(|distance| **distance > far).count() as u64
}
