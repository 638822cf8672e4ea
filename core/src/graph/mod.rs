//! A network as data: operators, edges, shapes, quantizer points and their prices, without weights.
//!
//! The graph travels with the weights in a model file and, alone, in a plan. It knows nothing of tensors or
//! files; `bitloop-quant` executes it. Start reading at [`Graph`] and [`Op`].

mod cost;
mod error;
mod fold;
mod op;
mod outputs;
mod points;
mod shape;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use cost::LayerCost;
pub use error::GraphError;
pub use fold::Folds;
pub use op::{Conv2d, Linear, Op, Padding, Pool};
pub use points::{Point, PointKind};
pub use shape::Shape;

/// The name by which nodes refer to the graph's input.
pub const INPUT: &str = "input";

/// How an image becomes the network's input: `(value / 255 - mean) / std` per channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Channels, height, width (or features alone), without the batch.
    pub shape: Shape,
    /// Mean per channel, in units of the 0..1 scaled value.
    pub mean: Vec<f32>,
    /// Standard deviation per channel, in the same units; never zero.
    pub std: Vec<f32>,
}

/// One operator with its inputs, named.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Unique within the graph; also the prefix of its weights' names.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Names of earlier nodes, or [`INPUT`].
    pub inputs: Vec<String>,
}

/// A network as data; nodes stand in topological order and the last one is the output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Graph {
    /// The architecture's name, for people.
    pub name: String,
    /// What goes in.
    pub input: Input,
    /// The operators.
    pub nodes: Vec<Node>,
}

impl Graph {
    /// Starts a graph without nodes.
    pub fn new(name: impl Into<String>, input: Input) -> Self {
        Self { name: name.into(), input, nodes: Vec::new() }
    }

    /// Appends a node and returns its name, so that builders can chain.
    pub fn push(&mut self, name: impl Into<String>, op: Op, inputs: &[&str]) -> String {
        let name = name.into();
        let inputs = inputs.iter().map(|input| (*input).to_owned()).collect();
        self.nodes.push(Node { name: name.clone(), op, inputs });
        name
    }

    /// Finds a node by its name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// Returns the node whose output is the network's output.
    ///
    /// Errors: `Empty` when there is none.
    pub fn output(&self) -> Result<&Node, GraphError> {
        self.nodes.last().ok_or(GraphError::Empty)
    }

    /// Returns the name of the node that gives the logits: the output, or what feeds a final softmax.
    ///
    /// Flatten, reshape, dropout and identity behind the softmax are looked through, as `all_conv` networks end in them.
    pub fn logits(&self) -> Result<&str, GraphError> {
        let mut node = self.output()?;
        loop {
            let feeding = node.inputs.first().map(String::as_str).unwrap_or(INPUT);
            match &node.op {
                Op::Softmax { .. } => return Ok(feeding),
                Op::Flatten | Op::Reshape { .. } | Op::Identity | Op::Dropout { .. } => {
                    match self.node(feeding) {
                        Some(earlier) => node = earlier,
                        None => break,
                    }
                }
                _ => break,
            }
        }
        Ok(&self.output()?.name)
    }

    /// Checks names, edges and shapes, and returns the shape of every node's output in the order of the nodes.
    ///
    /// Errors: the first [`GraphError`], naming the node.
    pub fn shapes(&self) -> Result<Vec<Shape>, GraphError> {
        shape::infer(self)
    }

    /// Consumers of every node (and of [`INPUT`]) that has any.
    fn consumers(&self) -> BTreeMap<&str, Vec<&Node>> {
        let mut consumers: BTreeMap<&str, Vec<&Node>> = BTreeMap::new();
        for node in &self.nodes {
            for input in &node.inputs {
                consumers.entry(input).or_default().push(node);
            }
        }
        consumers
    }
}

#[cfg(test)]
pub(crate) mod tests;
