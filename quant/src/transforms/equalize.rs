//! Cross-layer scaling: neighbouring convolutions get equal weight ranges per channel, by a scale that cancels.

use std::collections::{BTreeMap, BTreeSet};

use bitloop_core::graph::{Graph, Node, Op};

use super::layer::Layer;
use super::{Report, ScaledPair, ScaledSet, Transform, TransformError, Transformed};
use crate::model::Model;

/// Returns the network with the weight ranges of neighbouring convolutions made equal, channel by channel.
///
/// Convolutions in a chain with only ReLU and PReLU in between, no other consumer and no other operator, form a group;
/// each group is cut, left to right, into pairs and triples (convolution, depthwise, convolution) that are scaled in
/// order, once. With `r` the largest absolute weight per channel, a pair is divided by `s = r1 / sqrt(r1 r2)` and
/// multiplied by it; in a triple all three ranges become `(r1 r2 r3)^(1/3)`. A scale that is 0, infinite or NaN is 1.
/// The function stays, but for rounding. `sets` are those of this pass.
///
/// Errors: `Weight`; `Unusable` if a scaled weight is not finite.
/// Source: `/design/methods/aimet_and_demotion.md` section 1.3.
pub fn equalize(network: &Transformed) -> Result<(Transformed, Report), TransformError> {
    let mut equalized = network.clone();
    equalized.sets = Vec::new();
    for group in groups(&network.model.graph) {
        for links in cut(&group) {
            let set = match *links {
                [only] => scale_pair(&mut equalized, only)?,
                [first, second] => scale_triple(&mut equalized, [first, second])?,
                _ => continue,
            };
            equalized.sets.push(set);
        }
    }
    let transform = Transform::Equalize;
    equalized.model = Model::new(equalized.model.graph, equalized.model.weights).map_err(|source| {
        TransformError::Unusable { transform: transform.as_str(), source: Box::new(source) }
    })?;
    let touched = equalized.sets.iter().map(ScaledSet::layers).collect();
    Ok((equalized, Report { transform, touched }))
}

/// A convolution as far as scaling is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Every output sees every input.
    Dense,
    /// Every channel has its own filter.
    Depthwise,
    /// Neither; it is never scaled.
    Grouped,
}

/// Two neighbours in a group.
#[derive(Clone, Copy, Debug)]
struct Link<'a> {
    first: &'a str,
    second: &'a str,
    rectified: bool,
}

/// A chain of convolutions, and for each whether a rectifier follows it.
type Group<'a> = Vec<(&'a str, Kind, bool)>;

/// Returns the chains of convolutions, in the order of their first layers.
///
/// Chains share no layer, so neither their order nor the way a search visits branches changes a weight.
fn groups(graph: &Graph) -> Vec<Group<'_>> {
    let mut consumers: BTreeMap<&str, Vec<&Node>> = BTreeMap::new();
    for node in &graph.nodes {
        for input in &node.inputs {
            consumers.entry(input).or_default().push(node);
        }
    }
    let channels = channels_of(graph);
    let mut seen = BTreeSet::new();
    let mut groups = Vec::new();
    for start in &graph.nodes {
        let mut group = Group::new();
        let mut next = Some(start).filter(|node| matches!(node.op, Op::Conv2d(_)));
        while let Some(node) = next {
            match (&node.op, group.last_mut()) {
                (Op::Conv2d(conv), _) if seen.insert(node.name.as_str()) => {
                    let inputs = node.inputs.first().and_then(|input| channels.get(input.as_str()));
                    let kind = match conv.groups {
                        1 => Kind::Dense,
                        groups if groups == conv.out_channels && inputs == Some(&groups) => Kind::Depthwise,
                        _ => Kind::Grouped,
                    };
                    group.push((&node.name, kind, false));
                }
                (Op::Relu | Op::PRelu, Some((_, _, rectified))) => *rectified = true,
                (Op::Identity, _) => {}
                _ => break,
            }
            next = match consumers.get(node.name.as_str()).map(Vec::as_slice) {
                Some([only]) => Some(only),
                _ => None,
            };
        }
        if group.len() > 1 {
            groups.push(group);
        }
    }
    groups
}

fn channels_of(graph: &Graph) -> BTreeMap<&str, usize> {
    let shapes = graph.shapes().unwrap_or_default();
    let named = graph.nodes.iter().map(|node| node.name.as_str()).zip(shapes);
    let mut channels: BTreeMap<&str, usize> = named.map(|(name, shape)| (name, shape.channels())).collect();
    channels.insert(bitloop_core::graph::INPUT, graph.input.shape.channels());
    channels
}

