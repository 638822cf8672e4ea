//! Pooling over windows: the largest value and the mean. What lies in the padding takes no part.

use std::ops::Range;

use super::simd::{Ended, Finish, Kernel, Simd, dispatch, dispatch_ended};
use super::taps::{check_lengths, taps_inside};
use super::values::Source;
use super::{Isa, Out, Tail, Values, Window};

/// Vectors of one pixel that are taken together, as each step of a sum waits for the one before.
const ABREAST: usize = 4;
/// Taps up to which sums of codes are exact in f32.
const EXACT_TAPS: usize = (1 << 24) / 255;

/// A pooling of images `(images, h, w, channels)` to `(images, h', w', channels)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pool {
    pub(crate) isa: Isa,
    pub(crate) window: Window,
    pub(crate) channels: usize,
}

/// How a mean comes from a sum: `sum * scale + shift`, where `scale` is one over the number of values in a window.
///
/// Where that number changes with the position, `reciprocals` `(h' * w')` has it, and it is
/// `(sum * reciprocal) * scale + shift`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mean<'a> {
    pub(crate) reciprocals: Option<&'a [f32]>,
    pub(crate) tail: &'a Tail<'a>,
}

impl Pool {
    /// Largest values; NaN if a window has one, minus infinity where it has no values.
    ///
    /// Panics: a slice has another length.
    pub(crate) fn max(&self, images: usize, x: &[f32], out: &mut [f32]) {
        self.check(images, [x.len(), out.len()]);
        dispatch(self.isa, self.channels, Max { pool: self, x, out });
    }

    /// Largest codes; 0 where a window has none.
    ///
    /// Panics: a slice has another length.
    pub(crate) fn max_codes(&self, images: usize, x: &[u8], out: &mut [u8]) {
        self.check(images, [x.len(), out.len()]);
        dispatch(self.isa, self.channels, MaxCodes { pool: self, x, out });
    }

    /// Sums in the order of the window, then [`Mean`]; `sum` counts steps for codes, and is exact then.
    ///
    /// Panics: a slice has another length, or the ending and the output are of different kinds.
    pub(crate) fn average(&self, images: usize, x: Values<'_>, mean: &Mean<'_>, out: Out<'_>) {
        self.check(images, [x.len(), out.len()]);
        check_lengths([mean.tail.scale.len(), mean.tail.shift.len()], [self.channels; 2]);
        let positions = self.window.positions();
        assert!(
            mean.reciprocals.is_none_or(|values| values.len() == positions),
            "not one reciprocal per position"
        );
        let is_exact = matches!(x, Values::Floats(_)) || self.window.taps() <= EXACT_TAPS;
        let ending = mean.tail.ending;
        let average = Average { pool: self, x, mean };
        if is_exact {
            dispatch_ended(self.isa, self.channels, average, (ending, out));
        } else {
            dispatch_ended(self.isa, 1, AverageExactly(average), (ending, out));
        }
    }

    fn check(&self, images: usize, lengths: [usize; 2]) {
        let places = [self.window.pixels(), self.window.positions()];
        check_lengths(lengths, places.map(|places| images * places * self.channels));
    }

    /// Where the window at an output position of an image, counted over all images, has its values.
    #[inline(always)]
    fn view(&self, image: usize, [row, column]: [usize; 2]) -> View {
        let window = &self.window;
        let (rows, columns) = (taps_inside(window, 0, row), taps_inside(window, 1, column));
        // Clipped where no tap is inside, and then nothing is read.
        let first = |axis: usize, position: usize, tap: usize| {
            (position * window.stride[axis] + tap * window.dilation[axis]).saturating_sub(window.before[axis])
        };
        let (y, x) = (first(0, row, rows.start), first(1, column, columns.start));
        let corner = ((image * window.size[0] + y) * window.size[1] + x) * self.channels;
        let down = window.dilation[0] * window.size[1] * self.channels;
        let right = window.dilation[1] * self.channels;
        View { corner, rows: rows.len(), columns: columns.len(), down, right }
    }

    /// Goes through all outputs, pixel by pixel.
    #[inline(always)]
    fn each<T>(&self, out: &mut [T], mut reduce: impl Reduce<T>) {
        let [height, width] = self.window.out_size;
        let line = width * self.channels;
        if line == 0 {
            return;
        }
        for (index, out) in out.chunks_exact_mut(line).enumerate() {
            let (image, row) = (index / height, index % height);
            for (column, out) in out.chunks_exact_mut(self.channels).enumerate() {
                reduce.pixel(self.view(image, [row, column]), row * width + column, out);
            }
        }
    }
}

