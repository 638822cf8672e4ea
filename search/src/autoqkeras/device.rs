//! What a device executes of a network with QKeras's quantizers: the same graph with codes of the same widths.

use std::collections::{BTreeMap, BTreeSet};

use bitloop_core::autoqkeras::{activation_codes, image_codes, kernel_codes};
use bitloop_core::bits::{BitConfig, Bits, Choice, PointIndex};
use bitloop_core::graph::{Graph, GraphError, INPUT, Point, PointKind};
use bitloop_core::plan::device_points;
use bitloop_core::qkeras::Quantizer;

use super::Changes;

/// Where a network has codes on a device. What no quantizer rounds stays floats there.
#[derive(Clone, Debug)]
pub struct DeviceCodes {
    points: Vec<Point>,
    /// Layers into whose scales the batch norm behind them is folded.
    folded: BTreeSet<String>,
    /// Nodes that read the network's input.
    readers: BTreeSet<String>,
}

/// Why a device does not execute a network as codes.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NotExecuted {
    /// A quantizer without codes.
    #[error("no device executes `{quantizer}` of `{node}` as codes of up to 16 bits")]
    Quantizer {
        /// The node.
        node: String,
        /// The quantizer.
        quantizer: String,
    },
    /// Values are rounded where a device has none.
    #[error(
        "a device computes `{0}` in one go with what is behind it, and rounds nothing between; leave its `linear` activation \
         without a quantizer"
    )]
    Inside(String),
}

impl DeviceCodes {
    /// Of networks that have this graph.
    ///
    /// Errors: those of [`device_points`].
    pub fn new(graph: &Graph) -> Result<Self, GraphError> {
        let readers = graph.nodes.iter().filter(|node| node.inputs.iter().any(|input| input == INPUT));
        Ok(Self {
            points: device_points(graph)?,
            folded: graph.batch_norm_folds().backward.into_iter().map(|(layer, _)| layer).collect(),
            readers: readers.map(|node| node.name.clone()).collect(),
        })
    }

    /// The widths of a network's codes, against floats everywhere. The input has codes where a layer with codes reads it, as
    /// images are bytes.
    ///
    /// Errors: what no device executes so.
    pub fn config(&self, changes: &Changes) -> Result<BitConfig, NotExecuted> {
        let mut chosen: BTreeMap<PointIndex, Choice> = BTreeMap::new();
        // Where several quantizers act on tensors that share their codes, the widest has all their values.
        let mut choose = |point: PointIndex, bits: Bits| {
            let choice = Choice::Bits(bits);
            chosen.entry(point).and_modify(|known| *known = choice.max(*known)).or_insert(choice);
        };
        for (node, quantizers) in &changes.quantizers {
            let refused = |quantizer: &Quantizer| NotExecuted::Quantizer {
                node: node.clone(),
                quantizer: quantizer.spelling(),
            };
            if let Some(kernel) = &quantizers.kernel {
                let bits = kernel_codes(kernel).ok_or_else(|| refused(kernel))?;
                let inside = || NotExecuted::Inside(node.clone());
                choose(self.find(|point| is_weight_of(point, node)).ok_or_else(inside)?, bits);
                if self.readers.contains(node)
                    && let Some(input) = self.find(|point| covers(point, INPUT))
                {
                    choose(input, image_codes());
                }
            }
            if let Some(activation) = &quantizers.activation {
                let bits = activation_codes(activation).ok_or_else(|| refused(activation))?;
                let point =
                    self.find(|point| covers(point, node)).filter(|_| !self.folded.contains(node.as_str()));
                choose(point.ok_or_else(|| NotExecuted::Inside(node.clone()))?, bits);
            }
        }
        Ok(BitConfig::against(Choice::Float, chosen))
    }

    fn find(&self, wanted: impl Fn(&Point) -> bool) -> Option<PointIndex> {
        (0..).map(PointIndex).zip(&self.points).find(|(_, point)| wanted(point)).map(|(index, _)| index)
    }
}

