//! What a file's graph says in many nodes, in fewer: without changing what the network computes.

mod input;
mod layers;
mod pooling;
mod quantizers;

use std::collections::{BTreeMap, BTreeSet};

use bitloop_core::graph::{Graph, Node};
use candle_core::Tensor;

use super::builder::Builder;
use super::encoding::ImportedEncoding;

/// A network with a named output.
pub(super) struct Network {
    pub(super) graph: Graph,
    pub(super) weights: BTreeMap<String, Tensor>,
    pub(super) encodings: BTreeMap<String, ImportedEncoding>,
    output: String,
}

/// Simplifies the graph and drops what the output does not depend on; afterwards the output is the last node.
pub(super) fn simplify(builder: Builder, output: String) -> Network {
    let Builder { graph, weights, encodings, .. } = builder;
    let mut network = Network { graph, weights, encodings, output };
    quantizers::place_encodings(&mut network);
    input::put_channels_in_front(&mut network);
    network.drop_unused();
    pooling::join_global_averages(&mut network);
    pooling::join_padding(&mut network);
    layers::join_constants(&mut network);
    network.drop_unused();
    network
}

/// Which nodes go, and what stands for them.
type Replaced = BTreeMap<String, String>;

impl Network {
    /// Positions of the nodes that read each tensor.
    fn consumers(&self) -> BTreeMap<String, Vec<usize>> {
        let mut consumers: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, node) in self.graph.nodes.iter().enumerate() {
            for input in &node.inputs {
                consumers.entry(input.clone()).or_default().push(index);
            }
        }
        consumers
    }

    fn encoding(&self, node: &str) -> Option<&ImportedEncoding> {
        self.encodings.get(&format!("{node}.output"))
    }

    /// Position of the only consumer of a node that is no output and has no encoding.
    fn only_consumer(&self, consumers: &BTreeMap<String, Vec<usize>>, node: &str) -> Option<usize> {
        let is_free = node != self.output && self.encoding(node).is_none();
        match consumers.get(node).map(Vec::as_slice) {
            Some([only]) if is_free => Some(*only),
            _ => None,
        }
    }

    /// Lets the consumers of replaced nodes read what stands for them; the nodes themselves are dropped as unused.
    fn replace(&mut self, replaced: &Replaced) {
        let resolved = |name: &str| {
            let mut name = name;
            while let Some(next) = replaced.get(name) {
                name = next;
            }
            name.to_owned()
        };
        for node in &mut self.graph.nodes {
            for input in &mut node.inputs {
                *input = resolved(input);
            }
        }
        self.output = resolved(&self.output);
    }

    /// Removes nodes that the output does not depend on, with their weights and encodings.
    fn drop_unused(&mut self) {
        let mut used: BTreeSet<&str> = BTreeSet::from([self.output.as_str()]);
        for node in self.graph.nodes.iter().rev() {
            if used.contains(node.name.as_str()) {
                used.extend(node.inputs.iter().map(String::as_str));
            }
        }
        let unused: Vec<String> = self
            .graph
            .nodes
            .iter()
            .map(|node| &node.name)
            .filter(|name| !used.contains(name.as_str()))
            .cloned()
            .collect();
        let unused: BTreeSet<String> = unused.into_iter().collect();
        self.graph.nodes.retain(|node| !unused.contains(&node.name));
        let is_used =
            |tensor: &String| tensor.rsplit_once('.').is_none_or(|(node, _)| !unused.contains(node));
        self.weights.retain(|tensor, _| is_used(tensor));
        self.encodings.retain(|tensor, _| is_used(tensor));
    }

    fn node(&self, name: &str) -> Option<&Node> {
        self.graph.node(name)
    }
}
