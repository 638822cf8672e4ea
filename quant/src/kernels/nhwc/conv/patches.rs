//! Copies of what lies under each window.

#![expect(unsafe_code, reason = "pointers that outlive their borrow")]

use std::ops::Range;

use super::ConvShape;
use super::depth::Depth;
use super::rows::{Block, Number, Scratch, Segment, buffer};
use crate::kernels::nhwc::Window;

/// Copies what is under the windows of a block, for one group, and points at the copies: `(block.len,)`.
pub(super) fn patch<'s, X: Number, V: Number + From<X>>(
    scratch: &'s mut Scratch,
    (shape, depth): (&ConvShape, &Depth),
    (block, group): (Block, usize),
    (x, zero): (&[X], X),
) -> &'s [*const V] {
    let gather = Gather::new(shape, group);
    let Scratch { rows, patches, .. } = scratch;
    rows.resize(block.len, std::ptr::null());
    let patches = buffer::<V>(patches, block.len * depth.patch());
    patches.fill(V::from(zero));
    for segment in block.segments(shape.window) {
        let patches = &mut patches[segment.at * depth.patch()..][..segment.columns.len() * depth.patch()];
        gather.segment(&segment, x, depth.patch(), patches);
    }
    for (position, row) in rows.iter_mut().enumerate() {
        *row = patches[position * depth.patch()..].as_ptr().cast();
    }
    // SAFETY: as in `point`.
    unsafe { std::slice::from_raw_parts(rows.as_ptr().cast(), rows.len()) }
}

/// What the patches of a group consist of.
struct Gather {
    window: Window,
    /// Channels of a pixel, of the group, and before the group's.
    stride: usize,
    channels: usize,
    offset: usize,
    /// Output columns whose windows lie between the left and the right edge.
    interior: Range<usize>,
    /// Neighbouring values of a window's row: how many runs of how many.
    runs: [usize; 2],
}

impl Gather {
    fn new(shape: &ConvShape, group: usize) -> Self {
        let (window, channels) = (shape.window, shape.group_channels());
        let columns = window.kernel[1];
        let [first, last] = [0, columns.saturating_sub(1)].map(|tap| window.inside(1, tap));
        let dense = window.dilation[1] == 1 && shape.groups == 1;
        Self {
            window,
            stride: shape.channels,
            channels,
            offset: group * channels,
            interior: first.start.max(last.start)..first.end.min(last.end),
            runs: if dense { [1, columns * channels] } else { [columns, channels] },
        }
    }

    /// Copies what is under the windows of a segment to `patches`, one per `size` values, but for the padding.
    fn segment<X: Number, V: Number + From<X>>(
        &self,
        segment: &Segment,
        x: &[X],
        size: usize,
        patches: &mut [V],
    ) {
        let window = self.window;
        let [height, width] = window.size;
        let under_row = window.kernel[1] * self.channels;
        if under_row == 0 {
            return;
        }
        for ky in 0..window.kernel[0] {
            let Some(y) = window.source(0, segment.row, ky) else { continue };
            let line = &x[(segment.image * height + y) * width * self.stride..][..width * self.stride];
            for (patch, column) in patches.chunks_exact_mut(size).zip(segment.columns.clone()) {
                let to = &mut patch[ky * under_row..][..under_row];
                if self.interior.contains(&column) {
                    let first = column * window.stride[1] - window.before[1];
                    let [runs, len] = self.runs;
                    for run in 0..runs {
                        let from = (first + run * window.dilation[1]) * self.stride + self.offset;
                        widen(&line[from..][..len], &mut to[run * len..][..len]);
                    }
                    continue;
                }
                for kx in 0..window.kernel[1] {
                    let Some(x) = window.source(1, column, kx) else { continue };
                    let from = &line[x * self.stride + self.offset..][..self.channels];
                    widen(from, &mut to[kx * self.channels..][..self.channels]);
                }
            }
        }
    }
}

/// Copies values; most runs are short, which a call of `memcpy` is too slow for.
#[inline]
pub(super) fn widen<X: Number, V: Number + From<X>>(from: &[X], to: &mut [V]) {
    const CHUNK: usize = 8;
    let len = from.len().min(to.len());
    let mut chunk = |start: usize| {
        for (to, from) in to[start..][..CHUNK].iter_mut().zip(&from[start..][..CHUNK]) {
            *to = V::from(*from);
        }
    };
    if len < CHUNK {
        for (to, from) in to.iter_mut().zip(from) {
            *to = V::from(*from);
        }
        return;
    }
    for start in (0..len - CHUNK).step_by(CHUNK) {
        chunk(start);
    }
    // The last chunk may overlap the one before.
    chunk(len - CHUNK);
}
