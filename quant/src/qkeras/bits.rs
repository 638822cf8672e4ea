//! Fixed point: `quantized_bits`.

use bitloop_core::qkeras::QuantizedBits;

use super::element::{Element, Noise};
use super::fitted::{Fitted, Fitter};
use super::groups::{Groups, Place};
use super::math::{clip, floor, nearest_power, power_of_two, round_drawn, round_even, sign, sign_of};
use super::scales::{LeastSquares, given, listed};
use super::{Arithmetic, FitError, Values};
use crate::kernels::cuda::{Family, Found, Map};

/// How often a scale that is a power of two is refined.
const REFINEMENTS: usize = 5;

/// Fixed point with given scales: rounded, then clipped, then scaled.
struct Fixed {
    /// `2^bits` and `2^integer`, without the sign, and their reciprocals.
    codes: f32,
    codes_inverse: f32,
    unit: f32,
    unit_inverse: f32,
    low: f32,
    high: f32,
    noise: Noise,
    drawn: bool,
    clipped: bool,
}

impl Fixed {
    fn new(bits: &QuantizedBits, fitter: &Fitter<'_>, drawn: bool) -> Self {
        let (unsigned, integer) = (bits.unsigned_bits() as f32, bits.integer as f32);
        let (codes, symmetric) = (power_of_two(unsigned), f32::from(u8::from(bits.symmetric)));
        Self {
            codes,
            codes_inverse: power_of_two(-unsigned),
            unit: power_of_two(integer),
            unit_inverse: power_of_two(-integer),
            low: if bits.keep_negative { symmetric - codes } else { 0.0 },
            high: codes - 1.0,
            noise: Noise::new(bits.qnoise_factor, bits.use_ste),
            drawn,
            clipped: fitter.fitting.clip_gradient,
        }
    }
}

impl Element for Fixed {
    type At = f32;

    #[inline(always)]
    fn value(&self, scale: f32, x: f32, [draw, _]: [f32; 2]) -> f32 {
        let steps = x * self.codes * self.unit_inverse;
        let code = if self.drawn { round_drawn(steps, 1.0, draw) } else { round_even(steps) };
        let code = clip(code, self.low, self.high);
        self.noise.mix(x, scale * (self.unit * code * self.codes_inverse))
    }

    #[inline(always)]
    fn slope(&self, _: f32, x: f32) -> f32 {
        let code = round_even(x * self.codes * self.unit_inverse);
        let inside = !self.clipped || (code >= self.low && code <= self.high);
        self.noise.slope() * f32::from(u8::from(inside))
    }

    fn map(&self) -> Map {
        self.noise.of(Map {
            family: Family::Fixed,
            flag: i32::from(self.clipped),
            drawn: i32::from(self.drawn),
            codes: self.codes,
            codes_inverse: self.codes_inverse,
            unit: self.unit,
            unit_inverse: self.unit_inverse,
            low: self.low,
            high: self.high,
            ..Map::default()
        })
    }

    fn found(scale: f32) -> Found {
        [scale, 0.0]
    }
}

/// The sign alone, which one bit with a sign is.
struct OneBit {
    noise: Noise,
}

impl Element for OneBit {
    type At = f32;

    #[inline(always)]
    fn value(&self, scale: f32, x: f32, _: [f32; 2]) -> f32 {
        self.noise.mix(x, scale * sign_of(x))
    }

    #[inline(always)]
    fn slope(&self, _: f32, _: f32) -> f32 {
        self.noise.slope()
    }

    fn map(&self) -> Map {
        self.noise.of(Map { family: Family::OneBit, ..Map::default() })
    }

    fn found(scale: f32) -> Found {
        [scale, 0.0]
    }
}

/// Symmetric codes in steps of a scale per group, rounded half away from zero.
struct Scaled {
    /// The highest code.
    levels: f32,
    codes: f32,
    codes_inverse: f32,
    unit: f32,
    unit_inverse: f32,
    noise: Noise,
    clipped: bool,
}

impl Scaled {
    fn new(bits: &QuantizedBits, fitter: &Fitter<'_>) -> Self {
        let (unsigned, integer) = (bits.unsigned_bits() as f32, bits.integer as f32);
        Self {
            // With the sign's bit taken off even where there is no sign, as in QKeras.
            levels: power_of_two(bits.bits as f32 - 1.0) - 1.0,
            codes: power_of_two(unsigned),
            codes_inverse: power_of_two(-unsigned),
            unit: power_of_two(integer),
            unit_inverse: power_of_two(-integer),
            noise: Noise::new(bits.qnoise_factor, bits.use_ste),
            clipped: fitter.fitting.clip_gradient,
        }
    }