/// Cuts a group into sets: one link for a pair, two for a triple.
fn cut<'a>(group: &Group<'a>) -> Vec<Vec<Link<'a>>> {
    let link = |at: usize| Link { first: group[at].0, second: group[at + 1].0, rectified: group[at].2 };
    let kinds: Vec<Kind> = group.iter().map(|(_, kind, _)| *kind).collect();
    let mut sets = Vec::new();
    let mut at = 0;
    while at < kinds.len() {
        match &kinds[at..] {
            [Kind::Dense, Kind::Depthwise, Kind::Dense, ..] => {
                sets.push(vec![link(at), link(at + 1)]);
                at += 2;
            }
            [Kind::Dense | Kind::Depthwise, Kind::Dense, ..] => {
                sets.push(vec![link(at)]);
                at += 1;
            }
            _ => at += 1,
        }
    }
    sets
}

fn scale_pair(network: &mut Transformed, link: Link<'_>) -> Result<ScaledSet, TransformError> {
    let mut first = Layer::read(&network.model, link.first)?;
    let mut second = Layer::read(&network.model, link.second)?;
    let ranges = first.output_ranges().into_iter().zip(second.input_ranges());
    let scale: Vec<f32> = ranges.map(|(r1, r2)| usable(r1 / (r1 * r2).sqrt())).collect();
    divide_outputs(network, &mut first, (link.first, &scale));
    second.scale_inputs(&scale);
    divide_input_mean(network, link.second, &scale);
    first.write(&mut network.model)?;
    second.write(&mut network.model)?;
    Ok(ScaledSet { pairs: vec![link.scaled(scale)] })
}

fn scale_triple(network: &mut Transformed, links: [Link<'_>; 2]) -> Result<ScaledSet, TransformError> {
    let [before, behind] = links;
    let mut first = Layer::read(&network.model, before.first)?;
    let mut middle = Layer::read(&network.model, before.second)?;
    let mut last = Layer::read(&network.model, behind.second)?;
    let ranges = first.output_ranges().into_iter().zip(middle.output_ranges()).zip(last.input_ranges());
    let (scale_before, scale_behind): (Vec<f32>, Vec<f32>) = ranges
        .map(|((r1, r2), r3)| {
            let common = (r1 * r2 * r3).cbrt();
            (usable(r1 / common), usable(common / r3))
        })
        .unzip();
    divide_outputs(network, &mut first, (before.first, &scale_before));
    // A depthwise filter's input channel is its output channel.
    middle.scale_outputs(&scale_before);
    divide_outputs(network, &mut middle, (behind.first, &scale_behind));
    last.scale_inputs(&scale_behind);
    divide_input_mean(network, behind.second, &scale_behind);
    for layer in [first, middle, last] {
        layer.write(&mut network.model)?;
    }
    Ok(ScaledSet { pairs: vec![before.scaled(scale_before), behind.scaled(scale_behind)] })
}

impl Link<'_> {
    fn scaled(self, scale: Vec<f32>) -> ScaledPair {
        let Self { first, second, rectified } = self;
        ScaledPair { first: first.to_owned(), second: second.to_owned(), scale, rectified }
    }
}

fn usable(scale: f32) -> f32 {
    // A subnormal scale would have no finite reciprocal.
    if scale.is_normal() { scale } else { 1.0 }
}

/// Divides a layer's outputs, and what is known of them, by a scale.
fn divide_outputs(network: &mut Transformed, layer: &mut Layer, (name, scale): (&str, &[f32])) {
    let factors: Vec<f32> = scale.iter().map(|scale| 1.0 / scale).collect();
    layer.scale_outputs(&factors);
    layer.scale_bias(&factors);
    if let Some(norm) = network.norms.outputs.get_mut(name) {
        for values in [&mut norm.gamma, &mut norm.beta] {
            values.iter_mut().zip(scale).for_each(|(value, scale)| *value /= scale);
        }
    }
}

fn divide_input_mean(network: &mut Transformed, layer: &str, scale: &[f32]) {
    if let Some(mean) = network.norms.input_means.get_mut(layer) {
        mean.iter_mut().zip(scale).for_each(|(mean, scale)| *mean /= scale);
    }
}
