//! What comes in: f32, or codes that stand for f32.

#![expect(unsafe_code, reason = "loads through pointers")]

use super::simd::Simd;

/// Values of a tensor.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Values<'a> {
    /// Themselves.
    Floats(&'a [f32]),
    /// As codes, of which one stands for zero; `code - zero` is the value in steps.
    Codes { codes: &'a [u8], zero: u8 },
}

impl Values<'_> {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Floats(values) => values.len(),
            Self::Codes { codes, .. } => codes.len(),
        }
    }
}

/// What is loaded as f32.
pub(super) trait Source: Copy {
    /// A vector of values, less `zero` if they are codes.
    ///
    /// SAFETY: a vector of values can be read at `x`.
    unsafe fn load<S: Simd>(simd: S, x: *const Self, zero: S::F) -> S::F;

    /// The same for the values from `at` on.
    #[inline(always)]
    fn at<S: Simd>(simd: S, x: &[Self], at: usize, zero: S::F) -> S::F {
        let x = &x[at..at + S::LANES];
        // SAFETY: the slice has as many values as a vector.
        unsafe { Self::load(simd, x.as_ptr(), zero) }
    }
}

impl Source for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, x: *const Self, _zero: S::F) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { simd.load(x) }
    }
}

impl Source for u8 {
    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, x: *const Self, zero: S::F) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { simd.sub(simd.load_codes(x), zero) }
    }
}
