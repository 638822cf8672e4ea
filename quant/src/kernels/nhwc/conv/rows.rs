//! Where the values under each window lie, without copying more than what crosses an edge.

#![expect(unsafe_code, reason = "pointers that outlive their borrow, into buffers of several types")]

use std::cell::RefCell;
use std::ops::Range;

use super::ConvShape;
use super::depth::Depth;
use crate::kernels::nhwc::Window;

/// Buffers that a thread keeps.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) rows: Vec<*const u8>,
    segments: Vec<Segment>,
    padding: Vec<f32>,
    pub(super) copies: Vec<f32>,
}

thread_local! {
    /// Buffers for pointing at rows, and for values that are widened first.
    pub(super) static SCRATCH: RefCell<(Scratch, Vec<f32>)> = RefCell::default();
}

/// A number of at most 4 bytes without a destructor.
///
/// # Safety
/// f32 must be as aligned and as large, and all of its bits valid.
pub(super) unsafe trait Number: Copy {}

// SAFETY: smaller than f32, and plain.
unsafe impl Number for u8 {}
// SAFETY: the same.
unsafe impl Number for i8 {}
// SAFETY: the same.
unsafe impl Number for i16 {}
// SAFETY: f32 itself.
unsafe impl Number for f32 {}

/// Positions of all images, one after another, of which a block is computed at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) start: usize,
    pub(super) len: usize,
}

/// The positions of a block that lie in one row of one output.
pub(super) struct Segment {
    /// First of them, counted in the block.
    pub(super) at: usize,
    pub(super) image: usize,
    pub(super) row: usize,
    pub(super) columns: Range<usize>,
}

impl Block {
    /// Lines of the input that the windows of the block see.
    pub(super) fn lines(self, window: &Window) -> Range<usize> {
        let [rows, columns] = window.out_size;
        let [start, last] = [self.start, self.start + self.len - 1].map(|position| position / columns);
        let reach = window.kernel[0].saturating_sub(1) * window.dilation[0] + 1;
        let line = |padded: usize| padded.saturating_sub(window.before[0]).min(window.size[0]);
        let first = start / rows * window.size[0] + line(start % rows * window.stride[0]);
        let end = last / rows * window.size[0] + line(last % rows * window.stride[0] + reach);
        first..end.max(first)
    }

    pub(super) fn segments(self, window: Window) -> impl Iterator<Item = Segment> {
        let [rows, columns] = window.out_size;
        let mut at = 0;
        std::iter::from_fn(move || {
            let left = self.len.checked_sub(at).filter(|left| *left > 0)?;
            let position = self.start + at;
            let (line, column) = (position / columns, position % columns);
            let end = columns.min(column + left);
            let segment = Segment { at, image: line / rows, row: line % rows, columns: column..end };
            at += end - column;
            Some(segment)
        })
    }
}

/// Lines of the input images, those of all images one after another.
#[derive(Clone, Copy)]
pub(super) struct Lines<'x, V> {
    /// Values from the line `first` on.
    pub(super) values: &'x [V],
    pub(super) first: usize,
    /// Values of a line.
    pub(super) width: usize,
    /// The value that stands for 0.
    pub(super) zero: V,
}

impl<'x, V> Lines<'x, V> {
    pub(super) fn line(&self, number: usize) -> &'x [V] {
        &self.values[(number - self.first) * self.width..][..self.width]
    }
}

/// Gives `scratch`'s padding: what a run outside of the image consists of.
pub(super) fn pad<X: Number>(scratch: &mut Scratch, values: usize, zero: X) {
    buffer::<X>(&mut scratch.padding, values).fill(zero);
}

/// Points at the runs of a block, `(depth.runs, block.len)`. Runs that cross the left or the right edge of the image are
/// copied, with the padding beyond it.
pub(super) fn point<'s, V: Number>(
    scratch: &'s mut Scratch,
    (shape, depth): (&ConvShape, &Depth),
    block: Block,
    input: &Lines<'_, V>,
) -> &'s [*const V] {
    let zero = input.zero;
    let Scratch { rows, segments, padding, copies } = scratch;
    let padding: *const u8 = padding.as_ptr().cast();
    let copied = if depth.taps > 1 { depth.runs * block.len * depth.values } else { 0 };
    // One pointer for all: a slice of the whole buffer, made anew for each copy, would end the life of the pointers into
    // it.
    let copies: *mut V = buffer::<V>(copies, copied).as_mut_ptr();
    rows.resize(depth.runs * block.len, std::ptr::null());
    // Listed once, as each takes divisions.
    segments.clear();
    segments.extend(block.segments(shape.window));
    for run in 0..depth.runs {
        let run = Run::new(shape, depth.taps, run);
        for segment in segments.iter() {
            let start = run.number * block.len + segment.at;
            let rows = &mut rows[start..][..segment.columns.len()];
            let Some(line) = run.line(segment, input) else {
                rows.fill(padding);
                continue;
            };
            let (left, interior, right) = run.split(&segment.columns);
            for (row, first) in rows[left.len()..].iter_mut().zip(run.firsts(interior.clone())) {
                *row = line.as_ptr().wrapping_add(first).cast();
            }
            for column in left.chain(right) {
                let place = column - segment.columns.start;
                rows[place] = if depth.taps > 1 {
                    let at = (start + place) * depth.values;
                    // SAFETY: the buffer has a place for every run, and this one is nobody else's.
                    let copy = unsafe { std::slice::from_raw_parts_mut(copies.add(at), depth.values) };
                    run.copy(line, column, zero, copy);
                    copies.wrapping_add(at).cast_const().cast()
                } else {
                    padding
                };
            }
        }
    }
    // SAFETY: pointers of one type are as large as those of another.
    unsafe { std::slice::from_raw_parts(rows.as_ptr().cast(), rows.len()) }
}

