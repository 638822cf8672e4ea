//! Files whose images have the channels at the end and are transposed first.

use bitloop_core::graph::{INPUT, Op};

use super::{Network, Replaced};

/// From (height, width, channels) to (channels, height, width).
const CHANNELS_TO_FRONT: [usize; 3] = [2, 0, 1];

/// Lets the input have its channels in front if all that reads it puts them there.
pub(super) fn put_channels_in_front(network: &mut Network) {
    let [height, width, channels] = network.graph.input.shape.0[..] else { return };
    let own = network.encoding(INPUT).cloned();
    let is_transposed = |node: &&bitloop_core::graph::Node| match &node.op {
        Op::Transpose { perm } => {
            let encoding = network.encoding(&node.name);
            *perm == CHANNELS_TO_FRONT && (encoding.is_none() || encoding == own.as_ref())
        }
        _ => false,
    };
    let readers: Vec<_> =
        network.graph.nodes.iter().filter(|node| node.inputs.iter().any(|input| input == INPUT)).collect();
    if readers.is_empty() || !readers.iter().all(is_transposed) || network.output == INPUT {
        return;
    }
    let replaced: Replaced = readers.iter().map(|node| (node.name.clone(), INPUT.to_owned())).collect();
    network.graph.input.shape.0 = vec![channels, height, width];
    network.replace(&replaced);
}
