use std::collections::BTreeSet;

use bitloop_core::bits::Bits;
use bitloop_core::graph::PointKind;
use serde::Deserialize;

use super::{TableError, positive};
use crate::space::{Space, Variable};

/// The layers of a network of the published pairwise-correlation database.
///
/// A JSON document of these keys and no others; `note` may be left out:
/// ```json
/// { "model": "resnet50", "note": "...",
///   "variables": [ "stage1.unit1.quant_act", "stage1.unit1.quant_convbn1" ],
///   "extra_fixed_params": 2048000,
///   "layers": [ { "index": 0, "c_in": 3, "c_out": 64, "hw": 12544, "k": 7, "groups": 1, "fixed_8bit": true,
///                 "search_slot": null, "mac": 117612544.0, "params": 9408, "act_variable": null,
///                 "weight_variable": null, "hw_true_output": 12544 } ] }
/// ```
/// Variables `2 s` and `2 s + 1` are the activation and the weight of slot `s`; each slot is one layer's. `mac` is the
/// published operation count, `hw_true_output` (may be left out) the number of positions the layer's output really has.
/// Layers with `fixed_8bit`, and the `extra_fixed_params` of layers that have no row, are always 8 bits wide.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairwiseLayers {
    /// The network's name.
    pub model: String,
    /// For people.
    #[serde(default)]
    pub note: Option<String>,
    /// The searchable points.
    pub variables: Vec<String>,
    /// Weights of layers without a row.
    pub extra_fixed_params: u64,
    /// The layers.
    pub layers: Vec<PairwiseLayer>,
}

/// One of [`PairwiseLayers`].
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairwiseLayer {
    /// Its place, from 0.
    pub index: usize,
    /// Input channels.
    pub c_in: u64,
    /// Output channels.
    pub c_out: u64,
    /// Positions of the published count.
    pub hw: u64,
    /// Height and width of the window.
    pub k: u64,
    /// Groups of channels.
    pub groups: u64,
    /// Whether it stays at 8 bits.
    pub fixed_8bit: bool,
    /// Its slot, if it is searched.
    pub search_slot: Option<usize>,
    /// Published operation count: half of all multiplications and additions.
    pub mac: f64,
    /// Number of weights.
    pub params: u64,
    /// The point of its input, if it is searched.
    pub act_variable: Option<String>,
    /// The point of its weight, if it is searched.
    pub weight_variable: Option<String>,
    /// Positions of its true output.
    #[serde(default)]
    pub hw_true_output: Option<u64>,
}

impl PairwiseLayers {
    /// Reads the layers from their document.
    ///
    /// Errors: `Malformed`; `NotPositive`; `Duplicate`; `Unknown` and `Missing` where variables and layers do not fit.
    pub fn parse(text: &str) -> Result<Self, TableError> {
        let table: Self = serde_json::from_str(text).map_err(TableError::malformed("the table of layers"))?;
        let mut seen = BTreeSet::new();
        if let Some(twice) = table.variables.iter().find(|name| !seen.insert(name.as_str())) {
            return Err(TableError::Duplicate(twice.clone()));
        }
        let mut slots = BTreeSet::new();
        for (index, layer) in table.layers.iter().enumerate() {
            table.check(index, layer, &mut slots)?;
        }
        match (0..table.variables.len().div_ceil(2)).find(|slot| !slots.contains(slot)) {
            Some(slot) => Err(TableError::Missing {
                what: format!("the layer of search slot {slot}"),
                of: table.variables[2 * slot].clone(),
                hint: "each pair of variables is one layer's activation and weight",
            }),
            None => Ok(table),
        }
    }

    fn check(
        &self,
        index: usize,
        layer: &PairwiseLayer,
        slots: &mut BTreeSet<usize>,
    ) -> Result<(), TableError> {
        let of = format!("layers[{index}]");
        let numbers = [
            ("c_in", layer.c_in as f64),
            ("c_out", layer.c_out as f64),
            ("hw", layer.hw as f64),
            ("k", layer.k as f64),
            ("groups", layer.groups as f64),
            ("mac", layer.mac),
            ("params", layer.params as f64),
        ];
        for (key, value) in numbers {
            positive(&of, key, value)?;
        }
        if layer.index != index {
            return Err(TableError::Unknown {
                what: "the index",
                name: format!("{} of {of}", layer.index),
                hint: "layers stand in their order, from 0",
            });
        }
        let unknown = |what: &'static str, name: Option<&String>| TableError::Unknown {
            what,
            name: format!("{} of {of}", name.map_or("null", String::as_str)),
            hint: "a searched layer names variables 2 s and 2 s + 1 of its search_slot s, a fixed one none",
        };
        let expected =
            layer.search_slot.map(|slot| [self.variables.get(2 * slot), self.variables.get(2 * slot + 1)]);
        let [activation, weight] = expected.unwrap_or([None, None]);
        if layer.act_variable.as_ref() != activation || layer.search_slot.is_some() != activation.is_some() {
            return Err(unknown("act_variable", layer.act_variable.as_ref()));
        }
        if layer.weight_variable.as_ref() != weight || layer.search_slot.is_some() != weight.is_some() {
            return Err(unknown("weight_variable", layer.weight_variable.as_ref()));
        }
        match layer.search_slot {
            Some(slot) if layer.fixed_8bit => Err(unknown("search_slot", Some(&slot.to_string()))),
            None if !layer.fixed_8bit => Err(unknown("search_slot", None)),
            Some(slot) if !slots.insert(slot) => Err(TableError::Duplicate(format!("search_slot {slot}"))),
            _ => Ok(()),
        }
    }

    /// The searchable points of these kinds, each with these widths.
    pub fn space(&self, kinds: &[PointKind], widths: &[Bits]) -> Space {
        let kind =
            |index: usize| if index.is_multiple_of(2) { PointKind::Activation } else { PointKind::Weight };
        let variables = self.variables.iter().enumerate().filter(|(index, _)| kinds.contains(&kind(*index)));
        let variables = variables.map(|(index, name)| Variable {
            name: name.clone(),
            kind: kind(index),
            widths: widths.to_vec(),
        });
        Space { variables: variables.collect() }
    }
}
