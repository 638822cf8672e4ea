#![expect(unsafe_code, reason = "loads and stores through pointers without a check for each")]

use std::ops::Range;

use crate::kernels::nhwc::simd::{Ended, Finish, Simd};
use crate::kernels::nhwc::taps::{taps_inside, whole_columns};
use crate::kernels::nhwc::values::Source;
use crate::kernels::nhwc::{Tail, Window};

/// Output columns whose sums are taken together, so that what they share is loaded once.
const TOGETHER: usize = 4;
/// Vectors of one pixel whose sums are taken together, as each addition of a sum waits for the one before.
const ABREAST: usize = 4;

/// A depthwise convolution that sums in f32, line by line of the output.
#[derive(Clone, Copy)]
pub(super) struct Lines<'a, T> {
    pub(super) window: &'a Window,
    pub(super) images: usize,
    pub(super) channels: usize,
    /// `(images, h, w, channels)`.
    pub(super) x: &'a [T],
    /// The code that stands for zero; 0 for f32.
    pub(super) zero: f32,
    /// `(taps, channels)`.
    pub(super) weight: &'a [f32],
    pub(super) tail: &'a Tail<'a>,
}

/// One line of the output.
#[derive(Clone)]
struct Line<T, O> {
    /// Rows of the window that lie inside the image.
    rows: Range<usize>,
    /// The image.
    x: *const T,
    /// Output row.
    row: usize,
    /// First pixel of the line.
    out: *mut O,
}

impl<T: Source> Ended for Lines<'_, T> {
    #[inline(always)]
    fn run<S: Simd, E: Finish<S>>(self, simd: S, finish: E, out: &mut [E::Item]) {
        let window = self.window;
        let (image, width) = (window.pixels() * self.channels, window.out_size[1] * self.channels);
        let whole = whole_columns(window);
        if out.is_empty() {
            return;
        }
        for (index, out) in out.chunks_exact_mut(width).enumerate() {
            let row = index % window.out_size[0];
            let x = self.x[index / window.out_size[0] * image..].as_ptr();
            let line = Line { rows: taps_inside(window, 0, row), x, row, out: out.as_mut_ptr() };
            // SAFETY: `check` compared all lengths with the shapes, and the taps and columns lie inside of these.
            unsafe { self.line(simd, finish, &line, &whole) }
        }
    }
}

