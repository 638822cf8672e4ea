//! Powers of two: `quantized_po2` and `quantized_relu_po2`.

use bitloop_core::qkeras::{Log2Rounding, Po2Exponents, QuantizedPo2, QuantizedReluPo2};

use super::FitError;
use super::element::{Element, Noise};
use super::fitted::{Fitted, Fitter};
use super::groups::Groups;
use super::math::{EPSILON, clip, floor, log2, power_of_two, round_even, sign_of};
use super::relu::Leaky;
use crate::kernels::cuda::{Family, Found, Map};

/// How a logarithm becomes an exponent.
#[derive(Clone, Copy, Debug)]
enum Rounding {
    Nearest,
    Floor,
    /// One of the two powers around the magnitude, so that the magnitude is their mean.
    Drawn,
}

/// From a magnitude to its power.
#[derive(Clone, Copy, Debug)]
struct Power {
    least: f32,
    most: f32,
    max_value: f32,
    quadratic: bool,
    rounding: Rounding,
}

impl Power {
    fn new(exponents: Po2Exponents, max_value: Option<f64>, quadratic: bool) -> Self {
        Self {
            least: exponents.min as f32,
            most: exponents.max as f32,
            max_value: max_value.map_or(f32::INFINITY, |max| max as f32),
            quadratic,
            rounding: Rounding::Nearest,
        }
    }

    /// The same for a GPU.
    fn within(self, map: Map) -> Map {
        Map {
            option: match self.rounding {
                Rounding::Nearest => 0,
                Rounding::Floor => 1,
                Rounding::Drawn => 2,
            },
            flag: i32::from(self.quadratic),
            low: self.least,
            high: self.most,
            most: self.max_value,
            ..map
        }
    }

    fn rounded(self, rounding: Log2Rounding, drawn: bool) -> Self {
        let rounding = match rounding {
            _ if drawn => Rounding::Drawn,
            Log2Rounding::Nearest => Rounding::Nearest,
            Log2Rounding::Floor => Rounding::Floor,
        };
        Self { rounding, ..self }
    }

    fn of(self, magnitude: f32, draw: f32) -> f32 {
        if magnitude < EPSILON {
            return power_of_two(self.least);
        }
        let capped = if magnitude > self.max_value { self.max_value } else { magnitude };
        let y = if self.quadratic { capped.sqrt() } else { capped };
        let exponent = match self.rounding {
            Rounding::Nearest => nearest_exponent(y),
            Rounding::Floor => floor(log2(y)),
            Rounding::Drawn => drawn_exponent(y, draw),
        };
        let exponent = clip(exponent, self.least, self.most);
        power_of_two(if self.quadratic { 2.0 * exponent } else { exponent })
    }
}

/// The logarithm's nearest whole number.
///
/// Far enough from the square root of 2 times a power, where the rounding of the logarithm decides, it is read off the
/// number's own exponent.
#[inline]
fn nearest_exponent(y: f32) -> f32 {
    /// Mantissas (23 bits) of the square root of 2, and how far from it a logarithm cannot round to the other side: it is
    /// off by less than 1e-4 for any exponent, and this is more than 1e-3.
    const ROOT: i32 = 3_474_675;
    const MARGIN: i32 = 1 << 14;
    let bits = y.to_bits() as i32;
    let (exponent, mantissa) = ((bits >> 23) - 127, bits & 0x7f_ffff);
    if y < f32::MIN_POSITIVE || (mantissa - ROOT).abs() < MARGIN || !y.is_finite() {
        return round_even(log2(y));
    }
    (exponent + i32::from(mantissa > ROOT)) as f32
}

/// The exponent below or above a magnitude: below if the magnitude is below a draw between the two powers.
fn drawn_exponent(y: f32, draw: f32) -> f32 {
    let nearest = round_even(log2(y + EPSILON));
    let low = if power_of_two(nearest) > y { nearest - 1.0 } else { nearest };
    let (least, most) = (power_of_two(low), power_of_two(low + 1.0));
    let threshold = draw * (most - least) + least;
    if y < threshold { low } else { low + 1.0 }
}

