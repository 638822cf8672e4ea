//! Identities that carry an encoding: the encoding moves to the node before wherever that says the same.

use std::collections::BTreeMap;

use bitloop_core::graph::Op;

use super::{Network, Replaced};

/// Moves the encoding of a quantizing identity to what it reads if nothing reads that unquantized.
pub(super) fn place_encodings(network: &mut Network) {
    let consumers = network.consumers();
    let mut replaced = Replaced::new();
    // Every identity that is in the graph at this stage is a quantizer, since the file's own are dropped.
    let identities: BTreeMap<String, String> = network
        .graph
        .nodes
        .iter()
        .filter(|node| node.op == Op::Identity)
        .map(|node| (node.name.clone(), node.inputs[0].clone()))
        .collect();
    let order: Vec<String> = network.graph.nodes.iter().map(|node| node.name.clone()).collect();
    for name in order {
        let Some(direct) = identities.get(&name) else { continue };
        let source = replaced.get(direct).unwrap_or(direct).clone();
        let own = network.encoding(&name).cloned();
        let standing = network.encoding(&source).cloned();
        if standing.is_some() && standing == own {
            replaced.insert(name, source);
            continue;
        }
        let readers = consumers.get(direct).map_or(&[][..], Vec::as_slice);
        let all_equal = readers.iter().all(|reader| {
            let reader = &network.graph.nodes[*reader].name;
            identities.contains_key(reader) && network.encoding(reader) == own.as_ref()
        });
        if standing.is_none() && source == *direct && source != network.output && all_equal {
            if let Some(own) = own {
                network.encodings.insert(format!("{source}.output"), own);
            }
            replaced.insert(name, source);
        }
    }
    network.replace(&replaced);
}
