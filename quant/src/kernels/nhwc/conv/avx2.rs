//! The kernels with 256-bit vectors.

#![expect(unsafe_code, reason = "vector instructions")]

use std::arch::x86_64::*;

use super::rows;
use super::tile::{self, Sweep};
use super::vector::{Floats, Product};
use crate::kernels::nhwc::ending::CodeSteps;

const LANES: usize = 8;

/// Sweeps with the tiles that 16 registers hold.
///
/// Safety: that of [`tile::sweep`].
#[target_feature(enable = "avx2,fma")]
unsafe fn sweep<P: Product>(sweep: &Sweep<'_, P>) {
    // SAFETY: the caller's.
    unsafe {
        match sweep.columns.scale.len().div_ceil(LANES) {
            1 => tile::sweep::<P, 12, 1>(sweep),
            _ => tile::sweep::<P, 6, 2>(sweep),
        }
    }
}

/// f32, each product added with one rounding.
#[derive(Clone, Copy)]
pub(super) struct Fma;

// SAFETY, of all blocks below: the caller has seen that the CPU has the instructions, and that pointers are good for as
// many values as the trait says.
impl Product for Fma {
    type Input = f32;
    type Value = f32;
    type Weight = f32;
    type Factor = __m256;
    type Sum = __m256;
    type Floats = __m256;

    const STEP: usize = 1;
    const VECTORS_MAX: usize = 2;

    fn values<'a>(input: &'a [f32], _copy: &'a mut Vec<f32>) -> &'a [f32] {
        input
    }

    #[inline(always)]
    unsafe fn start(_sums: *const i32, _zero: f32) -> __m256 {
        // SAFETY: above.
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn weights(from: *const f32) -> __m256 {
        // SAFETY: above.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn spread(from: *const f32) -> __m256 {
        // SAFETY: above.
        unsafe { _mm256_broadcast_ss(&*from) }
    }

    #[inline(always)]
    unsafe fn add(sum: __m256, x: __m256, weights: __m256) -> __m256 {
        // SAFETY: above.
        unsafe { _mm256_fmadd_ps(x, weights, sum) }
    }

    #[inline(always)]
    unsafe fn floats(sum: __m256) -> __m256 {
        sum
    }

    unsafe fn sweep(it: &Sweep<'_, Self>) {
        // SAFETY: above.
        unsafe { sweep(it) }
    }
}

/// Codes and weights in pairs of 16 bits.
#[derive(Clone, Copy)]
pub(super) struct Pairs;

impl Product for Pairs {
    type Input = u8;
    type Value = i16;
    type Weight = i16;
    type Factor = __m256i;
    type Sum = __m256i;
    type Floats = __m256;

    const STEP: usize = 2;
    const VECTORS_MAX: usize = 2;

    fn values<'a>(input: &'a [u8], copy: &'a mut Vec<f32>) -> &'a [i16] {
        rows::widened(input, copy)
    }

    #[inline(always)]
    unsafe fn start(sums: *const i32, zero: i16) -> __m256i {
        // SAFETY: above.
        unsafe { _mm256_mullo_epi32(_mm256_loadu_si256(sums.cast()), _mm256_set1_epi32(-i32::from(zero))) }
    }

    #[inline(always)]
    unsafe fn weights(from: *const i16) -> __m256i {
        // SAFETY: above.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn spread(from: *const i16) -> __m256i {
        // SAFETY: above.
        unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn add(sum: __m256i, x: __m256i, weights: __m256i) -> __m256i {
        // SAFETY: above.
        unsafe { _mm256_add_epi32(sum, _mm256_madd_epi16(x, weights)) }
    }

    #[inline(always)]
    unsafe fn floats(sum: __m256i) -> __m256 {
        // SAFETY: above.
        unsafe { _mm256_cvtepi32_ps(sum) }
    }

    unsafe fn sweep(it: &Sweep<'_, Self>) {
        // SAFETY: above.
        unsafe { sweep(it) }
    }
}

/// All ones in the first `live` lanes.
#[inline(always)]
unsafe fn mask(live: usize) -> __m256i {
    // SAFETY: above.
    unsafe { _mm256_cmpgt_epi32(_mm256_set1_epi32(live as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)) }
}

impl Floats for __m256 {
    const LANES: usize = LANES;

    #[inline(always)]
    unsafe fn load(from: *const f32, live: usize) -> Self {
        // SAFETY: above; lanes that are masked out are not read.
        unsafe { _mm256_maskload_ps(from, mask(live)) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: above.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, scale: Self, shift: Self) -> Self {
        // SAFETY: above.
        unsafe { _mm256_fmadd_ps(self, scale, shift) }
    }

    #[inline(always)]
    unsafe fn div(self, divisor: Self) -> Self {
        // SAFETY: above.
        unsafe { _mm256_div_ps(self, divisor) }
    }

    #[inline(always)]
    unsafe fn mul(self, factor: Self) -> Self {
        // SAFETY: above.
        unsafe { _mm256_mul_ps(self, factor) }
    }

    #[inline(always)]
    unsafe fn round(self) -> Self {
        // SAFETY: above.
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self) }
    }

    #[inline(always)]
    unsafe fn clamp(self, lo: Self, hi: Self) -> Self {
        // SAFETY: above.
        unsafe { _mm256_min_ps(hi, _mm256_max_ps(lo, self)) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, live: usize) {
        // SAFETY: above; lanes that are masked out are not written.
        unsafe {
            if live == LANES {
                _mm256_storeu_ps(to, self);
            } else {
                _mm256_maskstore_ps(to, mask(live), self);
            }
        }
    }

    #[inline(always)]
    unsafe fn store_codes<const V: usize>(row: [Self; V], steps: CodeSteps, to: *mut u8, live: usize) {
        for (v, value) in row.into_iter().enumerate() {
            let (start, live) = (v * LANES, live.saturating_sub(v * LANES).min(LANES));
            // SAFETY: above.
            unsafe {
                let (lo, hi) = (_mm256_set1_ps(steps.lo), _mm256_set1_ps(steps.hi));
                let clamped = _mm256_min_ps(_mm256_max_ps(value, lo), hi);
                let zero = _mm256_set1_epi32(i32::from(steps.zero));
                let codes = _mm256_add_epi32(_mm256_cvtps_epi32(clamped), zero);
                let (low, high) = (_mm256_castsi256_si128(codes), _mm256_extracti128_si256::<1>(codes));
                let halves = _mm_packus_epi32(low, high);
                let bytes = _mm_cvtsi128_si64(_mm_packus_epi16(halves, halves)).to_le_bytes();
                if live == LANES {
                    to.add(start).cast::<[u8; LANES]>().write(bytes);
                } else {
                    to.wrapping_add(start).copy_from_nonoverlapping(bytes.as_ptr(), live);
                }
            }
        }
    }
}
