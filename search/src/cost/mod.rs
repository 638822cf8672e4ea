//! What a bit config costs: each model gives forms that solvers can limit.
//!
//! A cost is named by its model and its unit, such as `size_kib`. [`COST_MODELS`] is the registry: a model is one file
//! that gives rows over a [`Subject`], and one line there. Prices that were measured elsewhere, such as the latency of
//! every layer at every width, need no model: a [`Table`] beside the subject has its own name. Costs know nothing of
//! losses. Start reading at [`cost`].

mod bops;
mod device;
mod energy;
mod limpq;
mod macs;
mod pairwise_mpq;
mod peak;
mod size;
mod subject;
mod table;
mod terms;

use bitloop_core::graph::GraphError;
use bitloop_core::latency::Quantity;

use crate::form::Form;
use crate::space::Space;

pub(crate) use device::on_device;
pub(crate) use energy::ModelledEnergy;
pub use limpq::{ERASED, Erased};
pub use subject::{Layer, Subject, Width};
pub use table::Table;

/// A price of an assignment: the largest of one or more forms.
#[derive(Clone, Debug, PartialEq)]
pub struct Cost {
    /// The word by which experiment files and reports call it, such as `size_kib`; its unit is its ending.
    pub name: String,
    /// At least one. Peak memory has one per moment, everything else one alone.
    pub rows: Vec<Form>,
}

impl Cost {
    /// Its value at an assignment of `space`.
    pub fn value(&self, space: &Space, levels: &[u8]) -> f64 {
        self.rows.iter().map(|row| row.value(space, levels)).fold(f64::NEG_INFINITY, f64::max)
    }
}

/// A unit in which a cost can be given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unit {
    /// The ending of the cost's name; the base unit may have none.
    pub name: &'static str,
    /// How many of the model's base unit make one.
    pub base: f64,
}

/// A way to price bit configs.
#[derive(Clone, Copy, Debug)]
pub struct CostModel {
    /// The first part of the cost's name.
    pub name: &'static str,
    /// Its units.
    pub units: &'static [Unit],
    /// Gives its rows in the base unit.
    rows: fn(&Subject<'_>) -> Result<Vec<Form>, CostError>,
}

const BITS: &[Unit] = &[
    Unit { name: "kib", base: 8.0 * 1024.0 },
    Unit { name: "mib", base: 8.0 * 1024.0 * 1024.0 },
    Unit { name: "bits", base: 1.0 },
];
const OPERATIONS: &[Unit] =
    &[Unit { name: "g", base: 1e9 }, Unit { name: "m", base: 1e6 }, Unit { name: "", base: 1.0 }];

/// All cost models.
pub const COST_MODELS: &[CostModel] = &[
    CostModel { name: "size", units: BITS, rows: size::rows },
    CostModel { name: "bops", units: OPERATIONS, rows: bops::rows },
    CostModel { name: "macs", units: OPERATIONS, rows: macs::rows },
    CostModel { name: "peak_activation", units: BITS, rows: peak::rows },
];

impl CostModel {
    /// The cost's name in each of the units.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        self.units.iter().map(|unit| self.name_in(unit))
    }

    fn name_in(&self, unit: &Unit) -> String {
        match unit.name {
            "" => self.name.to_owned(),
            unit => format!("{}_{unit}", self.name),
        }
    }
}

/// Returns a cost by its name: a model of the registry in one of its units, or a table of the subject.
///
/// Errors: `UnknownCost`; what the model or table finds missing in the subject.
pub fn cost(name: &str, subject: &Subject<'_>) -> Result<Cost, CostError> {
    for model in COST_MODELS {
        if let Some(unit) = model.units.iter().find(|unit| model.name_in(unit) == name) {
            let rows = (model.rows)(subject)?.into_iter().map(|row| divided(row, unit.base)).collect();
            return Ok(Cost { name: name.to_owned(), rows });
        }
    }
    match subject.tables.iter().find(|table| table.name() == name) {
        Some(table) => table.cost(subject),
        None => Err(CostError::UnknownCost { name: name.to_owned(), known: there_are(subject) }),
    }
}

/// The names that may be limited, as people read them: measured ones want to know the device besides.
fn there_are(subject: &Subject<'_>) -> String {
    format!("{}; measured on devices: {}", known(subject).join(", "), Quantity::COST_NAMES.join(", "))
}

/// The names that [`cost`] knows for a subject.
pub fn known(subject: &Subject<'_>) -> Vec<String> {
    let models = COST_MODELS.iter().flat_map(CostModel::names);
    models.chain(subject.tables.iter().map(|table| table.name().to_owned())).collect()
}

fn divided(mut form: Form, by: f64) -> Form {
    let two = form.two.iter_mut().flat_map(|two| &mut two.values);
    let terms = form.one.iter_mut().flatten().chain(two).chain(&mut form.by_changed);
    for term in terms.chain([&mut form.constant]) {
        *term /= by;
    }
    form
}

/// Why a cost cannot be given.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CostError {
    /// No model and no table has this name.
    #[error("there is no cost `{name}`; there are {known}")]
    UnknownCost {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The subject has layers alone.
    #[error("`{0}` needs the whole network; the file of layers does not say which tensors live together")]
    NeedsGraph(&'static str),
    /// A searched point that the network does not have.
    #[error("the searched point `{0}` is no point of the network; was it measured on another one?")]
    UnknownVariable(String),
    /// The network is wrong.
    #[error("the network is wrong: {0}")]
    Graph(#[from] GraphError),
    /// A table is no document of the form that [`Table`] describes.
    #[error("the table of costs cannot be read: {0}")]
    Malformed(String),
    /// A table prices a point that is not there.
    #[error("the table `{table}` has a price of `{point}`, which is no point of the network")]
    UnknownPoint {
        /// The table's name.
        table: String,
        /// The point.
        point: String,
    },
    /// A table leaves out a width that can be chosen.
    #[error(
        "the table `{table}` has no price of `{of}` at {widths}; measure it, or do not search that width"
    )]
    MissingWidth {
        /// The table's name.
        table: String,
        /// The point or layer.
        of: String,
        /// The widths.
        widths: String,
    },
    /// A table says the same thing twice.
    #[error("the table `{table}` has two prices of `{of}`; keep one")]
    Duplicate {
        /// The table's name.
        table: String,
        /// The point or layer, with its widths if those stand twice.
        of: String,
    },
}

#[cfg(test)]
mod tests;