fn is_weight_of(point: &Point, node: &str) -> bool {
    point.kind == PointKind::Weight && point.node == node
}

fn covers(point: &Point, tensor: &str) -> bool {
    point.kind == PointKind::Activation && point.covers(tensor)
}

#[cfg(test)]
mod tests {
    use bitloop_core::graph::{Conv2d, Input, Linear, Op, Padding, Shape};
    use bitloop_core::trial::NodeQuantizers;

    use super::*;

    /// A convolution with a batch norm and a rectifier behind it, then a classifier.
    fn graph() -> Graph {
        let input = Input { shape: Shape(vec![1, 4, 4]), mean: vec![0.0], std: vec![1.0] };
        let mut graph = Graph::new("small", input);
        let conv = Conv2d {
            out_channels: 2,
            kernel: [3, 3],
            stride: [1, 1],
            padding: Padding::default(),
            dilation: [1, 1],
            groups: 1,
            bias: false,
        };
        graph.push("conv".to_owned(), Op::Conv2d(conv), &[INPUT]);
        graph.push("bn".to_owned(), Op::BatchNorm { eps: 1e-3 }, &["conv"]);
        graph.push("act".to_owned(), Op::Relu, &["bn"]);
        graph.push("flat".to_owned(), Op::Flatten, &["act"]);
        graph.push("dense".to_owned(), Op::Linear(Linear { out_features: 2, bias: true }), &["flat"]);
        graph
    }

    fn quantized(of: &[(&str, Option<&str>, Option<&str>)]) -> Changes {
        let read = |text: &Option<&str>| text.map(|text| text.parse().unwrap());
        let node = |(node, kernel, activation): &(&str, Option<&str>, Option<&str>)| {
            let quantizers =
                NodeQuantizers { kernel: read(kernel), bias: None, activation: read(activation) };
            ((*node).to_owned(), quantizers)
        };
        Changes { quantizers: of.iter().map(node).collect(), outputs: BTreeMap::new() }
    }

    fn widths(of: &[(&str, Option<&str>, Option<&str>)]) -> Result<Vec<(String, u32)>, NotExecuted> {
        let codes = DeviceCodes::new(&graph()).unwrap();
        let config = codes.config(&quantized(of))?;
        let named = config.changes().map(|(point, choice)| {
            let Choice::Bits(bits) = choice else { panic!("floats are the baseline") };
            (codes.points[point.0 as usize].name.clone(), bits.get())
        });
        Ok(named.collect())
    }

    #[test]
    fn quantizers_become_codes_of_the_network_with_its_batch_norms_folded() {
        let of = widths(&[
            ("conv", Some("binary"), None),
            ("act", None, Some("quantized_relu(3,1)")),
            ("dense", Some("quantized_bits(12,0,1)"), None),
        ]);

        let names: Vec<(String, u32)> = of.unwrap();
        let expected = [("input.output", 8), ("conv.weight", 2), ("act.output", 3), ("dense.weight", 16)];
        assert_eq!(names, expected.map(|(name, bits)| (name.to_owned(), bits)));
        // A later block's layers are floats, and so is the input that nothing with codes reads.
        let later = widths(&[("dense", Some("ternary"), None)]).unwrap();
        assert_eq!(later, [("dense.weight".to_owned(), 2)]);
        assert!(widths(&[]).unwrap().is_empty());
    }

    #[test]
    fn what_no_device_executes_is_refused() {
        let powers = widths(&[("dense", Some("quantized_po2(4)"), None)]).unwrap_err();
        assert_eq!(
            powers.to_string(),
            "no device executes `quantized_po2(4)` of `dense` as codes of up to 16 bits"
        );
        let inside = widths(&[("conv", Some("binary"), Some("quantized_bits(4,0,1)"))]);
        assert_eq!(inside, Err(NotExecuted::Inside("conv".to_owned())));
    }
}
