use std::collections::BTreeMap;

use super::{Layer, Subject, Width};
use crate::space::Space;
use crate::tables::{Counts, PairwiseLayers, TableError};

/// Width of whatever is not searched.
const FIXED_BITS: u32 = 8;

impl<'a> Subject<'a> {
    /// A network of the pairwise-correlation database; what `space` does not hold is 8 bits wide.
    ///
    /// The published counts are half of all multiplications and additions, treat every 3x3 window of MobileNetV2 as
    /// depthwise and take many of its layers at their input's resolution; the true ones are `c_in / groups * k^2 * c_out`
    /// for each position of the output. Layers without a row count for size alone, by either.
    ///
    /// Errors: `Unknown` for a variable that no layer has; `Missing` if true counts are wanted but `hw_true_output` is not
    /// there.
    pub fn of_pairwise_mpq(
        table: &PairwiseLayers,
        counts: Counts,
        space: &'a Space,
    ) -> Result<Self, TableError> {
        if let Some(other) = space.variables.iter().find(|variable| !table.variables.contains(&variable.name))
        {
            return Err(TableError::Unknown {
                what: "the searched point",
                name: other.name.clone(),
                hint: "the table of layers has no such variable",
            });
        }
        let fixed = table.variables.iter().filter(|name| space.find(name).is_none());
        let mut subject = Self {
            space,
            layers: Vec::with_capacity(table.layers.len() + 1),
            tables: Vec::new(),
            fixed: fixed.map(|name| (name.clone(), FIXED_BITS)).collect::<BTreeMap<String, u32>>(),
            network: None,
        };
        let width = |subject: &Self, variable: &Option<String>| {
            let found = variable.as_ref().and_then(|variable| subject.width(variable));
            found.unwrap_or(Width::Fixed(FIXED_BITS))
        };
        for layer in &table.layers {
            let name = layer.weight_variable.clone().unwrap_or_else(|| format!("layers[{}]", layer.index));
            let macs = match (counts, layer.hw_true_output) {
                (Counts::Published, _) => layer.mac,
                (Counts::True, Some(positions)) => {
                    (layer.c_in / layer.groups * layer.k * layer.k * layer.c_out * positions) as f64
                }
                (Counts::True, None) => {
                    return Err(TableError::Missing {
                        what: "hw_true_output".to_owned(),
                        of: name,
                        hint: "true operation counts need it; take the published ones, or add it",
                    });
                }
            };
            subject.layers.push(Layer {
                name,
                macs,
                weights: layer.params as f64,
                weight: width(&subject, &layer.weight_variable),
                input: width(&subject, &layer.act_variable),
            });
        }
        if table.extra_fixed_params > 0 {
            subject.layers.push(Layer {
                name: "extra_fixed_params".to_owned(),
                macs: 0.0,
                weights: table.extra_fixed_params as f64,
                weight: Width::Fixed(FIXED_BITS),
                input: Width::Fixed(FIXED_BITS),
            });
        }
        Ok(subject)
    }
}
