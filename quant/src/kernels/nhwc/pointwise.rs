//! Functions of one or two values at the same place.

use super::ending::CodeSteps;
use super::simd::{Ended, Finish, Kernel, Simd, ToCodes, dispatch, dispatch_ended};
use super::taps::check_lengths;
use super::values::Source;
use super::{Ending, Isa, Out, Tail, Values};

/// One side of a sum or a product.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operand<'a> {
    pub(crate) values: Values<'a>,
    /// What the values, or the steps of the codes, are multiplied by.
    pub(crate) factor: f32,
}

/// How the right operand is spread over the left one, `(images, pixels, channels)`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Repeats {
    /// Both have the same shape.
    Never,
    /// The right one is `(images, channels)`, the same for all pixels of an image.
    Pixels { pixels: usize, channels: usize },
}

/// Two operands of a sum or a product; the output has the shape of the left one.
///
/// `l` and `r` below are values, or steps (`code - zero`, exact in f32).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair<'a> {
    pub(crate) left: Operand<'a>,
    pub(crate) right: Operand<'a>,
    pub(crate) repeats: Repeats,
}

impl Pair<'_> {
    /// `l * left.factor + (r * right.factor)`, a product and a fused multiply-add; with factors of 1 the sum.
    ///
    /// Panics: a slice has another length, or the ending and the output are of different kinds.
    pub(crate) fn add(&self, isa: Isa, ending: Ending, out: Out<'_>) {
        self.combine(isa, Sum { left: self.left.factor, right: self.right.factor }, (ending, out));
    }

    /// `(l * r) * (left.factor * right.factor)`, two products; with factors of 1 the product.
    ///
    /// Panics: a slice has another length, or the ending and the output are of different kinds.
    pub(crate) fn multiply(&self, isa: Isa, ending: Ending, out: Out<'_>) {
        let scale = self.left.factor * self.right.factor;
        self.combine(isa, Product { scale }, (ending, out));
    }

    fn combine(&self, isa: Isa, combine: impl Combine, (ending, out): (Ending, Out<'_>)) {
        let left = self.left.values.len();
        let (width, pixels) = match self.repeats {
            Repeats::Never => (left, 1),
            Repeats::Pixels { pixels, channels } => (channels, pixels),
        };
        let images = left.checked_div(width * pixels).unwrap_or(0);
        check_lengths([left, out.len()], [images * width * pixels; 2]);
        check_lengths([self.right.values.len(), out.len()], [images * width, left]);
        dispatch_ended(isa, width, Combined { pair: self, combine, width, pixels }, (ending, out));
    }
}

trait Combine: Copy {
    fn of<S: Simd>(self, simd: S, left: S::F, right: S::F) -> S::F;
}

#[derive(Clone, Copy)]
struct Sum {
    left: f32,
    right: f32,
}

impl Combine for Sum {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, left: S::F, right: S::F) -> S::F {
        simd.fma(left, simd.splat(self.left), simd.mul(right, simd.splat(self.right)))
    }
}

#[derive(Clone, Copy)]
struct Product {
    scale: f32,
}

impl Combine for Product {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, left: S::F, right: S::F) -> S::F {
        simd.mul(simd.mul(left, right), simd.splat(self.scale))
    }
}

#[derive(Clone, Copy)]
struct Combined<'a, C> {
    pair: &'a Pair<'a>,
    combine: C,
    /// Values of a row of both.
    width: usize,
    /// Rows of the left that meet the same row of the right.
    pixels: usize,
}

impl<C: Combine> Ended for Combined<'_, C> {
    #[inline(always)]
    fn run<S: Simd, E: Finish<S>>(self, simd: S, finish: E, out: &mut [E::Item]) {
        let none = simd.splat(0.0);
        match (self.pair.left.values, self.pair.right.values) {
            (Values::Floats(left), Values::Floats(right)) => {
                self.rows(simd, finish, ((left, none), (right, none)), out);
            }
            (Values::Floats(left), Values::Codes { codes, zero }) => {
                self.rows(simd, finish, ((left, none), (codes, steps(simd, zero))), out);
            }
            (Values::Codes { codes, zero }, Values::Floats(right)) => {
                self.rows(simd, finish, ((codes, steps(simd, zero)), (right, none)), out);
            }
            (Values::Codes { codes: left, zero: a }, Values::Codes { codes: right, zero: b }) => {
                self.rows(simd, finish, ((left, steps(simd, a)), (right, steps(simd, b))), out);
            }
        }
    }
}

/// What stands for zero, in every lane.
#[inline(always)]
fn steps<S: Simd>(simd: S, zero: u8) -> S::F {
    simd.splat(f32::from(zero))
}

/// Values, and what stands for zero.
type Taken<'a, T, S> = (&'a [T], <S as Simd>::F);

