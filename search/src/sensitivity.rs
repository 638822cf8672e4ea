//! Single-point sensitivity: the baseline with one point lowered, for every point and width.
//!
//! The design is an indexed sequence and is never held in memory: trial 0 is the float network, trial 1 the
//! baseline, then each point in graph order at each of its widths.

use bitloop_core::bits::{BitConfig, Bits, Choice, PointIndex};
use bitloop_core::graph::GraphError;
use bitloop_core::plan::{Plan, StagePlan};
use bitloop_core::state::{Batch, Proposal, StageHistory};
use bitloop_core::trial::{EvaluateContext, TrialResult, TrialSpec};

use crate::Searcher;

/// Trials proposed at once.
const STEP_TRIALS: u64 = 1024;

/// More are proposed while fewer than this are open, so that workers never wait for the searcher.
const OPEN_TRIALS: u64 = 4 * STEP_TRIALS;

/// The float network and the baseline.
const REFERENCES: u64 = 2;

pub(crate) struct Sensitivity {
    baseline: Choice,
    /// Number of points of the graph, lowered or not.
    points: u32,
    /// The lowered points with their widths and the index of their first trial, ascending.
    single: Vec<Lowered>,
    size: u64,
}

struct Lowered {
    point: PointIndex,
    widths: Vec<Bits>,
    first: u64,
}

impl Sensitivity {
    pub(crate) fn new(plan: &Plan, single: &[PointIndex]) -> Result<Self, GraphError> {
        let points = &plan.points;
        let mut size = REFERENCES;
        let lower = |point: &PointIndex| {
            let widths = plan.candidates.bits(points[point.0 as usize].kind).to_vec();
            let first = size;
            size += widths.len() as u64;
            Lowered { point: *point, widths, first }
        };
        let single = single.iter().map(lower).collect();
        let baseline = Choice::Bits(plan.candidates.baseline);
        Ok(Self { baseline, points: points.len() as u32, single, size })
    }

    fn config(&self, index: u64) -> BitConfig {
        match index {
            0 => BitConfig::against(
                self.baseline,
                (0..self.points).map(|point| (PointIndex(point), Choice::Float)),
            ),
            1 => BitConfig::baseline(),
            _ => {
                let at = self.single.partition_point(|lowered| lowered.first <= index) - 1;
                let Lowered { point, widths, first } = &self.single[at];
                BitConfig::against(self.baseline, [(*point, Choice::Bits(widths[(index - first) as usize]))])
            }
        }
    }
}

impl Searcher for Sensitivity {
    fn size(&self) -> u64 {
        self.size
    }

    fn propose(&self, history: &StageHistory<'_>) -> Proposal {
        let proposed = history.proposed().len() as u64;
        let open = proposed - history.settled();
        if proposed == self.size && open == 0 {
            return Proposal::Finished;
        }
        if proposed == self.size || open >= OPEN_TRIALS {
            return Proposal::Wait;
        }
        let Some(context) = context(history) else {
            return Proposal::Failed("no earlier stage prepared the model".to_owned());
        };
        let digest = context.digest();
        let end = self.size.min(proposed + STEP_TRIALS);
        let trials = (proposed..end)
            .map(|index| TrialSpec::Evaluate { context: digest, config: self.config(index) })
            .collect();
        Proposal::Trials(Batch { context: (proposed == 0).then_some(context), trials })
    }
}

/// What this sweep's evaluations share: derived from the artifact that the prepare stage gave.
fn context(history: &StageHistory<'_>) -> Option<EvaluateContext> {
    let stages = history.plan().stages.iter().take(history.stage() as usize);
    let prepare = stages.enumerate().find(|(_, stage)| matches!(stage, StagePlan::Prepare))?.0;
    let key = history.earlier(prepare as u32).first()?;
    match &history.outcome(key)?.result {
        TrialResult::Prepared { artifact, .. } => Some(history.plan().context(*artifact)),
        TrialResult::Evaluated(_) | TrialResult::Failed { .. } => None,
    }
}
