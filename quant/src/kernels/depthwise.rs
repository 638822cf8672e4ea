//! Depthwise convolution: one filter per channel, slid line by line, without gathering windows.

use rayon::prelude::*;

use super::conv::Geometry;
use super::phases::BLOCK;
use super::tail::Tail;
use super::{IMAGE_GROUPS, sum_in_order};

/// Partial sums of a dot product: enough to fill the vector registers of any x86.
const LANES: usize = 16;

/// Returns the convolution of every channel with its filter, after the tail.
pub(super) fn forward(x: &[f32], weight: &[f32], geometry: &Geometry, tail: &Tail) -> Vec<f32> {
    match geometry.phases().are_worthwhile() {
        true => forward_by_blocks(x, weight, geometry, tail),
        false => forward_by_taps(x, weight, geometry, tail),
    }
}

/// Keeps a block of outputs in registers while all taps are added: for filters that are narrower than the image.
///
/// Sums are the same bytes as [`forward_by_taps`]'s for finite weights: taps follow each other in the same order, and
/// adding what padding gives, a zero, changes no sum.
pub(super) fn forward_by_blocks(x: &[f32], weight: &[f32], geometry: &Geometry, tail: &Tail) -> Vec<f32> {
    let phases = geometry.phases();
    let [kh, kw] = geometry.kernel;
    let offset =
        |tap: usize| phases.offset([tap / kw * geometry.dilation[0], tap % kw * geometry.dilation[1]]);
    let offsets: Vec<usize> = (0..kh * kw).map(offset).collect();
    let mut y = vec![0.0; geometry.images * geometry.out_image()];
    y.par_chunks_mut(geometry.positions()).enumerate().for_each_init(
        || phases.room(0.0),
        |room, (index, y)| {
            let channel = index % geometry.channels;
            let weight = &weight[channel * kh * kw..][..kh * kw];
            let plane = &x[index * geometry.plane()..][..geometry.plane()];
            phases.outputs((plane, room), y, |phases, y| add_taps(phases, weight, &offsets, y));
            tail.apply_to_channel(channel, y);
        },
    );
    y
}

/// Writes blocks of outputs: for each the sum of the weights times what is read at their offsets.
fn add_taps(phases: &[f32], weight: &[f32], offsets: &[usize], y: &mut [f32]) {
    // As many as a vector register of any x86 holds.
    const LANES: usize = 4;
    for (block, y) in y.chunks_exact_mut(BLOCK).enumerate() {
        let phases = &phases[block * BLOCK..];
        let mut sums = [[0.0f32; LANES]; BLOCK / LANES];
        for (weight, offset) in weight.iter().zip(offsets) {
            let (values, _) = phases[*offset..][..BLOCK].as_chunks::<LANES>();
            for (sums, values) in sums.iter_mut().zip(values) {
                sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
            }
        }
        y.copy_from_slice(sums.as_flattened());
    }
}

/// Adds one tap after another to the lines of outputs: for any filter.
pub(super) fn forward_by_taps(x: &[f32], weight: &[f32], geometry: &Geometry, tail: &Tail) -> Vec<f32> {
    let mut y = vec![0.0; geometry.images * geometry.out_image()];
    y.par_chunks_mut(geometry.out_image()).zip(x.par_chunks(geometry.image().max(1))).for_each(|(y, x)| {
        for (channel, y) in y.chunks_exact_mut(geometry.positions()).enumerate() {
            let x = &x[channel * geometry.plane()..][..geometry.plane()];
            each_line(geometry, channel, |tap, line, pixels| {
                add_products(&mut y[line], weight[tap], &x[pixels], geometry.stride[1]);
            });
        }
        tail.apply(y, geometry.positions());
    });
    y
}

