//! High-bias fold: what a rectifier lets through anyway moves from one layer's bias into the next layer's.

use super::layer::Layer;
use super::{Norm, Report, ScaledPair, Transform, TransformError, Transformed};
use crate::model::Model;

/// How many standard deviations below its mean an activation is taken to reach.
const DEVIATIONS: f32 = 3.0;

/// Returns the network with high biases absorbed by the following layer, pair by pair of the equalized sets.
///
/// The part `a = max(0, beta - 3 |gamma|)` of a first layer's output is nearly always above zero; it leaves that layer's
/// bias and enters the second one's as `W2 a`. Without a rectifier in between all of `beta` moves. This assumes outputs
/// distributed as `N(beta, gamma^2)` and, where the second layer is padded, is wrong at the border: measure the accuracy
/// behind it. Pairs whose first layer took over no batch norm, or where a bias is missing, are left alone.
///
/// Errors: `Weight`; `Unusable` if a bias is not finite.
/// Source: `/design/methods/aimet_and_demotion.md` section 1.4. The batch norm's parameters were divided by the pairs'
/// scales when these were applied.
pub fn high_bias_fold(network: &Transformed) -> Result<(Transformed, Report), TransformError> {
    let mut folded = network.clone();
    let mut touched = Vec::new();
    for pair in network.sets.iter().flat_map(|set| &set.pairs) {
        let Some(norm) = folded.norms.outputs.get(&pair.first) else { continue };
        let absorbed = absorbed(norm, pair.rectified);
        if absorbed.iter().any(|part| *part != 0.0) && move_bias(&mut folded, pair, &absorbed)? {
            touched.push(vec![pair.first.clone(), pair.second.clone()]);
        }
    }
    let transform = Transform::HighBiasFold;
    folded.model = Model::new(folded.model.graph, folded.model.weights).map_err(|source| {
        TransformError::Unusable { transform: transform.as_str(), source: Box::new(source) }
    })?;
    Ok((folded, Report { transform, touched }))
}

fn absorbed(norm: &Norm, rectified: bool) -> Vec<f32> {
    if !rectified {
        return norm.beta.clone();
    }
    let channels = norm.beta.iter().zip(&norm.gamma);
    channels.map(|(beta, gamma)| (beta - DEVIATIONS * gamma.abs()).max(0.0)).collect()
}

/// Returns whether both layers have a bias; nothing moves otherwise.
fn move_bias(network: &mut Transformed, pair: &ScaledPair, moved: &[f32]) -> Result<bool, TransformError> {
    let mut first = Layer::read(&network.model, &pair.first)?;
    let mut second = Layer::read(&network.model, &pair.second)?;
    let (Some(first_bias), true) = (&mut first.bias, second.bias.is_some()) else { return Ok(false) };
    first_bias.iter_mut().zip(moved).for_each(|(bias, moved)| *bias -= moved);
    let moved_wide: Vec<f64> = moved.iter().map(|moved| f64::from(*moved)).collect();
    let added = second.response(&moved_wide);
    for (bias, added) in second.bias.iter_mut().flatten().zip(added) {
        *bias = (f64::from(*bias) + added) as f32;
    }
    first.write(&mut network.model)?;
    second.write(&mut network.model)?;
    let lower = |values: &mut Vec<f32>| values.iter_mut().zip(moved).for_each(|(v, moved)| *v -= moved);
    if let Some(norm) = network.norms.outputs.get_mut(&pair.first) {
        lower(&mut norm.beta);
    }
    if let Some(mean) = network.norms.input_means.get_mut(&pair.second) {
        lower(mean);
    }
    Ok(true)
}
