use bitloop_core::trial::Calibration;

use super::QuantError;
use super::encoding::observed_range;
use super::grid::Grid;
use super::histogram::{Histogram, Parts, Shape};
use super::search::least_noise;

/// What percentiles, SQNR and MSE look at; it grows without limit.
const FINE: Shape = Shape { bins: 2048, growth: f32::INFINITY };
/// What TF-enhanced looks at; it grows by one and a half first widths on each side.
const COARSE: Shape = Shape { bins: 512, growth: 3.0 };
/// How much more a clipped value counts than a rounded one in SQNR and TF-enhanced.
const CLIPPED_WEIGHT: f32 = 3.0;

/// What an observer keeps besides the smallest and the largest value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detail {
    fine: bool,
    coarse: bool,
}

impl Detail {
    /// Nothing: enough for min-max.
    pub const RANGE: Self = Self { fine: false, coarse: false };
    /// Both histograms: enough for every calibration.
    pub const ALL: Self = Self { fine: true, coarse: true };

    /// What one calibration needs.
    pub fn of(calibration: Calibration) -> Self {
        match calibration {
            Calibration::MinMax => Self::RANGE,
            Calibration::TfEnhanced => Self { fine: false, coarse: true },
            Calibration::Percentile(_) | Calibration::Sqnr | Calibration::Mse => {
                Self { fine: true, coarse: false }
            }
        }
    }
}

/// Statistics of the values of one tensor or channel, fed batch by batch: a range and histograms.
///
/// Encodings of every width and calibration come from the same observer. The order of the batches matters to the
/// histograms, the order of the values within a batch does not.
#[derive(Clone, Debug, PartialEq)]
pub struct Observer {
    detail: Detail,
    range: Option<(f32, f32)>,
    fine: Option<Histogram>,
    coarse: Option<Histogram>,
}

impl Observer {
    /// An observer that has seen nothing.
    pub fn new(detail: Detail) -> Self {
        Self { detail, range: None, fine: None, coarse: None }
    }

    /// Takes in a batch of values; an empty one changes nothing.
    ///
    /// Errors: `NotFinite` if a value is NaN or infinite; nothing is taken in then.
    pub fn observe(&mut self, values: &[f32]) -> Result<(), QuantError> {
        if values.is_empty() {
            return Ok(());
        }
        let (min, max) = observed_range(values);
        if !min.is_finite() || !max.is_finite() {
            return Err(QuantError::NotFinite { channel: 0, min, max });
        }
        // Adding 0.0 makes -0.0 a plain zero: which of the two comes first depends on the order of the values.
        let batch = (min + 0.0, max + 0.0);
        self.range = Some(self.range.map_or(batch, |(min, max)| (min.min(batch.0), max.max(batch.1))));
        for (wanted, shape, histogram) in
            [(self.detail.fine, FINE, &mut self.fine), (self.detail.coarse, COARSE, &mut self.coarse)]
        {
            match histogram {
                Some(histogram) => histogram.add(values, batch),
                None if wanted => *histogram = Some(Histogram::new(shape, values, batch)),
                None => {}
            }
        }
        Ok(())
    }

    /// What is kept.
    pub fn detail(&self) -> Detail {
        self.detail
    }

    /// Smallest and largest value; `None` if there was no value.
    pub fn range(&self) -> Option<(f32, f32)> {
        self.range
    }

    /// Returns the range that an encoding on `grid` is made from: zero included, and the zero point on a code or
    /// nearly so.
    ///
    /// Errors: `NoValues`; `Statistics` if the calibration needs a histogram that was not kept.
    /// Source: `/design/methods/aimet_and_demotion.md` section 2.3.
    pub(super) fn stored_range(
        &self,
        grid: Grid,
        calibration: Calibration,
    ) -> Result<(f32, f32), QuantError> {
        let observed = self.range.ok_or(QuantError::NoValues)?;
        let fine = || self.fine.as_ref().ok_or(QuantError::Statistics { calibration });
        let coarse = || self.coarse.as_ref().ok_or(QuantError::Statistics { calibration });
        Ok(match calibration {
            Calibration::MinMax => grid.widened(observed),
            Calibration::Percentile(percentile) => {
                grid.covering(fine()?.percentile(percentile.parts_per_million()))
            }
            Calibration::Sqnr => {
                let fine = fine()?;
                least_noise(fine, within(observed, fine), grid, CLIPPED_WEIGHT)
            }
            Calibration::TfEnhanced => {
                let coarse = coarse()?;
                least_noise(coarse, within(observed, coarse), grid, CLIPPED_WEIGHT)
            }
            Calibration::Mse => {
                let fine = fine()?;
                least_noise(fine, within(observed, fine), grid, 1.0)
            }
        })
    }

    /// The fine and the coarse histogram's parts, as far as they were kept.
    pub(crate) fn histograms(&self) -> [Option<Parts>; 2] {
        [&self.fine, &self.coarse].map(|histogram| histogram.as_ref().map(Histogram::parts))
    }

    /// Joins what [`Observer::range`] and [`Observer::histograms`] gave; `None` if it cannot have been that.
    pub(crate) fn from_parts(range: (f32, f32), [fine, coarse]: [Option<Parts>; 2]) -> Option<Self> {
        if !range.0.is_finite() || !range.1.is_finite() || range.1 < range.0 {
            return None;
        }
        let detail = Detail { fine: fine.is_some(), coarse: coarse.is_some() };
        let read = |shape, parts: Option<Parts>| match parts {
            Some(parts) => Histogram::from_parts(shape, parts).map(Some),
            None => Some(None),
        };
        Some(Self { detail, range: Some(range), fine: read(FINE, fine)?, coarse: read(COARSE, coarse)? })
    }
}

/// The values' range as far as the histogram grew; its bins reach beyond where all values are equal.
fn within((min, max): (f32, f32), histogram: &Histogram) -> (f32, f32) {
    let (lo, hi) = histogram.range();
    (min.max(lo), max.min(hi))
}
