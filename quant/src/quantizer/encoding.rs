use bitloop_core::bits::Bits;
use bitloop_core::trial::{Calibration, Granularity, WeightRule};
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::QuantError;
use super::grid::{Grid, SCALE_MIN};
use super::observer::{Detail, Observer};

/// Grid, scale and offset of a quantizer: `x ~ (code + offset) * scale`.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoding {
    grid: Grid,
    scale: Vec<f32>,
    offset: Vec<i32>,
}

impl Encoding {
    /// Returns the encoding for an observed range, with the grid of a weight (symmetric) or of an activation.
    ///
    /// Errors: `NotFinite`.
    pub fn from_range(min: f32, max: f32, bits: Bits, symmetric: bool) -> Result<Self, QuantError> {
        let grid = if symmetric { Grid::symmetric(bits) } else { Grid::asymmetric(bits) };
        Self::from_observed(&[(min, max)], grid)
    }

    /// Returns the min-max encoding for observed ranges: one for all values, or one per channel.
    ///
    /// Errors: `NotFinite` naming the first such channel.
    pub fn from_observed(ranges: &[(f32, f32)], grid: Grid) -> Result<Self, QuantError> {
        check_ranges(ranges)?;
        let widened: Vec<_> = ranges.iter().map(|range| grid.widened(*range)).collect();
        Self::from_stored(&widened, grid)
    }

    /// Returns the encoding whose ends are as near to the stored ranges as a zero point on a code allows.
    ///
    /// `scale = max((max - min) / n, 2^-23)`; `offset = clamp(rne(min / scale) - qmin, -qmax, -qmin)`, or for a
    /// symmetric grid `-rne((qmin + qmax) / 2)`; all in f32.
    ///
    /// Errors: `NotFinite` naming the first such channel.
    /// Source: `/design/methods/aimet_and_demotion.md` section 2.1.
    pub fn from_stored(ranges: &[(f32, f32)], grid: Grid) -> Result<Self, QuantError> {
        check_ranges(ranges)?;
        let n = grid.steps() as f32;
        let mut scale = Vec::with_capacity(ranges.len());
        let mut offset = Vec::with_capacity(ranges.len());
        for &(min, max) in ranges {
            let step = ((max - min).abs() / n).max(SCALE_MIN);
            scale.push(step);
            offset.push(if grid.is_symmetric() {
                grid.middle()
            } else {
                let nearest = (min / step).round_ties_even() as i32;
                nearest.saturating_sub(grid.qmin()).clamp(-grid.qmax(), -grid.qmin())
            });
        }
        Ok(Self { grid, scale, offset })
    }

    /// Returns the encoding that a calibration derives from what observers saw: one of all values, or one per channel.
    ///
    /// Errors: `NoValues`, `Statistics` if they did not keep enough, `NotFinite` naming the first such channel.
    pub fn calibrated(
        observers: &[Observer],
        grid: Grid,
        calibration: Calibration,
    ) -> Result<Self, QuantError> {
        let stored = observers.par_iter().map(|observer| observer.stored_range(grid, calibration));
        let stored = stored.collect::<Vec<_>>().into_iter().collect::<Result<Vec<_>, _>>()?;
        Self::from_stored(&stored, grid)
    }

    /// Returns an encoding of given scales and offsets, such as a file has; one for all values, or one per channel.
    ///
    /// Errors: `Given` naming the first channel whose scale is no positive normal number, or whose offset puts zero
    /// on no code (a symmetric grid's offset is that of its middle); `Lengths`.
    pub fn given(grid: Grid, scale: Vec<f32>, offset: Vec<i32>) -> Result<Self, QuantError> {
        if scale.is_empty() || scale.len() != offset.len() {
            return Err(QuantError::Lengths { scales: scale.len(), offsets: offset.len() });
        }
        let usable = |(&scale, &offset): (&f32, &i32)| {
            let on_a_code = (-grid.qmax()..=-grid.qmin()).contains(&offset);
            let in_place = if grid.is_symmetric() { offset == grid.middle() } else { on_a_code };
            scale.is_normal() && scale > 0.0 && in_place
        };
        match scale.iter().zip(&offset).position(|pair| !usable(pair)) {
            None => Ok(Self { grid, scale, offset }),
            Some(channel) => {
                Err(QuantError::Given { channel, scale: scale[channel], offset: offset[channel] })
            }
        }
    }

