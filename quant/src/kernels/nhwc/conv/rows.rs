//! Where the values under each window lie, without copying more than what crosses an edge.

#![expect(unsafe_code, reason = "pointers that outlive their borrow, into buffers of several types")]

use std::cell::RefCell;
use std::ops::Range;

use super::ConvShape;
use super::depth::Depth;
use super::patches::widen;
use crate::kernels::nhwc::Window;

/// Buffers that a thread keeps.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) rows: Vec<*const u8>,
    padding: Vec<f32>,
    pub(super) patches: Vec<f32>,
}

thread_local! {
    pub(super) static SCRATCH: RefCell<Scratch> = RefCell::default();
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

/// Gives `scratch`'s padding: what a run outside of the image consists of.
pub(super) fn pad<X: Number>(scratch: &mut Scratch, values: usize, zero: X) {
    buffer::<X>(&mut scratch.padding, values).fill(zero);
}

/// Points at the runs of a block, `(depth.runs, block.len)`. Runs that cross the left or the right edge of the image are
/// copied, with the padding beyond it.
pub(super) fn point<'s, X: Number + From<X>, V: Number>(
    scratch: &'s mut Scratch,
    (shape, depth): (&ConvShape, &Depth),
    block: Block,
    (x, zero): (&[X], X),
) -> &'s [*const V] {
    assert_eq!(size_of::<X>(), size_of::<V>(), "values that are widened are copied into patches");
    let Scratch { rows, padding, patches } = scratch;
    let padding: *const u8 = padding.as_ptr().cast();
    let copies = if depth.taps > 1 { depth.runs * block.len * depth.values } else { 0 };
    let copies = buffer::<X>(patches, copies);
    rows.resize(depth.runs * block.len, std::ptr::null());
    for run in 0..depth.runs {
        let run = Run::new(shape, depth.taps, run);
        for segment in block.segments(shape.window) {
            let start = run.number * block.len + segment.at;
            let rows = &mut rows[start..][..segment.columns.len()];
            let Some(line) = run.line(&segment, x) else {
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
                    let copy = &mut copies[(start + place) * depth.values..][..depth.values];
                    run.copy(line, column, zero, copy);
                    copy.as_ptr().cast()
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
    fn line<'x, X>(&self, segment: &Segment, x: &'x [X]) -> Option<&'x [X]> {
        let y = self.window.source(0, segment.row, self.row)?;
        let values = self.window.size[1] * self.channels;
        Some(&x[(segment.image * self.window.size[0] + y) * values..][..values])
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
    fn copy<X: Number + From<X>>(&self, line: &[X], column: usize, zero: X, to: &mut [X]) {
        // Taps of a run that is more than one lie side by side, so those inside of the image do, too.
        let start = column * self.window.stride[1] + self.taps.start;
        let (left, right) = (self.window.before[1], self.window.before[1] + self.window.size[1]);
        let end = start + self.taps.len();
        let inside = start.clamp(left, right)..end.clamp(left, right);
        let from = &line[(inside.start - left) * self.channels..(inside.end - left) * self.channels];
        to.fill(zero);
        let skipped = (inside.start - start.min(inside.start)) * self.channels;
        if !from.is_empty() {
            widen(from, &mut to[skipped..][..from.len()]);
        }
    }
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
