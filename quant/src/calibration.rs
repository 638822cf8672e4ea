//! Calibration: the float network runs once, and the range of every activation point is kept.
//!
//! Start at [`calibrate`]. Encodings of every width come from the same [`Statistics`].

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use bitloop_core::bits::Bits;
use bitloop_core::graph::{GraphError, Node, Point, PointKind};
use bitloop_core::trial::{Calibration, ImageRange};
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::data::{DataError, Images};
use crate::error::one_line;
use crate::executor::{self, Pass};
use crate::lanes::{LaneError, Lanes};
use crate::model::Model;
use crate::network::{self, Network};
use crate::quantizer::{Encoding, Grid, QuantError, observed_range};

/// Version of the statistics' file.
const FORMAT: u32 = 1;
/// Images that go through the network together; enough to keep the kernels busy.
const BLOCK_IMAGES: usize = 32;

/// Why a model cannot be calibrated, or statistics cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    /// The images do not fit.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The graph makes no sense.
    #[error("the model's graph is not valid: {0}")]
    Graph(#[from] GraphError),
    /// No threads.
    #[error(transparent)]
    Lanes(#[from] LaneError),
    /// An activation is NaN or infinite.
    #[error(
        "activation `{point}` is NaN or infinite on calibration images ({min} to {max}); the model cannot be used"
    )]
    NotFinite {
        /// The first such point in topological order.
        point: String,
        /// Smallest value seen.
        min: f32,
        /// Largest value seen.
        max: f32,
    },
    /// The network cannot be executed.
    #[error("calibrating failed: {}", one_line(.0))]
    Execute(#[from] candle_core::Error),
    /// The bytes are no statistics.
    #[error("the calibration statistics are damaged or of another kind ({reason}); calibrate again")]
    NotStatistics {
        /// What is wrong.
        reason: String,
    },
    /// The statistics are of another version.
    #[error(
        "the calibration statistics have format version {found}, only {FORMAT} is known; use the same bitloop release everywhere"
    )]
    Version {
        /// The file's version.
        found: u64,
    },
    /// A point was not calibrated.
    #[error("the calibration statistics have no point `{point}`; calibrate this model again")]
    MissingPoint {
        /// The point.
        point: String,
    },
    /// A range gives no encoding.
    #[error("point `{point}`: {source}")]
    Quantizer {
        /// The point.
        point: String,
        /// Why.
        source: QuantError,
    },
}

/// Smallest and largest value of every activation point, over calibration images.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    images: u64,
    ranges: BTreeMap<String, (f32, f32)>,
}

/// The file's form; numbers are f64 because their shortest text is then exact for the f32 they hold.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    calibration: Calibration,
    images: u64,
    points: BTreeMap<String, FileRange>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRange {
    min: f64,
    max: f64,
}

#[derive(Deserialize)]
struct FileVersion {
    format: u64,
}

impl Statistics {
    /// Number of calibration images.
    pub fn images(&self) -> u64 {
        self.images
    }

    /// Smallest and largest value of an activation point.
    pub fn range(&self, point: &str) -> Option<(f32, f32)> {
        self.ranges.get(point).copied()
    }

    /// Returns the asymmetric min-max encoding of an activation point.
    ///
    /// Errors: `MissingPoint`, `Quantizer`.
    pub fn encoding(&self, point: &str, bits: Bits) -> Result<Encoding, CalibrationError> {
        let range =
            self.range(point).ok_or_else(|| CalibrationError::MissingPoint { point: point.to_owned() })?;
        Encoding::from_observed(&[range], Grid::asymmetric(bits))
            .map_err(|source| CalibrationError::Quantizer { point: point.to_owned(), source })
    }

