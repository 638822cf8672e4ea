//! Which nodes the output needs, in an order in which they can be computed.

use std::collections::{BTreeMap, BTreeSet};

use super::error::ImportError;
use super::schema::{GraphProto, NodeProto, TensorProto, ValueInfoProto};

/// What is to be imported of a file's graph.
pub(super) struct Topology<'a> {
    /// Nodes that the output depends on; in the order of the file wherever that is possible.
    pub(super) order: Vec<&'a NodeProto>,
    /// The image.
    pub(super) input: &'a ValueInfoProto,
    /// Name of the output.
    pub(super) output: &'a str,
    /// Constants by their names.
    pub(super) initializers: BTreeMap<&'a str, &'a TensorProto>,
}

/// Finds input, output and the nodes between them.
///
/// Of several outputs the one is taken that no other one depends on; outputs in the middle of the network are
/// auxiliary. Inputs that have an initializer are weights, as files of early versions list them.
///
/// Errors: `DuplicateTensor`, `NoOutput`, `Outputs`, `UnknownTensor`, `Cycle`, `Inputs`.
pub(super) fn topology<'a>(graph: &'a GraphProto, output: Option<&str>) -> Result<Topology<'a>, ImportError> {
    let initializers = initializers(graph)?;
    let sources = Sources::new(graph, &initializers)?;
    let output = chosen_output(graph, &sources, output)?;
    let live = sources.ancestors(output);
    sources.check_reads(&live)?;
    let order = sources.sorted(&live)?;
    let read: BTreeSet<&str> =
        order.iter().flat_map(|node| &node.input).map(String::as_str).chain([output]).collect();
    let is_image = |input: &&ValueInfoProto| !initializers.contains_key(input.name.as_str());
    let images: Vec<_> = graph.input.iter().filter(is_image).collect();
    let used: Vec<_> = images.iter().filter(|input| read.contains(input.name.as_str())).collect();
    match used.as_slice() {
        [input] => Ok(Topology { order, input, output, initializers }),
        [] => Err(ImportError::Nothing { name: output.to_owned() }),
        _ => Err(ImportError::Inputs { names: used.iter().map(|input| input.name.clone()).collect() }),
    }
}

/// The node's name, or where it has none what it gives.
pub(super) fn label(node: &NodeProto) -> String {
    match node.name.is_empty() {
        false => node.name.clone(),
        true => node.output.iter().find(|name| !name.is_empty()).cloned().unwrap_or_default(),
    }
}

fn initializers(graph: &GraphProto) -> Result<BTreeMap<&str, &TensorProto>, ImportError> {
    let mut initializers = BTreeMap::new();
    for tensor in &graph.initializer {
        if initializers.insert(tensor.name.as_str(), tensor).is_some() {
            return Err(ImportError::DuplicateTensor { name: tensor.name.clone() });
        }
    }
    Ok(initializers)
}

/// Where every tensor comes from.
struct Sources<'a> {
    nodes: &'a [NodeProto],
    /// Tensor -> position of the node that gives it.
    producers: BTreeMap<&'a str, usize>,
    /// Initializers and inputs.
    given: BTreeSet<&'a str>,
}

impl<'a> Sources<'a> {
    fn new(
        graph: &'a GraphProto,
        initializers: &BTreeMap<&'a str, &TensorProto>,
    ) -> Result<Self, ImportError> {
        let mut given: BTreeSet<&str> = initializers.keys().copied().collect();
        let mut inputs = BTreeSet::new();
        for input in &graph.input {
            if !inputs.insert(input.name.as_str()) {
                return Err(ImportError::DuplicateTensor { name: input.name.clone() });
            }
            given.insert(&input.name);
        }
        let mut producers = BTreeMap::new();
        for (index, node) in graph.node.iter().enumerate() {
            for output in node.output.iter().filter(|name| !name.is_empty()) {
                if producers.insert(output.as_str(), index).is_some() || given.contains(output.as_str()) {
                    return Err(ImportError::DuplicateTensor { name: output.clone() });
                }
            }
        }
        Ok(Self { nodes: &graph.node, producers, given })
    }

