use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::terms::Terms;
use super::{Cost, CostError, Subject, Width};
use crate::tables::unique;

/// Prices that were measured or computed elsewhere, such as the latency of every layer at every width.
///
/// A JSON document; every key but `cost` may be left out, others are mistakes:
/// ```json
/// { "cost": "latency_ms",
///   "constant": 0.25,
///   "points": [ { "point": "relu.output", "values": { "4": 0.5, "8": 0.75 } } ],
///   "layers": [ { "layer": "conv", "weight": "conv.weight", "input": "input.output",
///                 "values": [ { "weight_bits": 4, "input_bits": 8, "value": 1.5 } ] } ] }
/// ```
/// The cost is the constant, a value of each listed point by its width, and a value of each listed layer by the widths
/// of its weight and its input. A layer without `input` reads floats, which are 32 bits wide. Points and layers that are not
/// listed cost nothing. Units: those that the name ends in.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    cost: String,
    #[serde(default)]
    constant: f64,
    #[serde(default)]
    points: Vec<PointPrices>,
    #[serde(default)]
    layers: Vec<LayerPrices>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct PointPrices {
    point: String,
    #[serde(deserialize_with = "unique")]
    values: BTreeMap<u32, f64>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct LayerPrices {
    layer: String,
    weight: String,
    input: Option<String>,
    values: Vec<LayerPrice>,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct LayerPrice {
    weight_bits: u32,
    input_bits: u32,
    value: f64,
}

impl Table {
    /// Reads a table from its document.
    ///
    /// Errors: `Malformed`; `Duplicate` naming the point or layer.
    pub fn parse(text: &str) -> Result<Self, CostError> {
        let table: Self =
            serde_json::from_str(text).map_err(|error| CostError::Malformed(error.to_string()))?;
        let mut seen = BTreeSet::new();
        let points = table.points.iter().map(|prices| &prices.point);
        let twice =
            points.chain(table.layers.iter().map(|prices| &prices.layer)).find(|name| !seen.insert(*name));
        match twice {
            Some(name) => Err(table.duplicate(name.clone())),
            None => Ok(table),
        }
    }

    /// The cost's name.
    pub fn name(&self) -> &str {
        &self.cost
    }

    /// The table's prices as a cost over the subject's space.
    ///
    /// Errors: `UnknownPoint`, `MissingWidth`, `Duplicate`.
    pub(super) fn cost(&self, subject: &Subject<'_>) -> Result<Cost, CostError> {
        let mut terms = Terms::new(subject.space);
        terms.add_constant(self.constant);
        for PointPrices { point, values } in &self.points {
            let width = self.width(subject, point)?;
            if let Some(bits) = widths(subject, width).into_iter().find(|bits| !values.contains_key(bits)) {
                return Err(self.missing(point, format!("{bits} bits")));
            }
            terms.add(width, |bits| values[&bits]);
        }
        for layer in &self.layers {
            let weight = self.width(subject, &layer.weight)?;
            let input = match &layer.input {
                Some(input) => self.width(subject, input)?,
                None => subject.width_or_float(None),
            };
            let values = self.layer_values(layer)?;
            for weight in widths(subject, weight) {
                for input in widths(subject, input) {
                    if !values.contains_key(&(weight, input)) {
                        let widths = format!("a weight of {weight} and an input of {input} bits");
                        return Err(self.missing(&layer.layer, widths));
                    }
                }
            }
            terms.add_two(weight, input, |weight, input| values[&(weight, input)]);
        }
        Ok(Cost { name: self.cost.clone(), rows: vec![terms.form()] })
    }

    fn layer_values(&self, layer: &LayerPrices) -> Result<BTreeMap<(u32, u32), f64>, CostError> {
        let mut values = BTreeMap::new();
        for LayerPrice { weight_bits, input_bits, value } in &layer.values {
            if values.insert((*weight_bits, *input_bits), *value).is_some() {
                let name = &layer.layer;
                let of = format!("{name} at a weight of {weight_bits} and an input of {input_bits} bits");
                return Err(self.duplicate(of));
            }
        }
        Ok(values)
    }

    fn width(&self, subject: &Subject<'_>, point: &str) -> Result<Width, CostError> {
        let unknown = || CostError::UnknownPoint { table: self.cost.clone(), point: point.to_owned() };
        subject.width(point).ok_or_else(unknown)
    }

    fn missing(&self, of: &str, widths: String) -> CostError {
        CostError::MissingWidth { table: self.cost.clone(), of: of.to_owned(), widths }
    }

    fn duplicate(&self, of: String) -> CostError {
        CostError::Duplicate { table: self.cost.clone(), of }
    }
}

/// The widths that an operand can have.
fn widths(subject: &Subject<'_>, width: Width) -> Vec<u32> {
    match width {
        Width::Fixed(bits) => vec![bits],
        Width::Variable(variable) => {
            subject.space.variables[variable].widths.iter().map(|bits| bits.get()).collect()
        }
    }
}
