//! Which batch norms disappear into a neighbouring layer: a fact about the graph alone, known before any weight.

use std::collections::{BTreeMap, BTreeSet};

use super::{Graph, Node, Op, Padding};

/// What becomes of every batch norm of a graph when batch norms are folded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folds {
    /// `(layer, batch norm)`: the batch norm alone reads the layer, which takes it over; in the order of the layers.
    pub backward: Vec<(String, String)>,
    /// `(batch norm, layer)`: the layer alone reads the batch norm and takes it over; in the order of the layers.
    pub forward: Vec<(String, String)>,
    /// Batch norms that no layer can take over; they stay.
    pub standalone: Vec<String>,
}

impl Graph {
    /// Returns which batch norms fold into which layer.
    ///
    /// Only direct neighbours count: a rectifier in between blocks folding. Of batch norms in a row the nearest to the
    /// layer folds first and makes the next one a neighbour. Backward folds have priority. A forward fold needs a layer
    /// that sees every input channel at every position: a linear layer, or a convolution without groups and without
    /// padding (a padded zero would have to become the batch norm's `beta - mean * scale` first).
    ///
    /// Source: AIMET's folding of batch norms into neighbouring layers, as its documentation and program describe it.
    pub fn batch_norm_folds(&self) -> Folds {
        let consumers = self.consumers();
        let only_consumer = |name: &str| match consumers.get(name).map(Vec::as_slice) {
            Some([only]) => Some(*only),
            _ => None,
        };
        let layers = || self.nodes.iter().filter(|node| node.op.has_weight());
        let mut folds = Folds::default();
        let mut taken: BTreeSet<&str> = BTreeSet::new();
        for layer in layers() {
            let mut last = layer;
            while let Some(norm) = only_consumer(&last.name).filter(|next| is_batch_norm(next)) {
                folds.backward.push((layer.name.clone(), norm.name.clone()));
                taken.insert(&norm.name);
                last = norm;
            }
        }
        for layer in layers().filter(|layer| takes_any_input_shift(&layer.op)) {
            let mut first = layer;
            while let Some(norm) = first.inputs.first().and_then(|input| self.node(input)) {
                let is_free = is_batch_norm(norm) && !taken.contains(norm.name.as_str());
                if !is_free || only_consumer(&norm.name).is_none() {
                    break;
                }
                folds.forward.push((norm.name.clone(), layer.name.clone()));
                taken.insert(&norm.name);
                first = norm;
            }
        }
        let left =
            self.nodes.iter().filter(|node| is_batch_norm(node) && !taken.contains(node.name.as_str()));
        folds.standalone = left.map(|norm| norm.name.clone()).collect();
        folds
    }

    /// Returns the graph without the batch norms that [`Graph::batch_norm_folds`] folds away.
    ///
    /// Who read such a batch norm reads the layer (or, for a forward fold, what the batch norm read), and the layer has
    /// a bias. Names of layers stay, standalone batch norms too.
    pub fn without_folded_batch_norms(&self) -> Self {
        let folds = self.batch_norm_folds();
        let mut read_instead: BTreeMap<&str, &str> = BTreeMap::new();
        for (layer, norm) in &folds.backward {
            read_instead.insert(norm, layer);
        }
        for (norm, _) in &folds.forward {
            let before = self.node(norm).and_then(|norm| norm.inputs.first());
            read_instead.insert(norm, before.expect("a fold names a node, and a batch norm has an input"));
        }
        let layers = folds.backward.iter().map(|(layer, _)| layer);
        let layers: BTreeSet<&String> = layers.chain(folds.forward.iter().map(|(_, layer)| layer)).collect();

        let kept = self.nodes.iter().filter(|node| !read_instead.contains_key(node.name.as_str()));
        let nodes = kept.map(|node| {
            let mut node = node.clone();
            for input in &mut node.inputs {
                while let Some(instead) = read_instead.get(input.as_str()) {
                    *input = (*instead).to_owned();
                }
            }
            if layers.contains(&node.name) {
                add_bias(&mut node.op);
            }
            node
        });
        let mut nodes: Vec<Node> = nodes.collect();
        // The last node is the output. If that was folded, its layer, which nothing else reads, has to come last.
        if let Some(layer) = self.nodes.last().and_then(|last| read_instead.get(last.name.as_str()))
            && let Some(position) = nodes.iter().position(|node| node.name == **layer)
        {
            let output = nodes.remove(position);
            nodes.push(output);
        }
        Self { name: self.name.clone(), input: self.input.clone(), nodes }
    }
}

fn is_batch_norm(node: &Node) -> bool {
    matches!(node.op, Op::BatchNorm { .. })
}

fn takes_any_input_shift(op: &Op) -> bool {
    match op {
        Op::Conv2d(conv) => conv.groups == 1 && conv.padding == Padding::default(),
        other => matches!(other, Op::Linear(_)),
    }
}