    /// Positions of the nodes that the tensor depends on.
    fn ancestors(&self, tensor: &str) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut open: Vec<usize> = self.producers.get(tensor).copied().into_iter().collect();
        while let Some(index) = open.pop() {
            if found.insert(index) {
                open.extend(self.reads(index).filter_map(|name| self.producers.get(name)));
            }
        }
        found
    }

    fn reads(&self, index: usize) -> impl Iterator<Item = &'a str> {
        self.nodes[index].input.iter().map(String::as_str).filter(|name| !name.is_empty())
    }

    fn check_reads(&self, live: &BTreeSet<usize>) -> Result<(), ImportError> {
        for index in live {
            let is_unknown = |name: &&str| !self.producers.contains_key(name) && !self.given.contains(name);
            if let Some(tensor) = self.reads(*index).find(is_unknown) {
                let node = format!("`{}`", label(&self.nodes[*index]));
                return Err(ImportError::UnknownTensor { node, tensor: tensor.to_owned() });
            }
        }
        Ok(())
    }

    /// The first node of the file that can be computed comes first, then the first of the remaining ones, ...
    fn sorted(&self, live: &BTreeSet<usize>) -> Result<Vec<&'a NodeProto>, ImportError> {
        let mut waits_for: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        let mut consumers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for &index in live {
            let needed: BTreeSet<usize> =
                self.reads(index).filter_map(|name| self.producers.get(name).copied()).collect();
            for producer in &needed {
                consumers.entry(*producer).or_default().push(index);
            }
            waits_for.insert(index, needed);
        }
        let mut ready: BTreeSet<usize> =
            waits_for.iter().filter(|(_, needed)| needed.is_empty()).map(|(index, _)| *index).collect();
        let mut order = Vec::with_capacity(live.len());
        while let Some(index) = ready.pop_first() {
            waits_for.remove(&index);
            order.push(&self.nodes[index]);
            for consumer in consumers.remove(&index).unwrap_or_default() {
                if let Some(needed) = waits_for.get_mut(&consumer) {
                    needed.remove(&index);
                    if needed.is_empty() {
                        ready.insert(consumer);
                    }
                }
            }
        }
        match waits_for.is_empty() {
            true => Ok(order),
            false => {
                Err(ImportError::Cycle { nodes: waits_for.keys().map(|i| label(&self.nodes[*i])).collect() })
            }
        }
    }
}

fn chosen_output<'a>(
    graph: &'a GraphProto,
    sources: &Sources<'_>,
    asked: Option<&str>,
) -> Result<&'a str, ImportError> {
    let names: Vec<&str> = graph.output.iter().map(|output| output.name.as_str()).collect();
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    if let Some(asked) = asked {
        let found = names.iter().find(|name| **name == asked);
        let missing = || ImportError::NoOutput { name: Some(asked.to_owned()), names: owned(&names) };
        return found.copied().ok_or_else(missing);
    }
    if let [only] = names.as_slice() {
        return Ok(only);
    }
    let above: Vec<(&str, BTreeSet<usize>)> =
        names.iter().map(|name| (*name, sources.ancestors(name))).collect();
    let is_auxiliary = |name: &str| {
        let producer = sources.producers.get(name);
        // Something that another output is computed from, or that no node computes.
        producer.is_none_or(|producer| {
            above.iter().any(|(other, nodes)| *other != name && nodes.contains(producer))
        })
    };
    let last: Vec<&str> = names.iter().copied().filter(|name| !is_auxiliary(name)).collect();
    match last.as_slice() {
        [only] => Ok(only),
        [] => Err(ImportError::NoOutput { name: None, names: owned(&names) }),
        _ => Err(ImportError::Outputs { names: owned(&last) }),
    }
}
