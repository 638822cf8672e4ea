use std::arch::x86_64::*;

use super::Simd;

/// Eight values in 256 bits, with fused multiply-add.
///
/// Having one is the proof that the CPU has the instructions; that is what the SAFETY lines below rest on.
#[derive(Clone, Copy)]
pub(super) struct Eight(());

impl Eight {
    /// SAFETY: the CPU has AVX2 and FMA.
    pub(super) unsafe fn new() -> Self {
        Self(())
    }
}

impl Simd for Eight {
    const LANES: usize = 8;
    type F = __m256;

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        // SAFETY: the CPU has the instructions.
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the CPU has the instructions.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the CPU has the instructions.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the CPU has the instructions.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the CPU has the instructions.
        unsafe { _mm256_div_ps(a, b) }
    }

    #[inline(always)]
    fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: the CPU has the instructions.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn sqrt(self, a: __m256) -> __m256 {
        // SAFETY: the CPU has the instructions.
        unsafe { _mm256_sqrt_ps(a) }
    }

    #[inline(always)]
    fn greater(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the CPU has the instructions.
        unsafe { _mm256_max_ps(a, b) }
    }

    #[inline(always)]
    fn smaller(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the CPU has the instructions.
        unsafe { _mm256_min_ps(a, b) }
    }

    #[inline(always)]
    fn if_negative(self, x: __m256, then: __m256, otherwise: __m256) -> __m256 {
        // SAFETY: the CPU has the instructions.
        unsafe { _mm256_blendv_ps(otherwise, then, _mm256_cmp_ps::<_CMP_LT_OQ>(x, _mm256_setzero_ps())) }
    }

    #[inline(always)]
    fn nan_or(self, x: __m256, otherwise: __m256) -> __m256 {
        // SAFETY: the CPU has the instructions.
        unsafe { _mm256_blendv_ps(otherwise, x, _mm256_cmp_ps::<_CMP_UNORD_Q>(x, x)) }
    }

    #[inline(always)]
    fn round(self, x: __m256) -> __m256 {
        // SAFETY: the CPU has the instructions.
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x) }
    }

    #[inline(always)]
    fn power_of_two(self, n: __m256) -> __m256 {
        // SAFETY: the CPU has the instructions.
        unsafe {
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(
                _mm256_cvtps_epi32(n),
                _mm256_set1_epi32(127),
            )))
        }
    }

    #[inline(always)]
    unsafe fn load(self, x: *const f32) -> __m256 {
        // SAFETY: the CPU has the instructions, and the caller's promise.
        unsafe { _mm256_loadu_ps(x) }
    }

    #[inline(always)]
    unsafe fn load_codes(self, x: *const u8) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(x.cast()))) }
    }

    #[inline(always)]
    unsafe fn store(self, out: *mut f32, x: __m256) {
        // SAFETY: as above.
        unsafe { _mm256_storeu_ps(out, x) }
    }

    #[inline(always)]
    unsafe fn store_codes(self, out: *mut u8, x: __m256, zero: u8) {
        // SAFETY: as above.
        unsafe {
            let codes = _mm256_add_epi32(_mm256_cvtps_epi32(x), _mm256_set1_epi32(i32::from(zero)));
            let (low, high) = (_mm256_castsi256_si128(codes), _mm256_extracti128_si256::<1>(codes));
            let codes = _mm_packus_epi32(low, high);
            _mm_storel_epi64(out.cast(), _mm_packus_epi16(codes, codes))
        }
    }
}