    /// The code of a value in units.
    #[inline(always)]
    fn code(&self, scale: f32, in_units: f32) -> f32 {
        let magnitude = floor(in_units.abs() / scale + 0.5);
        // Of the two, NaN takes the second, so that a group of zeros stays zero.
        sign(in_units) * if magnitude < self.levels { magnitude } else { self.levels }
    }

    /// Scales per group, in steps of the code.
    fn scales(&self, fitter: &Fitter<'_>, groups: Groups, rule: LeastSquares) -> (Groups, Vec<f32>) {
        let x = fitter.values;
        let largest = groups.largest(x.data, 0.0, |x| (x * self.unit_inverse).abs());
        let scales = largest.into_iter().map(|largest| (largest * 2.0) / (2.0 * self.levels));
        if !rule.power {
            return (groups, scales.collect());
        }
        let scaled: Vec<f32> = scales.map(nearest_power).collect();
        let refined = rule.groups(x.shape, &groups);
        // All values share the first scale where afterwards each has its own.
        let mut scales = if scaled.len() == refined.count { scaled } else { vec![scaled[0]; refined.count] };
        let in_units: Vec<f32> = x.data.iter().map(|x| x * self.unit_inverse).collect();
        for _ in 0..REFINEMENTS {
            let code = |x, place: Place| self.code(scales[place.group], x);
            scales = rule.scales(Values { data: &in_units, ..x }, &refined, code);
        }
        (refined, scales)
    }
}

impl Element for Scaled {
    type At = f32;

    #[inline(always)]
    fn value(&self, scale: f32, x: f32, _: [f32; 2]) -> f32 {
        let in_units = x * self.unit_inverse;
        let code = self.code(scale, in_units);
        let quantized = (scale * self.codes) * ((self.unit * code) * self.codes_inverse);
        self.noise.mix(self.unit * in_units, quantized)
    }

    #[inline(always)]
    fn slope(&self, scale: f32, x: f32) -> f32 {
        let magnitude = floor((x * self.unit_inverse).abs() / scale + 0.5);
        let inside = !self.clipped || magnitude <= self.levels;
        self.noise.slope() * f32::from(u8::from(inside))
    }

    fn map(&self) -> Map {
        self.noise.of(Map {
            family: Family::Scaled,
            flag: i32::from(self.clipped),
            codes: self.codes,
            codes_inverse: self.codes_inverse,
            unit: self.unit,
            unit_inverse: self.unit_inverse,
            high: self.levels,
            ..Map::default()
        })
    }

    fn found(scale: f32) -> Found {
        [scale, 0.0]
    }
}

/// Finds the scales of fixed point.
///
/// Errors: axes or scales that do not fit the values; one bit with automatic scales, if that is not as in QKeras.
pub(super) fn fit(bits: &QuantizedBits, fitter: &mut Fitter<'_>) -> Result<Fitted, FitError> {
    match LeastSquares::of(bits.alpha.as_ref(), fitter.fitting.arithmetic) {
        Some(rule) => scaled(bits, fitter, rule),
        None => {
            let (groups, scales) = given(bits.alpha.as_ref(), fitter.values)?;
            let reported = scales.clone();
            if bits.unsigned_bits() == 0 {
                let noise = Noise::new(bits.qnoise_factor, bits.use_ste);
                return Ok(Fitted::new(OneBit { noise }, (groups, scales), Vec::new()).with_scale(reported));
            }
            let drawn = bits.use_stochastic_rounding && fitter.is_training();
            let draws = fitter.draws(usize::from(drawn));
            let fixed = Fixed::new(bits, fitter, drawn);
            Ok(Fitted::new(fixed, (groups, scales), draws).with_scale(reported))
        }
    }
}

fn scaled(bits: &QuantizedBits, fitter: &Fitter<'_>, rule: LeastSquares) -> Result<Fitted, FitError> {
    if bits.bits == 1 && fitter.fitting.arithmetic == Arithmetic::Corrected {
        return Err(FitError::OneBit);
    }
    let rule = LeastSquares { exponents: [bits.min_po2_exponent, bits.max_po2_exponent], ..rule };
    let groups = Groups::along(fitter.values, bits.scale_axis.as_ref(), bits.elements_per_scale.as_ref())?;
    let element = Scaled::new(bits, fitter);
    let (groups, scales) = match &bits.post_training_scale {
        Some(kept) => {
            let (groups, kept) = listed(kept, fitter.values)?;
            (groups, kept.into_iter().map(|scale| scale * element.codes_inverse).collect())
        }
        None => element.scales(fitter, groups, rule),
    };
    let reported = scales.iter().map(|scale| scale * element.codes).collect();
    Ok(Fitted::new(element, (groups, scales), Vec::new()).with_scale(reported))
}
