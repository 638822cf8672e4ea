//! Convolutions as they are defined.

use crate::kernels::nhwc::conv::ConvShape;
use crate::kernels::nhwc::{Ending, Tail};

/// Calls `product(input position or none in the padding, weight position)` for every product of a sum, in order.
fn products(
    shape: &ConvShape,
    image: usize,
    (row, column, out_channel): (usize, usize, usize),
    mut product: impl FnMut(Option<usize>, usize),
) {
    let window = shape.window;
    let (channels, outs) = (shape.channels / shape.groups, shape.out_channels / shape.groups);
    for ky in 0..window.kernel[0] {
        for kx in 0..window.kernel[1] {
            for channel in 0..channels {
                let y =
                    (row * window.stride[0] + ky * window.dilation[0]) as isize - window.before[0] as isize;
                let x = (column * window.stride[1] + kx * window.dilation[1]) as isize
                    - window.before[1] as isize;
                let inside =
                    (0..window.size[0] as isize).contains(&y) && (0..window.size[1] as isize).contains(&x);
                let pixel = (image * window.size[0]) as isize * window.size[1] as isize;
                let pixel = pixel + y * window.size[1] as isize + x;
                let from =
                    pixel * shape.channels as isize + (out_channel / outs * channels + channel) as isize;
                let weight =
                    ((out_channel * channels + channel) * window.kernel[0] + ky) * window.kernel[1] + kx;
                product(inside.then_some(from as usize), weight);
            }
        }
    }
}

/// What an output is made of, one value after another.
fn outputs(shape: &ConvShape, images: usize) -> impl Iterator<Item = (usize, (usize, usize, usize))> {
    let ([rows, columns], channels) = (shape.window.out_size, shape.out_channels);
    (0..images * shape.out_image()).map(move |number| {
        let (position, channel) = (number / channels, number % channels);
        (position / columns / rows, (position / columns % rows, position % columns, channel))
    })
}

pub(super) fn float_sums(shape: &ConvShape, images: usize, x: &[f32], weight: &[f32]) -> Vec<f32> {
    let sum = |(image, at)| {
        let mut sum = 0.0f32;
        products(shape, image, at, |from, to| {
            sum = from.map_or(0.0, |from| x[from]).mul_add(weight[to], sum);
        });
        sum
    };
    outputs(shape, images).map(sum).collect()
}

pub(super) fn int_sums(shape: &ConvShape, images: usize, (x, zero): (&[u8], u8), weight: &[i8]) -> Vec<f32> {
    let sum = |(image, at)| {
        let mut sum = 0i64;
        products(shape, image, at, |from, to| {
            sum += from.map_or(0, |from| i64::from(x[from]) - i64::from(zero)) * i64::from(weight[to]);
        });
        i32::try_from(sum).expect("an i32 holds every sum of an accepted depth") as f32
    };
    outputs(shape, images).map(sum).collect()
}

/// Ends sums as floats, or as codes in floats.
pub(super) fn end(sums: &[f32], tail: &Tail<'_>) -> Vec<f32> {
    let channels = tail.scale.len();
    let end = |(number, sum): (usize, &f32)| {
        let channel = number % channels;
        let value = sum.mul_add(tail.scale[channel], tail.shift[channel]);
        match tail.ending {
            Ending::Float { lo, hi, grid } => {
                let value = clamp(value, lo, hi);
                match grid {
                    Some(grid) => clamp(value / grid.scale, grid.lo, grid.hi).round_ties_even() * grid.scale,
                    None => value,
                }
            }
            Ending::Codes { lo, hi, .. } if value.is_nan() => f32::from(lo.min(hi)),
            Ending::Codes { lo, hi, zero } => {
                clamp(value.round_ties_even() + f32::from(zero), f32::from(lo), f32::from(hi))
            }
        }
    };
    sums.iter().enumerate().map(end).collect()
}

fn clamp(value: f32, lo: f32, hi: f32) -> f32 {
    if value < lo {
        lo
    } else if value > hi {
        hi
    } else {
        value
    }
}
