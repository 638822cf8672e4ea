//! A graph whose layers have other numbers of outputs.

use std::collections::{BTreeMap, BTreeSet};

use super::{Graph, GraphError, INPUT, Node, Op, Shape};

impl Graph {
    /// Returns the graph with as many filters (features) as `outputs` says for convolutions (linear layers) by name.
    ///
    /// Depthwise convolutions follow the channels of their input, with as many filters per channel as before, and all other
    /// shapes follow from the operators.
    ///
    /// Errors: `Outputs` for a node that is not there or whose outputs are not free, and for tensors of different shapes that
    /// would have to be added or multiplied; those of [`Graph::shapes`], where a shape no longer fits or is fixed.
    pub fn with_outputs(&self, outputs: &BTreeMap<String, usize>) -> Result<Self, GraphError> {
        let names: BTreeSet<&str> = self.nodes.iter().map(|node| node.name.as_str()).collect();
        if let Some(unknown) = outputs.keys().find(|name| !names.contains(name.as_str())) {
            return Err(refused(unknown, "there is no such node; name one of the graph's"));
        }
        let before = self.shapes()?;
        let mut graph = Self { nodes: Vec::with_capacity(self.nodes.len()), ..self.clone() };
        let mut known: BTreeMap<&str, Change> = BTreeMap::from([(INPUT, Change::none(&self.input.shape))]);
        for (node, old) in self.nodes.iter().zip(before) {
            let operands: Vec<&Change> = node.inputs.iter().map(|name| &known[name.as_str()]).collect();
            let changed = with_outputs(node, outputs.get(&node.name).copied(), &operands)?;
            let inputs: Vec<&Shape> = operands.iter().map(|operand| &operand.new).collect();
            let new = changed.output_shape(&inputs)?;
            known.insert(&node.name, Change { old, new });
            graph.nodes.push(changed);
        }
        Ok(graph)
    }
}

/// A tensor's shape before and after.
struct Change {
    old: Shape,
    new: Shape,
}

impl Change {
    fn none(shape: &Shape) -> Self {
        Self { old: shape.clone(), new: shape.clone() }
    }
}

fn with_outputs(node: &Node, outputs: Option<usize>, operands: &[&Change]) -> Result<Node, GraphError> {
    let mut changed = node.clone();
    match (&mut changed.op, operands) {
        (Op::Conv2d(conv), [x]) if conv.groups > 1 && conv.groups == x.old.channels() => {
            if outputs.is_some() {
                return Err(refused(
                    &node.name,
                    "a depthwise convolution has the channels of its input; change those",
                ));
            }
            conv.out_channels = conv.out_channels / conv.groups * x.new.channels();
            conv.groups = x.new.channels();
        }
        (Op::Conv2d(conv), _) => conv.out_channels = outputs.unwrap_or(conv.out_channels),
        (Op::Linear(linear), _) => linear.out_features = outputs.unwrap_or(linear.out_features),
        (Op::Add | Op::Mul, [left, right]) if left.old == right.old && left.new != right.new => {
            let reason = format!(
                "its operands would have shapes {} and {}; change both sides alike",
                left.new, right.new
            );
            return Err(refused(&node.name, &reason));
        }
        _ => {}
    }
    if outputs.is_some() && !changed.op.has_weight() {
        return Err(refused(&node.name, "it is neither a convolution nor a linear layer; name one that is"));
    }
    Ok(changed)
}

fn refused(node: &str, reason: &str) -> GraphError {
    GraphError::Outputs { node: node.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{input, small};
    use super::super::{Conv2d, Padding};
    use super::*;

    fn outputs(changes: &[(&str, usize)]) -> BTreeMap<String, usize> {
        changes.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    fn conv(out_channels: usize, groups: usize) -> Op {
        let padding = Padding::all(1);
        Op::Conv2d(Conv2d {
            out_channels,
            kernel: [3, 3],
            stride: [1; 2],
            padding,
            dilation: [1; 2],
            groups,
            bias: false,
        })
    }

    /// A convolution, a depthwise one with two filters per channel, and a sum with the branch beside it.
    fn branched() -> Graph {
        let mut graph = Graph::new("branched", input(2, 8));
        graph.push("stem", conv(4, 1), &[INPUT]);
        graph.push("depthwise", conv(8, 4), &["stem"]);
        graph.push("beside", conv(8, 1), &[INPUT]);
        graph.push("add", Op::Add, &["depthwise", "beside"]);
        graph
    }

    #[test]
    fn other_shapes_follow_the_changed_outputs() {
        let graph = small().with_outputs(&outputs(&[("conv", 6)])).unwrap();

        let shapes = graph.shapes().unwrap();
        assert_eq!(shapes[0], Shape::image(6, 8, 8));
        assert_eq!(shapes[4], Shape(vec![6 * 16]));
        assert_eq!(shapes[5], Shape(vec![3]));
        assert_eq!(small().with_outputs(&BTreeMap::new()).unwrap(), small());
    }

    #[test]
    fn depthwise_convolutions_follow_their_input() {
        let graph = branched().with_outputs(&outputs(&[("stem", 3), ("beside", 6)])).unwrap();

        let Op::Conv2d(depthwise) = &graph.node("depthwise").unwrap().op else { panic!("a convolution") };
        assert_eq!((depthwise.groups, depthwise.out_channels), (3, 6));
        assert_eq!(graph.shapes().unwrap()[3], Shape::image(6, 8, 8));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let refusals = [
            (small(), ("relu", 3), "neither a convolution"),
            (small(), ("nowhere", 3), "no such node"),
            (small(), ("conv", 0), "out_channels"),
            (branched(), ("depthwise", 8), "depthwise"),
            (branched(), ("stem", 3), "`add`"),
            // One channel would be repeated by the sum.
            (branched(), ("beside", 1), "`add`"),
        ];
        for (graph, change, expected) in refusals {
            let error = graph.with_outputs(&outputs(&[change])).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