struct Po2 {
    power: Power,
    noise: Noise,
}

impl Element for Po2 {
    type At = ();

    #[inline(always)]
    fn value(&self, (): (), x: f32, [draw, _]: [f32; 2]) -> f32 {
        self.noise.mix(x, sign_of(x) * self.power.of(x.abs(), draw))
    }

    #[inline(always)]
    fn slope(&self, (): (), _: f32) -> f32 {
        self.noise.slope()
    }

    fn map(&self) -> Map {
        self.power.within(self.noise.of(Map { family: Family::Po2, ..Map::default() }))
    }

    fn found((): ()) -> Found {
        [0.0; 2]
    }
}

struct ReluPo2 {
    power: Power,
    leaky: Leaky,
    noise: Noise,
}

impl Element for ReluPo2 {
    type At = ();

    #[inline(always)]
    fn value(&self, (): (), x: f32, [draw, negative]: [f32; 2]) -> f32 {
        let quantized = if x >= 0.0 || self.leaky.slope == 0.0 {
            self.power.of(if x > 0.0 { x } else { 0.0 }, draw)
        } else {
            -self.power.of(self.leaky.slope * -x, negative)
        };
        self.noise.mix(self.leaky.value(x), quantized)
    }

    #[inline(always)]
    fn slope(&self, (): (), x: f32) -> f32 {
        self.noise.slope() * self.leaky.slope(x)
    }

    fn map(&self) -> Map {
        let Leaky { slope, bound } = self.leaky;
        let map = Map { family: Family::ReluPo2, slope, bound, ..Map::default() };
        self.power.within(self.noise.of(map))
    }

    fn found((): ()) -> Found {
        [0.0; 2]
    }
}

/// Prepares powers with a sign.
pub(super) fn fit(po2: &QuantizedPo2, fitter: &mut Fitter<'_>) -> Result<Fitted, FitError> {
    let drawn = po2.use_stochastic_rounding && fitter.is_training();
    let power = Power::new(po2.exponents(), po2.max_value, po2.quadratic_approximation);
    let power = power.rounded(po2.log2_rounding, drawn);
    let draws = fitter.draws(usize::from(drawn));
    let element = Po2 { power, noise: Noise::new(po2.qnoise_factor, po2.use_ste) };
    Ok(Fitted::new(element, (Groups::whole(), vec![()]), draws))
}

/// Prepares powers of a ReLU.
pub(super) fn fit_relu(po2: &QuantizedReluPo2, fitter: &mut Fitter<'_>) -> Result<Fitted, FitError> {
    let drawn = po2.use_stochastic_rounding && fitter.is_training();
    let power = Power::new(po2.exponents(), po2.max_value, po2.quadratic_approximation);
    let power = power.rounded(po2.log2_rounding, drawn);
    let tensors = if po2.negative_slope > 0.0 { 2 } else { 1 };
    let draws = fitter.draws(if drawn { tensors } else { 0 });
    let leaky = Leaky { slope: po2.negative_slope as f32, bound: power.max_value };
    let element = ReluPo2 { power, leaky, noise: Noise::new(po2.qnoise_factor, po2.use_ste) };
    Ok(Fitted::new(element, (Groups::whole(), vec![()]), draws))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_read_off_are_those_of_the_logarithm() {
        let mut rng = bitloop_core::rng::rng(5, 0);
        let any = (0..200_000).map(|_| f32::from_bits((rng.next_u64() >> 33) as u32));
        let near = (-126..127).flat_map(|exponent| {
            let root = power_of_two(exponent as f32) * std::f32::consts::SQRT_2;
            (-20_000..20_000)
                .step_by(997)
                .map(move |off| f32::from_bits((root.to_bits() as i32 + off) as u32))
        });

        for y in any.chain(near).filter(|y| y.is_finite() && *y > 0.0) {
            assert_eq!(nearest_exponent(y), round_even(log2(y)), "{y}");
        }
    }
}