fn add_bias(op: &mut Op) {
    if let Op::Conv2d(conv) = op {
        conv.bias = true;
    } else if let Op::Linear(linear) = op {
        linear.bias = true;
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{input, small};
    use super::super::{Conv2d, INPUT, Linear};
    use super::*;

    fn conv(padding: usize, groups: usize) -> Op {
        Op::Conv2d(Conv2d {
            out_channels: 4,
            kernel: [3, 3],
            stride: [1, 1],
            padding: Padding::all(padding),
            dilation: [1, 1],
            groups,
            bias: false,
        })
    }

    fn norm() -> Op {
        Op::BatchNorm { eps: 1e-5 }
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(first, second)| ((*first).to_owned(), (*second).to_owned())).collect()
    }

    #[test]
    fn a_layer_takes_over_the_batch_norm_behind_it() {
        let graph = small();

        let folded = graph.without_folded_batch_norms();

        assert_eq!(
            graph.batch_norm_folds(),
            Folds { backward: pairs(&[("conv", "bn")]), ..Folds::default() }
        );
        assert_eq!(folded.node("bn"), None);
        assert_eq!(folded.node("relu").unwrap().inputs, ["conv"]);
        assert!(matches!(&folded.node("conv").unwrap().op, Op::Conv2d(conv) if conv.bias));
        assert_eq!(folded.shapes().unwrap().len(), graph.nodes.len() - 1);
        assert_eq!(folded.without_folded_batch_norms(), folded);
    }

    #[test]
    fn backward_folds_go_first_and_forward_folds_need_an_unpadded_ungrouped_layer() {
        for (padding, groups, folds) in [(0, 1, true), (1, 1, false), (0, 2, false)] {
            let mut graph = Graph::new("forward", input(4, 9));
            graph.push("first", conv(1, 1), &[INPUT]);
            graph.push("norm", norm(), &["first"]);
            graph.push("relu", Op::Relu, &["norm"]);
            graph.push("again", norm(), &["relu"]);
            graph.push("second", conv(padding, groups), &["again"]);

            let found = graph.batch_norm_folds();

            assert_eq!(found.backward, pairs(&[("first", "norm")]));
            assert_eq!(found.forward, pairs(if folds { &[("again", "second")] } else { &[] }));
            assert_eq!(found.standalone.len(), usize::from(!folds));
            let folded = graph.without_folded_batch_norms();
            let expected = if folds { "relu" } else { "again" };
            assert_eq!(folded.node("second").unwrap().inputs, [expected], "{padding} {groups}");
            assert!(folded.shapes().is_ok());
        }
    }

    #[test]
    fn batch_norms_in_a_row_all_fold() {
        for backward in [true, false] {
            let mut graph = Graph::new("row", input(4, 9));
            let before = if backward { graph.push("layer", conv(0, 1), &[INPUT]) } else { INPUT.into() };
            graph.push("one", norm(), &[&before]);
            graph.push("two", norm(), &["one"]);
            let after = if backward { Op::Relu } else { conv(0, 1) };
            graph.push(if backward { "relu" } else { "layer" }, after, &["two"]);

            let folds = graph.batch_norm_folds();

            match backward {
                true => assert_eq!(folds.backward, pairs(&[("layer", "one"), ("layer", "two")])),
                false => assert_eq!(folds.forward, pairs(&[("two", "layer"), ("one", "layer")])),
            }
            let folded = graph.without_folded_batch_norms();
            assert_eq!(folded.nodes.len(), graph.nodes.len() - 2);
            assert!(folded.shapes().is_ok());
        }
    }

    #[test]
    fn a_second_consumer_or_a_rectifier_in_between_blocks_folding() {
        let mut graph = Graph::new("blocked", input(4, 9));
        graph.push("shared", conv(1, 1), &[INPUT]);
        graph.push("of_shared", norm(), &["shared"]);
        graph.push("sum", Op::Add, &["of_shared", "shared"]);
        graph.push("rectified", conv(1, 1), &["sum"]);
        graph.push("relu", Op::Relu, &["rectified"]);
        graph.push("of_relu", norm(), &["relu"]);
        graph.push("left", conv(0, 1), &["of_relu"]);
        graph.push("right", conv(0, 1), &["of_relu"]);
        graph.push("join", Op::Add, &["left", "right"]);

        let folds = graph.batch_norm_folds();

        assert_eq!(folds.standalone, ["of_shared", "of_relu"]);
        assert_eq!((folds.backward.len(), folds.forward.len()), (0, 0));
        assert_eq!(graph.without_folded_batch_norms(), graph);
    }

    #[test]
    fn a_folded_output_leaves_its_layer_as_the_output() {
        let mut graph = Graph::new("ends in a norm", input(4, 9));
        graph.push("flat", Op::Flatten, &[INPUT]);
        graph.push("dense", Op::Linear(Linear { out_features: 3, bias: false }), &["flat"]);
        graph.push("aside", Op::Relu, &["flat"]);
        graph.push("norm", norm(), &["dense"]);

        let folded = graph.without_folded_batch_norms();

        assert_eq!(folded.output().unwrap().name, "dense");
        assert!(folded.shapes().is_ok());
    }
}
