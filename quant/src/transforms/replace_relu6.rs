//! ReLU6 -> ReLU: clipping at 6 does not commute with a positive scale per channel, so it would stop equalization.

use bitloop_core::graph::Op;

use super::{Report, Transform, TransformError, Transformed};

/// Returns the network with every ReLU6 replaced by a ReLU.
///
/// The function changes where an activation exceeds 6: measure the accuracy behind it.
///
/// Errors: none; the signature is that of all transforms.
pub fn replace_relu6(network: &Transformed) -> Result<(Transformed, Report), TransformError> {
    let mut replaced = network.clone();
    let mut touched = Vec::new();
    for node in &mut replaced.model.graph.nodes {
        if matches!(node.op, Op::Relu6) {
            node.op = Op::Relu;
            touched.push(vec![node.name.clone()]);
        }
    }
    Ok((replaced, Report { transform: Transform::ReplaceRelu6, touched }))
}
