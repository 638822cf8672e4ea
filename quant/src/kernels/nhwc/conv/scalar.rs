//! The kernels without vector instructions: the reference.

#![expect(unsafe_code, reason = "the traits pass pointers")]

use super::tile::{self, Sweep};
use super::vector::{Floats, Product};
use crate::kernels::nhwc::ending::CodeSteps;

const LANES: usize = 4;
const HEIGHT: usize = 4;

/// f32, each product added with one rounding.
#[derive(Clone, Copy)]
pub(super) struct Fma;

impl Product for Fma {
    type Input = f32;
    type Value = f32;
    type Weight = f32;
    type Factor = [f32; LANES];
    type Sum = [f32; LANES];
    type Floats = [f32; LANES];

    const STEP: usize = 1;
    const VECTORS_MAX: usize = 1;

    fn values<'a>(input: &'a [f32], _copy: &'a mut Vec<f32>) -> &'a [f32] {
        input
    }

    unsafe fn start(_sums: *const i32, _zero: f32) -> Self::Sum {
        [0.0; LANES]
    }

    unsafe fn weights(from: *const f32) -> Self::Factor {
        // SAFETY: the caller's.
        unsafe { from.cast::<Self::Factor>().read() }
    }

    unsafe fn spread(from: *const f32) -> Self::Factor {
        // SAFETY: the caller's.
        unsafe { [from.read(); LANES] }
    }

    unsafe fn add(sum: Self::Sum, x: Self::Factor, weights: Self::Factor) -> Self::Sum {
        std::array::from_fn(|lane| x[lane].mul_add(weights[lane], sum[lane]))
    }

    unsafe fn floats(sum: Self::Sum) -> Self::Floats {
        sum
    }

    unsafe fn sweep(sweep: &Sweep<'_, Self>) {
        // SAFETY: the caller's.
        unsafe { tile::sweep::<Self, HEIGHT, 1>(sweep) }
    }
}

/// Codes and weights as they are.
#[derive(Clone, Copy)]
pub(super) struct Bytes;

impl Product for Bytes {
    type Input = u8;
    type Value = u8;
    type Weight = i8;
    type Factor = [i32; LANES];
    type Sum = [i32; LANES];
    type Floats = [f32; LANES];

    const STEP: usize = 1;
    const VECTORS_MAX: usize = 1;

    fn values<'a>(input: &'a [u8], _copy: &'a mut Vec<f32>) -> &'a [u8] {
        input
    }

    unsafe fn start(sums: *const i32, zero: u8) -> Self::Sum {
        // SAFETY: the caller's.
        let sums = unsafe { sums.cast::<Self::Sum>().read() };
        sums.map(|sum| -i32::from(zero) * sum)
    }

    unsafe fn weights(from: *const i8) -> Self::Factor {
        // SAFETY: the caller's.
        unsafe { from.cast::<[i8; LANES]>().read().map(i32::from) }
    }

    unsafe fn spread(from: *const u8) -> Self::Factor {
        // SAFETY: the caller's.
        unsafe { [i32::from(from.read()); LANES] }
    }

    unsafe fn add(sum: Self::Sum, x: Self::Factor, weights: Self::Factor) -> Self::Sum {
        // On the way to a sum that i32 holds, other sums may wrap around.
        std::array::from_fn(|lane| sum[lane].wrapping_add(x[lane] * weights[lane]))
    }

    unsafe fn floats(sum: Self::Sum) -> Self::Floats {
        sum.map(|sum| sum as f32)
    }

    unsafe fn sweep(sweep: &Sweep<'_, Self>) {
        // SAFETY: the caller's.
        unsafe { tile::sweep::<Self, HEIGHT, 1>(sweep) }
    }
}

/// The lower end comes first and the value second, as vector instructions give the second operand where one is NaN.
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

fn smaller(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

impl Floats for [f32; LANES] {
    const LANES: usize = LANES;

    unsafe fn load(from: *const f32, live: usize) -> Self {
        // SAFETY: the caller's.
        std::array::from_fn(|lane| if lane < live { unsafe { from.add(lane).read() } } else { 0.0 })
    }

    unsafe fn splat(value: f32) -> Self {
        [value; LANES]
    }

    unsafe fn mul_add(self, scale: Self, shift: Self) -> Self {
        std::array::from_fn(|lane| self[lane].mul_add(scale[lane], shift[lane]))
    }

    unsafe fn div(self, divisor: Self) -> Self {
        std::array::from_fn(|lane| self[lane] / divisor[lane])
    }

    unsafe fn mul(self, factor: Self) -> Self {
        std::array::from_fn(|lane| self[lane] * factor[lane])
    }

    unsafe fn round(self) -> Self {
        self.map(f32::round_ties_even)
    }

    unsafe fn clamp(self, lo: Self, hi: Self) -> Self {
        std::array::from_fn(|lane| smaller(hi[lane], larger(lo[lane], self[lane])))
    }

    unsafe fn store(self, to: *mut f32, live: usize) {
        for (lane, value) in self.iter().enumerate().take(live) {
            // SAFETY: the caller's.
            unsafe { to.add(lane).write(*value) }
        }
    }

    unsafe fn store_codes<const V: usize>(row: [Self; V], steps: CodeSteps, to: *mut u8, live: usize) {
        for (column, value) in row.as_flattened().iter().enumerate().take(live) {
            let nearest = smaller(larger(*value, steps.lo), steps.hi).round_ties_even();
            let code = nearest + f32::from(steps.zero);
            // SAFETY: the caller's.
            unsafe { to.add(column).write(code as u8) }
        }
    }
}
