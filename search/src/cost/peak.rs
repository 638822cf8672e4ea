use std::collections::BTreeMap;

use bitloop_core::graph::{Graph, INPUT, Node, Op};

use super::subject::{FLOAT_BITS, Network};
use super::terms::Terms;
use super::{CostError, Subject, Width};
use crate::form::Form;
use crate::space::Space;

/// Largest sum of the activations that are alive at one time, one row per node that is executed. Units: bits.
///
/// Nodes are executed in the graph's order. A tensor lives from its node's turn to that of its last reader, the network's
/// output to the end, and one that nothing reads for its node's turn alone; a node's inputs and output are alive
/// together. Three kinds of tensors take no storage of their own:
/// - the output of an operator that keeps all values in their order (flatten, reshape, identity, dropout) is its input,
///   unless it is put on another grid;
/// - a tensor without a point, made by a node and read by one elementwise operator alone, is never stored: that operator is
///   applied as the values are made (convolution, batch norm and ReLU are one);
/// - constants are no activations.
///
/// A tensor has the width of the point that covers it, 32 bits without one. Rows that never exceed another are left out.
///
/// Source: Sony's Model Compression Toolkit limits the maximal cut of a memory graph (`compute_graph_max_cut`) over all
/// orders; here the order is given, so that the cuts are those between its steps.
pub(super) fn rows(subject: &Subject<'_>) -> Result<Vec<Form>, CostError> {
    let network = subject.network.ok_or(CostError::NeedsGraph("peak_activation"))?;
    let storages = storages(subject, network)?;
    let moments = (0..network.graph.nodes.len()).map(|moment| Moment::new(&storages, moment));
    let kept = without_dominated(moments.collect(), subject.space);
    Ok(kept.iter().map(|moment| moment.form(subject.space)).collect())
}

/// Memory that one tensor, or several after one another, take.
struct Storage {
    elements: i64,
    width: Width,
    born: usize,
    last_used: usize,
    /// Whether an elementwise operator could still be applied as it is filled.
    is_being_made: bool,
}

/// A network's storages, filled node by node.
struct Storages<'a> {
    graph: &'a Graph,
    /// Indices of the nodes that read a tensor.
    readers: BTreeMap<&'a str, Vec<usize>>,
    /// The width of every tensor that has a point.
    widths: BTreeMap<&'a str, Width>,
    /// The storage of every tensor that has one.
    of: BTreeMap<&'a str, usize>,
    all: Vec<Storage>,
}

fn storages(subject: &Subject<'_>, network: Network<'_>) -> Result<Vec<Storage>, CostError> {
    let graph = network.graph;
    let shapes = graph.shapes()?;
    let widths = network.points.iter().flat_map(|point| {
        let width = subject.width_or_float(Some(&point.name));
        point.tensors.iter().chain(&point.passed_on).map(move |tensor| (tensor.as_str(), width))
    });
    let mut readers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        for input in &node.inputs {
            readers.entry(input).or_default().push(index);
        }
    }
    let widths = widths.collect();
    let mut storages = Storages { graph, readers, widths, of: BTreeMap::new(), all: Vec::new() };
    storages.add(INPUT, 0, graph.input.shape.elements());
    // What arrives from outside is there before any operator could be applied to it.
    storages.all[0].is_being_made = false;
    for (index, shape) in shapes.iter().enumerate() {
        storages.place(index, shape.elements());
    }
    Ok(storages.all)
}

impl<'a> Storages<'a> {
    /// Gives a node's output storage, its own or its input's.
    fn place(&mut self, index: usize, elements: usize) {
        let graph = self.graph;
        let node = &graph.nodes[index];
        if matches!(node.op, Op::Constant { .. }) {
            return;
        }
        match self.shared(node) {
            None => self.add(&node.name, index, elements),
            Some(number) => {
                let (width, last_used) = (self.width(&node.name), self.last_used(&node.name, index));
                let storage = &mut self.all[number];
                storage.width = width;
                storage.last_used = storage.last_used.max(last_used);
                storage.is_being_made &= is_elementwise(&node.op);
                self.of.insert(&node.name, number);
            }
        }
    }

