use std::collections::BTreeMap;

use super::classes::Classes;
use super::operator::Operator;
use super::supergroups::{Membership, memberships};
use super::tensors::Tensors;
use super::{Activations, LayerPlace, Placement, Selector, Treatment};
use crate::graph::{Graph, GraphError, Point, PointKind};
use crate::spec::matches;

impl Placement {
    /// Returns every quantizer point in topological order: the input, then per node its weight and its output.
    ///
    /// Tensors that share a quantizer are one point, which stands at the first tied operator among them (a
    /// concatenation), or else where the first of them is made.
    ///
    /// Errors: those of [`Graph::shapes`].
    pub fn points(&self, graph: &Graph) -> Result<Vec<Point>, GraphError> {
        let weights: BTreeMap<String, usize> =
            graph.bare_layer_costs()?.into_iter().map(|layer| (layer.node, layer.weights)).collect();
        let tensors = Tensors::new(graph)?;
        let mut placing = Placing::new(self, &tensors);
        let mut outputs = placing.outputs();
        let mut points = Vec::new();
        for tensor in 0..tensors.len() {
            let name = tensors.name(tensor);
            if placing.carries_weight(tensor) {
                points.push(Point {
                    name: format!("{name}.weight"),
                    kind: PointKind::Weight,
                    node: name.to_owned(),
                    elements: weights[name],
                    tensors: Vec::new(),
                    passed_on: Vec::new(),
                    fixed: placing.is_fixed(tensor),
                });
            }
            points.extend(outputs.remove(&tensor));
        }
        Ok(points.into_iter().filter_map(|point| self.with_exceptions(point)).collect())
    }

    /// Names the nodes whose outputs carry no quantizer because a supergroup goes on behind them, each with the node
    /// at its supergroup's end.
    ///
    /// Errors: those of [`Graph::shapes`].
    pub fn fused(&self, graph: &Graph) -> Result<BTreeMap<String, String>, GraphError> {
        let tensors = Tensors::new(graph)?;
        let memberships = memberships(&tensors, &self.supergroups);
        let fused = memberships.iter().enumerate().filter_map(|(tensor, membership)| match membership {
            Membership::Fused(last) => {
                Some((tensors.name(tensor).to_owned(), tensors.name(*last).to_owned()))
            }
            Membership::Outside | Membership::Last => None,
        });
        Ok(fused.collect())
    }

    /// The point as the last exception for it says.
    fn with_exceptions(&self, mut point: Point) -> Option<Point> {
        let treatment = self.exceptions.iter().rev().find_map(|exception| match &exception.selector {
            Selector::Point(pattern) => matches(pattern, &point.name).then_some(exception.treatment),
            Selector::Node(_) | Selector::Layer(_) => None,
        });
        match treatment {
            Some(Treatment::None) => return None,
            Some(Treatment::Keep) => point.fixed = false,
            Some(Treatment::Fixed) => point.fixed = true,
            None => {}
        }
        Some(point)
    }
}

/// What becomes of a tensor.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// A quantizer acts on it.
    Quantized,
    /// It is on its input's grid without one.
    PassedOn,
    /// Neither.
    Float,
}

/// Rules meeting a graph.
struct Placing<'a> {
    rules: &'a Placement,
    tensors: &'a Tensors<'a>,
    treatments: Vec<Option<Treatment>>,
    roles: Vec<Role>,
    classes: Classes,
}

impl<'a> Placing<'a> {
    fn new(rules: &'a Placement, tensors: &'a Tensors<'a>) -> Self {
        let mut placing = Self {
            rules,
            tensors,
            treatments: vec![None; tensors.len()],
            roles: Vec::with_capacity(tensors.len()),
            classes: Classes::new(tensors.len()),
        };
        placing.treat_nodes();
        for (tensor, membership) in memberships(tensors, &rules.supergroups).into_iter().enumerate() {
            let role = match membership {
                Membership::Fused(_) => Role::Float,
                Membership::Last => placing.own_role(tensor),
                Membership::Outside => placing.role_outside(tensor),
            };
            placing.roles.push(role);
        }
        placing
    }

