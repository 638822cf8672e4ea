use bitloop_core::bits::Bits;

use super::{OfflineError, Question, Wanted};
use crate::cost::Subject;
use crate::solve::Problem;
use crate::tables::{Counts, Indicators, LimpqLayers};

/// What is searched for among widths with importance indicators.
#[derive(Clone, Debug, PartialEq)]
pub struct IndicatorSearch {
    /// The widths of every weight and every input; all that have indicators if empty.
    pub bits: Vec<Bits>,
    /// The bit operations may be those of all layers at these widths of weights and inputs; no such limit if none.
    pub mean_bits: Option<[f64; 2]>,
    /// The weights may take this share of the float network's: 12.2 is a size of 1 / 12.2; no such limit if none.
    pub compression: Option<f64>,
    /// How much a weight's indicator counts beside an input's.
    pub alpha: f64,
    /// Which operation counts are used; the published ones come with the published erase rule.
    pub counts: Counts,
    /// Other limits.
    pub wanted: Wanted,
}

/// Makes the problem of a network with importance indicators.
///
/// Minimised is `sum over layers of act(b_a) + alpha * weight(b_w)`. Limits on bit operations are in `bops`, on size in
/// `size_bits`, where all numbers are whole, so that no rounding decides.
///
/// Errors: `Table` where the tables are not of one network or a width was not learned; `Range` for numbers that are
/// not positive; `Cost` for a limit on an unknown cost; `LimitedTwice`.
pub fn of_indicators(
    indicators: &Indicators,
    layers: &LimpqLayers,
    search: &IndicatorSearch,
) -> Result<Question, OfflineError> {
    indicators.check(layers)?;
    let widths = if search.bits.is_empty() { &indicators.bit_candidates } else { &search.bits };
    let space = indicators.space(widths)?;
    let erase = search.counts == Counts::Published;
    positive("alpha", search.alpha)?;
    let mut wanted = search.wanted.clone();
    if let Some([weight, activation]) = search.mean_bits {
        positive("the mean width of weights", weight)?;
        positive("the mean width of activations", activation)?;
        wanted.limits.push(("bops".to_owned(), layers.bops_at(weight, activation, search.counts)));
    }
    if let Some(ratio) = search.compression {
        positive("the compression", ratio)?;
        wanted.limits.push(("size_bits".to_owned(), layers.float_size_bits() / ratio));
    }
    wanted.told.extend(["bops_g", "size_mib"].map(str::to_owned));
    let costs = wanted.costs(&Subject::of_limpq(layers, search.counts, &space)?)?;
    let objective = indicators.objective(&space, search.alpha, erase)?;
    let mut notes = Vec::new();
    if erase {
        notes.extend(indicators.erased(&space)?.iter().map(|erased| {
            format!(
                "the indicator {} of {} at {} bits is smaller than at one bit more and was erased",
                erased.original,
                crate::tables::point_name(&erased.layer, erased.kind),
                erased.bits
            )
        }));
    }
    Ok(Question {
        problem: Problem { space, objective, limits: costs.limits },
        told: costs.told,
        front: costs.front,
        objective: format!("sum of indicators, inputs + {} x weights", search.alpha),
        predict: None,
        notes,
    })
}

fn positive(what: &str, value: f64) -> Result<(), OfflineError> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(OfflineError::Range { what: what.to_owned(), value, expected: "it must be a positive number" })
}
