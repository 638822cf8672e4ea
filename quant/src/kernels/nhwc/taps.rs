//! Which taps of a window lie inside the image.

use std::ops::Range;

use super::Window;

/// The taps along `axis` that lie inside the image at an output position.
#[inline(always)]
pub(super) fn taps_inside(window: &Window, axis: usize, position: usize) -> Range<usize> {
    let (at, before) = (position * window.stride[axis], window.before[axis]);
    let distance = window.dilation[axis];
    // A division takes longer than the sums of a small window.
    let taps = |places: usize| if distance == 1 { places } else { places.div_ceil(distance) };
    let end = taps((window.size[axis] + before).saturating_sub(at)).min(window.kernel[axis]);
    let start = taps(before.saturating_sub(at)).min(end);
    start..end
}

/// The output columns whose whole window lies between the left and the right end of the image.
pub(super) fn whole_columns(window: &Window) -> Range<usize> {
    let start = window.before[1].div_ceil(window.stride[1]);
    let end = window.inside(1, window.kernel[1].saturating_sub(1)).end;
    start.min(end)..end
}

/// Panics unless the slices that a kernel was given have the lengths that it will go through.
#[track_caller]
pub(super) fn check_lengths(given: [usize; 2], expected: [usize; 2]) {
    assert!(given == expected, "input and output have {given:?} values instead of {expected:?}");
}