    fn treat_nodes(&mut self) {
        let layers: Vec<usize> = (1..self.tensors.len()).filter(|tensor| self.is_layer(*tensor)).collect();
        for exception in &self.rules.exceptions {
            for tensor in 0..self.tensors.len() {
                let meant = match &exception.selector {
                    Selector::Point(_) => false,
                    Selector::Node(pattern) => matches(pattern, self.tensors.name(tensor)),
                    Selector::Layer(LayerPlace::First) => layers.first() == Some(&tensor),
                    Selector::Layer(LayerPlace::Last) => layers.last() == Some(&tensor),
                    Selector::Layer(LayerPlace::Shortcut) => self.is_shortcut(tensor),
                };
                if meant {
                    self.treatments[tensor] = Some(exception.treatment);
                }
            }
        }
    }

    fn is_layer(&self, tensor: usize) -> bool {
        self.tensors.is_any_of(tensor, &Operator::LAYERS.map(|(_, operator)| operator))
    }

    /// See [`LayerPlace::Shortcut`].
    fn is_shortcut(&self, tensor: usize) -> bool {
        self.is_layer(tensor) && self.feeds_sum(tensor) && {
            let readers = &self.tensors.consumers[self.tensors.inputs[tensor][0]];
            readers.iter().any(|other| self.is_layer(*other) && !self.feeds_sum(*other))
        }
    }

    /// Whether a tensor goes straight into a sum, but for batch norms.
    fn feeds_sum(&self, tensor: usize) -> bool {
        let mut end = tensor;
        while let [next] = self.tensors.consumers[end][..] {
            match self.tensors.operators[next].map(Operator::as_str) {
                Some("batch_norm") => end = next,
                operator => return operator == Some("add"),
            }
        }
        false
    }

    /// What a tensor is that shares nothing with its operator's inputs.
    fn own_role(&self, tensor: usize) -> Role {
        let float = match self.treatments[tensor] {
            Some(Treatment::None) => true,
            Some(Treatment::Keep | Treatment::Fixed) => false,
            None if tensor == 0 => !self.rules.inputs,
            None => self.tensors.is_any_of(tensor, &self.rules.float),
        };
        if float { Role::Float } else { Role::Quantized }
    }

    fn role_outside(&mut self, tensor: usize) -> Role {
        let rules = self.rules;
        let passes_on = self.tensors.is_any_of(tensor, &rules.pass_through);
        let joins = passes_on
            || self.tensors.is_any_of(tensor, &rules.shared)
            || self.tensors.is_any_of(tensor, &rules.tied);
        if joins {
            for input in &self.tensors.inputs[tensor] {
                self.classes.join(tensor, *input);
            }
        }
        if passes_on { Role::PassedOn } else { self.own_role(tensor) }
    }

    fn carries_weight(&self, tensor: usize) -> bool {
        self.tensors.is_any_of(tensor, &self.rules.weights.operators)
            && self.treatments[tensor] != Some(Treatment::None)
    }

    fn is_fixed(&self, tensor: usize) -> bool {
        self.treatments[tensor] == Some(Treatment::Fixed)
    }

    /// The points of activations by the tensor at which they stand.
    fn outputs(&mut self) -> BTreeMap<usize, Point> {
        let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for tensor in 0..self.tensors.len() {
            members.entry(self.classes.of(tensor)).or_default().push(tensor);
        }
        members.values().filter_map(|members| self.output(members)).collect()
    }

    /// The point of one class, if it has any.
    fn output(&self, members: &[usize]) -> Option<(usize, Point)> {
        let tied = |tensor: &usize| self.tensors.is_any_of(*tensor, &self.rules.tied);
        let quantized = || members.iter().copied().filter(|tensor| self.roles[*tensor] == Role::Quantized);
        let at = quantized().find(tied).or_else(|| quantized().next())?;
        let consumers = members.iter().flat_map(|tensor| &self.tensors.consumers[*tensor]);
        let readers: Vec<usize> = consumers.copied().filter(|tensor| self.is_layer(*tensor)).collect();
        if self.rules.activations == Activations::LayerInputs && readers.is_empty() {
            return None;
        }
        let names = |role: Role| {
            let with_role = members.iter().filter(move |tensor| self.roles[**tensor] == role);
            with_role.map(|tensor| self.tensors.name(*tensor).to_owned()).collect()
        };
        let name = self.tensors.name(at);
        let point = Point {
            name: format!("{name}.output"),
            kind: PointKind::Activation,
            node: name.to_owned(),
            elements: self.tensors.elements[at],
            tensors: names(Role::Quantized),
            passed_on: names(Role::PassedOn),
            fixed: !readers.is_empty() && readers.iter().all(|layer| self.is_fixed(*layer)),
        };
        Some((at, point))
    }
}