/// Neighbouring taps in a row of the window.
struct Run {
    window: Window,
    /// Channels of a pixel.
    channels: usize,
    number: usize,
    row: usize,
    taps: Range<usize>,
    /// Output columns where all of the taps lie between the left and the right edge.
    interior: Range<usize>,
}

impl Run {
    /// The run of a number, where each has `taps` taps.
    fn new(shape: &ConvShape, taps: usize, number: usize) -> Self {
        let window = shape.window;
        let (row, column) = (number * taps / window.kernel[1], number * taps % window.kernel[1]);
        let taps = column..column + taps;
        let [first, last] = [taps.start, taps.end - 1].map(|tap| window.inside(1, tap));
        let interior = first.start.max(last.start)..first.end.min(last.end);
        Self { window, channels: shape.channels, number, row, taps, interior }
    }

    /// The row of the image that the run is in; none above and below it.
    fn line<'x, V>(&self, segment: &Segment, input: &Lines<'x, V>) -> Option<&'x [V]> {
        let y = self.window.source(0, segment.row, self.row)?;
        Some(input.line(segment.image * self.window.size[0] + y))
    }

    /// Output columns left of, in, and right of the interior.
    fn split(&self, columns: &Range<usize>) -> (Range<usize>, Range<usize>, Range<usize>) {
        let start = self.interior.start.clamp(columns.start, columns.end);
        let end = self.interior.end.clamp(start, columns.end);
        (columns.start..start, start..end, end..columns.end)
    }

    /// Where in the line the runs of interior columns begin.
    fn firsts(&self, interior: Range<usize>) -> impl Iterator<Item = usize> {
        let reach = self.taps.start * self.window.dilation[1];
        let step = self.window.stride[1] * self.channels;
        let (before, channels) = (self.window.before[1], self.channels);
        // In the interior no run begins before its line.
        let start = ((interior.start * self.window.stride[1] + reach).saturating_sub(before)) * channels;
        (0..interior.len()).map(move |column| start + column * step)
    }

    /// Copies what lies inside the image, and `zero` for what does not.
    fn copy<V: Number>(&self, line: &[V], column: usize, zero: V, to: &mut [V]) {
        // Taps of a run that is more than one lie side by side, so those inside of the image do, too.
        let start = column * self.window.stride[1] + self.taps.start;
        let (left, right) = (self.window.before[1], self.window.before[1] + self.window.size[1]);
        let end = start + self.taps.len();
        let inside = start.clamp(left, right)..end.clamp(left, right);
        let from = &line[(inside.start - left) * self.channels..(inside.end - left) * self.channels];
        to.fill(zero);
        let skipped = (inside.start - start.min(inside.start)) * self.channels;
        if !from.is_empty() {
            to[skipped..][..from.len()].copy_from_slice(from);
        }
    }
}

/// A copy of codes in twice as many bits.
pub(super) fn widened<'c>(codes: &[u8], copy: &'c mut Vec<f32>) -> &'c [i16] {
    let copy = buffer::<i16>(copy, codes.len());
    for (to, from) in copy.iter_mut().zip(codes) {
        *to = i16::from(*from);
    }
    copy
}

/// The first `len` numbers of a buffer.
pub(super) fn buffer<T: Number>(buffer: &mut Vec<f32>, len: usize) -> &mut [T] {
    let floats = (len * size_of::<T>()).div_ceil(size_of::<f32>());
    if buffer.len() < floats {
        buffer.resize(floats, 0.0);
    }
    // SAFETY: there are that many bytes, aligned and initialized, and all bits are valid for every `Number`.
    unsafe { std::slice::from_raw_parts_mut(buffer.as_mut_ptr().cast(), len) }
}
