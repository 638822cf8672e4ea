//! Dense and grouped 2-d convolutions over images of f32 or of codes; a linear layer is one of 1x1 over a single pixel.
//!
//! An indirect matrix product: a table ([`rows`]) says for every output pixel and tap of the window where the input pixel
//! lies, so that any stride, padding and dilation costs the same and nothing is copied but short [`patches`]. Weights
//! lie in panels ([`panels`]) of as many output channels as a tile of sums in registers ([`tile`]) has columns. Each
//! instruction set says what its registers do ([`vector`], `scalar`, `avx2`, `avx512`); what is stored instead of a sum is
//! in [`finish`], and who visits all of it in [`drive`]. Start reading there.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod depth;
mod drive;
mod finish;
mod panels;
mod patches;
mod rows;
mod scalar;
#[cfg(test)]
mod tests;
mod tile;
mod vector;

use super::{Isa, Out, Tail, Window};
use drive::{Images, Kernel};
use panels::Panels;

/// Longest sum of products of a u8 and an i8 that an i32 always holds.
pub(crate) const INT_DEPTH_MAX: usize = i32::MAX as usize / (255 * 128);

/// Extents of a convolution over one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConvShape {
    /// Rows and columns.
    pub(crate) window: Window,
    /// Input channels.
    pub(crate) channels: usize,
    /// Output channels.
    pub(crate) out_channels: usize,
    /// How many parts the channels fall into, none of which sees another; divides both numbers of channels.
    pub(crate) groups: usize,
}

impl ConvShape {
    /// Values of an input.
    pub(crate) fn image(&self) -> usize {
        self.window.pixels() * self.channels
    }

    /// Values of an output.
    pub(crate) fn out_image(&self) -> usize {
        self.window.positions() * self.out_channels
    }

    /// Products in a sum.
    pub(crate) fn depth(&self) -> usize {
        self.group_channels() * self.window.taps()
    }

    /// Products per image.
    pub(crate) fn macs(&self) -> u64 {
        self.out_image() as u64 * self.depth() as u64
    }

    /// Whether every output sees the whole image, as in a linear layer.
    pub(super) fn is_linear(&self) -> bool {
        self.groups == 1 && self.window == Window::covering(self.window.size)
    }

    /// Input channels of a group.
    pub(super) fn group_channels(&self) -> usize {
        self.channels / self.groups
    }

    /// Output channels of a group.
    pub(super) fn group_out_channels(&self) -> usize {
        self.out_channels / self.groups
    }

    pub(super) fn check_weight(&self, values: usize) {
        assert!(self.groups > 0, "a convolution has groups");
        assert!(self.channels.is_multiple_of(self.groups) && self.out_channels.is_multiple_of(self.groups));
        assert_eq!(values, self.out_channels * self.depth(), "weight is (out, in / groups, rows, columns)");
    }
}

/// A convolution of f32, its weights laid out for an instruction set.
pub(crate) struct FloatConv(Box<dyn Kernel<f32>>);

impl FloatConv {
    /// Lays out weights `(out, in / groups, rows, columns)`.
    ///
    /// Panics: the CPU has not the instruction set.
    pub(crate) fn new(isa: Isa, shape: ConvShape, weight: &[f32]) -> Self {
        assert!(isa.is_available(), "this CPU has no {}", isa.as_str());
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Self(Box::new(Panels::<avx2::Fma>::new(shape, weight))),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Vnni => Self(Box::new(Panels::<avx512::Fma>::new(shape, weight))),
            Isa::Scalar => Self(Box::new(Panels::<scalar::Fma>::new(shape, weight))),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 | Isa::Vnni => unreachable!("such CPUs have other instructions"),
        }
    }

    /// Convolves images `(images, rows, columns, channels)` and ends each sum as `tail` says.
    ///
    /// Panics: a slice has not as many values as the shape says, or `out` is of another kind than the ending.
    pub(crate) fn run(&self, images: usize, x: &[f32], tail: &Tail<'_>, out: Out<'_>) {
        self.0.run(Images { images, x, zero: 0.0 }, tail, out);
    }

    /// Size of the weights in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

/// A convolution of u8 codes with i8 weights, summed exactly, its weights laid out for an instruction set.
pub(crate) struct IntConv(Box<dyn Kernel<u8>>);

impl IntConv {
    /// Lays out weights `(out, in / groups, rows, columns)`.
    ///
    /// Panics: the CPU has not the instruction set; a sum is longer than [`INT_DEPTH_MAX`], so that it might overflow.
    pub(crate) fn new(isa: Isa, shape: ConvShape, weight: &[i8]) -> Self {
        assert!(isa.is_available(), "this CPU has no {}", isa.as_str());
        assert!(shape.depth() <= INT_DEPTH_MAX, "an i32 holds sums of at most {INT_DEPTH_MAX} products");
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Self(Box::new(Panels::<avx2::Pairs>::new(shape, weight))),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Self(Box::new(Panels::<avx512::Pairs>::new(shape, weight))),
            #[cfg(target_arch = "x86_64")]
            Isa::Vnni => Self(Box::new(Panels::<avx512::Fours>::new(shape, weight))),
            Isa::Scalar => Self(Box::new(Panels::<scalar::Bytes>::new(shape, weight))),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 | Isa::Vnni => unreachable!("such CPUs have other instructions"),
        }
    }

    /// Convolves images `(images, rows, columns, channels)` of codes, where `zero` is the code of 0 and of the padding, and
    /// ends each sum of `(x - zero) * weight` as `tail` says.
    ///
    /// Panics: as [`FloatConv::run`].
    pub(crate) fn run(&self, images: usize, x: &[u8], zero: u8, tail: &Tail<'_>, out: Out<'_>) {
        self.0.run(Images { images, x, zero }, tail, out);
    }

    /// Size of the weights in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.0.bytes()
    }
}
