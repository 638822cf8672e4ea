use std::collections::BTreeMap;

use super::operator::Operator;
use crate::graph::{Graph, GraphError, INPUT, Node};

/// A graph's tensors by number: 0 is the input, `i + 1` the output of node `i`.
pub(super) struct Tensors<'g> {
    /// The operator behind each; none behind the input.
    pub(super) operators: Vec<Option<Operator>>,
    /// What each is computed from.
    pub(super) inputs: Vec<Vec<usize>>,
    /// What is computed from each, once per use.
    pub(super) consumers: Vec<Vec<usize>>,
    /// Number of values in each, for one image.
    pub(super) elements: Vec<usize>,
    graph: &'g Graph,
}

impl<'g> Tensors<'g> {
    /// Numbers the tensors of `graph`.
    ///
    /// Errors: those of [`Graph::shapes`].
    pub(super) fn new(graph: &'g Graph) -> Result<Self, GraphError> {
        let mut shapes = vec![graph.input.shape.clone()];
        shapes.extend(graph.shapes()?);
        let names = graph.nodes.iter().map(|node| node.name.as_str());
        let numbers: BTreeMap<&str, usize> = std::iter::once(INPUT).chain(names).zip(0..).collect();
        let mut tensors = Self {
            operators: vec![None],
            inputs: vec![Vec::new()],
            consumers: vec![Vec::new(); shapes.len()],
            elements: shapes.iter().map(|shape| shape.elements()).collect(),
            graph,
        };
        for (node, number) in graph.nodes.iter().zip(1..) {
            let inputs: Vec<usize> = node.inputs.iter().map(|input| numbers[input.as_str()]).collect();
            let shape = inputs.first().map(|input| &shapes[*input]);
            tensors.operators.push(Some(Operator::of(&node.op, shape)));
            for input in &inputs {
                tensors.consumers[*input].push(number);
            }
            tensors.inputs.push(inputs);
        }
        Ok(tensors)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.operators.len()
    }

    /// The node that gives the tensor; none for the input.
    pub(super) fn node(&self, tensor: usize) -> Option<&'g Node> {
        tensor.checked_sub(1).map(|node| &self.graph.nodes[node])
    }

    /// The name of the node that gives the tensor, or [`INPUT`].
    pub(super) fn name(&self, tensor: usize) -> &'g str {
        self.node(tensor).map_or(INPUT, |node| &node.name)
    }

    /// Whether the operator behind the tensor is in `operators`.
    pub(super) fn is_any_of(&self, tensor: usize, operators: &[Operator]) -> bool {
        self.operators[tensor].is_some_and(|operator| operators.contains(&operator))
    }
}