/// What makes an output pixel of a window.
trait Reduce<T> {
    /// `position` is counted within the image.
    fn pixel(&mut self, view: View, position: usize, out: &mut [T]);
}

/// The values of one window: their first, their numbers, and the distances of neighbours.
#[derive(Clone, Copy)]
struct View {
    corner: usize,
    rows: usize,
    columns: usize,
    down: usize,
    right: usize,
}

impl View {
    #[inline(always)]
    fn rows(self) -> Range<usize> {
        0..self.rows
    }

    #[inline(always)]
    fn columns(self) -> Range<usize> {
        0..self.columns
    }

    #[inline(always)]
    fn at(self, row: usize, column: usize) -> usize {
        self.corner + row * self.down + column * self.right
    }
}

struct Max<'a> {
    pool: &'a Pool,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Max<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.pool.each(self.out, LargestOf { simd, x: self.x });
    }
}

struct LargestOf<'a, S> {
    simd: S,
    x: &'a [f32],
}

impl<S: Simd> Reduce<f32> for LargestOf<'_, S> {
    #[inline(always)]
    fn pixel(&mut self, view: View, _position: usize, out: &mut [f32]) {
        let channels = out.len();
        let mut channel = 0;
        while channel + ABREAST * S::LANES <= channels {
            max::<S, ABREAST>(self.simd, self.x, view, (out, channel));
            channel += ABREAST * S::LANES;
        }
        while channel < channels {
            max::<S, 1>(self.simd, self.x, view, (out, channel.min(channels - S::LANES)));
            channel += S::LANES;
        }
    }
}

#[inline(always)]
fn max<S: Simd, const N: usize>(simd: S, x: &[f32], view: View, (out, channel): (&mut [f32], usize)) {
    let mut best = [simd.splat(f32::NEG_INFINITY); N];
    for row in view.rows() {
        for column in view.columns() {
            for (at, best) in best.iter_mut().enumerate() {
                let value = simd.floats(x, view.at(row, column) + channel + at * S::LANES);
                *best = simd.nan_or(value, simd.greater(value, *best));
            }
        }
    }
    for (at, best) in best.into_iter().enumerate() {
        simd.put(out, channel + at * S::LANES, best);
    }
}

struct MaxCodes<'a> {
    pool: &'a Pool,
    x: &'a [u8],
    out: &'a mut [u8],
}

impl Kernel for MaxCodes<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) {
        self.pool.each(self.out, LargestCodes { x: self.x });
    }
}

struct LargestCodes<'a> {
    x: &'a [u8],
}

impl Reduce<u8> for LargestCodes<'_> {
    #[inline(always)]
    fn pixel(&mut self, view: View, _position: usize, out: &mut [u8]) {
        match out.len() {
            64.. => max_codes::<64>(self.x, view, out),
            32.. => max_codes::<32>(self.x, view, out),
            16.. => max_codes::<16>(self.x, view, out),
            4.. => max_codes::<4>(self.x, view, out),
            _ => max_codes::<1>(self.x, view, out),
        }
    }
}

/// Takes `N` channels at a time, in an array of constant length that the compiler keeps in a register.
#[inline(always)]
fn max_codes<const N: usize>(x: &[u8], view: View, out: &mut [u8]) {
    let channels = out.len();
    for block in 0..channels.div_ceil(N) {
        let channel = (block * N).min(channels - N);
        let mut best = [0; N];
        for row in view.rows() {
            for column in view.columns() {
                let at = view.at(row, column) + channel;
                for (best, x) in best.iter_mut().zip(&x[at..at + N]) {
                    *best = (*best).max(*x);
                }
            }
        }
        out[channel..channel + N].copy_from_slice(&best);
    }
}

#[derive(Clone, Copy)]
struct Average<'a> {
    pool: &'a Pool,
    x: Values<'a>,
    mean: &'a Mean<'a>,
}

impl Ended for Average<'_> {
    #[inline(always)]
    fn run<S: Simd, E: Finish<S>>(self, simd: S, finish: E, out: &mut [E::Item]) {
        match self.x {
            Values::Floats(x) => self.positions(simd, finish, (x, simd.splat(0.0)), out),
            Values::Codes { codes, zero } => {
                self.positions(simd, finish, (codes, simd.splat(f32::from(zero))), out);
            }
        }
    }
}

