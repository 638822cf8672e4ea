//! Max pooling that remembers where its values came from.

use crate::kernels::nhwc::simd::{Kernel, Simd, dispatch};
use crate::kernels::nhwc::taps::{check_lengths, taps_inside};
use crate::kernels::nhwc::{Isa, Window};

/// A max pooling of images `(images, h, w, channels)` to `(images, h', w', channels)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MaxPool {
    pub(crate) isa: Isa,
    pub(crate) window: Window,
    pub(crate) channels: usize,
}

impl MaxPool {
    /// Most taps that a window may have.
    pub(crate) const TAPS_MAX: usize = 256;

    /// Writes the largest values and the taps that they come from: the first of equal ones; NaN is larger than all.
    ///
    /// Panics: a slice has another length, or the window more than [`Self::TAPS_MAX`] taps.
    pub(crate) fn run(&self, images: usize, x: &[f32], (y, taps): (&mut [f32], &mut [u8])) {
        self.check(images, [x.len(), y.len()], taps.len());
        dispatch(self.isa, self.channels, Forward { pool: self, x, y, taps });
    }

    /// Writes the gradient to the input: each gradient goes to where its value came from.
    ///
    /// Panics: as [`MaxPool::run`].
    pub(crate) fn gradient(&self, images: usize, (dy, taps): (&[f32], &[u8]), dx: &mut [f32]) {
        self.check(images, [dx.len(), dy.len()], taps.len());
        dispatch(self.isa, self.channels, Backward { pool: self, dy, taps, dx });
    }

    fn check(&self, images: usize, lengths: [usize; 2], taps: usize) {
        let places = [self.window.pixels(), self.window.positions()];
        check_lengths(lengths, places.map(|places| images * places * self.channels));
        check_lengths([taps, 0], [lengths[1], 0]);
        assert!(self.window.taps() <= Self::TAPS_MAX, "a tap's number fits a byte");
    }

    /// Place of the pixel under a tap that lies inside the image.
    #[inline(always)]
    fn pixel(&self, [image, row, column]: [usize; 3], [down, right]: [usize; 2]) -> usize {
        let window = &self.window;
        let y = row * window.stride[0] + down * window.dilation[0] - window.before[0];
        let x = column * window.stride[1] + right * window.dilation[1] - window.before[1];
        ((image * window.size[0] + y) * window.size[1] + x) * self.channels
    }

    /// Image, row and column of an output position, counted over all images.
    #[inline(always)]
    fn place(&self, position: usize) -> [usize; 3] {
        let [rows, columns] = self.window.out_size;
        [position / columns / rows, position / columns % rows, position % columns]
    }
}

struct Forward<'a> {
    pool: &'a MaxPool,
    x: &'a [f32],
    y: &'a mut [f32],
    taps: &'a mut [u8],
}

impl Kernel for Forward<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let (window, channels) = (&self.pool.window, self.pool.channels.max(1));
        let outputs = self.y.chunks_exact_mut(channels).zip(self.taps.chunks_exact_mut(channels));
        for (position, (y, taps)) in outputs.enumerate() {
            let place = self.pool.place(position);
            y.fill(f32::NEG_INFINITY);
            taps.fill(0);
            for down in taps_inside(window, 0, place[1]) {
                for right in taps_inside(window, 1, place[2]) {
                    let tap = (down * window.kernel[1] + right) as u8;
                    let x = &self.x[self.pool.pixel(place, [down, right])..][..channels];
                    for channel in 0..channels {
                        let is_larger = x[channel] > y[channel] || x[channel].is_nan();
                        y[channel] = if is_larger { x[channel] } else { y[channel] };
                        taps[channel] = if is_larger { tap } else { taps[channel] };
                    }
                }
            }
        }
    }
}

struct Backward<'a> {
    pool: &'a MaxPool,
    dy: &'a [f32],
    taps: &'a [u8],
    dx: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let (window, channels) = (&self.pool.window, self.pool.channels.max(1));
        self.dx.fill(0.0);
        let outputs = self.dy.chunks_exact(channels).zip(self.taps.chunks_exact(channels));
        for (position, (dy, taps)) in outputs.enumerate() {
            let place = self.pool.place(position);
            for down in taps_inside(window, 0, place[1]) {
                for right in taps_inside(window, 1, place[2]) {
                    let tap = (down * window.kernel[1] + right) as u8;
                    let dx = &mut self.dx[self.pool.pixel(place, [down, right])..][..channels];
                    for channel in 0..channels {
                        dx[channel] += if taps[channel] == tap { dy[channel] } else { 0.0 };
                    }
                }
            }
        }
    }
}
