use std::collections::{BTreeMap, BTreeSet};

use bitloop_core::bits::Bits;
use bitloop_core::graph::{Graph, Point};

use super::{CostError, Table};
use crate::space::Space;

/// Width of a tensor without a quantizer.
pub(super) const FLOAT_BITS: u32 = 32;

/// Where an operand's width comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// From the assignment: the width of this variable.
    Variable(usize),
    /// It is always this many bits.
    Fixed(u32),
}

/// A layer with weights as costs see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// Multiply-accumulates per image; may be half of one more where a published count is followed.
    pub macs: f64,
    /// Number of weights, without the bias.
    pub weights: f64,
    /// The weights' width.
    pub weight: Width,
    /// The width of what the layer reads.
    pub input: Width,
}

/// What costs are counted for: a network, the part of its points that is searched, and tables of measured prices.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// The searched points.
    pub space: &'a Space,
    /// All layers with weights, searched or not.
    pub layers: Vec<Layer>,
    /// Prices that were measured, by their names.
    pub tables: Vec<Table>,
    /// Points that are not searched, with their widths.
    pub(super) fixed: BTreeMap<String, u32>,
    /// The network behind the layers, where it is known.
    pub(super) network: Option<Network<'a>>,
}

/// A graph and where its quantizers stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Network<'a> {
    pub(super) graph: &'a Graph,
    pub(super) points: &'a [Point],
}

impl<'a> Subject<'a> {
    /// A network as it is quantized: points that are not searched have the baseline's width, tensors without a point 32
    /// bits, as in a [`Report`](bitloop_core::report::Report).
    ///
    /// Errors: `UnknownVariable` if the space has other points; those of [`Graph::shapes`].
    pub fn of_graph(
        graph: &'a Graph,
        points: &'a [Point],
        baseline: Bits,
        space: &'a Space,
    ) -> Result<Self, CostError> {
        let names: BTreeSet<&str> = points.iter().map(|point| point.name.as_str()).collect();
        if let Some(other) = space.variables.iter().find(|variable| !names.contains(variable.name.as_str())) {
            return Err(CostError::UnknownVariable(other.name.clone()));
        }
        let fixed = names.iter().filter(|name| space.find(name).is_none());
        let mut subject = Self {
            space,
            layers: Vec::new(),
            tables: Vec::new(),
            fixed: fixed.map(|name| ((*name).to_owned(), baseline.get())).collect(),
            network: Some(Network { graph, points }),
        };
        for layer in graph.layer_costs_with(points)? {
            subject.layers.push(Layer {
                macs: layer.macs as f64,
                weights: layer.weights as f64,
                weight: subject.width_or_float(Some(&format!("{}.weight", layer.node))),
                input: subject.width_or_float(layer.input_point.as_deref()),
                name: layer.node,
            });
        }
        Ok(subject)
    }

    /// The same with these tables of prices beside it.
    #[must_use]
    pub fn with_tables(mut self, tables: Vec<Table>) -> Self {
        self.tables = tables;
        self
    }

    /// Where the width of a point comes from; none if there is no such point.
    pub(super) fn width(&self, point: &str) -> Option<Width> {
        let fixed = || self.fixed.get(point).map(|bits| Width::Fixed(*bits));
        self.space.find(point).map(Width::Variable).or_else(fixed)
    }

    /// Where a tensor's width comes from, by its point if it has one.
    pub(super) fn width_or_float(&self, point: Option<&str>) -> Width {
        point.and_then(|point| self.width(point)).unwrap_or(Width::Fixed(FLOAT_BITS))
    }
}
