use serde::{Deserialize, Serialize};

use super::{AutoQKerasPlan, OLDEST_PLAN_FORMAT, PLAN_FORMAT};
use crate::autoqkeras::{MeasuredGoal, Settings};
use crate::bits::PointIndex;
use crate::trial::{ProbeSetting, ProbeTarget};

/// Which pairs of lowered points are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pairs {
    /// Those of points whose damage alone is below a quantile.
    Below {
        /// In parts per million; all pairs without one.
        quantile_ppm: Option<u32>,
    },
    /// So many, those with the least damage alone first.
    MostPromising {
        /// How many at most.
        configs: u64,
    },
}

/// How subsets of points are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubsetDesign {
    /// At random, an equal number of every size.
    Random,
    /// In batches: those that the predictor, fitted to what came so far, knows least about.
    Uncertain,
}

impl SubsetDesign {
    /// Every design.
    pub const ALL: [Self; 2] = [Self::Random, Self::Uncertain];

    /// The word used in experiment files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Uncertain => "uncertain",
        }
    }
}

/// Subsets of points that are lowered together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subsets {
    /// How many.
    pub configs: u64,
    /// Points of a subset: smallest and largest number.
    pub points: [u32; 2],
    /// Only points whose damage alone is below this quantile take part, in parts per million.
    pub quantile_ppm: Option<u32>,
    /// How they are chosen.
    pub design: SubsetDesign,
    /// Of the draws.
    pub seed: u64,
}

/// What a config is judged by, beside the baseline on the same images; more is worse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Drop of top-1, in percentage points.
    #[default]
    Top1Drop,
    /// Increase of the mean cross-entropy, in nats.
    LossIncrease,
}

impl Metric {
    /// Every metric.
    pub const ALL: [Self; 2] = [Self::Top1Drop, Self::LossIncrease];

    /// The word used in experiment files and results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Top1Drop => "top1_drop",
            Self::LossIncrease => "loss_increase",
        }
    }
}

/// How a search finds configs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SearchMethod {
    /// The best of the predictor, proved.
    Exact,
    /// A genetic search on the predictor.
    Nsga2,
    /// Step by step, by the least predicted damage per saved cost.
    Greedy,
    /// As many points as can be lowered together, found by measuring sets of them.
    Demotion {
        /// Largest drop of top-1 beside the baseline, as parts per million of the images.
        drop_max_ppm: u32,
    },
    /// Groups lowered in the order of their damage alone, along the complete curve.
    Amp {
        /// Largest drop of top-1 beside the float network, as parts per million of the images; no one result without it.
        drop_max_ppm: Option<u32>,
    },
}

impl SearchMethod {
    /// The word used in experiment files and results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Nsga2 => "nsga2",
            Self::Greedy => "greedy",
            Self::Demotion { .. } => "demotion",
            Self::Amp { .. } => "amp",
        }
    }

    /// The largest drop of top-1 that it allows, as parts per million of the images.
    pub fn drop_max_ppm(self) -> Option<u32> {
        match self {
            Self::Exact | Self::Nsga2 | Self::Greedy => None,
            Self::Demotion { drop_max_ppm } => Some(drop_max_ppm),
            Self::Amp { drop_max_ppm } => drop_max_ppm,
        }
    }

    /// Whether limits on costs say how far it goes.
    pub fn is_limited_by_cost(self) -> bool {
        match self {
            Self::Exact | Self::Nsga2 | Self::Greedy => true,
            Self::Demotion { .. } | Self::Amp { .. } => false,
        }
    }
}

/// How much of a cost is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Amount {
    /// In the cost's unit.
    Of(f64),
    /// In parts per million of the baseline's.
    OfBaselinePpm(u32),
}

/// An upper bound on a cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// The cost's name, such as `size_kib`.
    pub cost: String,
    /// The most it may be.
    pub at_most: Amount,
    /// The device that it is measured on; none for costs that are computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<ProbeTarget>,
}

