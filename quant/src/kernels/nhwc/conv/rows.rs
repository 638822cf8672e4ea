//! Where the values under each window lie: in the image, in the padding, or copied into a patch.

#![expect(unsafe_code, reason = "pointers that outlive their borrow, into buffers of several types")]

use std::cell::RefCell;

use super::ConvShape;
use super::depth::Depth;
use crate::kernels::nhwc::Window;

/// Buffers that a thread keeps.
#[derive(Default)]
pub(super) struct Scratch {
    rows: Vec<*const u8>,
    padding: Vec<f32>,
    patches: Vec<f32>,
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
struct Segment {
    /// First of them, counted in the block.
    at: usize,
    image: usize,
    row: usize,
    columns: std::ops::Range<usize>,
}

impl Block {
    fn segments(self, window: Window) -> impl Iterator<Item = Segment> {
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

/// Gives `scratch`'s padding: one pixel of `zero`.
pub(super) fn pad<X: Number>(scratch: &mut Scratch, shape: &ConvShape, zero: X) {
    let pixel = buffer::<X>(&mut scratch.padding, shape.channels);
    pixel.fill(zero);
}

/// Points at the taps of a block: `(taps, block.len)`.
pub(super) fn point<'s, X: Number, V: Number>(
    scratch: &'s mut Scratch,
    shape: &ConvShape,
    block: Block,
    x: &[X],
) -> &'s [*const V] {
    assert_eq!(size_of::<X>(), size_of::<V>(), "values that are widened are copied into patches");
    let window = shape.window;
    let Scratch { rows, padding, .. } = scratch;
    rows.resize(window.taps() * block.len, std::ptr::null());
    let padding: *const u8 = padding.as_ptr().cast();
    for segment in block.segments(window) {
        for tap in 0..window.taps() {
            let (ky, kx) = (tap / window.kernel[1], tap % window.kernel[1]);
            let rows = &mut rows[tap * block.len + segment.at..][..segment.columns.len()];
            let Some(y) = window.source(0, segment.row, ky) else {
                rows.fill(padding);
                continue;
            };
            let line = (segment.image * window.size[0] + y) * window.size[1];
            for (row, column) in rows.iter_mut().zip(segment.columns.clone()) {
                *row = match window.source(1, column, kx) {
                    Some(x_at) => x[(line + x_at) * shape.channels..].as_ptr().cast(),
                    None => padding,
                };
            }
        }
    }
    // SAFETY: pointers of one type are as large as those of another.
    unsafe { std::slice::from_raw_parts(rows.as_ptr().cast(), rows.len()) }
}

/// Copies what is under the windows of a block, for one group, and points at the copies: `(block.len,)`.
pub(super) fn patch<'s, X: Number, V: Number + From<X>>(
    scratch: &'s mut Scratch,
    (shape, depth): (&ConvShape, &Depth),
    (block, group): (Block, usize),
    (x, zero): (&[X], X),
) -> &'s [*const V] {
    let window = shape.window;
    let channels = shape.group_channels();
    let Scratch { rows, patches, .. } = scratch;
    rows.resize(block.len, std::ptr::null());
    let patches = buffer::<V>(patches, block.len * depth.patch());
    patches.fill(V::from(zero));
    for segment in block.segments(window) {
        for (place, column) in segment.columns.clone().enumerate() {
            let patch = &mut patches[(segment.at + place) * depth.patch()..][..depth.patch()];
            for ky in 0..window.kernel[0] {
                let Some(y) = window.source(0, segment.row, ky) else { continue };
                let line = (segment.image * window.size[0] + y) * window.size[1];
                for kx in 0..window.kernel[1] {
                    let Some(x_at) = window.source(1, column, kx) else { continue };
                    let from = &x[(line + x_at) * shape.channels + group * channels..][..channels];
                    let to = &mut patch[(ky * window.kernel[1] + kx) * channels..][..channels];
                    for (to, from) in to.iter_mut().zip(from) {
                        *to = V::from(*from);
                    }
                }
            }
        }
    }
    for (position, row) in rows.iter_mut().enumerate() {
        *row = patches[position * depth.patch()..].as_ptr().cast();
    }
    // SAFETY: as in `point`.
    unsafe { std::slice::from_raw_parts(rows.as_ptr().cast(), rows.len()) }
}

/// The first `len` numbers of a buffer.
fn buffer<T: Number>(buffer: &mut Vec<f32>, len: usize) -> &mut [T] {
    let floats = (len * size_of::<T>()).div_ceil(size_of::<f32>());
    if buffer.len() < floats {
        buffer.resize(floats, 0.0);
    }
    // SAFETY: there are that many bytes, aligned and initialized, and all bits are valid for every `Number`.
    unsafe { std::slice::from_raw_parts_mut(buffer.as_mut_ptr().cast(), len) }
}
