//! The parts of an experiment, as written.

use super::Mistake;
use crate::plan::{AutoQKerasPlan, Pairs, SearchPlan, Subsets};

/// Which points are lowered alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Single {
    /// Every point.
    All,
    /// Points whose names match one of these patterns (`*` stands for any text).
    Matching(Vec<String>),
}

/// A sensitivity sweep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SensitivitySpec {
    /// The points lowered alone.
    pub single: Single,
    /// The points lowered in pairs.
    pub pairwise: Option<Pairs>,
    /// The points lowered together; without a quantile of their own they have that of the pairs.
    pub multi: Option<Subsets>,
}

/// One part of an experiment.
#[derive(Clone, Debug, PartialEq)]
pub enum StageSpec {
    /// Lowers points and measures the damage.
    Sensitivity(SensitivitySpec),
    /// Finds the best bit configs.
    Search(SearchPlan),
    /// Finds quantizers and filter counts by training; an experiment of its own.
    AutoQKeras(Box<AutoQKerasPlan>),
    /// Measures what was found on the report images, that nothing was chosen by.
    Verify {
        /// Configs of every search, best first.
        top: u64,
        /// Whether all points at each width alone are measured too, for comparison.
        uniform: bool,
    },
}

impl StageSpec {
    /// The key by which files name it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Sensitivity(_) => "sensitivity",
            Self::Search(_) => "search",
            Self::AutoQKeras(_) => super::autoqkeras::KEY,
            Self::Verify { .. } => "verify",
        }
    }
}

/// Finds stages that stand where they cannot: a second sweep, a search without one, a verification without a search, a
/// second search that trains.
pub(crate) fn misplaced(stages: &[StageSpec]) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for (index, stage) in stages.iter().enumerate() {
        let before = &stages[..index];
        let has = |word: &str| before.iter().any(|stage| stage.as_str() == word);
        let wrong = match stage {
            StageSpec::AutoQKeras(_) if has(super::autoqkeras::KEY) => Some((
                "there is a search that trains already",
                "put it into an experiment of its own; trials that both ask for are trained once",
            )),
            StageSpec::Sensitivity(_) if has("sensitivity") => {
                Some(("there is a sensitivity stage already", "join the lists of points of both"))
            }
            StageSpec::Search(search) if search.method.is_limited_by_cost() && !has("sensitivity") => Some((
                "a search needs measurements to predict from",
                "put `- sensitivity: { single: all }` before it",
            )),
            StageSpec::Verify { .. } if has("verify") => {
                Some(("there is a verify stage already", "the report images are for one last look; keep one"))
            }
            StageSpec::Verify { .. } if !has("search") => {
                Some(("there is nothing to verify", "put a `search` before it"))
            }
            StageSpec::Sensitivity(_) | StageSpec::Search(_) if has("verify") => {
                Some(("nothing may be measured after the report images were looked at", "put `verify` last"))
            }
            StageSpec::Sensitivity(_)
            | StageSpec::Search(_)
            | StageSpec::AutoQKeras(_)
            | StageSpec::Verify { .. } => None,
        };
        mistakes.extend(wrong.map(|(problem, hint)| Mistake {
            path: format!("stages[{index}].{}", stage.as_str()),
            problem: problem.to_owned(),
            hint: hint.to_owned(),
        }));
    }
    mistakes
}
