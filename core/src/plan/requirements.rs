use super::{Plan, StagePlan};
use crate::device::Requirements;
use crate::spec::ExperimentSpec;
use crate::trial::Numerics;

impl Plan {
    /// What a stage asks of the workers that measure its trials.
    pub fn requires(&self, stage: u32) -> &Requirements {
        static NOTHING: Requirements = Requirements::NONE;
        self.requirements.get(stage as usize).unwrap_or(&NOTHING)
    }

    /// All that a stage's trials ask of workers: what [`Self::requires`] says, and, of a search that trains and measures beside
    /// it, what measuring asks for.
    pub fn all_required(&self, stage: u32) -> Vec<Requirements> {
        let measured = self.stages.get(stage as usize).and_then(StagePlan::measured_goal);
        let measured = measured.map(|goal| goal.target.requirements());
        std::iter::once(self.requires(stage).clone()).chain(measured).collect()
    }

    /// The arithmetic that a stage's trials need of their workers: preparing and training have their own.
    pub fn numerics_of(&self, stage: u32) -> Numerics {
        match self.stages.get(stage as usize) {
            None | Some(StagePlan::Prepare | StagePlan::AutoQKeras(_) | StagePlan::Probe(_)) => {
                Numerics::Float
            }
            Some(StagePlan::Sensitivity { .. } | StagePlan::Search(_) | StagePlan::Verify { .. }) => {
                self.numerics
            }
        }
    }
}

/// What each of a plan's stages asks for; empty if none asks for anything. A stage that the file does not name, such as
/// preparing, asks for what the experiment asks for.
pub(super) fn of_stages(spec: &ExperimentSpec, stages: &[StagePlan]) -> Vec<Requirements> {
    let unnamed = stages.len().saturating_sub(spec.stages.len());
    let named = spec.stage_requires.iter().map(|own| own.as_ref().unwrap_or(&spec.requires));
    let asked = std::iter::repeat_n(&spec.requires, unnamed).chain(named);
    let of_stage = |(stage, asked): (&StagePlan, &Requirements)| match stage {
        StagePlan::Probe(probe) => probe.target.requirements(),
        StagePlan::Prepare
        | StagePlan::Sensitivity { .. }
        | StagePlan::Search(_)
        | StagePlan::AutoQKeras(_)
        | StagePlan::Verify { .. } => asked.clone(),
    };
    let all: Vec<Requirements> = stages.iter().zip(asked).map(of_stage).collect();
    match all.iter().all(Requirements::is_none) {
        true => Vec::new(),
        false => all,
    }
}
