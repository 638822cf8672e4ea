//! The gradient of a depthwise convolution to its weight.

#![expect(unsafe_code, reason = "loads through pointers without a check for each")]

use std::ops::Range;

use crate::kernels::nhwc::simd::{Kernel, Simd, dispatch};
use crate::kernels::nhwc::taps::check_lengths;
use crate::kernels::nhwc::{Isa, Window};

/// Writes the gradient to the weight `(channels, 1, rows, columns)`, summed over the images.
///
/// Shapes: `x` `(images, h, w, channels)`, `dy` `(images, h', w', channels)`.
///
/// Panics: a slice has another length.
pub(crate) fn depthwise_weight_gradient(
    isa: Isa,
    (window, images, channels): (&Window, usize, usize),
    [x, dy]: [&[f32]; 2],
    sum: &mut [f32],
) {
    let places = [window.pixels(), window.positions()];
    check_lengths([x.len(), dy.len()], places.map(|places| images * places * channels));
    assert_eq!(sum.len(), channels * window.taps(), "weight is (channels, 1, rows, columns)");
    if channels > 0 {
        dispatch(isa, channels, Depthwise { window, images, channels, x, dy, sum });
    }
}

struct Depthwise<'a> {
    window: &'a Window,
    images: usize,
    channels: usize,
    x: &'a [f32],
    dy: &'a [f32],
    sum: &'a mut [f32],
}

impl Kernel for Depthwise<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let [rows, columns] = self.window.kernel;
        let mut lanes = [0.0; 16];
        for block in 0..self.channels.div_ceil(S::LANES) {
            let channel = (block * S::LANES).min(self.channels - S::LANES);
            for down in 0..rows {
                let mut right = 0;
                while right < columns {
                    // Several taps at a time, as each addition waits for the one before.
                    let taps = (columns - right).min(3);
                    // SAFETY: the channels of the block and the taps exist, and `x` and `dy` have the window's lengths.
                    let sums = unsafe {
                        match taps {
                            3 => self.taps::<S, 3>(simd, channel, [down, right]),
                            2 => self.taps::<S, 2>(simd, channel, [down, right]),
                            _ => self.taps::<S, 1>(simd, channel, [down, right]),
                        }
                    };
                    for (at, sum) in sums.iter().enumerate().take(taps) {
                        simd.put(&mut lanes, 0, *sum);
                        for (lane, value) in lanes.iter().enumerate().take(S::LANES) {
                            self.sum[((channel + lane) * rows + down) * columns + right + at] = *value;
                        }
                    }
                    right += taps;
                }
            }
        }
    }
}

impl Depthwise<'_> {
    /// Sums of `N` neighbouring taps; the rest of the three is zero.
    ///
    /// SAFETY: a vector of channels from `channel` on and the taps exist.
    #[inline(always)]
    unsafe fn taps<S: Simd, const N: usize>(
        &self,
        simd: S,
        channel: usize,
        [down, right]: [usize; 2],
    ) -> [S::F; 3] {
        let window = self.window;
        let mut sums = [simd.splat(0.0); N];
        let mut inside = [0..0, 0..0, 0..0];
        let mut all = 0..window.out_size[1];
        for (at, inside) in inside.iter_mut().enumerate().take(N) {
            *inside = window.inside(1, right + at);
            all = all.start.max(inside.start)..all.end.min(inside.end);
        }
        if all.start > all.end {
            all = 0..0;
        }
        for image in 0..self.images {
            for row in window.inside(0, down) {
                let source = row * window.stride[0] + down * window.dilation[0] - window.before[0];
                // SAFETY: rows, columns and channels lie inside the image and the output.
                unsafe {
                    let x = (image * window.size[0] + source) * window.size[1] * self.channels + channel;
                    let dy =
                        (image * window.out_size[0] + row) * window.out_size[1] * self.channels + channel;
                    let lines = [self.x.as_ptr().add(x), self.dy.as_ptr().add(dy)];
                    for at in 0..N {
                        // Before and behind where all of them see the image.
                        sums[at] = self.tap(simd, lines, (right + at, inside[at].start..all.start), sums[at]);
                    }
                    sums = self.columns::<S, N>(simd, lines, (right, all.clone()), sums);
                    for at in 0..N {
                        let start = all.end.max(inside[at].start);
                        sums[at] = self.tap(simd, lines, (right + at, start..inside[at].end), sums[at]);
                    }
                }
            }
        }
        let mut three = [simd.splat(0.0); 3];
        three[..N].copy_from_slice(&sums);
        three
    }

    /// Some columns of one tap.
    ///
    /// SAFETY: the tap lies inside the image at the columns.
    #[inline(always)]
    unsafe fn tap<S: Simd>(
        &self,
        simd: S,
        lines: [*const f32; 2],
        (tap, columns): (usize, Range<usize>),
        sum: S::F,
    ) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { self.columns::<S, 1>(simd, lines, (tap, columns), [sum])[0] }
    }

    /// Some columns of neighbouring taps.
    ///
    /// SAFETY: the taps lie inside the image at the columns.
    #[inline(always)]
    unsafe fn columns<S: Simd, const N: usize>(
        &self,
        simd: S,
        [x, dy]: [*const f32; 2],
        (tap, columns): (usize, Range<usize>),
        mut sums: [S::F; N],
    ) -> [S::F; N] {
        let (stride, dilation) = (self.window.stride[1], self.window.dilation[1]);
        for column in columns {
            // SAFETY: the caller's promise.
            unsafe {
                let gradient = simd.load(dy.add(column * self.channels));
                for (at, sum) in sums.iter_mut().enumerate() {
                    let place = column * stride + (tap + at) * dilation - self.window.before[1];
                    *sum = simd.fma(simd.load(x.add(place * self.channels)), gradient, *sum);
                }
            }
        }
        sums
    }
}
