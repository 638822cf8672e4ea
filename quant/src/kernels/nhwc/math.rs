//! Elementary functions out of operations that every CPU rounds alike.

use std::f64::consts::{FRAC_1_SQRT_2, LN_2, LOG2_E, SQRT_2};

use super::simd::Simd;

/// ln 2 in two parts: the first so short that its product with an exponent is exact, the second the rest.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = (LN_2 - LN_2_HIGH as f64) as f32;
/// Beyond these `exp` is 0 or infinite in f32.
const EXP_ENDS: [f32; 2] = [-105.0, 90.0];

/// `exp(x)`, off by at most one unit in the last place; NaN stays NaN.
///
/// `2^n * exp(r)` with `|r| <= ln(2) / 2`, and `exp(r)` by its Taylor series, whose first omitted term is below `6e-9`.
#[inline(always)]
pub(super) fn exp<S: Simd>(simd: S, x: S::F) -> S::F {
    let x = simd.smaller(simd.splat(EXP_ENDS[1]), simd.greater(simd.splat(EXP_ENDS[0]), x));
    let n = simd.round(simd.mul(x, simd.splat(LOG2_E as f32)));
    let negative = simd.sub(simd.splat(0.0), n);
    let r = simd.fma(negative, simd.splat(LN_2_HIGH), x);
    let r = simd.fma(negative, simd.splat(LN_2_LOW), r);
    let mut sum = simd.splat(1.0 / 5040.0);
    for factorial in [720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0_f32] {
        sum = simd.fma(sum, r, simd.splat(1.0 / factorial));
    }
    // In two steps, as 2^n alone may be too large or too small; only the second product can round.
    let half = simd.round(simd.mul(n, simd.splat(0.5)));
    let sum = simd.mul(sum, simd.power_of_two(half));
    simd.nan_or(x, simd.mul(sum, simd.power_of_two(simd.sub(n, half))))
}

/// `base^exponent` for a base that is not negative, off by less than one unit in the last place of f32; else NaN.
#[inline(always)]
pub(super) fn power(base: f32, exponent: f32) -> f32 {
    let (base, exponent) = (f64::from(base), f64::from(exponent));
    if exponent == 0.0 {
        return 1.0;
    }
    if base == 0.0 || base == f64::INFINITY {
        let grows = (base == 0.0) == (exponent < 0.0);
        return if grows { f32::INFINITY } else { 0.0 };
    }
    if base < 0.0 || base.is_nan() || exponent.is_nan() {
        return f32::NAN;
    }
    exp_f64(exponent * ln_f64(base)) as f32
}

/// For positive normal numbers: `2 * atanh((m - 1) / (m + 1)) + e * ln(2)` with `m` between `sqrt(1/2)` and `sqrt(2)`.
#[inline(always)]
fn ln_f64(x: f64) -> f64 {
    const MANTISSA_BITS: u32 = 52;
    const ONE: u64 = 1023 << MANTISSA_BITS;
    let mut exponent = (x.to_bits() >> MANTISSA_BITS) as i32 - 1023;
    let mut mantissa = f64::from_bits(x.to_bits() & ((1 << MANTISSA_BITS) - 1) | ONE);
    if mantissa > SQRT_2 {
        (mantissa, exponent) = (mantissa * 0.5, exponent + 1);
    }
    debug_assert!((FRAC_1_SQRT_2 - 1e-9..SQRT_2 + 1e-9).contains(&mantissa));
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let mut sum = 0.0;
    for odd in [17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
        sum = f64::mul_add(sum, square, 1.0 / odd);
    }
    f64::mul_add(f64::from(exponent), LN_2, 2.0 * s * sum)
}

/// Beyond +-700 what f32 can hold is left far behind.
#[inline(always)]
fn exp_f64(x: f64) -> f64 {
    let x = x.clamp(-700.0, 700.0);
    let n = (x * LOG2_E).round_ties_even();
    let r = f64::mul_add(-n, LN_2, x);
    let mut sum = 1.0 / 479_001_600.0;
    for factorial in
        [39_916_800.0, 3_628_800.0, 362_880.0, 40_320.0, 5040.0, 720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0]
    {
        sum = f64::mul_add(sum, r, 1.0 / factorial);
    }
    sum * f64::from_bits(((n as i64 + 1023) as u64) << 52)
}