impl Limit {
    /// A limit on a cost that is computed.
    pub fn computed(cost: &str, at_most: Amount) -> Self {
        Self { cost: cost.to_owned(), at_most, target: None }
    }

    /// What it limits, as people read it: `latency_ms (onnxruntime on board=pi5)`.
    pub fn title(&self) -> String {
        titled(&self.cost, self.target.as_ref())
    }
}

/// A cost on a device, as people read it.
fn titled(cost: &str, target: Option<&ProbeTarget>) -> String {
    target.map_or_else(|| cost.to_owned(), |target| format!("{cost} ({target})"))
}

/// A measured cost that a search lowers, as far as a bound on the loss allows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lowered {
    /// The cost's name, such as `latency_ms`.
    pub cost: String,
    /// The device.
    pub target: ProbeTarget,
    /// The most that the loss may be, in the unit of the search's metric.
    pub loss_max: f64,
}

impl Lowered {
    /// What it lowers, as people read it.
    pub fn title(&self) -> String {
        titled(&self.cost, Some(&self.target))
    }
}

/// A search for the best bit configs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchPlan {
    /// How.
    pub method: SearchMethod,
    /// The predictor's name; methods that measure sets have none to choose.
    pub predictor: String,
    /// What a config is judged by; sets are judged by their drop of top-1.
    pub objective: Metric,
    /// What it may cost; for methods that are limited by cost.
    pub limits: Vec<Limit>,
    /// The measured cost that it lowers; without one it lowers the loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lowers: Option<Lowered>,
    /// The cost that sets lower, for methods that measure sets; see [`Self::lowered_cost`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<String>,
    /// The most configs that it measures; as many as it takes without a number.
    pub trials: Option<u64>,
    /// Configs measured at a time, before the predictor is corrected.
    pub round: u64,
}

impl SearchPlan {
    /// Most configs of a round: each takes a solver's descent, and more would leave the predictor uncorrected for long.
    pub const ROUND_MAX: u64 = 1024;

    /// An exact search for the least drop of top-1 within limits, which measures one config at a time.
    pub fn exact(limits: Vec<Limit>) -> Self {
        Self {
            method: SearchMethod::Exact,
            predictor: "auto".to_owned(),
            objective: Metric::Top1Drop,
            limits,
            lowers: None,
            cost: None,
            trials: None,
            round: 1,
        }
    }

    /// The devices that it is limited on or lowers a cost on, each once, in the order of the file.
    pub fn targets(&self) -> Vec<&ProbeTarget> {
        let limited = self.limits.iter().filter_map(|limit| limit.target.as_ref());
        let mut targets: Vec<&ProbeTarget> = Vec::new();
        for target in self.lowers.iter().map(|lowers| &lowers.target).chain(limited) {
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        targets
    }

    /// The cost that sets lower: as named, otherwise bit operations for a curve of groups; none where every point counts
    /// one, and for other methods.
    pub fn lowered_cost(&self) -> Option<&str> {
        match self.method {
            SearchMethod::Amp { .. } => Some(self.cost.as_deref().unwrap_or("bops_g")),
            SearchMethod::Demotion { .. } => self.cost.as_deref(),
            SearchMethod::Exact | SearchMethod::Nsga2 | SearchMethod::Greedy => None,
        }
    }
}

/// Measurements of a device: what each layer takes at each width, and whether that adds up to what networks take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbePlan {
    /// With what, and where.
    pub target: ProbeTarget,
    /// How.
    pub setting: ProbeSetting,
    /// Configs of several lowered points that are measured whole, beside uniform ones.
    pub configs: u64,
    /// How often each network is measured, each time by a process of its own.
    pub repetitions: u32,
    /// Selection images on which what the device computes is compared with the simulation, at uniform widths; 0 for none.
    pub fidelity: u64,
    /// Of the draws.
    pub seed: u64,
}

impl ProbePlan {
    /// Most configs of several lowered points.
    pub const CONFIGS_MAX: u64 = 1_000;

