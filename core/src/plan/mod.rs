//! A plan: an experiment with every file replaced by its digest and every pattern by the points it names.
//!
//! The plan is all a coordinator needs to know; the experiment's id derives from its digest. Its JSON form is a
//! versioned document: it is stored and sent as it is.

mod autoqkeras;
mod error;
mod requirements;
mod stage;

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::bits::{BitConfig, Bits, Choice, PointIndex};
use crate::device::Requirements;
use crate::digest::Digest;
use crate::evaluation::EvaluationMode;
use crate::graph::{Graph, GraphError, INPUT, LayerCost, Point};
use crate::placement::Placement;
use crate::spec::{
    ExperimentSpec, Mistake, QuantizationSpec, SensitivitySpec, Single, SpecError, StageSpec, matches,
    misplaced,
};
use crate::trial::{Candidates, EvaluateContext, Guard, ImageRange, Numerics, PrepareSpec, Transform};

pub use self::autoqkeras::{AutoQKerasPlan, device_points};
pub use self::error::PlanError;
pub(crate) use self::stage::DIFFERENCE_MAX_PPM;
pub use self::stage::{
    Amount, Limit, Lowered, Metric, Pairs, ProbePlan, SearchMethod, SearchPlan, StagePlan, SubsetDesign,
    Subsets,
};

/// The newest version of the plan's JSON form. A plan names the oldest that can say what it says ([`StagePlan::format_of`]), so
/// that it keeps its bytes, and its experiment's id, from one version of the program to the next.
pub const PLAN_FORMAT: u32 = 5;

/// The oldest version that is read: without devices.
pub const OLDEST_PLAN_FORMAT: u32 = 4;

/// The most images that a plan may measure on; an experiment file allows fewer.
const IMAGES_MAX: u64 = 1 << 40;

/// The most parts that a config may be measured in; a step proposes whole configs, and what is proposed is kept in memory.
const PARTS_MAX: u64 = 1 << 14;

/// The most nodes of a graph, and the most points on it, that a plan may have: several times those of the deepest published
/// networks. Everything that looks at a plan takes time with them.
const NODES_MAX: usize = 1 << 14;

/// The baseline's width in plans without points, where nothing has it.
const BASELINE_UNUSED: u8 = 8;

/// Hexadecimal digits of the plan's digest in an experiment's id.
const ID_DIGITS: usize = 8;

/// An experiment's name: what the user called it and the start of its plan's digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExperimentId(pub String);

impl fmt::Display for ExperimentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Some images as an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataPart {
    /// The data artifact.
    pub digest: Digest,
    /// Images in it.
    pub images: u64,
}

impl DataPart {
    /// The first images of the part, or all.
    fn first(self, images: Option<u64>) -> ImageRange {
        ImageRange { start: 0, len: images.map_or(self.images, |images| images.min(self.images)) }
    }
}

/// The three parts that an experiment's images are split into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataParts {
    /// For calibration statistics.
    pub calibration: DataPart,
    /// What searches see.
    pub selection: DataPart,
    /// Touched only by a final verification; workers never receive it before.
    pub report: DataPart,
    /// What trainings learn from; none where nothing is trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<DataPart>,
}

/// All there is to know about an experiment before it starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The version of its JSON form: what [`StagePlan::format_of`] says of its stages.
    pub format: u32,
    /// The user's name for it.
    pub name: String,
    /// The arithmetic.
    pub numerics: Numerics,
    /// The model file.
    pub model: Digest,
    /// Its graph as it is quantized: with batch norms folded if they are to be.
    pub graph: Graph,
    /// Where quantizers stand.
    pub points: Vec<Point>,
    /// The images.
    pub data: DataParts,
    /// What is done to the float network, ascending.
    pub transforms: Vec<Transform>,
    /// How transforms are judged.
    pub guard: Guard,
    /// The candidates.
    pub candidates: Candidates,
    /// How many of the selection images a config is measured on.
    pub evaluation: EvaluationMode,
    /// The parts, in order.
    pub stages: Vec<StagePlan>,
    /// What each of them asks of the workers; empty if none asks for anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requirements: Vec<Requirements>,
}

/// What the files named by an experiment turned out to hold.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The model file's digest.
    pub model: Digest,
    /// The model's graph.
    pub graph: Graph,
    /// The images, split.
    pub data: DataParts,
    /// The rules by which points are placed; not looked at where stages train.
    pub placement: Placement,
}

