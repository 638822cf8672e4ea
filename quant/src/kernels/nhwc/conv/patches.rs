//! Copies of what lies under each window, where a row of it has fewer values than a step.

#![expect(unsafe_code, reason = "pointers that outlive their borrow")]

use std::ops::Range;

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
        let patches = &mut copies[segment.at * size..][..segment.columns.len() * size];
        gather((shape, group), &segment, input, (patches, size));
    }
    for (position, row) in rows.iter_mut().enumerate() {
        *row = copies[position * size..].as_ptr().cast();
    }
    // SAFETY: pointers of one type are as large as those of another.
    unsafe { std::slice::from_raw_parts(rows.as_ptr().cast(), rows.len()) }
}

/// Copies what is under the windows of a segment, but for the padding, into patches of `size` values: tap by tap, as the
/// pixels under one tap have the same distance everywhere, and whole rows of the window where they lie together.
fn gather<V: Number>(
    (shape, group): (&ConvShape, usize),
    segment: &Segment,
    input: &Lines<'_, V>,
    (patches, size): (&mut [V], usize),
) {
    let (window, channels, taps) = (shape.window, shape.group_channels(), shape.window.kernel[1]);
    if channels == 0 || taps == 0 {
        return;
    }
    let within = |columns: Range<usize>| {
        let start = columns.start.clamp(segment.columns.start, segment.columns.end);
        start..columns.end.clamp(start, segment.columns.end)
    };
    let [first, last] = [0, taps - 1].map(|tap| within(window.inside(1, tap)));
    let lies_together = shape.groups == 1 && window.dilation[1] == 1;
    let whole =
        if lies_together { within(first.start.max(last.start)..first.end.min(last.end)) } else { 0..0 };
    let whole = if whole.is_empty() { segment.columns.start..segment.columns.start } else { whole };
    let mut copy = |columns: Range<usize>, tap: usize, values: usize| {
        if columns.is_empty() {
            return;
        }
        // The tap lies inside of the image at each of the columns.
        let x = columns.start * window.stride[1] + tap * window.dilation[1] - window.before[1];
        for row in 0..window.kernel[0] {
            let Some(y) = window.source(0, segment.row, row) else { continue };
            let line = input.line(segment.image * window.size[0] + y);
            let to = (columns.start - segment.columns.start) * size + (row * taps + tap) * channels;
            let from = &line[x * shape.channels + group * channels..];
            let distances = [window.stride[1] * shape.channels, size];
            spread((from, &mut patches[to..]), distances, (columns.len(), values));
        }
    };
    copy(whole.clone(), 0, taps * channels);
    for tap in 0..taps {
        let inside = within(window.inside(1, tap));
        copy(inside.start..inside.end.min(whole.start), tap, channels);
        copy(inside.start.max(whole.end)..inside.end, tap, channels);
    }
}

/// Copies some values from places at one distance to places at another, so many times.
fn spread<V: Number>((from, to): (&[V], &mut [V]), distances: [usize; 2], (times, values): (usize, usize)) {
    // Numbers that are known when this is compiled spare a call each time.
    match values {
        1 => spread_few::<V, 1>((from, to), distances, times),
        2 => spread_few::<V, 2>((from, to), distances, times),
        3 => spread_few::<V, 3>((from, to), distances, times),
        _ => {
            for time in 0..times {
                let from = &from[time * distances[0]..][..values];
                to[time * distances[1]..][..values].copy_from_slice(from);
            }
        }
    }
}

fn spread_few<V: Number, const N: usize>((from, to): (&[V], &mut [V]), distances: [usize; 2], times: usize) {
    let (mut source, mut place) = (0, 0);
    for _ in 0..times {
        to[place..place + N].copy_from_slice(&from[source..source + N]);
        source += distances[0];
        place += distances[1];
    }
}