    /// The storage of its input, if a node's output takes no other.
    fn shared(&self, node: &Node) -> Option<usize> {
        let input = node.inputs.first()?.as_str();
        let number = *self.of.get(input)?;
        let storage = &self.all[number];
        let is_only_reader = self.readers[input].len() == 1;
        let is_never_stored = storage.is_being_made && is_only_reader && !self.widths.contains_key(input);
        let is_same = is_view(&node.op) && storage.width == self.width(&node.name);
        (is_same || is_elementwise(&node.op) && is_never_stored).then_some(number)
    }

    fn add(&mut self, tensor: &'a str, born: usize, elements: usize) {
        let (width, last_used) = (self.width(tensor), self.last_used(tensor, born));
        self.of.insert(tensor, self.all.len());
        self.all.push(Storage { elements: elements as i64, width, born, last_used, is_being_made: true });
    }

    fn width(&self, tensor: &str) -> Width {
        self.widths.get(tensor).copied().unwrap_or(Width::Fixed(FLOAT_BITS))
    }

    /// The turn of a tensor's last reader; the network's output is made last and so lives to the end.
    fn last_used(&self, tensor: &str, born: usize) -> usize {
        self.readers.get(tensor).and_then(|readers| readers.last()).copied().unwrap_or(born)
    }
}

/// Whether an operator's output is its input's values in the same order, when evaluating.
fn is_view(op: &Op) -> bool {
    matches!(op, Op::Flatten | Op::Reshape { .. } | Op::Identity | Op::Dropout { .. })
}

/// Whether each value that comes out follows from one that goes in.
fn is_elementwise(op: &Op) -> bool {
    match op {
        Op::BatchNorm { .. }
        | Op::Relu
        | Op::Relu6
        | Op::LeakyRelu { .. }
        | Op::PRelu
        | Op::HardSwish
        | Op::HardSigmoid { .. }
        | Op::Sigmoid
        | Op::Clip { .. } => true,
        Op::Conv2d(_)
        | Op::Linear(_)
        | Op::Add
        | Op::Mul
        | Op::Constant { .. }
        | Op::MaxPool(_)
        | Op::AveragePool(_)
        | Op::GlobalAveragePool
        | Op::Mean { .. }
        | Op::Concat { .. }
        | Op::Flatten
        | Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::Softmax { .. }
        | Op::Lrn { .. }
        | Op::Identity
        | Op::Dropout { .. } => false,
    }
}

/// What is alive while one node is executed.
struct Moment {
    fixed_bits: i64,
    /// Values by the variable that decides their width.
    elements: BTreeMap<usize, i64>,
}

impl Moment {
    fn new(storages: &[Storage], moment: usize) -> Self {
        let mut sum = Self { fixed_bits: 0, elements: BTreeMap::new() };
        for storage in storages.iter().filter(|storage| storage.born <= moment && moment <= storage.last_used)
        {
            match storage.width {
                Width::Fixed(bits) => sum.fixed_bits += storage.elements * i64::from(bits),
                Width::Variable(variable) => *sum.elements.entry(variable).or_default() += storage.elements,
            }
        }
        sum
    }

    /// The most that this moment takes beyond `other`, over all assignments.
    fn largest_excess(&self, other: &Self, space: &Space) -> i64 {
        let variables =
            self.elements.keys().chain(other.elements.keys().filter(|v| !self.elements.contains_key(v)));
        let excess = variables.map(|variable| {
            let of = |moment: &Self| moment.elements.get(variable).copied().unwrap_or(0);
            let widths = space.variables[*variable].widths.iter().map(|bits| i64::from(bits.get()));
            let elements = of(self) - of(other);
            widths.map(|bits| elements * bits).max().unwrap_or(0)
        });
        self.fixed_bits - other.fixed_bits + excess.sum::<i64>()
    }

    fn form(&self, space: &Space) -> Form {
        let mut terms = Terms::new(space);
        terms.add_constant(self.fixed_bits as f64);
        for (variable, elements) in &self.elements {
            terms.add(Width::Variable(*variable), |bits| *elements as f64 * f64::from(bits));
        }
        terms.form()
    }
}

/// The moments that are the largest somewhere; of equal ones the first.
fn without_dominated(moments: Vec<Moment>, space: &Space) -> Vec<Moment> {
    let mut kept: Vec<Moment> = Vec::new();
    for moment in moments {
        if kept.iter().any(|other| moment.largest_excess(other, space) <= 0) {
            continue;
        }
        kept.retain(|other| other.largest_excess(&moment, space) > 0);
        kept.push(moment);
    }
    kept
}
