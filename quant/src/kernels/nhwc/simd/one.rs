use super::Simd;

/// One value at a time: the reference, and the end of what is too short for vectors.
#[derive(Clone, Copy)]
pub(in super::super) struct One;

impl Simd for One {
    const LANES: usize = 1;
    type F = f32;

    #[inline(always)]
    fn splat(self, x: f32) -> f32 {
        x
    }

    #[inline(always)]
    fn add(self, a: f32, b: f32) -> f32 {
        a + b
    }

    #[inline(always)]
    fn sub(self, a: f32, b: f32) -> f32 {
        a - b
    }

    #[inline(always)]
    fn mul(self, a: f32, b: f32) -> f32 {
        a * b
    }

    #[inline(always)]
    fn div(self, a: f32, b: f32) -> f32 {
        a / b
    }

    #[inline(always)]
    fn fma(self, a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }

    #[inline(always)]
    fn sqrt(self, a: f32) -> f32 {
        a.sqrt()
    }

    #[inline(always)]
    fn greater(self, a: f32, b: f32) -> f32 {
        if a > b { a } else { b }
    }

    #[inline(always)]
    fn smaller(self, a: f32, b: f32) -> f32 {
        if a < b { a } else { b }
    }

    #[inline(always)]
    fn if_negative(self, x: f32, then: f32, otherwise: f32) -> f32 {
        if x < 0.0 { then } else { otherwise }
    }

    #[inline(always)]
    fn nan_or(self, x: f32, otherwise: f32) -> f32 {
        if x.is_nan() { x } else { otherwise }
    }

    #[inline(always)]
    fn round(self, x: f32) -> f32 {
        x.round_ties_even()
    }

    #[inline(always)]
    fn power_of_two(self, n: f32) -> f32 {
        f32::from_bits(((n as i32).wrapping_add(127) as u32) << 23)
    }

    #[inline(always)]
    unsafe fn load(self, x: *const f32) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { *x }
    }

    #[inline(always)]
    unsafe fn load_codes(self, x: *const u8) -> f32 {
        // SAFETY: the caller's promise.
        f32::from(unsafe { *x })
    }

    #[inline(always)]
    unsafe fn store(self, out: *mut f32, x: f32) {
        // SAFETY: the caller's promise.
        unsafe { *out = x }
    }

    #[inline(always)]
    unsafe fn store_codes(self, out: *mut u8, x: f32, zero: u8) {
        // SAFETY: the caller's promise.
        unsafe { *out = (x.round_ties_even() + f32::from(zero)) as u8 }
    }
}
