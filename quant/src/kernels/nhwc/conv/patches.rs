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
    let size = depth.patch();
    let copies = buffer::<V>(copies, block.len * size);
    copies.fill(input.zero);
    for segment in block.segments(shape.window) {
        gather((shape, group), &segment, input, (&mut copies[segment.at * size..], size));
    }
    for (position, row) in rows.iter_mut().enumerate() {
        *row = copies[position * size..].as_ptr().cast();
    }
    // SAFETY: pointers of one type are as large as those of another.
    unsafe { std::slice::from_raw_parts(rows.as_ptr().cast(), rows.len()) }
}

/// Copies what is under the windows of a segment, but for the padding, into patches of `size` values.
///
/// One value of all windows after another: a window has so few neighbouring values that copying them one call at a time
/// would take longer than multiplying them.
fn gather<V: Number>(
    (shape, group): (&ConvShape, usize),
    segment: &Segment,
    input: &Lines<'_, V>,
    (patches, size): (&mut [V], usize),
) {
    let (window, channels) = (shape.window, shape.group_channels());
    for tap in 0..window.taps() {
        let [ky, kx] = [tap / window.kernel[1], tap % window.kernel[1]];
        let Some(y) = window.source(0, segment.row, ky) else { continue };
        let inside = window.inside(1, kx);
        let columns = inside.start.max(segment.columns.start)..inside.end.min(segment.columns.end);
        let Some(x) = window.source(1, columns.start, kx).filter(|_| !columns.is_empty()) else { continue };
        let line = input.line(segment.image * window.size[0] + y);
        let first = (columns.start - segment.columns.start) * size + tap * channels;
        for channel in 0..channels {
            let from = line[x * shape.channels + group * channels + channel..].iter();
            let to = patches[first + channel..].iter_mut().step_by(size).take(columns.len());
            for (to, from) in to.zip(from.step_by(window.stride[1] * shape.channels)) {
                *to = *from;
            }
        }
    }
}
