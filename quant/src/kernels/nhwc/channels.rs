//! Moving values: between places of an image, and between channels.

use super::Isa;
use super::simd::{Kernel, Simd, dispatch};
use super::taps::check_lengths;

/// Fills every image of the output by a map: `out[i] = x[map[i]]`; `image` is the number of values of an image of `x`.
///
/// Panics: a slice has another length, or the map points beyond an image.
pub(crate) fn gather<T: Copy>((x, image): (&[T], usize), map: &[u32], out: &mut [T]) {
    let images = if map.is_empty() { 0 } else { out.len() / map.len() };
    check_lengths(
        [x.len(), out.len()],
        [if map.is_empty() { x.len() } else { images * image }, images * map.len()],
    );
    for (image_index, out) in out.chunks_exact_mut(map.len().max(1)).enumerate() {
        let x = &x[image_index * image..][..image];
        for (out, source) in out.iter_mut().zip(map) {
            *out = x[*source as usize];
        }
    }
}

/// Some channels of a tensor with more: `count` from `start` on, of `channels`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) count: usize,
    pub(crate) channels: usize,
}

impl Span {
    fn check(self, wide: usize, narrow: usize) {
        assert!(self.start + self.count <= self.channels, "{self:?} goes beyond the channels");
        let pixels = wide.checked_div(self.channels).unwrap_or(0);
        check_lengths([wide, narrow], [pixels * self.channels, pixels * self.count]);
    }
}

/// Puts `x` `(pixels, count)` into a span of the channels of `out` `(pixels, channels)`; the others keep their values.
///
/// Panics: a slice has another length.
pub(crate) fn put_channels<T: Copy>(x: &[T], span: Span, out: &mut [T]) {
    span.check(out.len(), x.len());
    if span.count == 0 {
        return;
    }
    for (x, out) in x.chunks_exact(span.count).zip(out.chunks_exact_mut(span.channels)) {
        copy(x, &mut out[span.start..span.start + span.count]);
    }
}

/// Takes a span of the channels of `x` `(pixels, channels)` to `out` `(pixels, count)`.
///
/// Panics: a slice has another length.
pub(crate) fn take_channels<T: Copy>(x: &[T], span: Span, out: &mut [T]) {
    span.check(x.len(), out.len());
    if span.count == 0 {
        return;
    }
    for (x, out) in x.chunks_exact(span.channels).zip(out.chunks_exact_mut(span.count)) {
        copy(&x[span.start..span.start + span.count], out);
    }
}

/// Copies few values faster than a call of `memcpy` would: 16 at a time, the last of them maybe twice.
#[inline(always)]
fn copy<T: Copy>(x: &[T], out: &mut [T]) {
    const BLOCK: usize = 16;
    /// From here on a call is no longer what takes the time.
    const LONG_BYTES: usize = 1024;
    let count = x.len();
    if size_of_val(x) >= LONG_BYTES {
        out.copy_from_slice(x);
    } else if count >= BLOCK {
        for block in 0..count.div_ceil(BLOCK) {
            let at = (block * BLOCK).min(count - BLOCK);
            out[at..at + BLOCK].copy_from_slice(&x[at..at + BLOCK]);
        }
    } else {
        out.iter_mut().zip(x).for_each(|(out, x)| *out = *x);
    }
}

/// Reorders the channels of every pixel: `out[p][c] = x[p][order[c]]`; the output has `order.len()` channels of `channels`.
///
/// Two halves that alternate, as a shuffle of two groups makes them, are faster than other orders.
///
/// Panics: a slice has another length, or the order points beyond the channels.
pub(crate) fn permute<T: Copy>(isa: Isa, (x, channels): (&[T], usize), order: &[u32], out: &mut [T]) {
    let pixels = x.len().checked_div(channels).unwrap_or(0);
    check_lengths([x.len(), out.len()], [pixels * channels, pixels * order.len()]);
    assert!(order.iter().all(|source| (*source as usize) < channels), "the order points beyond the channels");
    if out.is_empty() {
        return;
    }
    dispatch(isa, channels, Permute { x, channels, order, out });
}

struct Permute<'a, T> {
    x: &'a [T],
    channels: usize,
    order: &'a [u32],
    out: &'a mut [T],
}

impl<T: Copy> Kernel for Permute<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) {
        let half = self.channels / 2;
        let alternates =
            |(at, source): (usize, &u32)| *source as usize == at / 2 + if at % 2 == 0 { 0 } else { half };
        let alternate = self.channels == 2 * half
            && self.order.len() == self.channels
            && self.order.iter().enumerate().all(alternates);
        let pixels = self.x.chunks_exact(self.channels).zip(self.out.chunks_exact_mut(self.order.len()));
        for (x, out) in pixels {
            if alternate {
                let (first, second) = x.split_at(half);
                interleave(first, second, out);
            } else {
                for (out, source) in out.iter_mut().zip(self.order) {
                    *out = x[*source as usize];
                }
            }
        }
    }
}

/// Blocks of constant length, which the compiler turns into vector shuffles; the last may overlap the one before.
#[inline(always)]
fn interleave<T: Copy>(first: &[T], second: &[T], out: &mut [T]) {
    const BLOCK: usize = 16;
    let count = first.len();
    if count < BLOCK {
        for (out, (a, b)) in out.chunks_exact_mut(2).zip(first.iter().zip(second)) {
            [out[0], out[1]] = [*a, *b];
        }
        return;
    }
    for block in 0..count.div_ceil(BLOCK) {
        let at = (block * BLOCK).min(count - BLOCK);
        let (a, b) = (&first[at..at + BLOCK], &second[at..at + BLOCK]);
        let out = &mut out[2 * at..2 * (at + BLOCK)];
        for lane in 0..BLOCK {
            out[2 * lane] = a[lane];
            out[2 * lane + 1] = b[lane];
        }
    }
}
