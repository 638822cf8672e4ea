use std::collections::{BTreeMap, BTreeSet};

use super::layer::{self, LayerTypes};
use super::{EnergyError, NumberType};
use crate::network::{Kind, Layer, Network};

/// Which types a network's layers are given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// Every layer has the types of plain layers, whatever its quantizers: what a network is compared with.
    Reference,
    /// Quantized layers have the types of their quantizers, plain layers those of plain layers.
    #[default]
    Trial,
}

/// How many different values each weight tensor of a layer has, by the layer's name, in the order of its weights.
///
/// They make shifts by few powers of two cheaper. QTools counts float weights, or quantized ones if told that they are
/// not quantized yet. Kernels, biases, gammas and variances that are powers of two are looked up; what is missing was
/// not counted.
pub type ValueCounts = BTreeMap<String, Vec<u64>>;

/// What types a network's tensors start from.
#[derive(Clone, Debug, PartialEq)]
pub struct EnergyOptions {
    /// Whether quantizers count.
    pub view: View,
    /// Types of the network's inputs: one each or one for all; none is [`NumberType::DEFAULT`].
    pub sources: Vec<NumberType>,
    /// Type of the weights of plain layers.
    pub plain_weights: NumberType,
    /// Type of the results of plain layers, and of their products and sums.
    pub plain_accumulator: NumberType,
    /// Counts for trained networks; empty where nothing is known of the weights.
    pub values: ValueCounts,
    /// Whether everything is as in QTools, which then refuses what it cannot do; see [the module](super).
    pub qkeras: bool,
}

impl Default for EnergyOptions {
    fn default() -> Self {
        Self {
            view: View::Trial,
            sources: Vec::new(),
            plain_weights: NumberType::DEFAULT,
            plain_accumulator: NumberType::DEFAULT,
            values: ValueCounts::new(),
            qkeras: false,
        }
    }
}

/// A network whose tensors all have number types.
#[derive(Clone, Debug, PartialEq)]
pub struct TypedNetwork {
    /// The layers that are priced, in order: all but input layers and dropout.
    pub layers: Vec<LayerTypes>,
    pub(super) qkeras: bool,
}

/// A tensor that layers can take: its type, and whether it is the network's input.
#[derive(Clone, Copy)]
struct Tensor<'n> {
    /// The layer that made it; dropout makes nothing.
    maker: &'n str,
    number: NumberType,
    is_source: bool,
}

/// Returns the number types of all tensors of a network, and the operators between them.
///
/// Errors: `Sources`; `UnknownInbound`; `Quantizer`; with `qkeras` `UnknownQuantizer` and `QtoolsFails`; `NoPriceOfLayer` for
/// recurrent and separable layers and unknown ones with weights; `Incomplete`.
pub fn types(network: &Network, options: &EnergyOptions) -> Result<TypedNetwork, EnergyError> {
    let inputs = network.layers.iter().filter(|layer| layer.class.kind == Kind::InputLayer).count();
    let given = options.sources.len();
    if given > 1 && given != inputs {
        return Err(EnergyError::Sources { given, inputs });
    }
    let mut sources = (0..inputs).map(|input| {
        options.sources.get(input).or(options.sources.first()).copied().unwrap_or(NumberType::DEFAULT)
    });
    let mut tensors: BTreeMap<&str, Tensor<'_>> = BTreeMap::new();
    let mut consumed: BTreeSet<&str> = BTreeSet::new();
    let mut layers = Vec::with_capacity(network.layers.len());
    for layer in &network.layers {
        let inbound = inbound(layer, &tensors)?;
        let tensor = match (&layer.class.kind, inbound.first()) {
            (Kind::InputLayer, _) => {
                let number = sources.next().unwrap_or(NumberType::DEFAULT);
                Tensor { maker: &layer.name, number, is_source: true }
            }
            (Kind::Dropout, Some(tensor)) => *tensor,
            _ => {
                consumed.extend(inbound.iter().map(|tensor| tensor.maker));
                let numbers: Vec<NumberType> = inbound.iter().map(|tensor| tensor.number).collect();
                let is_input = inbound.iter().any(|tensor| tensor.is_source);
                let typed = layer::types(layer, &layer::Inputs { numbers, is_input }, options)?;
                let number = typed.output;
                layers.push(typed);
                Tensor { maker: &layer.name, number, is_source: false }
            }
        };
        tensors.insert(&layer.name, tensor);
    }
    for layer in &mut layers {
        layer.is_output = !consumed.contains(layer.name.as_str());
    }
    Ok(TypedNetwork { layers, qkeras: options.qkeras })
}

fn inbound<'n>(layer: &Layer, tensors: &BTreeMap<&str, Tensor<'n>>) -> Result<Vec<Tensor<'n>>, EnergyError> {
    let find = |inbound: &String| {
        let tensor = tensors.get(inbound.as_str()).copied();
        tensor.ok_or_else(|| EnergyError::UnknownInbound {
            layer: layer.name.clone(),
            inbound: inbound.clone(),
        })
    };
    layer.inbound.iter().map(find).collect()
}
