//! The gradient of a dense or grouped convolution to its weight: windows times gradients, summed over positions.

use std::cell::RefCell;
use std::ops::Range;

use super::outer::{Outer, WIDEST};
use crate::kernels::nhwc::conv::ConvShape;
use crate::kernels::nhwc::simd::dispatch;
use crate::kernels::nhwc::taps::check_lengths;
use crate::kernels::nhwc::{Isa, Window};

/// Values of windows that are gathered before they are multiplied: a part of the second level of cache.
const GATHERED: usize = 96 << 10;
/// Positions whose windows are gathered at once.
const POSITIONS: Range<usize> = 32..1024;

#[derive(Default)]
struct Scratch {
    windows: Vec<f32>,
    gradients: Vec<f32>,
    sums: Vec<f32>,
}

thread_local! {
    /// Kept between calls, because allocating and clearing costs as much as filling.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Writes the gradient to the weight, summed over the images, with taps first: [`from_taps_first`] has the order.
///
/// Shapes: `x` `(images, h, w, in)`, `dy` `(images, h', w', out)`, `sum` as long as the weight.
///
/// Panics: a slice has another length.
pub(crate) fn weight_gradient(
    isa: Isa,
    (shape, images): (&ConvShape, usize),
    [x, dy]: [&[f32]; 2],
    sum: &mut [f32],
) {
    check_lengths([x.len(), dy.len()], [images * shape.image(), images * shape.out_image()]);
    shape.check_weight(sum.len());
    SCRATCH.with_borrow_mut(|scratch| {
        for group in 0..shape.groups {
            let per_group = shape.depth() * shape.group_out_channels();
            let part = Group { isa, shape, index: group, positions: images * shape.window.positions() };
            part.add_up([x, dy], scratch);
            let columns = part.columns();
            let sum = sum[group * per_group..][..per_group].chunks_exact_mut(shape.group_out_channels());
            for (sum, padded) in sum.zip(scratch.sums.chunks_exact(columns)) {
                sum.copy_from_slice(&padded[..sum.len()]);
            }
        }
    });
}

/// Returns a gradient `(groups, rows, columns, in / groups, out / groups)` as `(out, in / groups, rows, columns)`.
///
/// Panics: it has another length than the weight.
pub(crate) fn from_taps_first(shape: &ConvShape, sum: &[f32]) -> Vec<f32> {
    shape.check_weight(sum.len());
    let (taps, channels, outputs) = (shape.window.taps(), shape.group_channels(), shape.group_out_channels());
    let mut gradient = Vec::with_capacity(sum.len());
    for group in sum.chunks_exact((shape.depth() * outputs).max(1)) {
        for output in 0..outputs {
            for channel in 0..channels {
                gradient.extend((0..taps).map(|tap| group[(tap * channels + channel) * outputs + output]));
            }
        }
    }
    gradient
}

struct Group<'a> {
    isa: Isa,
    shape: &'a ConvShape,
    index: usize,
    /// Of all images.
    positions: usize,
}

impl Group<'_> {
    /// Columns of the sums: the outputs, and what fills the last vector.
    fn columns(&self) -> usize {
        self.shape.group_out_channels().next_multiple_of(WIDEST)
    }

    fn add_up(&self, [x, dy]: [&[f32]; 2], scratch: &mut Scratch) {
        let (shape, depth, columns) = (self.shape, self.shape.depth(), self.columns());
        let Scratch { windows, gradients, sums } = scratch;
        sums.clear();
        sums.resize(depth * columns, 0.0);
        let is_pixelwise = shape.window == Window::pixelwise(shape.window.size);
        // A window over the whole image has the order of the image.
        let is_linear = shape.is_linear();
        let block = (GATHERED / depth.max(1)).clamp(POSITIONS.start, POSITIONS.end);
        for start in (0..self.positions).step_by(block) {
            let positions = start..(start + block).min(self.positions);
            let rows = positions.len();
            let (left, left_stride) = if is_pixelwise {
                (&x[start * shape.channels + self.index * depth..], shape.channels)
            } else if is_linear {
                (&x[start * depth..], depth)
            } else {
                windows.resize((block * depth).max(windows.len()), 0.0);
                self.gather(x, positions.clone(), windows);
                (&windows[..], depth)
            };
            let first = self.index * shape.group_out_channels();
            let (right, right_stride) = if shape.group_out_channels() == columns {
                (&dy[start * shape.out_channels + first..], shape.out_channels)
            } else {
                gradients.resize((block * columns).max(gradients.len()), 0.0);
                self.widen(dy, positions, gradients);
                (&gradients[..], columns)
            };
            let outer = Outer {
                rows,
                left,
                left_stride,
                left_columns: depth,
                right,
                right_stride,
                right_columns: columns,
                sums,
            };
            dispatch(self.isa, columns, outer);
        }
    }

    /// Copies the group's gradients with zeros up to whole vectors.
    fn widen(&self, dy: &[f32], positions: Range<usize>, out: &mut [f32]) {
        let outputs = self.shape.group_out_channels();
        let rows = dy.chunks_exact(self.shape.out_channels.max(1)).skip(positions.start);
        for (row, out) in rows.take(positions.len()).zip(out.chunks_exact_mut(self.columns().max(1))) {
            let (values, rest) = out.split_at_mut(outputs);
            values.copy_from_slice(&row[self.index * outputs..][..outputs]);
            rest.fill(0.0);
        }
    }

    /// Copies the group's windows `(positions, rows, columns, channels)`.
    fn gather(&self, x: &[f32], positions: Range<usize>, out: &mut [f32]) {
        let window = &self.shape.window;
        let (per_image, columns) = (window.positions(), window.out_size[1]);
        let line = window.kernel[1] * self.shape.group_channels();
        let mut lines = out.chunks_exact_mut(line.max(1));
        for position in positions {
            let image = &x[position / per_image * self.shape.image()..][..self.shape.image()];
            let (row, column) = (position % per_image / columns, position % columns);
            for down in 0..window.kernel[0] {
                let Some(line) = lines.next() else { return };
                match window.source(0, row, down) {
                    Some(row) => {
                        self.line(&image[row * window.size[1] * self.shape.channels..], column, line)
                    }
                    None => line.fill(0.0),
                }
            }
        }
    }

    /// Copies what the taps of one row of the window see.
    fn line(&self, row: &[f32], column: usize, out: &mut [f32]) {
        let (window, channels) = (&self.shape.window, self.shape.group_channels());
        if window.dilation[1] == 1 && self.shape.groups == 1 {
            // Neighbouring taps see neighbouring pixels: all that lie inside are one copy.
            let at = column * window.stride[1];
            let start = window.before[1].saturating_sub(at).min(window.kernel[1]);
            let end = (window.size[1] + window.before[1]).saturating_sub(at).clamp(start, window.kernel[1]);
            out[..start * channels].fill(0.0);
            out[end * channels..].fill(0.0);
            if start < end {
                let from = (at + start - window.before[1]) * channels;
                out[start * channels..end * channels]
                    .copy_from_slice(&row[from..][..(end - start) * channels]);
            }
            return;
        }
        for (right, out) in out.chunks_exact_mut(channels.max(1)).enumerate() {
            match window.source(1, column, right) {
                Some(pixel) => {
                    let from = pixel * self.shape.channels + self.index * channels;
                    out.copy_from_slice(&row[from..][..channels]);
                }
                None => out.fill(0.0),
            }
        }
    }
}
