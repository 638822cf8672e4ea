//! What the tiles ask of an instruction set.

#![expect(unsafe_code, reason = "the traits pass pointers")]

use super::rows::Number;
use super::tile::Sweep;
use crate::kernels::nhwc::ending::CodeSteps;

/// A register of f32.
///
/// Safety of every method: the CPU has the instruction set, and the first `live` values at a pointer may be read or written.
pub(super) trait Floats: Copy {
    /// Values in a register.
    const LANES: usize;

    /// The first `live` values; 0 in the other lanes.
    unsafe fn load(from: *const f32, live: usize) -> Self;
    /// The same value everywhere.
    unsafe fn splat(value: f32) -> Self;
    /// `self * scale + shift` in one rounding.
    unsafe fn mul_add(self, scale: Self, shift: Self) -> Self;
    /// `self / divisor`.
    unsafe fn div(self, divisor: Self) -> Self;
    /// `self * factor`.
    unsafe fn mul(self, factor: Self) -> Self;
    /// The nearest integer, halves to even.
    unsafe fn round(self) -> Self;
    /// Within `lo..=hi`; NaN stays NaN.
    unsafe fn clamp(self, lo: Self, hi: Self) -> Self;
    /// Stores the first `live` values.
    unsafe fn store(self, to: *mut f32, live: usize);
    /// Stores the first `live` values of a row of registers as codes: clamped, rounded, halves to even, and put on the code
    /// of no steps. NaN becomes the lowest code.
    unsafe fn store_codes<const V: usize>(row: [Self; V], steps: CodeSteps, to: *mut u8, live: usize);
}

/// How an instruction set multiplies and sums.
///
/// Safety of every method: the CPU has the instruction set, and as many values as are named lie at a pointer.
pub(super) trait Product: Copy + Send + Sync + 'static {
    /// What images consist of.
    type Input: Number;
    /// What rows consist of: the same, or wider.
    type Value: Number + From<Self::Input>;
    /// What panels consist of.
    type Weight: Number + Send + Sync;
    /// A register of factors.
    type Factor: Copy;
    /// A register of sums.
    type Sum: Copy;
    /// A register of as many f32.
    type Floats: Floats;

    /// Products that are added to a sum at once.
    const STEP: usize;
    /// Registers of sums that a tile has in a row, at most.
    const VECTORS_MAX: usize;

    /// The values of an input: itself, or a copy in which they are wider.
    fn values<'a>(input: &'a [Self::Input], copy: &'a mut Vec<f32>) -> &'a [Self::Value];

    /// Sums that begin at `-zero * sums`; `LANES` sums.
    unsafe fn start(sums: *const i32, zero: Self::Value) -> Self::Sum;
    /// `LANES * STEP` weights.
    unsafe fn weights(from: *const Self::Weight) -> Self::Factor;
    /// `STEP` values, the same for all sums.
    unsafe fn spread(from: *const Self::Value) -> Self::Factor;
    /// `sum + x * weights`.
    unsafe fn add(sum: Self::Sum, x: Self::Factor, weights: Self::Factor) -> Self::Sum;
    /// The nearest f32.
    unsafe fn floats(sum: Self::Sum) -> Self::Floats;
    /// Computes the positions of a block for one panel, with tiles as large as the registers allow.
    unsafe fn sweep(sweep: &Sweep<'_, Self>);
}
