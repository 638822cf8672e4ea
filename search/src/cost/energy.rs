use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use bitloop_core::bits::{BitConfig, Bits, Choice, PointIndex};
use bitloop_core::graph::{GraphError, PointKind};
use bitloop_core::plan::Plan;
use bitloop_core::qkeras::{Grammar, Quantizer};

use super::terms::Terms;
use super::{Cost, Width, divided};
use crate::energy::{Profile, ValueCounts};
use crate::goal::{EnergyGoal, GoalError, SourceNumber, trial_profile};
use crate::network::{Class, Kind, Layer, Network};
use crate::searched::Searched;

const JOULES_PER_PICOJOULE: f64 = 1e-12;

/// Layers that prices of layers depend on, all together: some tens of megabytes. With points on activations there are a few for
/// each layer.
const BEHIND_MAX: usize = 1 << 16;

/// Why the energy model has no price of a plan's network.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ModelledError {
    /// The plan's graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// What the model finds wrong.
    #[error("the energy model: {0}")]
    Model(#[from] GoalError),
    /// Too much depends on too much.
    #[error(
        "the energy model has no prices of layers by themselves, since long chains of them have no points on what they pass on; quantize \
         activations, or limit `bops_g` instead"
    )]
    FewPoints,
}

/// What QTools's model says of the energy of a plan's bit configs, with its process and memories as AutoQKeras has them.
///
/// Kernels have `quantized_bits` of their width, symmetric. Every tensor with a point goes through an activation with unsigned
/// `quantized_bits` of its width: the graph's own, if it is one, else one behind it. What has no point is a float of 32 bits,
/// biases are what QTools takes them for. A layer's price depends on few points, so that all configs come to few prices.
#[derive(Debug)]
pub(crate) struct ModelledEnergy {
    /// Without quantizers.
    network: Network,
    /// The points on whose grids layers' weights or outputs are, by layer.
    point_of: BTreeMap<String, PointIndex>,
    /// That of the network's input.
    source: Option<PointIndex>,
    baseline: Choice,
    layers: Vec<PricedLayer>,
    /// Images of an inference.
    images: f64,
}

/// A layer, with what decides its price.
#[derive(Debug)]
struct PricedLayer {
    name: String,
    /// It, behind what it takes as far as that is not on a grid.
    alone: Network,
    /// The points of both.
    points: Vec<PointIndex>,
    /// In picojoules, by the points' choices.
    known: RefCell<BTreeMap<Vec<Choice>, f64>>,
}

impl ModelledEnergy {
    /// The energy of inferences of so many images.
    ///
    /// Errors: the network cannot be priced.
    pub(crate) fn new(plan: &Plan, images: u32) -> Result<Self, ModelledError> {
        let mut energy = Self {
            network: Network::default(),
            point_of: BTreeMap::new(),
            source: None,
            baseline: Choice::Bits(plan.candidates.baseline),
            layers: Vec::new(),
            images: f64::from(images),
        };
        energy.place(plan)?;
        let profile = energy.profile(&energy.network, &|_| energy.baseline)?;
        let network = energy.network.layers.iter().enumerate();
        let places: BTreeMap<&str, usize> =
            network.map(|(place, layer)| (layer.name.as_str(), place)).collect();
        let mut layers = Vec::with_capacity(profile.layers.len());
        let mut room = BEHIND_MAX;
        for layer in &profile.layers {
            let priced = energy.priced(&places, &layer.types.name, layer.types.is_output);
            room = room.checked_sub(priced.alone.layers.len()).ok_or(ModelledError::FewPoints)?;
            layers.push(priced);
        }
        energy.layers = layers;
        Ok(energy)
    }

    /// Joules of an inference of a config.
    pub(crate) fn joules(&self, config: &BitConfig) -> f64 {
        let choice = |point: &PointIndex| config.choice(*point, self.baseline);
        let picojoules =
            self.layers.iter().map(|layer| self.price(layer, layer.points.iter().map(choice).collect()));
        picojoules.sum::<f64>() * JOULES_PER_PICOJOULE * self.images
    }

    /// The same as solvers take it, `unit` joules being one of the cost's. A layer that more than two searched points decide
    /// counts with what each of them changes by itself.
    pub(crate) fn cost(&self, searched: &Searched, (name, unit): (String, f64)) -> Cost {
        let mut terms = Terms::new(&searched.space);
        for layer in &self.layers {
            let at = |changes: &[(usize, u32)]| {
                let mut choices = vec![self.baseline; layer.points.len()];
                changes.iter().for_each(|(place, bits)| choices[*place] = choice(*bits));
                self.price(layer, choices)
            };
            let variable = |(place, point): (usize, &PointIndex)| Some((place, searched.variable(*point)?));
            let variables: Vec<(usize, usize)> =
                layer.points.iter().enumerate().filter_map(variable).collect();
            match variables.as_slice() {
                [] => terms.add_constant(at(&[])),
                [(place, one)] => terms.add(Width::Variable(*one), |bits| at(&[(*place, bits)])),
                [(a, first), (b, second)] => {
                    let both = |first, second| at(&[(*a, first), (*b, second)]);
                    terms.add_two(Width::Variable(*first), Width::Variable(*second), both);
                }
                many => {
                    let unchanged = at(&[]);
                    terms.add_constant(unchanged);
                    for (place, one) in many {
                        terms.add(Width::Variable(*one), |bits| at(&[(*place, bits)]) - unchanged);
                    }
                }
            }
        }
        let picojoules = unit / (JOULES_PER_PICOJOULE * self.images);
        Cost { name, rows: vec![divided(terms.form(), picojoules)] }
    }

