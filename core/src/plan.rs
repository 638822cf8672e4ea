//! A plan: an experiment with every file replaced by its digest and every pattern by the points it names.
//!
//! The plan is all a coordinator needs to know; the experiment's id derives from its digest. Its JSON form is a
//! versioned document: it is stored and sent as it is.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::bits::{Bits, Choice, PointIndex};
use crate::digest::Digest;
use crate::graph::{Graph, GraphError, Point, PointKind};
use crate::placement::Placement;
use crate::spec::{ExperimentSpec, Mistake, SensitivitySpec, Single, SpecError, StageSpec, matches};
use crate::trial::{Calibration, EvaluateContext, Granularity, ImageRange, Numerics, PrepareSpec};

/// Version of the plan's JSON form.
pub const PLAN_FORMAT: u32 = 1;

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
    fn all(self) -> ImageRange {
        ImageRange { start: 0, len: self.images }
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
}

/// The candidate widths and how encodings are found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidates {
    /// Widths of weights, ascending.
    pub weight_bits: Vec<Bits>,
    /// Widths of activations, ascending.
    pub activation_bits: Vec<Bits>,
    /// Scales of weights.
    pub granularity: Granularity,
    /// Ranges of activations.
    pub calibration: Calibration,
    /// Width of every point in the baseline.
    pub baseline: Bits,
}

impl Candidates {
    /// The widths a point of this kind is tried at.
    pub fn bits(&self, kind: PointKind) -> &[Bits] {
        match kind {
            PointKind::Weight => &self.weight_bits,
            PointKind::Activation => &self.activation_bits,
        }
    }
}

/// One part of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StagePlan {
    /// Collects calibration statistics: one trial.
    Prepare,
    /// Measures the float network, the baseline, and the baseline with one point lowered.
    Sensitivity {
        /// The points lowered alone, in graph order.
        single: Vec<PointIndex>,
    },
}

impl StagePlan {
    /// The word used in results and messages.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Sensitivity { .. } => "sensitivity",
        }
    }
}

/// All there is to know about an experiment before it starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`PLAN_FORMAT`].
    pub format: u32,
    /// The user's name for it.
    pub name: String,
    /// The arithmetic.
    pub numerics: Numerics,
    /// The model file.
    pub model: Digest,
    /// Its graph.
    pub graph: Graph,
    /// The images.
    pub data: DataParts,
    /// The candidates.
    pub candidates: Candidates,
    /// The parts, in order.
    pub stages: Vec<StagePlan>,
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
}

impl Plan {
    /// Resolves an experiment against its inputs.
    ///
    /// Errors: every mistake that only shows against the graph, such as a pattern that names no point.
    pub fn new(spec: &ExperimentSpec, inputs: Inputs) -> Result<Self, SpecError> {
        let points = inputs.graph.points().map_err(|error| graph_mistake(&error))?;
        let mut mistakes = Vec::new();
        let mut stages = vec![StagePlan::Prepare];
        for (index, stage) in spec.stages.iter().enumerate() {
            match stage {
                StageSpec::Sensitivity(_) if stages.len() > 1 => mistakes.push(Mistake {
                    path: format!("stages[{index}].sensitivity"),
                    problem: "there is a sensitivity stage already".to_owned(),
                    hint: "join the lists of points of both".to_owned(),
                }),
                StageSpec::Sensitivity(sensitivity) => {
                    let path = format!("stages[{index}].sensitivity.single");
                    let single = chosen_points(sensitivity, &points, &path, &mut mistakes);
                    stages.push(StagePlan::Sensitivity { single });
                }
            }
        }
        if !mistakes.is_empty() {
            return Err(SpecError { mistakes });
        }
        Ok(Self {
            format: PLAN_FORMAT,
            name: spec.name.clone(),
            numerics: spec.numerics,
            model: inputs.model,
            graph: inputs.graph,
            data: inputs.data,
            candidates: Candidates {
                weight_bits: spec.quantization.weights.bits.clone(),
                activation_bits: spec.quantization.activations.bits.clone(),
                granularity: spec.quantization.weight_rule(&Placement::default()).granularity,
                calibration: spec.quantization.activations.rule.calibration,
                baseline: spec.quantization.baseline,
            },
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
        if header.format != PLAN_FORMAT {
            return Err(PlanError::Format { found: header.format });
        }
        let plan: Self =
            serde_json::from_slice(text).map_err(|error| PlanError::Malformed(error.to_string()))?;
        let points = plan.points()?.len() as u32;
        for stage in &plan.stages {
            if let StagePlan::Sensitivity { single } = stage
                && let Some(point) = single.iter().find(|point| point.0 >= points)
            {
                return Err(PlanError::UnknownPoint { point: point.0, points });
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

    /// The graph's quantizer points.
    ///
    /// Errors: those of [`Graph::shapes`], which cannot happen in a plan made by [`Plan::new`] or read.
    pub fn points(&self) -> Result<Vec<Point>, GraphError> {
        self.graph.points()
    }

    /// The artifacts that trials will need.
    pub fn artifacts(&self) -> [Digest; 3] {
        [self.model, self.data.calibration.digest, self.data.selection.digest]
    }

    /// The trial of a prepare stage.
    pub fn prepare(&self) -> PrepareSpec {
        PrepareSpec {
            model: self.model,
            data: self.data.calibration.digest,
            images: self.data.calibration.all(),
            calibration: self.candidates.calibration,
        }
    }

    /// What the evaluations of this plan share, once the calibration statistics are there.
    ///
    /// Errors: those of [`Plan::points`].
    pub fn context(&self, statistics: Digest) -> Result<EvaluateContext, GraphError> {
        Ok(EvaluateContext {
            model: self.model,
            data: self.data.selection.digest,
            images: self.data.selection.all(),
            statistics,
            numerics: self.numerics,
            weight_granularity: self.candidates.granularity,
            calibration: self.candidates.calibration,
            baseline: Choice::Bits(self.candidates.baseline),
            points: self.points()?.into_iter().map(|point| point.name).collect(),
        })
    }
}

fn chosen_points(
    spec: &SensitivitySpec,
    points: &[Point],
    path: &str,
    mistakes: &mut Vec<Mistake>,
) -> Vec<PointIndex> {
    let all = (0..points.len() as u32).map(PointIndex);
    let Single::Matching(patterns) = &spec.single else {
        return all.collect();
    };
    for (index, pattern) in patterns.iter().enumerate() {
        if !points.iter().any(|point| matches(pattern, &point.name)) {
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

fn graph_mistake(error: &GraphError) -> SpecError {
    SpecError {
        mistakes: vec![Mistake {
            path: "model.checkpoint".to_owned(),
            problem: error.to_string(),
            hint: "the model file is damaged or was written by hand; train or import it again".to_owned(),
        }],
    }
}

/// Why a document is no plan.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// No JSON, or a field is missing, unknown or of the wrong type.
    #[error("the plan cannot be read: {0}")]
    Malformed(String),
    /// Written by another version.
    #[error(
        "the plan has format {found}, this program reads format {PLAN_FORMAT}; use the same version everywhere"
    )]
    Format {
        /// Its version.
        found: u32,
    },
    /// The graph is wrong.
    #[error("the plan's graph is wrong: {0}")]
    Graph(#[from] GraphError),
    /// A stage names a point that is not there.
    #[error("the plan names point {point}, but its graph has {points}")]
    UnknownPoint {
        /// The index.
        point: u32,
        /// How many points there are.
        points: u32,
    },
}

#[cfg(test)]
mod tests;
