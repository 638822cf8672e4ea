//! Rewrites of a float network that make it easier to quantize, each in a file of its own.
//!
//! Every rewrite takes a [`Transformed`] network by reference and returns a new one with a [`Report`], so that undoing
//! it is keeping the old one. Their order: fold batch norms, replace ReLU6, equalize, fold high biases; last, per bit
//! config, [`bias_correction`]. Nothing here measures accuracy or decides whether a rewrite is worth it. Start at
//! [`apply`].
//!
//! Source: Nagel, van Baalen, Blankevoort, Welling, "Data-Free Quantization Through Weight Equalization and Bias
//! Correction", 2019; details as in `/design/methods/aimet_and_demotion.md` section 1.

mod bias_correction;
mod equalize;
mod error;
mod fold_batch_norm;
mod high_bias_fold;
mod layer;
mod replace_relu6;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bitloop_core::trial::Transform;

pub use bias_correction::{
    BiasCorrection, Mode, bias_correction, calibration_blocks, live_bytes_per_image, with_biases,
};
pub use equalize::equalize;
pub use error::TransformError;
pub use fold_batch_norm::fold_batch_norm;
pub use high_bias_fold::high_bias_fold;
pub use replace_relu6::replace_relu6;

use crate::model::Model;

/// A network on its way through the transforms, with what later transforms have to know of earlier ones.
#[derive(Clone, Debug)]
pub struct Transformed {
    /// The network.
    pub model: Model,
    /// What is known of its activations without an image.
    pub norms: Norms,
    /// Layers that were scaled against each other, in order.
    pub sets: Vec<ScaledSet>,
}

impl Transformed {
    /// Starts with a network as it was trained.
    pub fn new(model: Model) -> Self {
        Self { model, norms: Norms::default(), sets: Vec::new() }
    }
}

/// What batch norms said of activations before they were folded; kept in step by every later transform.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Norms {
    /// By node whose output was normalized: a layer that took over the batch norm behind it, or a standalone batch norm.
    pub outputs: BTreeMap<String, Norm>,
    /// By layer that took over the batch norm before it: the mean of its input, which that batch norm subtracted, `(in,)`.
    pub input_means: BTreeMap<String, Vec<f32>>,
}

/// Mean and spread of the output of a batch norm, per channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Norm {
    /// The scale, `(channels,)`; its absolute value is the standard deviation.
    pub gamma: Vec<f32>,
    /// The shift, `(channels,)`, which is the mean.
    pub beta: Vec<f32>,
}

/// Two or three layers in a row whose ranges were made equal, as pairs of neighbours.
#[derive(Clone, Debug, PartialEq)]
pub struct ScaledSet {
    /// One pair, or two that share the middle layer.
    pub pairs: Vec<ScaledPair>,
}

impl ScaledSet {
    /// Returns the names of the layers, in order.
    pub fn layers(&self) -> Vec<String> {
        let first = self.pairs.first().map(|pair| pair.first.clone());
        first.into_iter().chain(self.pairs.iter().map(|pair| pair.second.clone())).collect()
    }
}

/// Two neighbouring layers and the scale between them.
#[derive(Clone, Debug, PartialEq)]
pub struct ScaledPair {
    /// The layer whose output channels were divided by the scale.
    pub first: String,
    /// The layer whose input channels were multiplied by it.
    pub second: String,
    /// `(channels,)`, positive and finite.
    pub scale: Vec<f32>,
    /// Whether a ReLU or PReLU stands between them.
    pub rectified: bool,
}

/// The transforms that rewrite the network, in the order in which they build on each other.
pub const REWRITES: [Transform; 4] =
    [Transform::FoldBatchNorm, Transform::ReplaceRelu6, Transform::Equalize, Transform::HighBiasFold];

/// Returns the rewritten network and what was touched; `network` stays as it is.
///
/// A bias correction rewrites nothing: biases are corrected per width, by [`bias_correction`]; it touches every layer.
/// Encodings that came with the model are of the network as it was, so a rewrite that touched anything drops them.
///
/// Errors: those of the transform.
pub fn apply(transform: Transform, network: &Transformed) -> Result<(Transformed, Report), TransformError> {
    let (mut rewritten, report) = match transform {
        Transform::FoldBatchNorm => fold_batch_norm(network)?,
        Transform::ReplaceRelu6 => replace_relu6(network)?,
        Transform::Equalize => equalize(network)?,
        Transform::HighBiasFold => high_bias_fold(network)?,
        Transform::BiasCorrection(_) => {
            let layers = network.model.graph.nodes.iter().filter(|node| node.op.has_weight());
            let touched = layers.map(|layer| vec![layer.name.clone()]).collect();
            return Ok((network.clone(), Report { transform, touched }));
        }
    };
    let is_as_before = report.touched.is_empty();
    rewritten.model.encodings = if is_as_before { network.model.encodings.clone() } else { BTreeMap::new() };
    Ok((rewritten, report))
}

/// What a transform did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which transform.
    pub transform: Transform,
    /// Nodes that were changed together, in order: `[layer, batch norm]`, `[batch norm, layer]`, `[relu6]`, a set of
    /// layers, ...; empty if the network is as before.
    pub touched: Vec<Vec<String>>,
}
