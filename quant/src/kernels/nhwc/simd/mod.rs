//! Vectors of f32 lanes: each kernel is written once over [`Simd`] and compiled for every instruction set.
//!
//! A type that implements [`Simd`] is also the proof that the CPU has its instructions: [`dispatch`] alone makes them, after
//! looking. What [`Kernel::run`] calls must be `#[inline(always)]` all the way down, and no closure may take or give vectors,
//! as only code that is inlined into the functions at the end of this file is compiled with their instructions.

#![expect(unsafe_code, reason = "vector instructions, and loads and stores through pointers")]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod one;

use super::ending::CodeSteps;
use super::{Ending, Grid, Isa, Out};
#[cfg(target_arch = "x86_64")]
use avx2::Eight;
#[cfg(target_arch = "x86_64")]
use avx512::Sixteen;
pub(super) use one::One;

/// Operations on `LANES` values at once, which every implementation computes to the same bits.
///
/// Comparisons with NaN are false, as in Rust.
pub(super) trait Simd: Copy {
    /// Values of a vector.
    const LANES: usize;
    /// A vector of f32.
    type F: Copy;

    fn splat(self, x: f32) -> Self::F;
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    fn sqrt(self, a: Self::F) -> Self::F;
    /// `if a > b { a } else { b }`: the second where one is NaN, or where they are equal.
    fn greater(self, a: Self::F, b: Self::F) -> Self::F;
    /// `if a < b { a } else { b }`: the second where one is NaN, or where they are equal.
    fn smaller(self, a: Self::F, b: Self::F) -> Self::F;
    /// `if x < 0.0 { then } else { otherwise }`.
    fn if_negative(self, x: Self::F, then: Self::F, otherwise: Self::F) -> Self::F;
    /// `if x is NaN { x } else { otherwise }`.
    fn nan_or(self, x: Self::F, otherwise: Self::F) -> Self::F;
    /// To integers, halves to even.
    fn round(self, x: Self::F) -> Self::F;
    /// `2^n` for integers in -126..=127; anything for other values.
    fn power_of_two(self, n: Self::F) -> Self::F;

    /// SAFETY: `LANES` values can be read at `x`.
    unsafe fn load(self, x: *const f32) -> Self::F;
    /// SAFETY: `LANES` bytes can be read at `x`.
    unsafe fn load_codes(self, x: *const u8) -> Self::F;
    /// SAFETY: `LANES` values can be written at `out`.
    unsafe fn store(self, out: *mut f32, x: Self::F);
    /// Stores values as integers, rounding halves to even, and then with `zero` added; anything where that is not in
    /// 0..=255.
    ///
    /// SAFETY: `LANES` bytes can be written at `out`.
    unsafe fn store_codes(self, out: *mut u8, x: Self::F, zero: u8);

    /// The `LANES` values of `x` from `at` on.
    #[inline(always)]
    fn floats(self, x: &[f32], at: usize) -> Self::F {
        let x = &x[at..at + Self::LANES];
        // SAFETY: the slice has `LANES` values.
        unsafe { self.load(x.as_ptr()) }
    }

    /// Stores the vector at `at`.
    #[inline(always)]
    fn put(self, out: &mut [f32], at: usize, x: Self::F) {
        let out = &mut out[at..at + Self::LANES];
        // SAFETY: the slice has `LANES` values.
        unsafe { self.store(out.as_mut_ptr(), x) }
    }
}

/// How a vector becomes what is stored.
pub(super) trait Finish<S: Simd>: Copy {
    /// f32 or u8.
    type Item: Copy;

    /// SAFETY: `LANES` items can be written at `out`.
    unsafe fn store(self, simd: S, out: *mut Self::Item, x: S::F);

    /// Stores `LANES` items from `at` on.
    #[inline(always)]
    fn put(self, simd: S, (out, at): (&mut [Self::Item], usize), x: S::F) {
        let out = &mut out[at..at + S::LANES];
        // SAFETY: the slice has `LANES` items.
        unsafe { self.store(simd, out.as_mut_ptr(), x) }
    }
}

/// [`Ending::Float`].
#[derive(Clone, Copy)]
pub(super) struct ToFloats<S: Simd> {
    lo: S::F,
    hi: S::F,
    /// Scale, lowest and highest step.
    grid: Option<[S::F; 3]>,
}

impl<S: Simd> Finish<S> for ToFloats<S> {
    type Item = f32;