impl<C: Combine> Combined<'_, C> {
    #[inline(always)]
    fn rows<S: Simd, E: Finish<S>, L: Source, R: Source>(
        self,
        simd: S,
        finish: E,
        ((left, left_zero), (right, right_zero)): (Taken<'_, L, S>, Taken<'_, R, S>),
        out: &mut [E::Item],
    ) {
        let width = self.width.max(1);
        for (row, (left, out)) in left.chunks_exact(width).zip(out.chunks_exact_mut(width)).enumerate() {
            let right = &right[row / self.pixels * width..][..width];
            for block in 0..width.div_ceil(S::LANES) {
                let at = (block * S::LANES).min(width - S::LANES);
                let left = L::at(simd, left, at, left_zero);
                let right = R::at(simd, right, at, right_zero);
                finish.put(simd, (out, at), self.combine.of(simd, left, right));
            }
        }
    }
}

/// `x * scale + shift` per channel (for codes: of their steps), in one rounding: a batch norm with fixed statistics.
///
/// Shapes: `x` and the output `(pixels, channels)`.
///
/// Panics: a slice has another length, or the ending and the output are of different kinds.
pub(crate) fn scale_shift(isa: Isa, x: Values<'_>, tail: &Tail<'_>, out: Out<'_>) {
    let channels = tail.scale.len();
    check_lengths([tail.shift.len(), x.len() % channels.max(1)], [channels, 0]);
    check_lengths([x.len(), out.len()], [x.len(); 2]);
    dispatch_ended(isa, channels, ScaleShift { x, tail }, (tail.ending, out));
}

struct ScaleShift<'a> {
    x: Values<'a>,
    tail: &'a Tail<'a>,
}

impl Ended for ScaleShift<'_> {
    #[inline(always)]
    fn run<S: Simd, E: Finish<S>>(self, simd: S, finish: E, out: &mut [E::Item]) {
        match self.x {
            Values::Floats(x) => self.rows(simd, finish, (x, simd.splat(0.0)), out),
            Values::Codes { codes, zero } => {
                self.rows(simd, finish, (codes, simd.splat(f32::from(zero))), out)
            }
        }
    }
}

impl ScaleShift<'_> {
    #[inline(always)]
    fn rows<S: Simd, E: Finish<S>, T: Source>(
        &self,
        simd: S,
        finish: E,
        (x, zero): (&[T], S::F),
        out: &mut [E::Item],
    ) {
        let channels = self.tail.scale.len().max(1);
        for (x, out) in x.chunks_exact(channels).zip(out.chunks_exact_mut(channels)) {
            for block in 0..channels.div_ceil(S::LANES) {
                let at = (block * S::LANES).min(channels - S::LANES);
                let (scale, shift) = (simd.floats(self.tail.scale, at), simd.floats(self.tail.shift, at));
                finish.put(simd, (out, at), simd.fma(T::at(simd, x, at, zero), scale, shift));
            }
        }
    }
}

/// How f32 becomes codes: those of `x / scale` as [`Ending::Codes`] says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steps {
    /// Step, positive.
    pub(crate) scale: f32,
    /// The code of 0.
    pub(crate) zero: u8,
    /// Lowest and highest code.
    pub(crate) lo: u8,
    pub(crate) hi: u8,
}

/// Turns f32 into codes; NaN becomes the lowest code.
///
/// Panics: the slices have different lengths.
pub(crate) fn quantize(isa: Isa, x: &[f32], steps: Steps, out: &mut [u8]) {
    check_lengths([x.len(), out.len()], [x.len(); 2]);
    dispatch(isa, x.len(), Quantize { x, steps, out });
}

struct Quantize<'a> {
    x: &'a [f32],
    steps: Steps,
    out: &'a mut [u8],
}

impl Kernel for Quantize<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Steps { scale, zero, lo, hi } = self.steps;
        let (scale, finish) = (simd.splat(scale), ToCodes::new(simd, CodeSteps::new([lo, hi], zero)));
        for block in 0..self.x.len().div_ceil(S::LANES) {
            let at = (block * S::LANES).min(self.x.len() - S::LANES);
            finish.put(simd, (self.out, at), simd.div(simd.floats(self.x, at), scale));
        }
    }
}

/// Turns codes into f32: `(code - zero) * scale`.
///
/// Panics: the slices have different lengths.
pub(crate) fn dequantize(isa: Isa, codes: &[u8], (zero, scale): (u8, f32), out: &mut [f32]) {
    check_lengths([codes.len(), out.len()], [codes.len(); 2]);
    dispatch(isa, codes.len(), Dequantize { codes, zero, scale, out });
}

struct Dequantize<'a> {
    codes: &'a [u8],
    zero: u8,
    scale: f32,
    out: &'a mut [f32],
}

impl Kernel for Dequantize<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (zero, scale) = (simd.splat(f32::from(self.zero)), simd.splat(self.scale));
        for block in 0..self.codes.len().div_ceil(S::LANES) {
            let at = (block * S::LANES).min(self.codes.len() - S::LANES);
            simd.put(self.out, at, simd.mul(u8::at(simd, self.codes, at, zero), scale));
        }
    }
}
