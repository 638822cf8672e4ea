//! The graph that grows while a file is read, with weights, encodings and shapes.

use std::collections::BTreeMap;

use bitloop_core::graph::{Graph, INPUT, Input, Node, Op, Shape};
use candle_core::{Device, Tensor};

use super::call::{Call, Value};
use super::encoding::ImportedEncoding;
use super::error::Reason;
use super::names::{Names, clean};
use super::tensor::{Constant, Values};

/// Values at most that folding may make beyond those in the file: 1 GiB in f32.
const MADE_MAX: usize = 1 << 28;

/// A graph under construction.
pub(super) struct Builder {
    pub(super) graph: Graph,
    pub(super) weights: BTreeMap<String, Tensor>,
    /// By `<node>.output`, `<node>.weight`, `<node>.bias`.
    pub(super) encodings: BTreeMap<String, ImportedEncoding>,
    shapes: BTreeMap<String, Shape>,
    names: Names,
    /// Constants of the file that are nodes already, by their tensor there and the rank they meet.
    constants: BTreeMap<(String, usize), String>,
    made: usize,
}

impl Builder {
    /// Starts with an input whose normalization is still to be set.
    pub(super) fn new(name: &str, shape: Shape) -> Self {
        let input = Input { shape: shape.clone(), mean: Vec::new(), std: Vec::new() };
        Self {
            graph: Graph::new(name, input),
            weights: BTreeMap::new(),
            encodings: BTreeMap::new(),
            shapes: BTreeMap::from([(INPUT.to_owned(), shape)]),
            names: Names::new(),
            constants: BTreeMap::new(),
            made: 0,
        }
    }

    /// The shape of a node's output, or of the input, for one image.
    pub(super) fn shape(&self, node: &str) -> &Shape {
        self.shapes.get(node).expect("only names that `push` gave are asked for")
    }

    /// Counts values that are about to be made.
    ///
    /// Errors: `TooLarge` where they are too many together with those before.
    pub(super) fn charge(&mut self, elements: Option<usize>) -> Result<(), Reason> {
        self.made = elements.and_then(|more| self.made.checked_add(more)).unwrap_or(usize::MAX);
        if self.made > MADE_MAX { Err(Reason::TooLarge) } else { Ok(()) }
    }

    /// Appends a node under a free name like this one, and returns the name.
    ///
    /// Errors: `Graph` where the operator cannot work on inputs of these shapes.
    pub(super) fn push(&mut self, name: &str, op: Op, inputs: &[&str]) -> Result<String, Reason> {
        let inputs: Vec<String> = inputs.iter().map(|input| (*input).to_owned()).collect();
        let mut node = Node { name: name.to_owned(), op, inputs };
        let shapes: Vec<&Shape> = node.inputs.iter().map(|input| self.shape(input)).collect();
        let shape = node.output_shape(&shapes)?;
        node.name = self.names.claim(name);
        let name = node.name.clone();
        self.shapes.insert(name.clone(), shape);
        self.graph.nodes.push(node);
        Ok(name)
    }

    /// Appends a node with one input and returns its output as a value.
    ///
    /// Errors: those of [`Builder::push`].
    pub(super) fn push_value(&mut self, name: &str, op: Op, input: &str) -> Result<Value, Reason> {
        Ok(Value::Tensor(self.push(name, op, &[input])?))
    }

    /// Stores a weight of a node.
    pub(super) fn weight(
        &mut self,
        node: &str,
        part: &str,
        shape: &[usize],
        values: Vec<f32>,
    ) -> Result<(), Reason> {
        let name = format!("{node}.{part}");
        match Tensor::from_vec(values, shape, &Device::Cpu) {
            Ok(tensor) => {
                self.weights.insert(name, tensor);
                Ok(())
            }
            Err(source) => Err(Reason::Weight { name, source }),
        }
    }

    /// Stores the encoding of a weight or an output.
    pub(super) fn encoding(&mut self, node: &str, part: &str, encoding: Option<ImportedEncoding>) {
        if let Some(encoding) = encoding {
            self.encodings.insert(format!("{node}.{part}"), encoding);
        }
    }

    /// Returns the node for a constant input that meets a tensor of `rank` axes with the batch.
    ///
    /// Errors: those of [`Builder::push_constant`].
    pub(super) fn constant_node(
        &mut self,
        call: &Call<'_>,
        index: usize,
        rank: usize,
    ) -> Result<String, Reason> {
        let constant = call.required(index)?;
        let key = (call.node.input.get(index).cloned().unwrap_or_default(), rank);
        if let Some(node) = self.constants.get(&key) {
            return Ok(node.clone());
        }
        let name = self.push_constant(constant, index, rank)?;
        self.constants.insert(key, name.clone());
        Ok(name)
    }

    /// Appends a constant, without its batch axis.
    ///
    /// Errors: `ConstantShape` where it differs from image to image, `ElementType`.
    pub(super) fn push_constant(
        &mut self,
        constant: &Constant,
        index: usize,
        rank: usize,
    ) -> Result<String, Reason> {
        let Values::Floats(values) = &constant.values else {
            return Err(Reason::ElementType { index, expected: "floats" });
        };
        let mut shape = constant.shape.as_slice();
        while let [1, rest @ ..] = shape
            && shape.len() >= rank
        {
            shape = rest;
        }
        if shape.len() >= rank || shape.contains(&0) {
            let expected = format!("at most {} axes, and not one per image,", rank.saturating_sub(1));
            return Err(Reason::ConstantShape { found: constant.shape.clone(), expected });
        }
        let shape = if shape.is_empty() { vec![1] } else { shape.to_vec() };
        // A model file calls the tensor of the constant `n` `n.value`.
        let own = constant.name.strip_suffix(".value").unwrap_or(&constant.name);
        let name = self.push(&clean(own, "constant"), Op::Constant { shape: shape.clone() }, &[])?;
        self.weight(&name, "value", &shape, values.to_vec())?;
        self.encoding(&name, "output", constant.encoding.clone());
        Ok(name)
    }
}
