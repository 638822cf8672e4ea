use std::collections::BTreeMap;

use bitloop_core::bits::Bits;
use bitloop_core::graph::PointKind;

use super::{Layer, Subject, Width};
use crate::form::Form;
use crate::space::{Space, Variable};
use crate::tables::{Counts, Indicators, LimpqLayers, TableError, point_name};

/// Width of the layers that are not searched.
const FIXED_BITS: u32 = 8;
/// Width of a float network's weights.
const FLOAT_BITS: u32 = 32;
/// What stands in the place of an erased indicator.
pub const ERASED: f64 = 1e8;

/// An indicator that the erase rule takes out.
#[derive(Clone, Debug, PartialEq)]
pub struct Erased {
    /// The layer.
    pub layer: String,
    /// Whether it is the weight's or the input's.
    pub kind: PointKind,
    /// Its width.
    pub bits: Bits,
    /// The value that was learned.
    pub original: f64,
}

impl<'a> Subject<'a> {
    /// A network with importance indicators. By the published counts its fixed layers take no bit operations, as the
    /// published limit is one on the searched layers; by the true ones they take them at 8 bits.
    ///
    /// Errors: `Unknown` or `Missing` where the space is not that of the layers, as [`Indicators::space`] gives it.
    pub fn of_limpq(table: &LimpqLayers, counts: Counts, space: &'a Space) -> Result<Self, TableError> {
        let mut subject = Self {
            space,
            layers: Vec::with_capacity(table.layers.len()),
            tables: Vec::new(),
            fixed: BTreeMap::new(),
            network: None,
        };
        for layer in table.fixed() {
            for kind in [PointKind::Weight, PointKind::Activation] {
                subject.fixed.insert(point_name(&layer.name, kind), FIXED_BITS);
            }
        }
        for layer in &table.layers {
            let width = |kind| {
                let name = point_name(&layer.name, kind);
                let missing = || TableError::Missing {
                    what: "the searched point".to_owned(),
                    of: name.clone(),
                    hint: "every searchable layer needs indicators",
                };
                subject.width(&name).ok_or_else(missing)
            };
            let (weight, input) = (width(PointKind::Weight)?, width(PointKind::Activation)?);
            let is_counted = layer.searchable || counts == Counts::True;
            subject.layers.push(Layer {
                name: layer.name.clone(),
                macs: if is_counted { layer.macs(counts) as f64 } else { 0.0 },
                weights: layer.params as f64,
                weight,
                input,
            });
        }
        let searched: Vec<Width> =
            subject.layers.iter().flat_map(|layer| [layer.weight, layer.input]).collect();
        let stray = (0..space.variables.len()).find(|index| !searched.contains(&Width::Variable(*index)));
        match stray {
            Some(index) => Err(TableError::Unknown {
                what: "the searched point",
                name: space.variables[index].name.clone(),
                hint: "the table of layers has no such layer",
            }),
            None => Ok(subject),
        }
    }
}

impl LimpqLayers {
    /// The bit operations that all searched layers take at these mean widths: `sum of MACs * weight bits * input bits`.
    ///
    /// Units: bits squared per image; fixed layers are in it by the same rule as in [`Subject::of_limpq`].
    pub fn bops_at(&self, weight_bits: f64, activation_bits: f64, counts: Counts) -> f64 {
        let searched: u64 = self.searched().map(|layer| layer.macs(counts)).sum();
        let fixed = match counts {
            Counts::Published => 0.0,
            Counts::True => self.fixed_bops(counts),
        };
        // The product of the widths is exact for whole widths, so that the limit is the published integer.
        searched as f64 * (weight_bits * activation_bits) + fixed
    }

    /// The bit operations of the fixed layers at 8 bits.
    pub fn fixed_bops(&self, counts: Counts) -> f64 {
        let fixed: u64 = self.fixed().map(|layer| layer.macs(counts)).sum();
        fixed as f64 * f64::from(FIXED_BITS * FIXED_BITS)
    }

    /// Size of the float network's weights, in bits.
    pub fn float_size_bits(&self) -> f64 {
        self.layers.iter().map(|layer| layer.params).sum::<u64>() as f64 * f64::from(FLOAT_BITS)
    }
}

impl Indicators {
    /// What is minimised: `sum over layers of act(b_a) + alpha * weight(b_w)`, as a form over `space`.
    ///
    /// With the erase rule, an indicator that is smaller than the next wider one's counts as [`ERASED`]: narrower grids
    /// cannot do less harm, so such a step was not learned well. Only widths of the space are compared.
    ///
    /// Errors: `Missing` for a width without a step, or if the erase rule meets widths with a gap, as it compares
    /// neighbours.
    pub fn objective(&self, space: &Space, alpha: f64, erase: bool) -> Result<Form, TableError> {
        let mut form = Form::constant(0.0, space);
        for layer in &self.layers {
            for (kind, factor) in [(PointKind::Weight, alpha), (PointKind::Activation, 1.0)] {
                let Some(variable) = space.find(&point_name(&layer.name, kind)) else { continue };
                let steps = layer.steps(kind);
                let variable_of_space = &space.variables[variable];
                let mut values = steps_at(variable_of_space, steps)?;
                if erase {
                    for level in erased_levels(variable_of_space, steps)? {
                        values[level] = ERASED;
                    }
                }
                form.one[variable] = values.into_iter().map(|value| factor * value).collect();
            }
        }
        Ok(form)
    }

    /// The indicators that the erase rule takes out of a space, in the order of its variables.
    ///
    /// Errors: as [`Indicators::objective`].
    pub fn erased(&self, space: &Space) -> Result<Vec<Erased>, TableError> {
        let mut erased = Vec::new();
        for layer in &self.layers {
            for kind in [PointKind::Weight, PointKind::Activation] {
                let Some(variable) = space.find(&point_name(&layer.name, kind)) else { continue };
                let variable = &space.variables[variable];
                let values = steps_at(variable, layer.steps(kind))?;
                for level in erased_levels(variable, layer.steps(kind))? {
                    let (bits, original) = (variable.widths[level], values[level]);
                    erased.push(Erased { layer: layer.name.clone(), kind, bits, original });
                }
            }
        }
        Ok(erased)
    }
}

/// The step of every level.
fn steps_at(variable: &Variable, steps: &BTreeMap<Bits, f64>) -> Result<Vec<f64>, TableError> {
    let of = |bits: &Bits| {
        steps.get(bits).copied().ok_or_else(|| TableError::Missing {
            what: format!("the step at {bits} bits"),
            of: variable.name.clone(),
            hint: "search widths that have indicators",
        })
    };
    variable.widths.iter().map(of).collect()
}

/// The levels whose step is smaller than that of one bit more.
fn erased_levels(variable: &Variable, steps: &BTreeMap<Bits, f64>) -> Result<Vec<usize>, TableError> {
    let values = steps_at(variable, steps)?;
    for pair in variable.widths.windows(2) {
        if pair[0].get() + 1 != pair[1].get() {
            return Err(TableError::Missing {
                what: format!("the width of {} bits", pair[1].get() - 1),
                of: variable.name.clone(),
                hint: "the erase rule compares neighbouring widths; search them without a gap",
            });
        }
    }
    Ok((1..values.len()).filter(|level| values[level - 1] < values[*level]).map(|level| level - 1).collect())
}
