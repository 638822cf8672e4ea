use std::collections::{BTreeMap, BTreeSet};

use bitloop_core::bits::Bits;
use bitloop_core::graph::PointKind;
use serde::Deserialize;

use super::{LimpqLayers, TableError, positive, unique};
use crate::space::{Space, Variable};

/// Learned step sizes of every layer's quantizers at every candidate width: small where a width does little harm.
///
/// A JSON document of these keys and no others:
/// ```json
/// { "model": "resnet50", "bit_candidates": [6, 5, 4, 3, 2],
///   "layers": [ { "name": "layer1.0.conv1", "weight": { "6": 0.0224, "5": 0.0259 }, "act": { "6": 0.0963, "5": 0.1373 } } ] }
/// ```
/// Each layer has a positive number for each candidate and no others.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Indicators {
    /// The network's name.
    pub model: String,
    /// The widths that were learned.
    pub bit_candidates: Vec<Bits>,
    /// The searchable layers.
    pub layers: Vec<IndicatorLayer>,
}

/// One of [`Indicators`].
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndicatorLayer {
    /// The layer's name.
    pub name: String,
    /// Step of the weight by width.
    #[serde(deserialize_with = "unique")]
    pub weight: BTreeMap<Bits, f64>,
    /// Step of the input by width.
    #[serde(deserialize_with = "unique")]
    pub act: BTreeMap<Bits, f64>,
}

impl IndicatorLayer {
    /// The steps of the weight or of the input.
    pub fn steps(&self, kind: PointKind) -> &BTreeMap<Bits, f64> {
        match kind {
            PointKind::Weight => &self.weight,
            PointKind::Activation => &self.act,
        }
    }
}

/// The name of a layer's point in spaces and bit configs: `<layer>.weight` or `<layer>.act`.
pub(crate) fn point_name(layer: &str, kind: PointKind) -> String {
    match kind {
        PointKind::Weight => format!("{layer}.weight"),
        PointKind::Activation => format!("{layer}.act"),
    }
}

impl Indicators {
    /// Reads indicators from their document.
    ///
    /// Errors: `Malformed`; `Duplicate`; `Missing` and `Unknown` widths; `NotPositive` steps.
    pub fn parse(text: &str) -> Result<Self, TableError> {
        let table: Self =
            serde_json::from_str(text).map_err(TableError::malformed("the table of indicators"))?;
        let mut candidates = BTreeSet::new();
        if let Some(twice) = table.bit_candidates.iter().find(|bits| !candidates.insert(**bits)) {
            return Err(TableError::Duplicate(format!("{twice} bits in bit_candidates")));
        }
        let mut seen = BTreeSet::new();
        for layer in &table.layers {
            if !seen.insert(layer.name.as_str()) {
                return Err(TableError::Duplicate(layer.name.clone()));
            }
            for kind in [PointKind::Weight, PointKind::Activation] {
                check_steps(&point_name(&layer.name, kind), layer.steps(kind), &candidates)?;
            }
        }
        Ok(table)
    }

    /// Checks that these are the indicators of the searched layers, no more and no fewer.
    ///
    /// Errors: `Unknown` or `Missing`, naming the first such layer.
    pub fn check(&self, layers: &LimpqLayers) -> Result<(), TableError> {
        let searched: BTreeSet<&str> = layers.searched().map(|layer| layer.name.as_str()).collect();
        let indicated: BTreeSet<&str> = self.layers.iter().map(|layer| layer.name.as_str()).collect();
        if let Some(name) = indicated.difference(&searched).next() {
            return Err(TableError::Unknown {
                what: "the layer",
                name: (*name).to_owned(),
                hint: "it has indicators but is no searchable layer in the table of layers",
            });
        }
        match searched.difference(&indicated).next() {
            Some(name) => Err(TableError::Missing {
                what: "the indicator".to_owned(),
                of: (*name).to_owned(),
                hint: "every searchable layer in the table of layers needs one",
            }),
            None => Ok(()),
        }
    }

    /// Each layer's weight and input, with these widths.
    ///
    /// Errors: `Missing` naming a width that was not learned.
    pub fn space(&self, widths: &[Bits]) -> Result<Space, TableError> {
        if let Some(other) = widths.iter().find(|bits| !self.bit_candidates.contains(bits)) {
            return Err(TableError::Missing {
                what: format!("the width of {other} bits"),
                of: "bit_candidates".to_owned(),
                hint: "search widths that have indicators",
            });
        }
        let ascending: BTreeSet<Bits> = widths.iter().copied().collect();
        let variables = self.layers.iter().flat_map(|layer| {
            [PointKind::Weight, PointKind::Activation].map(|kind| Variable {
                name: point_name(&layer.name, kind),
                kind,
                widths: ascending.iter().copied().collect(),
            })
        });
        Ok(Space { variables: variables.collect() })
    }
}

fn check_steps(of: &str, steps: &BTreeMap<Bits, f64>, candidates: &BTreeSet<Bits>) -> Result<(), TableError> {
    if let Some(bits) = candidates.iter().find(|bits| !steps.contains_key(bits)) {
        return Err(TableError::Missing {
            what: format!("the step at {bits} bits"),
            of: of.to_owned(),
            hint: "every layer needs one for each of bit_candidates",
        });
    }
    if let Some(bits) = steps.keys().find(|bits| !candidates.contains(bits)) {
        return Err(TableError::Unknown {
            what: "the width",
            name: format!("{bits} of {of}"),
            hint: "it is not among bit_candidates",
        });
    }
    steps.iter().try_for_each(|(bits, step)| positive(of, &format!("{bits} bits"), *step))
}