impl Plan {
    /// Resolves an experiment against its inputs.
    ///
    /// Errors: every mistake that only shows against the graph, such as a pattern that names no point.
    pub fn new(spec: &ExperimentSpec, inputs: Inputs) -> Result<Self, SpecError> {
        let Some(quantization) = &spec.quantization else {
            return Self::trained(spec, inputs);
        };
        let graph = match spec.prepare.transforms.contains(&Transform::FoldBatchNorm) {
            true => inputs.graph.without_folded_batch_norms(),
            false => inputs.graph,
        };
        let points = inputs.placement.points(&graph);
        let points = points.map_err(|error| graph_mistake(spec.model.key(), &error))?;
        let mut mistakes = misplaced(&spec.stages);
        let mut stages = vec![StagePlan::Prepare];
        for (index, stage) in spec.stages.iter().enumerate() {
            let path = format!("stages[{index}].{}", stage.as_str());
            stages.push(planned(stage, &points, &path, &mut mistakes));
        }
        if !mistakes.is_empty() {
            return Err(SpecError { mistakes });
        }
        Ok(Self {
            format: StagePlan::format_of(&stages),
            name: spec.name.clone(),
            numerics: spec.numerics,
            model: inputs.model,
            graph,
            points,
            data: inputs.data,
            transforms: spec.prepare.transforms.clone(),
            guard: Guard {
                data: inputs.data.selection.digest,
                images: inputs.data.selection.first(spec.prepare.images),
                drop_max_ppm: spec.prepare.drop_max_ppm,
            },
            candidates: candidates(quantization, &inputs.placement),
            evaluation: spec.evaluation,
            requirements: requirements::of_stages(spec, &stages),
            stages,
        })
    }

    /// A plan whose stages train: the network is not prepared, and has no points. Where sizes are measured on a device, it is
    /// prepared for that alone, with batch norms folded, since devices execute it so; what is trained keeps them.
    fn trained(spec: &ExperimentSpec, inputs: Inputs) -> Result<Self, SpecError> {
        inputs.graph.shapes().map_err(|error| graph_mistake(spec.model.key(), &error))?;
        let mut mistakes = misplaced(&spec.stages);
        let stages = spec.stages.iter().enumerate().map(|(index, stage)| {
            let path = format!("stages[{index}].{}", stage.as_str());
            planned(stage, &[], &path, &mut mistakes)
        });
        let mut stages: Vec<StagePlan> = stages.collect();
        if !mistakes.is_empty() {
            return Err(SpecError { mistakes });
        }
        let unused = Bits::new(BASELINE_UNUSED).expect("a width that there is");
        let mut candidates = Candidates::with_default_rules(Vec::new(), Vec::new(), unused);
        let (mut points, mut transforms) = (Vec::new(), Vec::new());
        if let Some(settings) = stages.iter().find_map(StagePlan::measured_settings) {
            points = device_points(&inputs.graph).map_err(|error| graph_mistake(spec.model.key(), &error))?;
            candidates = settings.device_candidates();
            transforms.push(Transform::FoldBatchNorm);
            stages.insert(0, StagePlan::Prepare);
        }
        let selection = inputs.data.selection;
        Ok(Self {
            format: StagePlan::format_of(&stages),
            name: spec.name.clone(),
            numerics: spec.numerics,
            model: inputs.model,
            graph: inputs.graph,
            points,
            data: inputs.data,
            transforms,
            guard: Guard { data: selection.digest, images: selection.first(None), drop_max_ppm: 0 },
            candidates,
            evaluation: EvaluationMode::default(),
            requirements: requirements::of_stages(spec, &stages),
            stages,
        })
    }

    /// Reads a plan from its document.
    ///
    /// Errors: `PlanError` when the text is no plan, of another version, or breaks a rule that [`Plan::new`] keeps.
    pub fn from_document(text: &[u8]) -> Result<Self, PlanError> {
        #[derive(Deserialize)]
        struct Header {
            format: u32,
        }
        let header: Header =
            serde_json::from_slice(text).map_err(|error| PlanError::Malformed(error.to_string()))?;
        if !(OLDEST_PLAN_FORMAT..=PLAN_FORMAT).contains(&header.format) {
            return Err(PlanError::Format { found: header.format });
        }
        let plan: Self =
            serde_json::from_slice(text).map_err(|error| PlanError::Malformed(error.to_string()))?;
        let due = StagePlan::format_of(&plan.stages);
        if plan.format != due {
            // Otherwise one plan would have two ids, or an older program be told of a form that it knows.
            return Err(PlanError::WrongFormat { found: plan.format, due });
        }
        plan.check_size()?;
        plan.check_images()?;
        plan.graph.shapes()?;
        plan.check_points()?;
        let points = plan.points.len() as u32;
        for stage in &plan.stages {
            if let StagePlan::Sensitivity { single, .. } = stage
                && let Some(point) = single.iter().find(|point| point.0 >= points)
            {
                return Err(PlanError::UnknownPoint { point: point.0, points });
            }
            if let StagePlan::Probe(probe) = stage
                && (probe.configs > ProbePlan::CONFIGS_MAX
                    || !(1..=ProbePlan::REPETITIONS_MAX).contains(&probe.repetitions))
            {
                return Err(PlanError::Networks { configs: probe.configs, repetitions: probe.repetitions });
            }
            if let Some(goal) = stage.measured_goal()
                && !(1..=ProbePlan::REPETITIONS_MAX).contains(&goal.repetitions)
            {
                return Err(PlanError::Networks { configs: 0, repetitions: goal.repetitions });
            }
            if let StagePlan::Sensitivity {
                single, subsets: Some(Subsets { points: [low, high], .. }), ..
            } = stage
                && (low > high || *low as usize > single.len())
            {
                return Err(PlanError::Subsets { low: *low, high: *high, points: single.len() });
            }
        }
        Ok(plan)
    }

