//! Functions of all channels of a pixel.

use super::math::{exp, power};
use super::simd::{Ended, Finish, One, Simd, dispatch_ended};
use super::taps::check_lengths;
use super::{Ending, Isa, Out};

/// `exp(x - max) / sum(exp(x - max))` over the channels of every pixel, summed in their order.
///
/// Shapes: `x` and the output `(pixels, channels)`.
///
/// Panics: a slice has another length, or the ending and the output are of different kinds.
pub(crate) fn softmax(isa: Isa, (x, channels): (&[f32], usize), ending: Ending, out: Out<'_>) {
    check_lengths([x.len() % channels.max(1), out.len()], [0, x.len()]);
    dispatch_ended(isa, channels, Softmax { x, channels }, (ending, out));
}

struct Softmax<'a> {
    x: &'a [f32],
    channels: usize,
}

impl Ended for Softmax<'_> {
    #[inline(always)]
    fn run<S: Simd, E: Finish<S>>(self, simd: S, finish: E, out: &mut [E::Item]) {
        let channels = self.channels.max(1);
        for (x, out) in self.x.chunks_exact(channels).zip(out.chunks_exact_mut(channels)) {
            let mut max = f32::NEG_INFINITY;
            for x in x {
                max = One.greater(*x, max);
            }
            let sum = simd.splat(sum_of_exp(simd, x, max));
            for block in 0..channels.div_ceil(S::LANES) {
                let at = (block * S::LANES).min(channels - S::LANES);
                let value = exp(simd, simd.sub(simd.floats(x, at), simd.splat(max)));
                finish.put(simd, (out, at), simd.div(value, sum));
            }
        }
    }
}

/// Exponentials vector by vector, but added one after another: the order is part of the result.
#[inline(always)]
fn sum_of_exp<S: Simd>(simd: S, x: &[f32], max: f32) -> f32 {
    const WIDEST: usize = 16;
    let mut values = [0.0; WIDEST];
    let mut sum = 0.0;
    for block in 0..x.len().div_ceil(S::LANES) {
        let next = block * S::LANES;
        let at = next.min(x.len() - S::LANES);
        simd.put(&mut values, 0, exp(simd, simd.sub(simd.floats(x, at), simd.splat(max))));
        // Those of an overlapping block that were not added yet.
        for value in &values[next - at..S::LANES] {
            sum += value;
        }
    }
    sum
}

/// `x / (bias + alpha / size * sum(x'^2))^beta` over the `size` nearest channels; of an even number, the odd one is among
/// those that follow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lrn {
    pub(crate) size: usize,
    pub(crate) alpha: f32,
    pub(crate) beta: f32,
    pub(crate) bias: f32,
}

/// The exponent that is in use, and that square roots give.
const THREE_QUARTERS: f32 = 0.75;

impl Lrn {
    /// Normalises `(pixels, channels)`.
    ///
    /// Panics: a slice has another length, or the ending and the output are of different kinds.
    pub(crate) fn apply(self, isa: Isa, (x, channels): (&[f32], usize), ending: Ending, out: Out<'_>) {
        check_lengths([x.len() % channels.max(1), out.len()], [0, x.len()]);
        let width = if self.beta == THREE_QUARTERS { channels } else { 1 };
        dispatch_ended(isa, width, Normalised { lrn: self, x, channels }, (ending, out));
    }
}

struct Normalised<'a> {
    lrn: Lrn,
    x: &'a [f32],
    channels: usize,
}

impl Ended for Normalised<'_> {
    #[inline(always)]
    fn run<S: Simd, E: Finish<S>>(self, simd: S, finish: E, out: &mut [E::Item]) {
        const WIDEST: usize = 16;
        let channels = self.channels.max(1);
        let mut sums = [0.0; WIDEST];
        for (x, out) in self.x.chunks_exact(channels).zip(out.chunks_exact_mut(channels)) {
            for block in 0..channels.div_ceil(S::LANES) {
                let at = (block * S::LANES).min(channels - S::LANES);
                let sum = self.lrn.sums(simd, (x, at), &mut sums);
                let sum = self.lrn.power(simd, sum);
                finish.put(simd, (out, at), simd.div(simd.floats(x, at), sum));
            }
        }
    }
}

impl Lrn {
    /// The sums of a vector of channels, at once where none of them is near the first or the last channel.
    #[inline(always)]
    fn sums<S: Simd>(self, simd: S, (x, at): (&[f32], usize), sums: &mut [f32]) -> S::F {
        let before = (self.size - 1) / 2;
        if at < before || at + S::LANES + self.size - 1 - before > x.len() {
            for (lane, sum) in sums[..S::LANES].iter_mut().enumerate() {
                *sum = self.sum(x, at + lane);
            }
            return simd.floats(sums, 0);
        }
        let mut sum = simd.splat(0.0);
        for near in 0..self.size {
            let x = simd.floats(x, at - before + near);
            sum = simd.fma(x, x, sum);
        }
        simd.fma(sum, simd.splat(self.alpha / self.size as f32), simd.splat(self.bias))
    }

    /// `bias + alpha / size * sum(x'^2)`.
    #[inline(always)]
    fn sum(self, x: &[f32], channel: usize) -> f32 {
        let before = (self.size - 1) / 2;
        let end = (channel + self.size - before).min(x.len());
        let mut sum = 0.0;
        for x in &x[channel.saturating_sub(before)..end] {
            sum = f32::mul_add(*x, *x, sum);
        }
        f32::mul_add(sum, self.alpha / self.size as f32, self.bias)
    }

    #[inline(always)]
    fn power<S: Simd>(self, simd: S, x: S::F) -> S::F {
        if self.beta == THREE_QUARTERS {
            let root = simd.sqrt(x);
            return simd.mul(root, simd.sqrt(root));
        }
        let mut value = [0.0];
        simd.put(&mut value, 0, x);
        simd.splat(power(value[0], self.beta))
    }
}
