//! Copies of what lies under each window, where a row of it has fewer values than a step.

#![expect(unsafe_code, reason = "pointers that outlive their borrow")]

use super::ConvShape;
use super::depth::Depth;
use super::rows::{Block, Lines, Number, Scratch, Segment, buffer};

/// Copies what is under the windows of a block, for one group, and points at the copies: `(block.len,)`.
pub(super) fn patch<'s, V: Number>(
    scratch: &'s mut Scratch,
    (shape, depth): (&ConvShape, &Depth),
    (block, group): (Block, usize),
    input: &Lines<'_, V>,
) -> &'s [*const V] {
    let Scratch { rows, copies, .. } = scratch;
    rows.resize(block.len, std::ptr::null());
    let (size, used) = (depth.patch(), depth.values);
    let copies = buffer::<V>(copies, block.len * size);
    copies.fill(input.zero);
    for segment in block.segments(shape.window) {
        for (place, column) in segment.columns.clone().enumerate() {
            let patch = &mut copies[(segment.at + place) * size..][..used];
            gather((shape, group), (&segment, column), input, patch);
        }
    }
    for (position, row) in rows.iter_mut().enumerate() {
        *row = copies[position * size..].as_ptr().cast();
    }
    // SAFETY: pointers of one type are as large as those of another.
    unsafe { std::slice::from_raw_parts(rows.as_ptr().cast(), rows.len()) }
}

/// Copies what is under one window, but for the padding.
fn gather<V: Number>(
    (shape, group): (&ConvShape, usize),
    (segment, column): (&Segment, usize),
    input: &Lines<'_, V>,
    patch: &mut [V],
) {
    let (window, channels) = (shape.window, shape.group_channels());
    for ky in 0..window.kernel[0] {
        let Some(y) = window.source(0, segment.row, ky) else { continue };
        let line = input.line(segment.image * window.size[0] + y);
        for kx in 0..window.kernel[1] {
            let Some(x) = window.source(1, column, kx) else { continue };
            let from = &line[x * shape.channels + group * channels..][..channels];
            patch[(ky * window.kernel[1] + kx) * channels..][..channels].copy_from_slice(from);
        }
    }
}
