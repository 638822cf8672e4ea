//! The kernels with 512-bit vectors.

#![expect(unsafe_code, reason = "vector instructions")]

use std::arch::x86_64::*;

use super::rows;
use super::tile::{self, Sweep};
use super::vector::{Floats, Product};
use crate::kernels::nhwc::ending::CodeSteps;

const LANES: usize = 16;

/// Sweeps with the tiles that 32 registers hold.
///
/// Safety: that of [`tile::sweep`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn sweep<P: Product>(sweep: &Sweep<'_, P>) {
    // SAFETY: the caller's.
    unsafe {
        match sweep.columns.scale.len().div_ceil(LANES) {
            1 => tile::sweep::<P, 12, 1>(sweep),
            2 => tile::sweep::<P, 12, 2>(sweep),
            3 => tile::sweep::<P, 9, 3>(sweep),
            _ => tile::sweep::<P, 6, 4>(sweep),
        }
    }
}

/// The same for products that take VNNI.
///
/// Safety: that of [`tile::sweep`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn sweep_vnni<P: Product>(sweep: &Sweep<'_, P>) {
    // SAFETY: the caller's.
    unsafe {
        match sweep.columns.scale.len().div_ceil(LANES) {
            1 => tile::sweep::<P, 12, 1>(sweep),
            2 => tile::sweep::<P, 12, 2>(sweep),
            3 => tile::sweep::<P, 9, 3>(sweep),
            _ => tile::sweep::<P, 6, 4>(sweep),
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
    type Factor = __m512;
    type Sum = __m512;
    type Floats = __m512;

    const STEP: usize = 1;
    const VECTORS_MAX: usize = 4;

    fn values<'a>(input: &'a [f32], _copy: &'a mut Vec<f32>) -> &'a [f32] {
        input
    }

    #[inline(always)]
    unsafe fn start(_sums: *const i32, _zero: f32) -> __m512 {
        // SAFETY: above.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn weights(from: *const f32) -> __m512 {
        // SAFETY: above.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn spread(from: *const f32) -> __m512 {
        // SAFETY: above.
        unsafe { _mm512_set1_ps(from.read()) }
    }

    #[inline(always)]
    unsafe fn add(sum: __m512, x: __m512, weights: __m512) -> __m512 {
        // SAFETY: above.
        unsafe { _mm512_fmadd_ps(x, weights, sum) }
    }

    #[inline(always)]
    unsafe fn floats(sum: __m512) -> __m512 {
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
    type Factor = __m512i;
    type Sum = __m512i;
    type Floats = __m512;

    const STEP: usize = 2;
    const VECTORS_MAX: usize = 4;

    fn values<'a>(input: &'a [u8], copy: &'a mut Vec<f32>) -> &'a [i16] {
        rows::widened(input, copy)
    }

    #[inline(always)]
    unsafe fn start(sums: *const i32, zero: i16) -> __m512i {
        // SAFETY: above.
        unsafe { _mm512_mullo_epi32(_mm512_loadu_si512(sums.cast()), _mm512_set1_epi32(-i32::from(zero))) }
    }

    #[inline(always)]
    unsafe fn weights(from: *const i16) -> __m512i {
        // SAFETY: above.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn spread(from: *const i16) -> __m512i {
        // SAFETY: above.
        unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn add(sum: __m512i, x: __m512i, weights: __m512i) -> __m512i {
        // SAFETY: above.
        unsafe { _mm512_add_epi32(sum, _mm512_madd_epi16(x, weights)) }
    }

    #[inline(always)]
    unsafe fn floats(sum: __m512i) -> __m512 {
        // SAFETY: above.
        unsafe { _mm512_cvtepi32_ps(sum) }
    }

    unsafe fn sweep(it: &Sweep<'_, Self>) {
        // SAFETY: above.
        unsafe { sweep(it) }
    }
}

/// Codes and weights in fours of bytes.
#[derive(Clone, Copy)]
pub(super) struct Fours;

impl Product for Fours {
    type Input = u8;
    type Value = u8;
    type Weight = i8;
    type Factor = __m512i;
    type Sum = __m512i;
    type Floats = __m512;

    const STEP: usize = 4;
    const VECTORS_MAX: usize = 4;

    fn values<'a>(input: &'a [u8], _copy: &'a mut Vec<f32>) -> &'a [u8] {
        input
    }

    #[inline(always)]
    unsafe fn start(sums: *const i32, zero: u8) -> __m512i {
        // SAFETY: above.
        unsafe { _mm512_mullo_epi32(_mm512_loadu_si512(sums.cast()), _mm512_set1_epi32(-i32::from(zero))) }
    }

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> __m512i {
        // SAFETY: above.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn spread(from: *const u8) -> __m512i {
        // SAFETY: above.
        unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn add(sum: __m512i, x: __m512i, weights: __m512i) -> __m512i {
        // SAFETY: above.
        unsafe { _mm512_dpbusd_epi32(sum, x, weights) }
    }

    #[inline(always)]
    unsafe fn floats(sum: __m512i) -> __m512 {
        // SAFETY: above.
        unsafe { _mm512_cvtepi32_ps(sum) }
    }

    unsafe fn sweep(it: &Sweep<'_, Self>) {
        // SAFETY: above.
        unsafe { sweep_vnni(it) }
    }
}

/// The first `live` lanes.
#[inline(always)]
fn mask(live: usize) -> __mmask16 {
    ((1u32 << live) - 1) as __mmask16
}

impl Floats for __m512 {
    const LANES: usize = LANES;

    #[inline(always)]
    unsafe fn load(from: *const f32, live: usize) -> Self {
        // SAFETY: above; lanes that are masked out are not read.
        unsafe { _mm512_maskz_loadu_ps(mask(live), from) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: above.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, scale: Self, shift: Self) -> Self {
        // SAFETY: above.
        unsafe { _mm512_fmadd_ps(self, scale, shift) }
    }

    #[inline(always)]
    unsafe fn div(self, divisor: Self) -> Self {
        // SAFETY: above.
        unsafe { _mm512_div_ps(self, divisor) }
    }

    #[inline(always)]
    unsafe fn mul(self, factor: Self) -> Self {
        // SAFETY: above.
        unsafe { _mm512_mul_ps(self, factor) }
    }

    #[inline(always)]
    unsafe fn round(self) -> Self {
        // SAFETY: above.
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self) }
    }

    #[inline(always)]
    unsafe fn clamp(self, lo: Self, hi: Self) -> Self {
        // SAFETY: above.
        unsafe { _mm512_min_ps(hi, _mm512_max_ps(lo, self)) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, live: usize) {
        // SAFETY: above; lanes that are masked out are not written.
        unsafe { _mm512_mask_storeu_ps(to, mask(live), self) }
    }

    #[inline(always)]
    unsafe fn store_codes<const V: usize>(row: [Self; V], steps: CodeSteps, to: *mut u8, live: usize) {
        // SAFETY: above; bytes that are masked out are not written.
        unsafe {
            let zero = i16::from(steps.zero);
            let low = _mm512_set1_epi8((steps.lo as i16 + zero) as u8 as i8);
            let (zero, high) = (_mm512_set1_epi16(zero), _mm512_set1_ps(steps.hi));
            // Far below the packing saturates, and NaN, which the minimum passes on, converts to the lowest integer.
            let mut codes = [_mm512_setzero_si512(); 4];
            for (codes, value) in codes.iter_mut().zip(row) {
                *codes = _mm512_cvtps_epi32(_mm512_min_ps(high, value));
            }
            let halves = [_mm512_packs_epi32(codes[0], codes[1]), _mm512_packs_epi32(codes[2], codes[3])];
            let halves = halves.map(|half| _mm512_adds_epi16(half, zero));
            let bytes = _mm512_max_epu8(_mm512_packus_epi16(halves[0], halves[1]), low);
            // Packing goes by quarters of registers: put those of the same register side by side.
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            let bytes = _mm512_permutexvar_epi32(order, bytes);
            let mask = if live < 64 { (1u64 << live) - 1 } else { u64::MAX };
            _mm512_mask_storeu_epi8(to.cast(), mask, bytes);
        }
    }
}