    /// Most repetitions of a network.
    pub const REPETITIONS_MAX: u32 = 20;

    /// Measures uniform networks alone, each once.
    pub fn uniform(target: ProbeTarget) -> Self {
        Self { target, setting: ProbeSetting::default(), configs: 0, repetitions: 1, fidelity: 0, seed: 0 }
    }
}

/// One part of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StagePlan {
    /// Makes the model ready: one trial.
    Prepare,
    /// Measures the float network, the baseline, and the baseline with points lowered.
    Sensitivity {
        /// The points lowered alone, in graph order; only they are lowered in company.
        single: Vec<PointIndex>,
        /// The pairs of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pairs: Option<Pairs>,
        /// Larger subsets.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subsets: Option<Subsets>,
    },
    /// Finds the best bit configs: predicts, solves, measures, and corrects the prediction.
    Search(SearchPlan),
    /// Finds quantizers and filter counts by training.
    #[serde(rename = "autoqkeras")]
    AutoQKeras(Box<AutoQKerasPlan>),
    /// Measures what networks take on a device.
    Probe(Box<ProbePlan>),
    /// Measures what the searches found on the report images.
    Verify {
        /// Configs of every search, best first.
        top: u64,
        /// Whether all points at each width alone are measured too.
        uniform: bool,
        /// A config is not recommended if a device of the plan's probe stages recognizes so many images more or less than the
        /// simulation says, in parts per million of them.
        #[serde(default = "difference_max_ppm", skip_serializing_if = "is_usual_difference")]
        difference_max_ppm: u32,
    },
}

/// Half a percentage point.
pub(crate) const DIFFERENCE_MAX_PPM: u32 = 5_000;

fn difference_max_ppm() -> u32 {
    DIFFERENCE_MAX_PPM
}

fn is_usual_difference(ppm: &u32) -> bool {
    *ppm == DIFFERENCE_MAX_PPM
}

impl StagePlan {
    /// A verification with the usual difference that devices may have.
    pub fn verify(top: u64, uniform: bool) -> Self {
        Self::Verify { top, uniform, difference_max_ppm: DIFFERENCE_MAX_PPM }
    }

    /// The version of a plan with these stages: the oldest that has all they say.
    pub fn format_of(stages: &[Self]) -> u32 {
        match stages.iter().any(Self::names_devices) {
            true => PLAN_FORMAT,
            false => OLDEST_PLAN_FORMAT,
        }
    }

    /// Whether it says what plans could not say before networks were measured on devices.
    fn names_devices(&self) -> bool {
        match self {
            Self::Probe(_) => true,
            Self::Search(search) => !search.targets().is_empty(),
            Self::Verify { difference_max_ppm, .. } => !is_usual_difference(difference_max_ppm),
            Self::Prepare | Self::Sensitivity { .. } | Self::AutoQKeras(_) => false,
        }
    }

    /// A sweep of single points.
    pub fn singles(single: Vec<PointIndex>) -> Self {
        Self::Sensitivity { single, pairs: None, subsets: None }
    }

    /// What it measures on a device to compare networks that it trains, if it does.
    pub fn measured_goal(&self) -> Option<&MeasuredGoal> {
        self.trained()?.goal.measured()
    }

    /// What may be chosen of networks that are measured so.
    pub(super) fn measured_settings(&self) -> Option<&Settings> {
        self.trained().filter(|search| search.goal.measured().is_some()).map(|search| &search.settings)
    }

    fn trained(&self) -> Option<&AutoQKerasPlan> {
        match self {
            Self::AutoQKeras(search) => Some(search),
            Self::Prepare
            | Self::Sensitivity { .. }
            | Self::Search(_)
            | Self::Probe(_)
            | Self::Verify { .. } => None,
        }
    }

    /// The word used in results and messages.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Sensitivity { .. } => "sensitivity",
            Self::Search(_) => "search",
            Self::AutoQKeras(_) => "autoqkeras",
            Self::Probe(_) => "probe",
            Self::Verify { .. } => "verify",
        }
    }
}