    /// Returns the statistics' artifact, as JSON; the same statistics always give the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let points = self.ranges.iter().map(|(point, (min, max))| {
            let range = FileRange { min: f64::from(*min), max: f64::from(*max) };
            (point.clone(), range)
        });
        let file = File {
            format: FORMAT,
            calibration: Calibration::MinMax,
            images: self.images,
            points: points.collect(),
        };
        serde_json::to_vec_pretty(&file).expect("maps with text keys and finite numbers have a JSON form")
    }

    /// Reads the statistics' artifact.
    ///
    /// Errors: `NotStatistics`, `Version`. No bytes make it panic.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CalibrationError> {
        let not_statistics = |reason: String| CalibrationError::NotStatistics { reason };
        let version: FileVersion =
            serde_json::from_slice(bytes).map_err(|e| not_statistics(e.to_string()))?;
        if version.format != u64::from(FORMAT) {
            return Err(CalibrationError::Version { found: version.format });
        }
        let file: File = serde_json::from_slice(bytes).map_err(|e| not_statistics(e.to_string()))?;
        let mut ranges = BTreeMap::new();
        for (point, range) in file.points {
            let (min, max) = (range.min as f32, range.max as f32);
            if !min.is_finite() || !max.is_finite() || max < min {
                return Err(not_statistics(format!("the range of `{point}` is {min} to {max}")));
            }
            ranges.insert(point, (min, max));
        }
        Ok(Self { images: file.images, ranges })
    }
}

/// The images that a model is calibrated on.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// A data artifact.
    pub images: &'a Images,
    /// Which of its images.
    pub range: ImageRange,
}

/// Runs the float network over a sample and returns the range of every activation point; `None` if `stop` became true.
///
/// The result does not depend on `threads`.
///
/// Errors: `Data`, `Graph`, `Lanes`, `NotFinite` naming the point, `Execute`.
pub fn calibrate(
    model: &Model,
    sample: Sample<'_>,
    threads: usize,
    stop: &AtomicBool,
) -> Result<Option<Statistics>, CalibrationError> {
    let Sample { images, range } = sample;
    let positions = images.range(range)?;
    images.check_shape(&model.graph.input.shape)?;
    let points = activation_points(model)?;
    let nodes: BTreeMap<&str, usize> = points.iter().map(|point| point.node.as_str()).zip(0..).collect();
    let output = &model.graph.output()?.name;
    let network = Network::new(model, &Device::Cpu)?;
    let blocks = network::blocks(positions, BLOCK_IMAGES);
    let observed = Lanes::new(threads)?.map(blocks.len(), stop, |block| {
        let input = network.input(images, blocks[block].clone(), &Device::Cpu)?;
        let mut pass =
            Observe { network: &network, nodes: &nodes, ranges: vec![observed_range(&[]); points.len()] };
        executor::forward(&network.graph, &input, output, &mut pass)?;
        Ok::<_, candle_core::Error>(pass.ranges)
    })?;
    let mut ranges = BTreeMap::new();
    let Some(observed) = observed else { return Ok(None) };
    for (index, point) in points.into_iter().enumerate() {
        let ends: Vec<f32> = observed.iter().flat_map(|block| [block[index].0, block[index].1]).collect();
        let (min, max) = observed_range(&ends);
        if !min.is_finite() || !max.is_finite() {
            let point = point.name;
            return Err(CalibrationError::NotFinite { point, min, max });
        }
        // Adding 0.0 makes -0.0 a plain zero: which of the two comes first depends on the order of the values.
        ranges.insert(point.name, (min + 0.0, max + 0.0));
    }
    Ok(Some(Statistics { images: range.len, ranges }))
}

fn activation_points(model: &Model) -> Result<Vec<Point>, GraphError> {
    let mut points = model.graph.points()?;
    points.retain(|point| point.kind == PointKind::Activation);
    Ok(points)
}

/// The float network, watched.
struct Observe<'a> {
    network: &'a Network,
    nodes: &'a BTreeMap<&'a str, usize>,
    ranges: Vec<(f32, f32)>,
}

impl Pass for Observe<'_> {
    fn weight(&mut self, node: &Node) -> candle_core::Result<Tensor> {
        self.network.weight(&node.name)
    }

    fn bias(&mut self, node: &Node) -> candle_core::Result<Option<Tensor>> {
        Ok(self.network.bias(node))
    }

    fn parameter(&mut self, node: &Node, part: &str) -> candle_core::Result<Tensor> {
        self.network.parameter(&node.name, part)
    }

    fn batch_norm(&mut self, node: &Node, _eps: f64, x: &Tensor) -> candle_core::Result<Tensor> {
        self.network.batch_norm(node, x)
    }

    fn output(&mut self, node: &str, x: Tensor) -> candle_core::Result<Tensor> {
        if let Some(index) = self.nodes.get(node) {
            self.ranges[*index] = observed_range(&x.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(x)
    }
}
