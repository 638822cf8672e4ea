//! Depthwise convolution: every channel has its own window and sees itself alone.
//!
//! Vectors run over the channels, which lie together. What lies in the padding is left out of a sum. Start reading at
//! [`lines`]; [`IntDepthwise`] has a second way where the CPU has dot products of bytes.

#[cfg(target_arch = "x86_64")]
mod dots;
mod exact;
mod lines;

use std::mem::size_of_val;

use super::simd::dispatch_ended;
use super::taps::check_lengths;
use super::{Isa, Out, Tail, Window};
#[cfg(target_arch = "x86_64")]
use dots::Dots;
use exact::Exact;
use lines::Lines;

/// Integers up to here, and their sums, are exact in f32.
const EXACT_IN_F32: i64 = 1 << 24;

/// A depthwise convolution in f32.
#[derive(Clone, Debug)]
pub(crate) struct FloatDepthwise {
    isa: Isa,
    window: Window,
    channels: usize,
    /// `(taps, channels)`.
    weight: Vec<f32>,
}

impl FloatDepthwise {
    /// Packs a weight `(channels, 1, kh, kw)`.
    ///
    /// Panics: the weight has another length.
    pub(crate) fn new(isa: Isa, window: Window, channels: usize, weight: &[f32]) -> Self {
        let weight = taps_first(&window, channels, weight);
        Self { isa, window, channels, weight }
    }

    /// Convolves images `(images, h, w, channels)` to `(images, h', w', channels)`.
    ///
    /// Panics: a slice has another length, or the ending and the output are of different kinds.
    pub(crate) fn run(&self, images: usize, x: &[f32], tail: &Tail<'_>, out: Out<'_>) {
        let lines = Lines {
            window: &self.window,
            images,
            channels: self.channels,
            x,
            zero: 0.0,
            weight: &self.weight,
            tail,
        };
        lines.check(&out);
        dispatch_ended(self.isa, self.channels, lines, (tail.ending, out));
    }

    /// Memory of the packed weight.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.weight.as_slice())
    }
}

/// A depthwise convolution of codes of 8 bits: the sum of `(x - zero) * w`, exactly.
#[derive(Clone, Debug)]
pub(crate) struct IntDepthwise {
    isa: Isa,
    window: Window,
    channels: usize,
    /// `(taps, channels)`.
    weight: Vec<f32>,
    /// Whether sums in f32 are exact, as they are for all but huge windows.
    exact_in_f32: bool,
    /// The same weight for dot products of bytes, if the CPU has them.
    #[cfg(target_arch = "x86_64")]
    dots: Option<Dots>,
}

impl IntDepthwise {
    /// Packs a weight `(channels, 1, kh, kw)`.
    ///
    /// Panics: the weight has another length, or more than 65793 taps, with which a sum could leave i32.
    pub(crate) fn new(isa: Isa, window: Window, channels: usize, weight: &[i8]) -> Self {
        const LARGEST_PRODUCT: usize = 255 * 128;
        assert!(
            window.taps() <= i32::MAX as usize / LARGEST_PRODUCT,
            "a sum over {window:?} could leave i32"
        );
        let weight = taps_first(&window, channels, weight);
        let mut sums = vec![0; channels];
        for tap in weight.chunks_exact(channels.max(1)) {
            sums.iter_mut().zip(tap).for_each(|(sum, w)| *sum += 255 * i64::from(w.unsigned_abs()));
        }
        let exact_in_f32 = sums.iter().all(|sum| *sum <= EXACT_IN_F32);
        Self {
            isa,
            window,
            channels,
            exact_in_f32,
            #[cfg(target_arch = "x86_64")]
            dots: if isa == Isa::Vnni { Dots::new(window, channels, &weight) } else { None },
            weight: weight.into_iter().map(f32::from).collect(),
        }
    }

    /// Convolves images `(images, h, w, channels)` to `(images, h', w', channels)`; padding counts as `zero`.
    ///
    /// Panics: a slice has another length, or the ending and the output are of different kinds.
    pub(crate) fn run(&self, images: usize, x: &[u8], zero: u8, tail: &Tail<'_>, mut out: Out<'_>) {
        let lines = Lines {
            window: &self.window,
            images,
            channels: self.channels,
            x,
            zero: f32::from(zero),
            weight: &self.weight,
            tail,
        };
        lines.check(&out);
        #[cfg(target_arch = "x86_64")]
        if let (Some(dots), Out::Codes(out)) = (&self.dots, &mut out)
            && dots.can_store(tail)
        {
            return dots.run((x, zero), tail, out);
        }
        if self.exact_in_f32 {
            dispatch_ended(self.isa, self.channels, lines, (tail.ending, out));
        } else {
            dispatch_ended(self.isa, 1, Exact(lines), (tail.ending, out));
        }
    }

    /// Memory of the packed weight.
    pub(crate) fn bytes(&self) -> usize {
        let bytes = size_of_val(self.weight.as_slice());
        #[cfg(target_arch = "x86_64")]
        let bytes = bytes + self.dots.as_ref().map_or(0, Dots::bytes);
        bytes
    }
}

/// `(channels, taps)` to `(taps, channels)`.
fn taps_first<T: Copy>(window: &Window, channels: usize, weight: &[T]) -> Vec<T> {
    let taps = window.taps();
    assert!(weight.len() == channels * taps, "a depthwise weight has {} values", channels * taps);
    (0..taps).flat_map(|tap| (0..channels).map(move |channel| weight[channel * taps + tap])).collect()
}

impl<T> Lines<'_, T> {
    /// Panics unless all lengths fit together, which the pointers of the kernels rest on.
    fn check(&self, out: &Out<'_>) {
        let [pixels, positions] = [self.window.pixels(), self.window.positions()];
        let expected = [pixels, positions].map(|places| self.images * places * self.channels);
        check_lengths([self.x.len(), out.len()], expected);
        check_lengths([self.tail.scale.len(), self.tail.shift.len()], [self.channels; 2]);
        assert!(
            self.weight.len() == self.window.taps() * self.channels,
            "the weight was packed for another window"
        );
    }
}
