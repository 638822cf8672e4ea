//! The parts of an experiment, as written.

use super::Mistake;
use crate::plan::{AutoQKerasPlan, Pairs, ProbePlan, SearchPlan, Subsets};
use crate::trial::ProbeTarget;

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
    /// Measures what networks take on a device.
    Probe(Box<ProbePlan>),
    /// Measures what was found on the report images, that nothing was chosen by.
    Verify {
        /// Configs of every search, best first.
        top: u64,
        /// Whether all points at each width alone are measured too, for comparison.
        uniform: bool,
        /// By how much of the images a device may differ from the simulation, in parts per million.
        difference_max_ppm: u32,
    },
}

impl StageSpec {
    /// The key by which files name it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Sensitivity(_) => "sensitivity",
            Self::Search(_) => "search",
            Self::AutoQKeras(_) => super::autoqkeras::KEY,
            Self::Probe(_) => "probe",
            Self::Verify { .. } => "verify",
        }
    }

    /// What it measures on, if it is a probe.
    fn target(&self) -> Option<&ProbeTarget> {
        match self {
            Self::Probe(probe) => Some(&probe.target),
            Self::Sensitivity(_) | Self::Search(_) | Self::AutoQKeras(_) | Self::Verify { .. } => None,
        }
    }
}

/// Finds stages that stand where they cannot: a second sweep, a search without one or without the measurements of a device
/// that it is limited on, a verification without a search, a second search that trains.
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
            StageSpec::Probe(probe) if before.iter().any(|stage| stage.target() == Some(&probe.target)) => {
                Some((
                    "this device is measured already",
                    "keep one of both; `on: { board: pi5 }` tells devices of several workers apart",
                ))
            }
            StageSpec::Sensitivity(_) | StageSpec::Search(_) | StageSpec::Probe(_) if has("verify") => {
                Some(("nothing may be measured after the report images were looked at", "put `verify` last"))
            }
            StageSpec::Sensitivity(_)
            | StageSpec::Search(_)
            | StageSpec::AutoQKeras(_)
            | StageSpec::Probe(_)
            | StageSpec::Verify { .. } => None,
        };
        if let StageSpec::Search(search) = stage {
            mistakes.extend(unmeasured(search, before, &format!("stages[{index}].search")));
        }
        mistakes.extend(wrong.map(|(problem, hint)| Mistake {
            path: format!("stages[{index}].{}", stage.as_str()),
            problem: problem.to_owned(),
            hint: hint.to_owned(),
        }));
    }
    mistakes
}

/// Devices that a search needs to know and no stage before it measures.
fn unmeasured(search: &SearchPlan, before: &[StageSpec], path: &str) -> Vec<Mistake> {
    let targets = search.targets().into_iter();
    let unknown = targets.filter(|target| !before.iter().any(|stage| stage.target() == Some(*target)));
    let mistake = |target: &ProbeTarget| {
        let on: Vec<String> = target.on.iter().map(|(key, value)| format!("{key}: {value}")).collect();
        let on = if on.is_empty() { String::new() } else { format!(", on: {{ {} }}", on.join(", ")) };
        Mistake {
            path: path.to_owned(),
            problem: format!("nothing before it measures {target}"),
            hint: format!("put `- probe: {{ probe: {}{on} }}` before it", target.probe),
        }
    };
    unknown.map(mistake).collect()
}
