//! Functions of one value that are the same on every machine, without branches where vectors are to be made of them.

/// Keras's epsilon.
pub(super) const EPSILON: f32 = 1e-7;
/// From here on every f32 is a whole number.
const WHOLE: f32 = 8_388_608.0;

/// Rounds half to even, as a function call would where the CPU's baseline has no such instruction.
#[inline(always)]
pub(super) fn round_even(x: f32) -> f32 {
    let shift = WHOLE.copysign(x);
    let rounded = ((x + shift) - shift).copysign(x);
    if x.abs() < WHOLE { rounded } else { x }
}

/// Rounds down.
#[inline(always)]
pub(super) fn floor(x: f32) -> f32 {
    let rounded = round_even(x);
    rounded - f32::from(u8::from(rounded > x))
}

/// Rounds down if a draw from 0..1 is above the fraction, else up; to multiples of `1 / steps`.
#[inline(always)]
pub(super) fn round_drawn(x: f32, steps: f32, draw: f32) -> f32 {
    let y = x * steps;
    let low = floor(y);
    let up = f32::from(u8::from(y - low > 0.0)) * f32::from(u8::from(y - low >= draw));
    (low + up) / steps
}

/// Clips to a range; NaN stays NaN.
#[inline(always)]
pub(super) fn clip(x: f32, low: f32, high: f32) -> f32 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// -1, 0 or 1.
#[inline(always)]
pub(super) fn sign(x: f32) -> f32 {
    f32::from(i8::from(x > 0.0) - i8::from(x < 0.0))
}

/// -1 or 1; zero is positive.
#[inline(always)]
pub(super) fn sign_of(x: f32) -> f32 {
    if x < 0.0 { -1.0 } else { 1.0 }
}

/// `clip(x / 2 + 1 / 2, 0, 1)`: what QKeras calls a hard sigmoid.
#[inline(always)]
pub(super) fn hard_sigmoid(x: f32) -> f32 {
    clip(0.5 * x + 0.5, 0.0, 1.0)
}

/// `1 / (1 + exp(-x))`.
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-x))
}

/// Logarithm to base 2, rounded once.
///
/// QKeras divides two rounded logarithms. That differs in the last place, and it matters only where the result is a half
/// (or whole, if it is rounded down) to the last place; there, this agrees with QKeras in all golden data, and a
/// quotient of correctly rounded logarithms does not.
#[inline]
pub(super) fn log2(x: f32) -> f32 {
    libm::log2(f64::from(x)) as f32
}

/// Two to a whole power; NaN for NaN, and what f32 has none of is 0 or infinite.
#[inline(always)]
pub(super) fn power_of_two(exponent: f32) -> f32 {
    // Two factors, so that subnormal results have normal factors.
    let whole = clip(exponent, -160.0, 160.0) as i32;
    let half = whole / 2;
    let power = normal_power(half) * normal_power(whole - half);
    if exponent.is_nan() { f32::NAN } else { power }
}

#[inline(always)]
fn normal_power(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}

/// The power of two next to a scale by its logarithm; at least that next to epsilon, so that zero has one.
pub(super) fn nearest_power(scale: f32) -> f32 {
    power_of_two(round_even(log2(scale + EPSILON)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> impl Iterator<Item = f32> {
        let mut rng = bitloop_core::rng::rng(3, 0);
        let any = (0..100_000).map(move |_| f32::from_bits(rng.next_u64() as u32));
        let halves = (-40..40).map(|half| half as f32 / 2.0);
        any.chain(halves).chain([
            8_388_607.5,
            -8_388_607.5,
            4_194_303.5,
            8_388_608.0,
            -0.0,
            0.3,
            -0.3,
            0.499_999_97,
        ])
    }

    #[test]
    fn rounding_is_that_of_the_standard_library() {
        for x in values().filter(|x| !x.is_nan()) {
            assert_eq!(round_even(x).to_bits(), x.round_ties_even().to_bits(), "{x}");
            assert_eq!(floor(x), x.floor(), "{x}");
        }
        assert!(round_even(f32::NAN).is_nan() && floor(f32::NAN).is_nan());
    }

    #[test]
    fn powers_are_exact_down_to_the_smallest() {
        for exponent in -149..=127 {
            assert_eq!(f64::from(power_of_two(exponent as f32)), 2.0_f64.powi(exponent));
        }
        assert_eq!([power_of_two(-151.0), power_of_two(128.0)], [0.0, f32::INFINITY]);
        assert!(power_of_two(f32::NAN).is_nan());
    }

    #[test]
    fn a_draw_rounds_up_as_often_as_the_fraction_says() {
        assert_eq!([round_drawn(2.25, 1.0, 0.2), round_drawn(2.25, 1.0, 0.3)], [3.0, 2.0]);
        assert_eq!([round_drawn(-2.25, 1.0, 0.7), round_drawn(-2.25, 1.0, 0.8)], [-2.0, -3.0]);
        assert_eq!([round_drawn(2.25, 2.0, 0.4), round_drawn(2.25, 2.0, 0.6)], [2.5, 2.0]);
        assert_eq!(round_drawn(2.0, 1.0, 0.0), 2.0);
    }
}