    /// The plan as a document; equal plans give equal bytes.
    pub fn to_document(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a plan has only text keys and finite numbers")
    }

    /// The experiment's id.
    pub fn id(&self) -> ExperimentId {
        let digest = Digest::of(&self.to_document()).hex();
        ExperimentId(format!("{}-{}", self.name, &digest[..ID_DIGITS]))
    }

    fn check_size(&self) -> Result<(), PlanError> {
        let (nodes, points) = (self.graph.nodes.len(), self.points.len());
        match nodes.max(points) > NODES_MAX {
            true => Err(PlanError::Size { nodes, points }),
            false => Ok(()),
        }
    }

    fn check_images(&self) -> Result<(), PlanError> {
        let DataParts { calibration, selection, report, training } = self.data;
        let too_many = |part: &DataPart| part.images > IMAGES_MAX;
        if let Some(part) =
            [calibration, selection, report].iter().chain(&training).find(|part| too_many(part))
        {
            return Err(PlanError::Images { images: part.images });
        }
        if selection.images == 0 {
            return Err(PlanError::Images { images: 0 });
        }
        let parts = [selection, report].map(|part| self.evaluation.parts(part.images));
        match parts.into_iter().max() {
            Some(parts) if parts > PARTS_MAX => Err(PlanError::Parts { parts }),
            _ => Ok(()),
        }
    }

    fn check_points(&self) -> Result<(), PlanError> {
        let names = self.graph.nodes.iter().map(|node| node.name.as_str());
        let names: BTreeSet<&str> = names.chain([INPUT]).collect();
        for point in &self.points {
            let mut nodes = point.tensors.iter().chain([&point.node]);
            if let Some(node) = nodes.find(|node| !names.contains(node.as_str())) {
                return Err(PlanError::UnknownNode { point: point.name.clone(), node: node.clone() });
            }
        }
        Ok(())
    }

    /// What every layer costs, with the points of this plan.
    ///
    /// Errors: those of [`Graph::shapes`], which cannot happen in a plan made by [`Plan::new`] or read.
    pub fn layer_costs(&self) -> Result<Vec<LayerCost>, GraphError> {
        self.graph.layer_costs_with(&self.points)
    }

    /// The artifacts that trials will need; the report images only if something is measured on them.
    pub fn artifacts(&self) -> Vec<Digest> {
        let has = |wanted: fn(&StagePlan) -> bool| self.stages.iter().any(wanted);
        let verifies = has(|stage| matches!(stage, StagePlan::Verify { .. } | StagePlan::AutoQKeras(_)));
        let prepares = has(|stage| matches!(stage, StagePlan::Prepare));
        [self.model, self.data.selection.digest]
            .into_iter()
            .chain(prepares.then_some(self.data.calibration.digest))
            .chain(verifies.then_some(self.data.report.digest))
            .chain(self.data.training.map(|training| training.digest))
            .collect()
    }

    /// The points that searches may choose widths of: those of the sweep, or all that are not fixed where there is none.
    pub fn searchable(&self) -> Vec<PointIndex> {
        let swept = self.stages.iter().find_map(|stage| match stage {
            StagePlan::Sensitivity { single, .. } => Some(single.clone()),
            StagePlan::Prepare
            | StagePlan::Search(_)
            | StagePlan::Probe(_)
            | StagePlan::AutoQKeras(_)
            | StagePlan::Verify { .. } => None,
        });
        swept.unwrap_or_else(|| {
            let points = self.points.iter().enumerate().filter(|(_, point)| !point.fixed);
            points.map(|(index, _)| PointIndex(index as u32)).collect()
        })
    }

