//! Where the windows of a convolution or a pooling lie.

use std::ops::Range;

/// A window that slides over one image: rows are axis 0, columns axis 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Rows and columns of the image.
    pub(crate) size: [usize; 2],
    /// Rows and columns of the window.
    pub(crate) kernel: [usize; 2],
    /// Steps from one window to the next.
    pub(crate) stride: [usize; 2],
    /// Distance of neighbouring taps.
    pub(crate) dilation: [usize; 2],
    /// Rows above the image and columns left of it.
    pub(crate) before: [usize; 2],
    /// Rows and columns of the output.
    pub(crate) out_size: [usize; 2],
}

impl Window {
    /// One pixel, seen as it is: what a linear layer or a 1x1 convolution without stride looks through.
    pub(crate) fn pixelwise(size: [usize; 2]) -> Self {
        Self { size, kernel: [1, 1], stride: [1, 1], dilation: [1, 1], before: [0, 0], out_size: size }
    }

    /// The whole image at once, without padding.
    pub(crate) fn covering(size: [usize; 2]) -> Self {
        Self { kernel: size, out_size: [1, 1], ..Self::pixelwise(size) }
    }

    /// Pixels of an image.
    pub(crate) fn pixels(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Pixels of an output.
    pub(crate) fn positions(&self) -> usize {
        self.out_size[0] * self.out_size[1]
    }

    /// Taps of the window.
    pub(crate) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Input position along `axis` under tap `tap` at an output position; none in the padding.
    pub(crate) fn source(&self, axis: usize, position: usize, tap: usize) -> Option<usize> {
        let padded = position * self.stride[axis] + tap * self.dilation[axis];
        padded.checked_sub(self.before[axis]).filter(|source| *source < self.size[axis])
    }

    /// Output positions along `axis` whose tap `tap` lies inside the image.
    pub(crate) fn inside(&self, axis: usize, tap: usize) -> Range<usize> {
        let reach = tap * self.dilation[axis];
        let start = self.before[axis].saturating_sub(reach).div_ceil(self.stride[axis]);
        let end = match (self.size[axis] + self.before[axis]).checked_sub(reach + 1) {
            Some(last) => (last / self.stride[axis] + 1).min(self.out_size[axis]),
            None => 0,
        };
        start.min(end)..end
    }
}
