//! The parts of an experiment, as written.

use super::Mistake;
use crate::plan::{Limit, Metric, SearchMethod, SubsetDesign};

/// Which points are lowered alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Single {
    /// Every point.
    All,
    /// Points whose names match one of these patterns (`*` stands for any text).
    Matching(Vec<String>),
}

/// Which pairs of lowered points are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairwiseSpec {
    /// All.
    All,
    /// Those of points whose damage alone is below this quantile, in parts per million.
    BelowQuantile(u32),
    /// So many, those with the least damage alone first.
    MostPromising(u64),
}

/// Subsets of points that are lowered together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MultiSpec {
    /// How many.
    pub configs: u64,
    /// How many points a subset has: smallest and largest.
    pub points: [u32; 2],
    /// Only points whose damage alone is below this quantile take part, in parts per million.
    pub below_quantile_ppm: Option<u32>,
    /// How subsets are chosen.
    pub design: SubsetDesign,
    /// Of the draws.
    pub seed: u64,
}

/// A sensitivity sweep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SensitivitySpec {
    /// The points lowered alone.
    pub single: Single,
    /// The points lowered in pairs.
    pub pairwise: Option<PairwiseSpec>,
    /// The points lowered together.
    pub multi: Option<MultiSpec>,
}

/// A search for the best bit configs.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchSpec {
    /// How.
    pub method: SearchMethod,
    /// The predictor's name.
    pub predictor: String,
    /// What a config is judged by.
    pub objective: Metric,
    /// What it may cost.
    pub limits: Vec<Limit>,
    /// The most configs that it measures; as many as it takes without a number.
    pub trials: Option<u64>,
    /// Configs measured at a time, before the predictor is corrected.
    pub round: u64,
}

/// A final measurement on images that nothing was chosen by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifySpec {
    /// Configs of every search, best first.
    pub top: u64,
    /// Whether all points at each width alone are measured too, for comparison.
    pub uniform: bool,
}

/// One part of an experiment.
#[derive(Clone, Debug, PartialEq)]
pub enum StageSpec {
    /// Lowers points and measures the damage.
    Sensitivity(SensitivitySpec),
    /// Finds the best bit configs.
    Search(SearchSpec),
    /// Measures what was found on the report images.
    Verify(VerifySpec),
}

impl StageSpec {
    /// The key by which files name it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Sensitivity(_) => "sensitivity",
            Self::Search(_) => "search",
            Self::Verify(_) => "verify",
        }
    }
}

/// Finds stages that stand where they cannot: a second sweep, a search without one, a verification without a search.
pub(crate) fn misplaced(stages: &[StageSpec]) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for (index, stage) in stages.iter().enumerate() {
        let before = &stages[..index];
        let has = |word: &str| before.iter().any(|stage| stage.as_str() == word);
        let wrong = match stage {
            StageSpec::Sensitivity(_) if has("sensitivity") => {
                Some(("there is a sensitivity stage already", "join the lists of points of both"))
            }
            StageSpec::Search(search) if search.method.is_limited_by_cost() && !has("sensitivity") => Some((
                "a search needs measurements to predict from",
                "put `- sensitivity: { single: all }` before it",
            )),
            StageSpec::Verify(_) if has("verify") => {
                Some(("there is a verify stage already", "the report images are for one last look; keep one"))
            }
            StageSpec::Verify(_) if !has("search") => {
                Some(("there is nothing to verify", "put a `search` before it"))
            }
            StageSpec::Sensitivity(_) | StageSpec::Search(_) if has("verify") => {
                Some(("nothing may be measured after the report images were looked at", "put `verify` last"))
            }
            StageSpec::Sensitivity(_) | StageSpec::Search(_) | StageSpec::Verify(_) => None,
        };
        mistakes.extend(wrong.map(|(problem, hint)| Mistake {
            path: format!("stages[{index}].{}", stage.as_str()),
            problem: problem.to_owned(),
            hint: hint.to_owned(),
        }));
    }
    mistakes
}
