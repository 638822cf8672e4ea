//! Constants behind layers and batch norms: a sum is a bias, a factor belongs to the norm.

use bitloop_core::graph::Op;
use candle_core::{Device, Tensor};

use super::{Network, Replaced};

/// Joins sums and products with one number per channel to the layer or batch norm before them.
pub(super) fn join_constants(network: &mut Network) {
    let consumers = network.consumers();
    let mut replaced = Replaced::new();
    for index in 0..network.graph.nodes.len() {
        let node = &network.graph.nodes[index];
        if !matches!(node.op, Op::Add | Op::Mul) {
            continue;
        }
        let (name, is_sum) = (node.name.clone(), node.op == Op::Add);
        let [left, right] = node.inputs.as_slice() else { continue };
        // The layer stands left or right; what was joined before it in a chain is the layer itself.
        let sides = [(left.clone(), right.clone()), (right.clone(), left.clone())];
        for (direct, constant) in sides {
            let layer = replaced.get(&direct).unwrap_or(&direct).clone();
            if network.only_consumer(&consumers, &direct) != Some(index) || network.encoding(&layer).is_some()
            {
                continue;
            }
            if join(network, &layer, &constant, is_sum).is_some() {
                if let Some(encoding) = network.encodings.remove(&format!("{name}.output")) {
                    network.encodings.insert(format!("{layer}.output"), encoding);
                }
                replaced.insert(name, layer);
                break;
            }
        }
    }
    network.replace(&replaced);
}

/// Changes the layer's weights; `None` where it is no layer, or the constant is not one number per channel.
fn join(network: &mut Network, layer: &str, constant: &str, is_sum: bool) -> Option<()> {
    let node = network.node(layer)?;
    let parts: &[&str] = match (&node.op, is_sum) {
        (Op::Conv2d(conv), true) if !conv.bias => &[],
        (Op::Linear(linear), true) if !linear.bias => &[],
        (Op::BatchNorm { .. }, true) => &["beta"],
        (Op::BatchNorm { .. }, false) => &["gamma", "beta"],
        _ => return None,
    };
    let (first, image_axes) = match &node.op {
        Op::Conv2d(_) => ("weight", 2),
        Op::Linear(_) => ("weight", 0),
        _ => ("gamma", network.image_axes(constant)?),
    };
    let channels = network.weights.get(&format!("{layer}.{first}"))?.dims().first().copied()?;
    let values = network.channel_values(constant, channels, image_axes)?;
    for part in parts {
        let key = format!("{layer}.{part}");
        let old: Vec<f32> = network.weights.get(&key)?.to_vec1().ok()?;
        let new = old.iter().zip(&values).map(|(old, value)| if is_sum { old + value } else { old * value });
        network.weights.insert(key, Tensor::from_vec(new.collect::<Vec<_>>(), channels, &Device::Cpu).ok()?);
    }
    if parts.is_empty() {
        let bias = Tensor::from_vec(values, channels, &Device::Cpu).ok()?;
        network.weights.insert(format!("{layer}.bias"), bias);
        if let Some(encoding) = network.encodings.get(&format!("{constant}.output")).cloned() {
            network.encodings.insert(format!("{layer}.bias"), encoding);
        }
        let position = network.graph.nodes.iter().position(|node| node.name == layer)?;
        match &mut network.graph.nodes[position].op {
            Op::Conv2d(conv) => conv.bias = true,
            Op::Linear(linear) => linear.bias = true,
            _ => {}
        }
    }
    Some(())
}

impl Network {
    /// Axes behind the channels, if the constant has all axes of an image.
    fn image_axes(&self, constant: &str) -> Option<usize> {
        match &self.node(constant)?.op {
            Op::Constant { shape } if shape.len() == 3 => Some(2),
            _ => None,
        }
    }

    /// The values of a constant that has one number per channel, or one for all.
    fn channel_values(&self, constant: &str, channels: usize, image_axes: usize) -> Option<Vec<f32>> {
        let Op::Constant { shape } = &self.node(constant)?.op else { return None };
        let values: Vec<f32> =
            self.weights.get(&format!("{constant}.value"))?.flatten_all().ok()?.to_vec1().ok()?;
        let (own, behind) = shape.split_at(shape.len().saturating_sub(image_axes));
        let is_per_channel = own == [channels] && behind.iter().all(|extent| *extent == 1);
        match values.as_slice() {
            [one] => Some(vec![*one; channels]),
            _ if is_per_channel => Some(values),
            _ => None,
        }
    }
}
