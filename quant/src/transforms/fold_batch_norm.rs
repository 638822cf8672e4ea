//! Batch-norm folding: a layer takes over the batch norm behind it, or the one before it.

use bitloop_core::graph::Op;

use super::layer::{Layer, set_values, values};
use super::{Norm, Report, Transform, TransformError, Transformed};
use crate::model::Model;

/// Returns the network with every batch norm folded that [`bitloop_core::graph::Graph::batch_norm_folds`] lists.
///
/// With `s = gamma / sqrt(variance + eps)`: a layer takes over the batch norm behind it by `W[o] * s[o]` and
/// `beta - (mean - b) * s`; the one before it by `W[:, i] * s[i]` and `b + W (beta - mean * s)`. A standalone batch norm
/// keeps its place and becomes an affine map: mean 0, variance 1. What a batch norm says of its output (and, before a
/// layer, of its input) is kept in `norms`; of a standalone one that has been made affine before, nothing is known.
///
/// Errors: `Weight`; `Unusable` if a folded weight is not finite.
/// Source: `/design/methods/aimet_and_demotion.md` section 1.1; the order of the operations is that of the reference.
pub fn fold_batch_norm(network: &Transformed) -> Result<(Transformed, Report), TransformError> {
    let folds = network.model.graph.batch_norm_folds();
    let mut folded = network.clone();
    let mut touched = Vec::new();
    for (layer, name) in &folds.backward {
        let norm = BatchNorm::read(&folded.model, name)?;
        norm.fold_backward(&mut folded.model, layer)?;
        folded.norms.outputs.insert(layer.clone(), norm.output());
        touched.push(vec![layer.clone(), name.clone()]);
    }
    for (name, layer) in &folds.forward {
        let norm = BatchNorm::read(&folded.model, name)?;
        norm.fold_forward(&mut folded.model, layer)?;
        folded.norms.input_means.insert(layer.clone(), norm.mean);
        touched.push(vec![name.clone(), layer.clone()]);
    }
    for name in &folds.standalone {
        let norm = BatchNorm::read(&folded.model, name)?;
        if !norm.is_affine() {
            norm.make_affine(&mut folded.model)?;
            folded.norms.outputs.insert(name.clone(), norm.output());
            touched.push(vec![name.clone()]);
        }
    }
    let gone = folds.backward.iter().map(|(_, norm)| norm).chain(folds.forward.iter().map(|(norm, _)| norm));
    for name in gone {
        for part in ["gamma", "beta", "running_mean", "running_var"] {
            folded.model.weights.remove(&format!("{name}.{part}"));
        }
    }
    let transform = Transform::FoldBatchNorm;
    folded.model =
        Model::new(network.model.graph.without_folded_batch_norms(), folded.model.weights).map_err(
            |source| TransformError::Unusable { transform: transform.as_str(), source: Box::new(source) },
        )?;
    Ok((folded, Report { transform, touched }))
}

struct BatchNorm {
    name: String,
    eps: f32,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    mean: Vec<f32>,
    variance: Vec<f32>,
}

impl BatchNorm {
    fn read(model: &Model, name: &str) -> Result<Self, TransformError> {
        let eps = match model.graph.node(name).map(|node| &node.op) {
            Some(Op::BatchNorm { eps }) => *eps as f32,
            _ => return Err(TransformError::Weight { name: format!("{name}.gamma") }),
        };
        let part = |part: &str| values(model, &format!("{name}.{part}"));
        Ok(Self {
            name: name.to_owned(),
            eps,
            gamma: part("gamma")?,
            beta: part("beta")?,
            mean: part("running_mean")?,
            variance: part("running_var")?,
        })
    }

    fn output(&self) -> Norm {
        Norm { gamma: self.gamma.clone(), beta: self.beta.clone() }
    }

    fn scale(&self) -> Vec<f32> {
        let variances = self.gamma.iter().zip(&self.variance);
        variances.map(|(gamma, variance)| gamma / (variance + self.eps).sqrt()).collect()
    }

    fn fold_backward(&self, model: &mut Model, layer: &str) -> Result<(), TransformError> {
        let mut layer = Layer::read(model, layer)?;
        let scale = self.scale();
        let old = layer.bias_or_zeros().into_iter().zip(&self.mean);
        let shift = scale.iter().zip(&self.beta);
        layer.bias =
            Some(old.zip(shift).map(|((bias, mean), (scale, beta))| beta - (mean - bias) * scale).collect());
        layer.scale_outputs(&scale);
        layer.write(model)
    }

    fn fold_forward(&self, model: &mut Model, layer: &str) -> Result<(), TransformError> {
        let mut layer = Layer::read(model, layer)?;
        let scale = self.scale();
        let parts = self.beta.iter().zip(&self.mean).zip(&scale);
        let shift: Vec<f64> =
            parts.map(|((beta, mean), scale)| f64::from(*beta) - f64::from(mean * scale)).collect();
        let added = layer.response(&shift);
        let old = layer.bias_or_zeros().into_iter();
        layer.bias = Some(old.zip(added).map(|(bias, added)| (f64::from(bias) + added) as f32).collect());
        layer.scale_inputs(&scale);
        layer.write(model)
    }

    fn is_affine(&self) -> bool {
        self.mean.iter().all(|mean| *mean == 0.0) && self.variance.iter().all(|variance| *variance == 1.0)
    }

    fn make_affine(&self, model: &mut Model) -> Result<(), TransformError> {
        let per_channel = self.gamma.iter().zip(&self.variance);
        let slope: Vec<f32> =
            per_channel.map(|(gamma, variance)| gamma * (1.0 / (variance + self.eps).sqrt())).collect();
        let per_channel = self.beta.iter().zip(&self.mean).zip(&slope);
        let shift = per_channel.map(|((beta, mean), slope)| beta - mean * slope).collect();
        // The node still divides by `sqrt(1 + eps)`.
        let gamma = slope.iter().map(|slope| slope * (1.0 + self.eps).sqrt()).collect();
        let mut set = |part: &str, values| set_values(model, &format!("{}.{part}", self.name), values);
        set("gamma", gamma)?;
        set("beta", shift)?;
        set("running_mean", vec![0.0; self.mean.len()])?;
        set("running_var", vec![1.0; self.variance.len()])
    }
}