/// Returns the gradient to the input.
pub(super) fn input_gradient(weight: &[f32], dy: &[f32], geometry: &Geometry) -> Vec<f32> {
    let mut dx = vec![0.0; geometry.images * geometry.image()];
    dx.par_chunks_mut(geometry.image().max(1)).zip(dy.par_chunks(geometry.out_image())).for_each(
        |(dx, dy)| {
            for (channel, dy) in dy.chunks_exact(geometry.positions()).enumerate() {
                let dx = &mut dx[channel * geometry.plane()..][..geometry.plane()];
                each_line(geometry, channel, |tap, line, pixels| {
                    let weight = weight[tap];
                    for (dx, dy) in dx[pixels].iter_mut().step_by(geometry.stride[1]).zip(&dy[line]) {
                        *dx += weight * dy;
                    }
                });
            }
        },
    );
    dx
}

/// Returns the gradient to the weight, summed over images.
pub(super) fn weight_gradient(x: &[f32], dy: &[f32], geometry: &Geometry) -> Vec<f32> {
    let length = geometry.channels * geometry.depth();
    let images = geometry.images.div_ceil(IMAGE_GROUPS).max(1);
    let mut sums = vec![0.0; IMAGE_GROUPS * length];
    sums.par_chunks_mut(length)
        .zip(x.par_chunks((images * geometry.image()).max(1)))
        .zip(dy.par_chunks(images * geometry.out_image()))
        .for_each(|((sum, x), dy)| {
            let pairs = x.chunks_exact(geometry.plane().max(1)).zip(dy.chunks_exact(geometry.positions()));
            for (index, (x, dy)) in pairs.enumerate() {
                each_line(geometry, index % geometry.channels, |tap, line, pixels| {
                    sum[tap] += match geometry.stride[1] {
                        1 => dot(&x[pixels], &dy[line]),
                        stride => strided_dot(&x[pixels], stride, &dy[line]),
                    };
                });
            }
        });
    sum_in_order(&sums, length)
}

/// Visits every kernel tap and output line of a channel: index of the weight, outputs of the line, and the pixels
/// under them (to be read at the horizontal stride).
fn each_line(
    geometry: &Geometry,
    channel: usize,
    mut visit: impl FnMut(usize, std::ops::Range<usize>, std::ops::Range<usize>),
) {
    let [kh, kw] = geometry.kernel;
    for ky in 0..kh {
        for kx in 0..kw {
            let columns = geometry.inside(1, kx);
            if columns.is_empty() {
                continue;
            }
            let tap = (channel * kh + ky) * kw + kx;
            for oy in geometry.inside(0, ky) {
                let line = oy * geometry.out_size[1];
                let pixels = geometry.source(0, oy, ky) * geometry.size[1];
                let (first, last) =
                    (geometry.source(1, columns.start, kx), geometry.source(1, columns.end - 1, kx));
                visit(tap, line + columns.start..line + columns.end, pixels + first..pixels + last + 1);
            }
        }
    }
}

/// Adds `weight` times every `stride`-th pixel to a line.
///
/// The common strides have a loop of their own, as with a stride known only at run time it takes one value at a time.
fn add_products(y: &mut [f32], weight: f32, pixels: &[f32], stride: usize) {
    match stride {
        1 => y.iter_mut().zip(pixels).for_each(|(y, x)| *y += weight * x),
        2 => {
            let (pairs, last) = pixels.as_chunks::<2>();
            let (before, behind) = y.split_at_mut(pairs.len());
            before.iter_mut().zip(pairs).for_each(|(y, [x, _])| *y += weight * x);
            behind.iter_mut().zip(last).for_each(|(y, x)| *y += weight * x);
        }
        _ => y.iter_mut().zip(pixels.iter().step_by(stride)).for_each(|(y, x)| *y += weight * x),
    }
}

fn dot(left: &[f32], right: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (left_chunks, right_chunks) = (left.chunks_exact(LANES), right.chunks_exact(LANES));
    let rest = left_chunks.remainder().iter().zip(right_chunks.remainder());
    let tail: f32 = rest.map(|(l, r)| l * r).sum();
    for (l, r) in left_chunks.zip(right_chunks) {
        for (lane, (l, r)) in lanes.iter_mut().zip(l.iter().zip(r)) {
            *lane += l * r;
        }
    }
    lanes.iter().sum::<f32>() + tail
}

fn strided_dot(left: &[f32], stride: usize, right: &[f32]) -> f32 {
    left.iter().step_by(stride).zip(right).map(|(l, r)| l * r).sum()
}
