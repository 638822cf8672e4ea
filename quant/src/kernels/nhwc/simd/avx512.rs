use std::arch::x86_64::*;

use super::Simd;

/// Sixteen values in 512 bits.
///
/// Having one is the proof that the CPU has the instructions; that is what the SAFETY lines below rest on.
#[derive(Clone, Copy)]
pub(super) struct Sixteen(());

impl Sixteen {
    /// SAFETY: the CPU has AVX-512 F, BW, VL and DQ.
    pub(super) unsafe fn new() -> Self {
        Self(())
    }
}

impl Simd for Sixteen {
    const LANES: usize = 16;
    type F = __m512;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: the CPU has the instructions.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the CPU has the instructions.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the CPU has the instructions.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the CPU has the instructions.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the CPU has the instructions.
        unsafe { _mm512_div_ps(a, b) }
    }

    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: the CPU has the instructions.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn sqrt(self, a: __m512) -> __m512 {
        // SAFETY: the CPU has the instructions.
        unsafe { _mm512_sqrt_ps(a) }
    }

    #[inline(always)]
    fn greater(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the CPU has the instructions.
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn smaller(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the CPU has the instructions.
        unsafe { _mm512_min_ps(a, b) }
    }

    #[inline(always)]
    fn if_negative(self, x: __m512, then: __m512, otherwise: __m512) -> __m512 {
        // SAFETY: the CPU has the instructions.
        unsafe {
            _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, _mm512_setzero_ps()), otherwise, then)
        }
    }

    #[inline(always)]
    fn nan_or(self, x: __m512, otherwise: __m512) -> __m512 {
        // SAFETY: the CPU has the instructions.
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x), otherwise, x) }
    }

    #[inline(always)]
    fn round(self, x: __m512) -> __m512 {
        // SAFETY: the CPU has the instructions.
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x) }
    }

    #[inline(always)]
    fn power_of_two(self, n: __m512) -> __m512 {
        // SAFETY: the CPU has the instructions.
        unsafe {
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_add_epi32(
                _mm512_cvtps_epi32(n),
                _mm512_set1_epi32(127),
            )))
        }
    }

    #[inline(always)]
    unsafe fn load(self, x: *const f32) -> __m512 {
        // SAFETY: the CPU has the instructions, and the caller's promise.
        unsafe { _mm512_loadu_ps(x) }
    }

    #[inline(always)]
    unsafe fn load_codes(self, x: *const u8) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(x.cast()))) }
    }

    #[inline(always)]
    unsafe fn store(self, out: *mut f32, x: __m512) {
        // SAFETY: as above.
        unsafe { _mm512_storeu_ps(out, x) }
    }

    #[inline(always)]
    unsafe fn store_codes(self, out: *mut u8, x: __m512, zero: u8) {
        // SAFETY: as above.
        unsafe {
            let codes = _mm512_add_epi32(_mm512_cvtps_epi32(x), _mm512_set1_epi32(i32::from(zero)));
            _mm_storeu_si128(out.cast(), _mm512_cvtepi32_epi8(codes))
        }
    }
}
