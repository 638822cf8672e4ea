use bitloop_core::bits::Bits;
use bitloop_core::graph::PointKind;

use super::recast::{measured_levels, recast};
use super::{LayersFile, OfflineError, Predict, Question, Wanted};
use crate::cost::Table;
use crate::form::Form;
use crate::measurements::{Measurements, Metric};
use crate::predict::Predictor;
use crate::solve::Problem;
use crate::space::{Space, Variable};
use crate::tables::Counts;

/// What is searched for among measured points.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredSearch {
    /// The kinds of points that are searched; others stay at their reference.
    pub kinds: Vec<PointKind>,
    /// Their widths; those that were measured if empty.
    pub bits: Vec<Bits>,
    /// Which operation counts of a published table are used.
    pub counts: Counts,
    /// Costs that were measured elsewhere.
    pub tables: Vec<Table>,
    /// Limits and what is told.
    pub wanted: Wanted,
}

/// What is minimised.
pub enum Objective {
    /// The loss by a predictor that was fitted to the measurements.
    Predicted(Box<dyn Predictor>),
    /// A form over the measured space, such as [`published_objective`](super::published_objective).
    Given {
        /// The form.
        form: Form,
        /// What it is, in a few words.
        words: String,
    },
}

/// Makes the problem of the least predicted loss within limits.
///
/// Errors: `Layers` if the file is no table of these points; `NotMeasured`, `OutsideOfMeasured`, `WithoutReference` for
/// widths that no prediction holds for; `Cost` for unknown costs; `NothingToSearch`; `LimitedTwice`; `Range`.
pub fn of_measurements(
    measurements: &Measurements,
    objective: Objective,
    layers: &LayersFile,
    search: &MeasuredSearch,
) -> Result<Question, OfflineError> {
    let from = measurements.space.clone();
    let space = searched(&from, search)?;
    let (minimised, words, mut notes, predictor) = match objective {
        Objective::Predicted(predictor) => {
            let words = format!("predicted {}", described(measurements.metric));
            (predictor.form(), words, predictor.notes().to_vec(), Some(predictor))
        }
        Objective::Given { form, words } => (form, words, Vec::new(), None),
    };
    let objective = recast(&minimised, &from, &space)?;
    let mut wanted = search.wanted.clone();
    let mut told = vec!["bops_g", "size_mib"];
    if matches!(layers, LayersFile::Network(_)) {
        told.push("peak_activation_kib");
    }
    wanted.told.extend(told.into_iter().map(str::to_owned));
    wanted.told.extend(search.tables.iter().map(|table| table.name().to_owned()));
    let subject = layers.subject(search.counts, &space)?.with_tables(search.tables.clone());
    let costs = wanted.costs(&subject)?;
    notes.extend(interpolated(&from, &space));
    let to = space.clone();
    Ok(Question {
        problem: Problem { space, objective, limits: costs.limits },
        told: costs.told,
        front: costs.front,
        objective: words,
        predict: predictor.map(|predictor| -> Predict {
            Box::new(move |levels| {
                measured_levels(&from, &to, levels).map(|levels| predictor.predict(&levels))
            })
        }),
        notes,
    })
}

fn searched(from: &Space, search: &MeasuredSearch) -> Result<Space, OfflineError> {
    let mut bits = search.bits.clone();
    bits.sort_unstable();
    bits.dedup();
    let chosen = from.variables.iter().filter(|variable| search.kinds.contains(&variable.kind));
    let variables: Vec<Variable> = chosen
        .map(|variable| match bits.is_empty() {
            true => variable.clone(),
            false => Variable { widths: bits.clone(), ..variable.clone() },
        })
        .collect();
    match variables.is_empty() {
        true => Err(OfflineError::NothingToSearch),
        false => Ok(Space { variables }),
    }
}

/// Says which searched widths nobody measured.
fn interpolated(from: &Space, to: &Space) -> Option<String> {
    let unmeasured = to.variables.iter().flat_map(|variable| {
        let measured = from.find(&variable.name).map(|at| &from.variables[at].widths);
        variable.widths.iter().filter(move |bits| measured.is_some_and(|measured| !measured.contains(bits)))
    });
    let mut widths: Vec<Bits> = unmeasured.copied().collect();
    widths.sort_unstable();
    widths.dedup();
    let widths: Vec<String> = widths.iter().map(ToString::to_string).collect();
    (!widths.is_empty()).then(|| {
        format!(
            "nobody measured {} bits: losses there are interpolated between the measured widths, and bit configs with \
             them have no predicted interval",
            widths.join(", ")
        )
    })
}

/// A metric in words, with its unit.
pub fn described(metric: Metric) -> &'static str {
    match metric {
        Metric::Top1Drop => "drop of top-1, in percentage points",
        Metric::LossIncrease => "increase of the cross-entropy, in nats",
    }
}
