//! What a network computes, before anybody says how many bits: nodes joined into blocks, each one kernel's work.

mod builder;

use std::collections::BTreeMap;
use std::sync::Arc;

use bitloop_core::graph::{Point, PointKind};

use super::error::EngineError;
use super::moves::Map;
use crate::kernels::nhwc::{ConvShape, Curve, Lrn, Repeats, Window};
use crate::prepare::Prepared;

pub(super) use builder::Builder;

/// What a block does with its inputs.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// Takes pixels in.
    Pixels,
    /// Convolution or linear layer; `(channels, 1, kh, kw)` weights if depthwise.
    Conv { shape: ConvShape, is_depthwise: bool },
    /// Sum of two tensors.
    Add(Repeats),
    /// Product of two tensors.
    Multiply(Repeats),
    /// The norm of the block alone, per channel.
    Norm,
    /// Largest value of a window.
    MaxPool { window: Window, channels: usize },
    /// Mean of a window.
    Mean(Arc<Mean>),
    /// A function of one value.
    Curve(Curve<'static>),
    /// Slopes per channel below zero.
    PRelu,
    /// Softmax over the innermost axis.
    Softmax { channels: usize },
    /// Local response normalization over the channels.
    Lrn { channels: usize, lrn: Lrn },
    /// Values move out of tensors of so many values.
    Move { map: Arc<Map>, source: usize },
    /// Channels of every pixel move.
    Permute { from: Arc<[u32]>, channels: usize },
    /// The channels of several tensors behind each other.
    Concat { channels: Arc<[usize]> },
    /// Whole images' tensors behind each other.
    Join,
    /// The same values for every image.
    Constant(Arc<[f32]>),
    /// Nothing but what follows in the block.
    Pass,
}

impl Work {
    /// Whether values stay what they are.
    pub(super) fn only_moves(&self) -> bool {
        matches!(self, Self::Move { .. } | Self::Permute { .. } | Self::Concat { .. } | Self::Join)
    }
}

/// How means are taken.
#[derive(Clone, Debug)]
pub(super) struct Mean {
    pub(super) window: Window,
    pub(super) channels: usize,
    /// One over the number of values in a window.
    pub(super) reciprocal: f64,
    /// The same for each position, where it differs; the other is 1 then.
    pub(super) by_position: Option<Vec<f32>>,
}

/// One kernel's work: a node and what is done to its values before they are stored.
#[derive(Clone, Debug)]
pub(super) struct Block {
    /// The node.
    pub(super) name: String,
    pub(super) work: Work,
    /// Earlier blocks.
    pub(super) inputs: Vec<usize>,
    /// Values of one image.
    pub(super) elements: usize,
    /// Multiply-adds of one image.
    pub(super) macs: u64,
    /// Scale and shift per channel, of a batch norm behind it.
    pub(super) norm: Option<[Vec<f32>; 2]>,
    /// What the values are clamped to.
    pub(super) range: [f32; 2],
    /// The point of the weight.
    pub(super) weight: Option<usize>,
    /// The point that a layer's input is on, whose step its bias is rounded to.
    pub(super) input: Option<usize>,
    /// The point of the output.
    pub(super) output: Option<usize>,
}

/// No clamping.
pub(super) const EVERYTHING: [f32; 2] = [f32::NEG_INFINITY, f32::INFINITY];

/// The blocks that lead to one tensor.
#[derive(Clone, Debug)]
pub(super) struct Blueprint {
    /// In topological order; the first takes the pixels in.
    pub(super) blocks: Vec<Block>,
    /// The block whose output was asked for.
    pub(super) result: usize,
}

impl Blueprint {
    /// Joins the nodes that lead to `until` into blocks.
    ///
    /// Errors: `Graph`, `Weight`.
    pub(super) fn new(prepared: &Prepared, until: &str) -> Result<Self, EngineError> {
        Builder::new(prepared, until)?.finish(until)
    }
}

/// Where points stand, by node.
#[derive(Default)]
pub(super) struct Places {
    weights: BTreeMap<String, usize>,
    outputs: BTreeMap<String, usize>,
}

impl Places {
    fn new(points: &[Point]) -> Self {
        let mut places = Self::default();
        for (index, point) in points.iter().enumerate() {
            match point.kind {
                PointKind::Weight => {
                    places.weights.insert(point.node.clone(), index);
                }
                PointKind::Activation => {
                    places.outputs.extend(point.tensors.iter().map(|tensor| (tensor.clone(), index)));
                }
            }
        }
        places
    }
}