    /// Returns the encoding of a weight.
    ///
    /// Shapes: `weight` `(out, ...)` f32 -> one scale, or `(out,)` scales.
    /// Errors: `NotFinite` naming the first such channel, `NoValues`, `Tensor`.
    pub fn of_weight(weight: &Tensor, rule: WeightRule, bits: Bits) -> Result<Self, QuantError> {
        let mut encodings = Self::of_weight_at(weight, rule, &[bits])?;
        Ok(encodings.pop().expect("one encoding per width"))
    }

    /// Returns the encodings of a weight at several widths, which share the statistics.
    ///
    /// Shapes and errors: as [`Encoding::of_weight`].
    pub fn of_weight_at(weight: &Tensor, rule: WeightRule, widths: &[Bits]) -> Result<Vec<Self>, QuantError> {
        let values = weight.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
        let values = values.flatten_all()?.to_vec1::<f32>()?;
        let channels = weight.dims().first().copied().unwrap_or(1);
        Self::of_channels(&values, channels, rule, widths)
    }

    /// Returns the encodings of values that lie channel by channel, at several widths, which share the statistics.
    ///
    /// `channels` is how many there are; with a granularity per tensor all of them get one scale.
    ///
    /// Errors: `NotFinite` naming the first such channel, `NoValues`.
    pub fn of_channels(
        values: &[f32],
        channels: usize,
        rule: WeightRule,
        widths: &[Bits],
    ) -> Result<Vec<Self>, QuantError> {
        let channels = match rule.granularity {
            Granularity::PerTensor => 1,
            Granularity::PerChannel => channels.max(1),
        };
        let per_channel = values.len().div_ceil(channels).max(1);
        let grids: Vec<Grid> = widths.iter().map(|bits| Grid::of(rule.scheme, *bits)).collect();
        // Channel by channel, as histograms of all channels together would fill the memory.
        let stored = values.par_chunks(per_channel).enumerate().map(|(channel, values)| {
            let mut observer = Observer::new(Detail::of(rule.calibration));
            observer.observe(values).map_err(|error| error.of_channel(channel))?;
            let stored = grids.iter().map(|grid| observer.stored_range(*grid, rule.calibration));
            stored.collect::<Result<Vec<_>, _>>()
        });
        let stored = stored.collect::<Vec<_>>().into_iter().collect::<Result<Vec<_>, QuantError>>()?;
        if stored.is_empty() {
            return Err(QuantError::NoValues);
        }
        let encodings = grids.iter().enumerate().map(|(width, grid)| {
            let ranges: Vec<_> = stored.iter().map(|ranges| ranges[width]).collect();
            Self::from_stored(&ranges, *grid)
        });
        encodings.collect()
    }

    /// The grid.
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// Step per code, one or one per channel.
    pub fn scale(&self) -> &[f32] {
        &self.scale
    }

    /// What is added to a code before it is scaled (minus the zero point), one or one per channel.
    pub fn offset(&self) -> &[i32] {
        &self.offset
    }
}

/// Returns smallest and largest value; NaN if there is one, and infinities upside down if there is no value.
pub(crate) fn observed_range(values: &[f32]) -> (f32, f32) {
    let mut range = (f32::INFINITY, f32::NEG_INFINITY);
    let mut nan = false;
    // Comparisons, as `f32::min` would drop a NaN.
    for &value in values {
        range.0 = if value < range.0 { value } else { range.0 };
        range.1 = if value > range.1 { value } else { range.1 };
        nan |= value.is_nan();
    }
    if nan { (f32::NAN, f32::NAN) } else { range }
}

fn check_ranges(ranges: &[(f32, f32)]) -> Result<(), QuantError> {
    for (channel, &(min, max)) in ranges.iter().enumerate() {
        if !min.is_finite() || !max.is_finite() || max < min || !(max - min).is_finite() {
            return Err(QuantError::NotFinite { channel, min, max });
        }
    }
    Ok(())
}