    #[inline(always)]
    unsafe fn store(self, simd: S, out: *mut f32, x: S::F) {
        let mut x = simd.smaller(self.hi, simd.greater(self.lo, x));
        if let Some([scale, lo, hi]) = self.grid {
            let steps = simd.smaller(hi, simd.greater(lo, simd.div(x, scale)));
            x = simd.mul(simd.round(steps), scale);
        }
        // SAFETY: the caller's promise.
        unsafe { simd.store(out, x) }
    }
}

/// [`Ending::Codes`]; NaN becomes the lowest code.
#[derive(Clone, Copy)]
pub(super) struct ToCodes<S: Simd> {
    lo: S::F,
    hi: S::F,
    zero: u8,
}

impl<S: Simd> ToCodes<S> {
    #[inline(always)]
    pub(super) fn new(simd: S, steps: CodeSteps) -> Self {
        Self { lo: simd.splat(steps.lo), hi: simd.splat(steps.hi), zero: steps.zero }
    }
}

impl<S: Simd> Finish<S> for ToCodes<S> {
    type Item = u8;

    #[inline(always)]
    unsafe fn store(self, simd: S, out: *mut u8, x: S::F) {
        let x = simd.smaller(simd.greater(x, self.lo), self.hi);
        // SAFETY: the caller's promise.
        unsafe { simd.store_codes(out, x, self.zero) }
    }
}

/// Code over vectors.
pub(super) trait Kernel {
    /// `#[inline(always)]`, like all it calls.
    fn run<S: Simd>(self, simd: S);
}

/// Code over vectors that ends in an [`Ending`].
pub(super) trait Ended {
    /// `#[inline(always)]`, like all it calls.
    fn run<S: Simd, E: Finish<S>>(self, simd: S, finish: E, out: &mut [E::Item]);
}

/// Runs an [`Ended`] kernel; `width` as in [`dispatch`].
///
/// Panics: the ending stores what `out` does not hold.
pub(super) fn dispatch_ended(isa: Isa, width: usize, kernel: impl Ended, (ending, out): (Ending, Out<'_>)) {
    dispatch(isa, width, End { kernel, ending, out });
}

struct End<'a, K> {
    kernel: K,
    ending: Ending,
    out: Out<'a>,
}

impl<K: Ended> Kernel for End<'_, K> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match (self.ending, self.out) {
            (Ending::Float { lo, hi, grid }, Out::Floats(out)) => {
                let (lo, hi, grid) = (simd.splat(lo), simd.splat(hi), grid_steps(simd, grid));
                self.kernel.run(simd, ToFloats { lo, hi, grid }, out);
            }
            (Ending::Codes { lo, hi, zero }, Out::Codes(out)) => {
                self.kernel.run(simd, ToCodes::new(simd, CodeSteps::new([lo, hi], zero)), out);
            }
            (Ending::Float { .. }, Out::Codes(_)) | (Ending::Codes { .. }, Out::Floats(_)) => {
                panic!("the ending and the output are of different kinds")
            }
        }
    }
}

/// Scale, lowest and highest step.
#[inline(always)]
fn grid_steps<S: Simd>(simd: S, grid: Option<Grid>) -> Option<[S::F; 3]> {
    let Grid { scale, lo, hi } = grid?;
    Some([simd.splat(scale), simd.splat(lo), simd.splat(hi)])
}

/// Runs a kernel with the widest vectors that the instruction set has and that fit into `width` values.
///
/// Panics: this CPU lacks the instructions.
pub(super) fn dispatch(isa: Isa, width: usize, kernel: impl Kernel) {
    assert!(isa.is_available(), "this CPU has no {}", isa.as_str());
    match isa {
        Isa::Scalar => kernel.run(One),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::Avx512 | Isa::Vnni => {
            if isa != Isa::Avx2 && width >= Sixteen::LANES {
                // SAFETY: the CPU has these instructions, as was just asked.
                unsafe { with_avx512(kernel) }
            } else if width >= Eight::LANES {
                // SAFETY: as above; each set contains those before it.
                unsafe { with_avx2(kernel, Eight::new()) }
            } else {
                // SAFETY: as above.
                unsafe { with_avx2(kernel, One) }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx2 | Isa::Avx512 | Isa::Vnni => unreachable!("never available here"),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn with_avx2(kernel: impl Kernel, simd: impl Simd) {
    kernel.run(simd);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512vl,avx512dq")]
fn with_avx512(kernel: impl Kernel) {
    // SAFETY: this function has the features.
    kernel.run(unsafe { Sixteen::new() });
}