    /// Puts an activation behind every tensor with a point that is none, and notes where points are.
    fn place(&mut self, plan: &Plan) -> Result<(), GraphError> {
        let mut grids: BTreeMap<&str, PointIndex> = BTreeMap::new();
        for (index, point) in (0..).map(PointIndex).zip(&plan.points) {
            match point.kind {
                PointKind::Weight => _ = self.point_of.insert(point.node.clone(), index),
                PointKind::Activation => {
                    grids.extend(point.tensors.iter().map(|tensor| (tensor.as_str(), index)));
                }
            }
        }
        let mut renamed: BTreeMap<String, String> = BTreeMap::new();
        for mut layer in Network::of_graph(&plan.graph)?.layers {
            for inbound in &mut layer.inbound {
                if let Some(behind) = renamed.get(inbound) {
                    inbound.clone_from(behind);
                }
            }
            let rounding = match grids.get(layer.name.as_str()).copied() {
                None => None,
                Some(point) if layer.class.kind == Kind::InputLayer => {
                    self.source = Some(point);
                    None
                }
                Some(point) if is_activation(&layer) => {
                    self.point_of.insert(layer.name.clone(), point);
                    None
                }
                Some(point) => {
                    let rounding =
                        Layer { class: Class::plain(Kind::Activation), ..taking(&layer, "rounded") };
                    self.point_of.insert(rounding.name.clone(), point);
                    renamed.insert(layer.name.clone(), rounding.name.clone());
                    Some(rounding)
                }
            };
            self.network.layers.push(layer);
            self.network.layers.extend(rounding);
        }
        Ok(())
    }

    /// What decides a layer's price.
    fn priced(&self, places: &BTreeMap<&str, usize>, name: &str, is_output: bool) -> PricedLayer {
        let mut needed = BTreeSet::new();
        let mut open = vec![name];
        while let Some(place) = open.pop().and_then(|name| places.get(name)) {
            let layer = &self.network.layers[*place];
            // The type of an activation's output does not depend on its input's, and its price is that of its output.
            if needed.insert(*place) && !is_activation(layer) {
                open.extend(layer.inbound.iter().map(String::as_str));
            }
        }
        let mut layers: Vec<Layer> =
            needed.into_iter().map(|place| self.network.layers[place].clone()).collect();
        let mut points: BTreeSet<PointIndex> = BTreeSet::new();
        for layer in &mut layers {
            if is_activation(layer) {
                layer.inbound.clear();
            }
            let own = self.point_of.get(&layer.name).copied();
            points.extend(if layer.class.kind == Kind::InputLayer { self.source } else { own });
        }
        if !is_output {
            // Somebody takes it, so that it is not priced as the network's output.
            let taken = layers.iter().find(|layer| layer.name == name).map(|layer| taking(layer, "taken"));
            layers.extend(taken);
        }
        PricedLayer {
            name: name.to_owned(),
            alone: Network { layers },
            points: points.into_iter().collect(),
            known: RefCell::default(),
        }
    }

    /// Picojoules of a layer for one image, with choices for its points.
    fn price(&self, layer: &PricedLayer, choices: Vec<Choice>) -> f64 {
        if let Some(known) = layer.known.borrow().get(&choices) {
            return *known;
        }
        let choice = |point: PointIndex| {
            let place = layer.points.iter().position(|known| *known == point);
            place.map_or(self.baseline, |place| choices[place])
        };
        let profile = self.profile(&layer.alone, &choice);
        let profile = profile.expect("the baseline was priced, and widths change no layer's class");
        let price = profile.layer(&layer.name).map_or(0.0, |layer| layer.total);
        layer.known.borrow_mut().insert(choices, price);
        price
    }

    /// The profile of layers whose points have some choices.
    fn profile(
        &self,
        network: &Network,
        choice: &dyn Fn(PointIndex) -> Choice,
    ) -> Result<Profile, GoalError> {
        let mut network = network.clone();
        for layer in &mut network.layers {
            let Some(Choice::Bits(bits)) = self.point_of.get(&layer.name).map(|point| choice(*point)) else {
                continue;
            };
            layer.class.quantized = true;
            if is_activation(layer) {
                layer.activation_text = Some(activation(bits));
            } else {
                layer.quantizers = vec![Some(kernel(bits)), None];
            }
        }
        let source = match self.source.map(choice) {
            Some(Choice::Bits(bits)) => Quantizer::parse(&activation(bits), Grammar::Strict).ok(),
            Some(Choice::Float) | None => None,
        };
        let goal = EnergyGoal {
            source_quantizers: source.into_iter().map(SourceNumber::Quantizer).collect(),
            ..EnergyGoal::default()
        };
        trial_profile(&goal, &network, &ValueCounts::new(), false)
    }
}

/// What a width stands for: floats are wider than all codes.
fn choice(bits: u32) -> Choice {
    let bits = u8::try_from(bits).ok().and_then(|bits| Bits::new(bits).ok());
    bits.map_or(Choice::Float, Choice::Bits)
}

fn is_activation(layer: &Layer) -> bool {
    layer.class.kind == Kind::Activation
}

/// A layer that takes another one's output, and computes nothing.
fn taking(layer: &Layer, word: &str) -> Layer {
    Layer {
        name: format!("{} {word}", layer.name),
        class: Class::plain(Kind::Other("Identity".to_owned())),
        inbound: vec![layer.name.clone()],
        input_shape: vec![layer.output_shape.clone()],
        output_shape: layer.output_shape.clone(),
        ..Layer::default()
    }
}

/// A kernel's codes.
fn kernel(bits: Bits) -> String {
    format!("quantized_bits({bits},0,1)")
}

/// An activation's codes, which are not signed.
fn activation(bits: Bits) -> String {
    format!("quantized_bits({bits},keep_negative=False)")
}

#[cfg(test)]
mod tests;