impl<'a> Average<'a> {
    #[inline(always)]
    fn positions<S: Simd, E: Finish<S>, T: Source>(
        self,
        simd: S,
        finish: E,
        x: (&'a [T], S::F),
        out: &mut [E::Item],
    ) {
        self.pool.each(out, MeanOf { simd, finish, average: self, x });
    }

    /// One where all windows have the same number of values: then multiplying changes nothing.
    #[inline(always)]
    fn reciprocal(self, position: usize) -> f32 {
        match self.mean.reciprocals {
            Some(values) => values[position],
            None => 1.0,
        }
    }

    #[inline(always)]
    fn finish<S: Simd, E: Finish<S>, const N: usize>(
        self,
        simd: S,
        finish: E,
        (sums, reciprocal): ([S::F; N], S::F),
        (out, channel): (&mut [E::Item], usize),
    ) {
        let tail = self.mean.tail;
        for (at, sum) in sums.into_iter().enumerate() {
            let channel = channel + at * S::LANES;
            let (scale, shift) = (simd.floats(tail.scale, channel), simd.floats(tail.shift, channel));
            finish.put(simd, (out, channel), simd.fma(simd.mul(sum, reciprocal), scale, shift));
        }
    }
}

struct MeanOf<'a, S: Simd, E, T> {
    simd: S,
    finish: E,
    average: Average<'a>,
    /// Values, and what stands for zero.
    x: (&'a [T], S::F),
}

impl<S: Simd, E: Finish<S>, T: Source> Reduce<E::Item> for MeanOf<'_, S, E, T> {
    #[inline(always)]
    fn pixel(&mut self, view: View, position: usize, out: &mut [E::Item]) {
        let Self { simd, finish, average, x } = *self;
        let reciprocal = simd.splat(average.reciprocal(position));
        let channels = out.len();
        let mut channel = 0;
        while channel + ABREAST * S::LANES <= channels {
            let sums = sum::<S, T, ABREAST>(simd, x, view, channel);
            average.finish(simd, finish, (sums, reciprocal), (out, channel));
            channel += ABREAST * S::LANES;
        }
        while channel < channels {
            let at = channel.min(channels - S::LANES);
            let sums = sum::<S, T, 1>(simd, x, view, at);
            average.finish(simd, finish, (sums, reciprocal), (out, at));
            channel += S::LANES;
        }
    }
}

#[inline(always)]
fn sum<S: Simd, T: Source, const N: usize>(
    simd: S,
    (x, zero): (&[T], S::F),
    view: View,
    channel: usize,
) -> [S::F; N] {
    let mut sums = [simd.splat(0.0); N];
    for row in view.rows() {
        for column in view.columns() {
            for (at, sum) in sums.iter_mut().enumerate() {
                let place = view.at(row, column) + channel + at * S::LANES;
                *sum = simd.add(*sum, T::at(simd, x, place, zero));
            }
        }
    }
    sums
}

/// Sums of codes in i64, for windows so large that f32 could round; value by value, as such windows are rare.
struct AverageExactly<'a>(Average<'a>);

impl Ended for AverageExactly<'_> {
    #[inline(always)]
    fn run<S: Simd, E: Finish<S>>(self, simd: S, finish: E, out: &mut [E::Item]) {
        let Values::Codes { codes, zero } = self.0.x else { unreachable!("sums of floats may round") };
        self.0.pool.each(out, ExactMeanOf { simd, finish, average: self.0, codes, zero });
    }
}

struct ExactMeanOf<'a, S, E> {
    simd: S,
    finish: E,
    average: Average<'a>,
    codes: &'a [u8],
    zero: u8,
}

impl<S: Simd, E: Finish<S>> Reduce<E::Item> for ExactMeanOf<'_, S, E> {
    #[inline(always)]
    fn pixel(&mut self, view: View, position: usize, out: &mut [E::Item]) {
        assert!(S::LANES == 1, "one value at a time");
        let reciprocal = self.simd.splat(self.average.reciprocal(position));
        for channel in 0..out.len() {
            let mut sum = 0_i64;
            for row in view.rows() {
                for column in view.columns() {
                    sum += i64::from(self.codes[view.at(row, column) + channel]) - i64::from(self.zero);
                }
            }
            let sum = [self.simd.splat(sum as f32)];
            self.average.finish(self.simd, self.finish, (sum, reciprocal), (out, channel));
        }
    }
}
