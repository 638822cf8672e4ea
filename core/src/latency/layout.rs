use std::collections::{BTreeMap, BTreeSet};

use super::FLOAT_BITS;
use crate::bits::{BitConfig, Choice, PointIndex};
use crate::graph::{Graph, GraphError, INPUT, Node, PointKind, Shape};
use crate::plan::Plan;

/// A node of the network as prices see it: two widths decide what it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    /// The node.
    pub node: String,
    /// The point of its weight, if it has one.
    pub weight: Option<PointIndex>,
    /// The point on whose grid it reads, or writes where it reads from none.
    pub input: Option<PointIndex>,
    /// Whether it is the one that a change of `input` is charged to where units are measured one by one: the first that reads it.
    pub owns_input: bool,
    /// Number of weights.
    pub weights: f64,
    /// Units of one kind do the same with tensors of the same shapes.
    pub kind: usize,
}

/// Two activation points, the second computed from the first: where their widths differ, values are converted.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    /// The point that is read.
    pub from: PointIndex,
    /// The point that is written.
    pub to: PointIndex,
    /// Values of the latter.
    pub elements: f64,
}

/// A network as a sum of units and of edges between them.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// The nodes, in graph order.
    pub units: Vec<Unit>,
    /// Pairs of points.
    pub edges: Vec<Edge>,
    /// What points have that a config does not name.
    pub baseline: Choice,
}

impl Layout {
    /// The layout of a plan's network.
    ///
    /// Errors: those of [`Graph::shapes`].
    pub fn new(plan: &Plan) -> Result<Self, GraphError> {
        let shapes = plan.graph.shapes()?;
        let mut covered: BTreeMap<&str, PointIndex> = BTreeMap::new();
        let mut weights: BTreeMap<&str, PointIndex> = BTreeMap::new();
        for (index, point) in (0..).map(PointIndex).zip(&plan.points) {
            match point.kind {
                PointKind::Weight => _ = weights.insert(&point.node, index),
                PointKind::Activation => {
                    let tensors = point.tensors.iter().chain(&point.passed_on);
                    covered.extend(tensors.map(|tensor| (tensor.as_str(), index)));
                }
            }
        }
        let mut kinds = Kinds::new(&plan.graph, &shapes);
        let mut owned = BTreeSet::new();
        let unit = |node: &Node| {
            let read = node.inputs.first().and_then(|input| covered.get(input.as_str()));
            let input = read.or_else(|| covered.get(node.name.as_str())).copied();
            let weight = weights.get(node.name.as_str()).copied();
            let owns_input = input.is_some_and(|input| owned.insert(input));
            let elements = weight.map_or(0, |point| plan.points[point.0 as usize].elements);
            let kind = kinds.of(node, weight.is_some(), owns_input);
            Unit { node: node.name.clone(), weight, input, owns_input, weights: elements as f64, kind }
        };
        let units = plan.graph.nodes.iter().map(unit).collect();
        Ok(Self { units, edges: edges(plan, &covered), baseline: Choice::Bits(plan.candidates.baseline) })
    }

    /// The width of a point in a config.
    pub fn width(&self, config: &BitConfig, point: Option<PointIndex>) -> u32 {
        match point.map(|point| config.choice(point, self.baseline)) {
            Some(Choice::Bits(bits)) => bits.get(),
            Some(Choice::Float) | None => FLOAT_BITS,
        }
    }

    /// A unit's widths in a config: its weight's, none without weights, and its input's.
    pub fn widths(&self, config: &BitConfig, unit: &Unit) -> (Option<u32>, u32) {
        (unit.weight.map(|point| self.width(config, Some(point))), self.width(config, unit.input))
    }

    /// Values that a config has converted between points of different widths.
    pub fn changed_elements(&self, config: &BitConfig) -> f64 {
        let differs = |edge: &&Edge| self.width(config, Some(edge.from)) != self.width(config, Some(edge.to));
        self.edges.iter().filter(differs).map(|edge| edge.elements).sum()
    }
}

/// Numbers kinds of units in the order in which they come.
struct Kinds<'a> {
    shape_of: BTreeMap<&'a str, &'a Shape>,
    known: Vec<String>,
}

impl<'a> Kinds<'a> {
    fn new(graph: &'a Graph, shapes: &'a [Shape]) -> Self {
        let nodes = graph.nodes.iter().map(|node| node.name.as_str()).zip(shapes);
        Self { shape_of: nodes.chain([(INPUT, &graph.input.shape)]).collect(), known: Vec::new() }
    }

    fn of(&mut self, node: &Node, has_weight: bool, owns_input: bool) -> usize {
        let inputs: Vec<_> = node.inputs.iter().map(|input| self.shape_of.get(input.as_str())).collect();
        let kind = format!("{:?} {inputs:?} {has_weight} {owns_input}", node.op);
        self.known.iter().position(|known| *known == kind).unwrap_or_else(|| {
            self.known.push(kind);
            self.known.len() - 1
        })
    }
}

/// For every activation point those that its tensors are computed from, without another point between.
fn edges(plan: &Plan, covered: &BTreeMap<&str, PointIndex>) -> Vec<Edge> {
    let inputs: BTreeMap<&str, &[String]> =
        plan.graph.nodes.iter().map(|node| (node.name.as_str(), node.inputs.as_slice())).collect();
    let mut edges = Vec::new();
    for (to, point) in (0..).map(PointIndex).zip(&plan.points) {
        let mut seen = BTreeSet::new();
        let mut open: Vec<&str> = point.tensors.iter().map(String::as_str).collect();
        while let Some(tensor) = open.pop() {
            for input in inputs.get(tensor).copied().unwrap_or_default() {
                match covered.get(input.as_str()) {
                    Some(from) if *from != to => _ = seen.insert(*from),
                    Some(_) => {}
                    None => open.push(input),
                }
            }
        }
        edges.extend(seen.into_iter().map(|from| Edge { from, to, elements: point.elements as f64 }));
    }
    edges
}
