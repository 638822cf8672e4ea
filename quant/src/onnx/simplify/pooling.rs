//! Global averages with the flattening behind them, and padding with the convolution behind it.

use bitloop_core::graph::{Op, Padding};

use super::{Network, Replaced};

/// Padding of a convolution at most, as a graph allows.
const PADDING_MAX: usize = 1 << 10;

/// A mean over the image that keeps height and width as 1, and is flattened, is our global average.
pub(super) fn join_global_averages(network: &mut Network) {
    let consumers = network.consumers();
    let mut replaced = Replaced::new();
    for index in 0..network.graph.nodes.len() {
        let node = &network.graph.nodes[index];
        let is_global = matches!(&node.op, Op::Mean { axes, keep: true } if *axes == [1, 2]);
        if !is_global || node.name == network.output {
            continue;
        }
        let Some([only]) = consumers.get(&node.name).map(Vec::as_slice) else { continue };
        let flatten = &network.graph.nodes[*only];
        if flatten.op != Op::Flatten {
            continue;
        }
        let (mean, flatten) = (node.name.clone(), flatten.name.clone());
        // Both are quantized where both have the same grid, or one has none.
        match (network.encoding(&mean).cloned(), network.encoding(&flatten).cloned()) {
            (Some(one), Some(other)) if one != other => continue,
            (None, Some(behind)) => {
                network.encodings.insert(format!("{mean}.output"), behind);
            }
            (Some(_) | None, _) => {}
        }
        network.graph.nodes[index].op = Op::GlobalAveragePool;
        replaced.insert(flatten, mean);
    }
    network.replace(&replaced);
}

/// Zeros around an image become the padding of the convolutions that read it.
pub(super) fn join_padding(network: &mut Network) {
    for index in 0..network.graph.nodes.len() {
        let node = &network.graph.nodes[index];
        let Op::Conv2d(conv) = &node.op else { continue };
        let Some(source) = network.node(&node.inputs[0]) else { continue };
        let Op::Pad { before, after, value: 0.0 } = &source.op else { continue };
        let ([0, top, left], [0, bottom, right]) = (before.as_slice(), after.as_slice()) else { continue };
        let own = conv.padding;
        let padding = Padding {
            top: own.top + top,
            left: own.left + left,
            bottom: own.bottom + bottom,
            right: own.right + right,
        };
        let sides = [padding.top, padding.left, padding.bottom, padding.right];
        if sides.iter().any(|side| *side > PADDING_MAX) || network.encoding(&source.name).is_some() {
            continue;
        }
        let input = source.inputs[0].clone();
        let node = &mut network.graph.nodes[index];
        node.inputs[0] = input;
        if let Op::Conv2d(conv) = &mut node.op {
            conv.padding = padding;
        }
    }
}
