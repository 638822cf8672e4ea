use std::collections::BTreeMap;

use crate::bits::{BitConfig, Bits, Choice, PointIndex};
use crate::graph::{GraphError, PointKind};
use crate::plan::Plan;

/// Width of a tensor without a quantizer.
const FLOAT_BITS: u32 = 32;

/// Bits of a KiB.
const KIB_BITS: f64 = 8.0 * 1024.0;

/// What bit configs of one plan cost, by size and bit operations.
pub(super) struct Prices {
    layers: Vec<Layer>,
    baseline: Bits,
}

/// A layer with weights: the points that its weights and its input are on.
struct Layer {
    weights: u64,
    macs: u64,
    weight: Option<PointIndex>,
    input: Option<PointIndex>,
}

/// Bits of weight storage, and bit operations per image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Price {
    pub(super) size_bits: u64,
    pub(super) bops: u64,
}

impl Price {
    /// Its part that a cost of this name counts, in the cost's unit; none for costs of other things.
    pub(super) fn of_cost(self, name: &str) -> Option<f64> {
        let (size_bits, bops) = (self.size_bits as f64, self.bops as f64);
        match name {
            "size_bits" => Some(size_bits),
            "size_kib" => Some(size_bits / KIB_BITS),
            "size_mib" => Some(size_bits / (1024.0 * KIB_BITS)),
            "bops" => Some(bops),
            "bops_m" => Some(bops / 1e6),
            "bops_g" => Some(bops / 1e9),
            _ => None,
        }
    }
}

impl Prices {
    pub(super) fn new(plan: &Plan) -> Result<Self, GraphError> {
        let points = plan.points.iter().enumerate();
        let named: BTreeMap<&str, PointIndex> =
            points.clone().map(|(index, point)| (point.name.as_str(), PointIndex(index as u32))).collect();
        let weights = points.filter(|(_, point)| point.kind == PointKind::Weight);
        let weights: BTreeMap<&str, PointIndex> =
            weights.map(|(index, point)| (point.node.as_str(), PointIndex(index as u32))).collect();
        let layers = plan.layer_costs()?.into_iter().map(|layer| Layer {
            weights: layer.weights as u64,
            macs: layer.macs,
            weight: weights.get(layer.node.as_str()).copied(),
            input: layer.input_point.as_deref().and_then(|name| named.get(name)).copied(),
        });
        Ok(Self { layers: layers.collect(), baseline: plan.candidates.baseline })
    }

    pub(super) fn of(&self, config: &BitConfig) -> Price {
        let width = |point: Option<PointIndex>| match point
            .map(|point| config.choice(point, Choice::Bits(self.baseline)))
        {
            Some(Choice::Bits(bits)) => u64::from(bits.get()),
            Some(Choice::Float) | None => u64::from(FLOAT_BITS),
        };
        let mut price = Price { size_bits: 0, bops: 0 };
        for layer in &self.layers {
            let weight = width(layer.weight);
            price.size_bits += layer.weights * weight;
            price.bops = price.bops.saturating_add(layer.macs.saturating_mul(weight * width(layer.input)));
        }
        price
    }
}