    /// The config without any quantizer.
    pub fn float_config(&self) -> BitConfig {
        let all = (0..self.points.len() as u32).map(|point| (PointIndex(point), Choice::Float));
        BitConfig::against(Choice::Bits(self.candidates.baseline), all)
    }

    /// The trial of a prepare stage.
    pub fn prepare(&self) -> PrepareSpec {
        PrepareSpec {
            model: self.model,
            data: self.data.calibration.digest,
            images: self.data.calibration.first(None),
            transforms: self.transforms.clone(),
            guard: self.guard.clone(),
            candidates: self.candidates.clone(),
            points: self.points.clone(),
        }
    }

    /// What the evaluations on the selection images share, once the model is prepared.
    pub fn context(&self, prepared: Digest) -> EvaluateContext {
        self.context_on(self.data.selection, prepared)
    }

    /// What the evaluations on the report images share.
    pub fn report_context(&self, prepared: Digest) -> EvaluateContext {
        self.context_on(self.data.report, prepared)
    }

    fn context_on(&self, images: DataPart, prepared: Digest) -> EvaluateContext {
        EvaluateContext {
            prepared,
            data: images.digest,
            images: images.first(None),
            numerics: self.numerics,
            baseline: Choice::Bits(self.candidates.baseline),
            points: self.points.iter().map(|point| point.name.clone()).collect(),
        }
    }
}

fn candidates(spec: &QuantizationSpec, placement: &Placement) -> Candidates {
    Candidates {
        weight_bits: spec.weights.bits.clone(),
        activation_bits: spec.activations.bits.clone(),
        weights: spec.weight_rule(placement),
        activations: spec.activations.rule,
        biases: placement.biases,
        baseline: spec.baseline,
    }
}

/// A stage with its patterns replaced by points; mistakes are collected.
fn planned(stage: &StageSpec, points: &[Point], path: &str, mistakes: &mut Vec<Mistake>) -> StagePlan {
    match stage {
        StageSpec::Sensitivity(sweep) => {
            let single = chosen_points(sweep, points, &format!("{path}.single"), mistakes);
            let pairs = sweep.pairwise;
            // Points that pairs leave out are left out of larger subsets too, unless the file says otherwise.
            let quantile_ppm = match pairs {
                Some(Pairs::Below { quantile_ppm }) => quantile_ppm,
                Some(Pairs::MostPromising { .. }) | None => None,
            };
            let subsets = sweep
                .multi
                .map(|multi| Subsets { quantile_ppm: multi.quantile_ppm.or(quantile_ppm), ..multi });
            if let Some(Subsets { points: [low, high], .. }) = subsets
                && low as usize > single.len()
            {
                mistakes.push(Mistake {
                    path: format!("{path}.multi.points"),
                    problem: format!("subsets of {low} to {high} of {} points", single.len()),
                    hint: "make the smallest number smaller".to_owned(),
                });
            }
            StagePlan::Sensitivity { single, pairs, subsets }
        }
        StageSpec::Search(search) => StagePlan::Search(search.clone()),
        StageSpec::AutoQKeras(search) => StagePlan::AutoQKeras(search.clone()),
        StageSpec::Probe(probe) => StagePlan::Probe(probe.clone()),
        StageSpec::Verify { top, uniform, difference_max_ppm } => {
            StagePlan::Verify { top: *top, uniform: *uniform, difference_max_ppm: *difference_max_ppm }
        }
    }
}

fn chosen_points(
    spec: &SensitivitySpec,
    points: &[Point],
    path: &str,
    mistakes: &mut Vec<Mistake>,
) -> Vec<PointIndex> {
    // Points that a placement fixes stay at the baseline's width.
    let all = (0..points.len() as u32).map(PointIndex).filter(|index| !points[index.0 as usize].fixed);
    let Single::Matching(patterns) = &spec.single else {
        return all.collect();
    };
    for (index, pattern) in patterns.iter().enumerate() {
        if !points.iter().any(|point| !point.fixed && matches(pattern, &point.name)) {
            mistakes.push(Mistake {
                path: format!("{path}[{index}]"),
                problem: format!("`{pattern}` matches no point of the model"),
                hint: "`bitloop inspect MODEL --points` lists them".to_owned(),
            });
        }
    }
    all.filter(|index| patterns.iter().any(|pattern| matches(pattern, &points[index.0 as usize].name)))
        .collect()
}

fn graph_mistake(key: &str, error: &GraphError) -> SpecError {
    SpecError {
        mistakes: vec![Mistake {
            path: key.to_owned(),
            problem: error.to_string(),
            hint: "the model file is damaged or was written by hand; train or import it again".to_owned(),
        }],
    }
}

#[cfg(test)]
mod tests;