impl<T: Source> Lines<'_, T> {
    /// SAFETY: the line lies inside the slices.
    #[inline(always)]
    unsafe fn line<S: Simd, E: Finish<S>>(
        &self,
        simd: S,
        finish: E,
        line: &Line<T, E::Item>,
        whole: &Range<usize>,
    ) {
        let mut whole = whole.clone();
        // SAFETY: the columns in `whole` see no padding at the sides.
        unsafe {
            match (self.window.kernel[1], self.window.stride[1], self.window.dilation[1]) {
                _ if whole.len() < TOGETHER => whole = 0..0,
                (3, 1, 1) => self.columns::<S, E, 3, 1>(simd, finish, line, &whole),
                (3, 2, 1) => self.columns::<S, E, 3, 2>(simd, finish, line, &whole),
                (5, 1, 1) => self.columns::<S, E, 5, 1>(simd, finish, line, &whole),
                (5, 2, 1) => self.columns::<S, E, 5, 2>(simd, finish, line, &whole),
                _ => whole = 0..0,
            }
            for column in (0..whole.start).chain(whole.end..self.window.out_size[1]) {
                self.pixel(simd, finish, line, column);
            }
        }
    }

    /// Output columns that see no padding at the sides, [`TOGETHER`] at a time; the last of them may be taken twice.
    ///
    /// SAFETY: as for `line`; there are at least `TOGETHER` such columns.
    #[inline(always)]
    unsafe fn columns<S: Simd, E: Finish<S>, const TAPS: usize, const STRIDE: usize>(
        &self,
        simd: S,
        finish: E,
        line: &Line<T, E::Item>,
        whole: &Range<usize>,
    ) {
        let channels = self.channels;
        let mut next = whole.start;
        while next < whole.end {
            let column = next.min(whole.end - TOGETHER);
            for block in 0..channels.div_ceil(S::LANES) {
                let channel = (block * S::LANES).min(channels - S::LANES);
                // SAFETY: vectors fit into the channels, and the columns into the line.
                unsafe {
                    let scale = simd.load(self.tail.scale.as_ptr().add(channel));
                    let shift = simd.load(self.tail.shift.as_ptr().add(channel));
                    let sums = self.sums::<S, E, TAPS, STRIDE>(simd, line, [column, channel]);
                    for (at, sum) in sums.into_iter().enumerate() {
                        let out = line.out.add((column + at) * channels + channel);
                        finish.store(simd, out, simd.fma(sum, scale, shift));
                    }
                }
            }
            next += TOGETHER;
        }
    }

    /// SAFETY: as for `columns`.
    #[inline(always)]
    unsafe fn sums<S: Simd, E: Finish<S>, const TAPS: usize, const STRIDE: usize>(
        &self,
        simd: S,
        line: &Line<T, E::Item>,
        [column, channel]: [usize; 2],
    ) -> [S::F; TOGETHER] {
        let (window, channels) = (self.window, self.channels);
        let zero = simd.splat(self.zero);
        let mut sums = [simd.splat(0.0); TOGETHER];
        for tap in line.rows.clone() {
            let row = line.row * window.stride[0] + tap * window.dilation[0] - window.before[0];
            let first = column * STRIDE - window.before[1];
            // SAFETY: as for `columns`; the row is one of those inside the image.
            unsafe {
                let x = line.x.add((row * window.size[1] + first) * channels + channel);
                let weight = self.weight.as_ptr().add(tap * TAPS * channels + channel);
                let mut weights = [zero; TAPS];
                for (tap, w) in weights.iter_mut().enumerate() {
                    *w = simd.load(weight.add(tap * channels));
                }
                for place in 0..(TOGETHER - 1) * STRIDE + TAPS {
                    let value = T::load(simd, x.add(place * channels), zero);
                    for (at, sum) in sums.iter_mut().enumerate() {
                        if place >= at * STRIDE && place - at * STRIDE < TAPS {
                            *sum = simd.fma(value, weights[place - at * STRIDE], *sum);
                        }
                    }
                }
            }
        }
        sums
    }

    /// One output pixel, wherever it lies.
    ///
    /// SAFETY: as for `line`.
    #[inline(always)]
    unsafe fn pixel<S: Simd, E: Finish<S>>(
        &self,
        simd: S,
        finish: E,
        line: &Line<T, E::Item>,
        column: usize,
    ) {
        let wide = self.channels / (ABREAST * S::LANES) * ABREAST * S::LANES;
        for block in 0..wide / (ABREAST * S::LANES) {
            // SAFETY: the vectors fit into the channels.
            unsafe { self.abreast::<S, E, ABREAST>(simd, finish, line, [column, block * ABREAST * S::LANES]) }
        }
        for block in 0..(self.channels - wide).div_ceil(S::LANES) {
            let channel = (wide + block * S::LANES).min(self.channels - S::LANES);
            // SAFETY: the vector fits into the channels.
            unsafe { self.abreast::<S, E, 1>(simd, finish, line, [column, channel]) }
        }
    }

    /// SAFETY: as for `line`; `N` vectors fit between `channel` and the last channel.
    #[inline(always)]
    unsafe fn abreast<S: Simd, E: Finish<S>, const N: usize>(
        &self,
        simd: S,
        finish: E,
        line: &Line<T, E::Item>,
        [column, channel]: [usize; 2],
    ) {
        let (window, channels) = (self.window, self.channels);
        let zero = simd.splat(self.zero);
        let columns = taps_inside(window, 1, column);
        let mut sums = [simd.splat(0.0); N];
        for down in line.rows.clone() {
            let row = line.row * window.stride[0] + down * window.dilation[0] - window.before[0];
            for right in columns.clone() {
                let place = column * window.stride[1] + right * window.dilation[1] - window.before[1];
                // SAFETY: row and place are inside the image, as the taps are.
                unsafe {
                    let x = line.x.add((row * window.size[1] + place) * channels + channel);
                    let weight =
                        self.weight.as_ptr().add((down * window.kernel[1] + right) * channels + channel);
                    for (at, sum) in sums.iter_mut().enumerate() {
                        let value = T::load(simd, x.add(at * S::LANES), zero);
                        *sum = simd.fma(value, simd.load(weight.add(at * S::LANES)), *sum);
                    }
                }
            }
        }
        for (at, sum) in sums.into_iter().enumerate() {
            let channel = channel + at * S::LANES;
            // SAFETY: the column is one of the line.
            unsafe {
                let scale = simd.load(self.tail.scale.as_ptr().add(channel));
                let shift = simd.load(self.tail.shift.as_ptr().add(channel));
                let out = line.out.add(column * channels + channel);
                finish.store(simd, out, simd.fma(sum, scale, shift));
            }
        }
    }
}
