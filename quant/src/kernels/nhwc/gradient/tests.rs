//! Every instruction set against sums over the definition, on buffers with guard pages, with equal bits.

use super::*;
use crate::kernels::nhwc::tests::guard::{Guarded, Side};
use crate::kernels::nhwc::{ConvShape, Isa, Window};
use crate::rng::{Rng, rng};

const SIDES: [Side; 2] = [Side::Start, Side::End];
/// Sums of up to a few thousand products of numbers around 1 in f32.
const TOLERANCE: f64 = 5e-4;

fn between(rng: &mut Rng, lo: usize, hi: usize) -> usize {
    lo + rng.below(hi - lo + 1)
}

fn one_of<T: Copy>(rng: &mut Rng, items: &[T]) -> T {
    items[rng.below(items.len())]
}

fn floats(rng: &mut Rng, len: usize) -> Vec<f32> {
    (0..len).map(|_| rng.normal() as f32).collect()
}

/// A window over an image with padding on any side, sometimes more of it than the window reaches.
fn window(rng: &mut Rng) -> Window {
    let mut window = Window::pixelwise([between(rng, 1, 9), between(rng, 1, 11)]);
    match rng.below(6) {
        0 => return window,
        1 => return Window::covering(window.size),
        _ => {}
    }
    for axis in 0..2 {
        window.kernel[axis] = one_of(rng, &[1, 2, 3, 3, 4, 5]);
        window.stride[axis] = between(rng, 1, 4);
        window.dilation[axis] = between(rng, 1, 3);
        window.before[axis] = rng.below(5);
        let padded = window.size[axis] + window.before[axis] + rng.below(3);
        let reach = (window.kernel[axis] - 1) * window.dilation[axis];
        window.out_size[axis] = padded.saturating_sub(reach + 1) / window.stride[axis] + 1;
    }
    window
}

struct Expected {
    dx: Vec<f64>,
    dw: Vec<f64>,
}

/// The definition, one product at a time.
fn expected(shape: &ConvShape, images: usize, [x, w, dy]: [&[f32]; 3]) -> Expected {
    let (window, taps) = (&shape.window, shape.window.taps());
    let (channels, outputs) = (shape.channels / shape.groups, shape.out_channels / shape.groups);
    let mut expected = Expected { dx: vec![0.0; x.len()], dw: vec![0.0; w.len()] };
    for (index, dy) in dy.iter().enumerate() {
        let (position, out) = (index / shape.out_channels, index % shape.out_channels);
        let image = position / window.positions();
        let (row, column) =
            (position % window.positions() / window.out_size[1], position % window.out_size[1]);
        for tap in 0..taps {
            let inside = window.source(0, row, tap / window.kernel[1]);
            let inside = inside.zip(window.source(1, column, tap % window.kernel[1]));
            let Some((y, x_place)) = inside else { continue };
            for channel in 0..channels {
                let pixel = (image * window.size[0] + y) * window.size[1] + x_place;
                let from = pixel * shape.channels + out / outputs * channels + channel;
                let weight = (out * channels + channel) * taps + tap;
                expected.dx[from] += f64::from(w[weight]) * f64::from(*dy);
                expected.dw[weight] += f64::from(x[from]) * f64::from(*dy);
            }
        }
    }
    assert_eq!(images * shape.image(), x.len());
    expected
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f64], what: impl std::fmt::Debug) {
    assert_eq!(found.len(), expected.len(), "{what:?}");
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        let distance = (f64::from(*found) - expected).abs();
        assert!(
            distance <= TOLERANCE * (1.0 + expected.abs()),
            "{found}, not {expected} at {place}: {what:?}"
        );
    }
}

/// Computes with every instruction set, at both ends of accessible memory, and returns what all of them agree on.
fn agreed(len: usize, what: impl std::fmt::Debug, compute: impl Fn(Isa, Side, &mut [f32])) -> Vec<f32> {
    let mut first: Option<Vec<f32>> = None;
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        for side in SIDES {
            let mut out = Guarded::new(side, &vec![f32::NAN; len]);
            compute(isa, side, &mut out);
            let first = first.get_or_insert_with(|| out.to_vec());
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(first), bits(&out), "{isa:?} {what:?}");
        }
    }
    first.unwrap()
}

fn check(shape: ConvShape, images: usize, rng: &mut Rng) {
    let weights = shape.out_channels * shape.channels / shape.groups * shape.window.taps();
    let (x, w) = (floats(rng, images * shape.image()), floats(rng, weights));
    let dy = floats(rng, images * shape.out_image());
    let expected = expected(&shape, images, [&x, &w, &dy]);

    let dx = agreed(x.len(), shape, |isa, side, dx| {
        InputGradient::new(isa, &shape, &w).run(images, &Guarded::new(side, &dy), dx);
    });
    let dw = agreed(w.len(), shape, |isa, side, dw| {
        let (x, dy) = (Guarded::new(side, &x), Guarded::new(side, &dy));
        let is_depthwise = shape.groups == shape.channels && shape.groups == shape.out_channels;
        if is_depthwise && shape.groups > 1 {
            depthwise_weight_gradient(isa, (&shape.window, images, shape.channels), [&x, &dy], dw);
        } else {
            weight_gradient(isa, (&shape, images), [&x, &dy], dw);
            dw.copy_from_slice(&from_taps_first(&shape, dw));
        }
    });

    assert_close(&dx, &expected.dx, (images, shape));
    assert_close(&dw, &expected.dw, (images, shape));
}

#[test]
fn gradients_of_dense_and_grouped_convolutions_equal_their_definition() {
    let mut rng = rng(31, 0);
    for _ in 0..150 {
        let groups = one_of(&mut rng, &[1, 1, 1, 2, 3]);
        let channels = one_of(&mut rng, &[1, 2, 3, 4, 7, 8, 13, 16, 18]) * groups;
        let out_channels = one_of(&mut rng, &[1, 3, 10, 15, 16, 17, 24, 33, 48, 50, 64, 70, 100]) * groups;
        let shape = ConvShape { window: window(&mut rng), channels, out_channels, groups };
        check(shape, between(&mut rng, 1, 3), &mut rng);
    }
}

#[test]
fn gradients_of_depthwise_convolutions_equal_their_definition() {
    let mut rng = rng(32, 0);
    for _ in 0..150 {
        let channels = one_of(&mut rng, &[2, 3, 7, 8, 9, 12, 16, 17, 24, 31, 32, 40]);
        let shape =
            ConvShape { window: window(&mut rng), channels, out_channels: channels, groups: channels };
        check(shape, between(&mut rng, 1, 3), &mut rng);
    }
}

#[test]
fn many_positions_are_taken_in_blocks() {
    let mut rng = rng(33, 0);
    let mut window = Window::pixelwise([40, 41]);
    check(ConvShape { window, channels: 5, out_channels: 20, groups: 1 }, 2, &mut rng);
    (window.kernel, window.before) = ([3, 3], [1, 1]);
    check(ConvShape { window, channels: 2, out_channels: 9, groups: 1 }, 2, &mut rng);
}

#[test]
fn no_images_have_gradients_of_zero() {
    let window = Window { kernel: [2, 2], out_size: [3, 3], ..Window::pixelwise([4, 4]) };
    for groups in [1, 4] {
        check(ConvShape { window, channels: 4, out_channels: 4, groups }, 0, &mut rng(34, 0));
    }
}

/// Pixels of some channels with a mean of their own.
fn pixels(rng: &mut Rng, channels: usize) -> Vec<f32> {
    let count = between(rng, 1, 90) * channels;
    (0..count).map(|index| rng.normal() as f32 + (index % channels) as f32).collect()
}

fn of_channel(values: &[f32], channel: usize, channels: usize) -> Vec<f64> {
    values.iter().skip(channel).step_by(channels).map(|value| f64::from(*value)).collect()
}

#[test]
fn moments_of_parts_are_those_of_the_whole() {
    let mut rng = rng(35, 0);
    for channels in [1, 2, 3, 10, 12, 16, 17, 24, 48, 64, 100] {
        let parts = [pixels(&mut rng, channels), pixels(&mut rng, channels)];

        let together = |isa| Moments::together(&parts.clone().map(|part| Moments::of(isa, &part, channels)));

        let (means, variances) = together(Isa::Scalar);
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            assert_eq!(together(isa), (means.clone(), variances.clone()), "{isa:?}");
        }
        let all = parts.concat();
        for channel in 0..channels {
            let values = of_channel(&all, channel, channels);
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
            assert!((means[channel] - mean).abs() < 1e-4 * (1.0 + mean.abs()));
            assert!((variances[channel] - squares / values.len() as f64).abs() < 1e-4);
        }
    }
}

#[test]
fn norms_and_their_gradients_equal_their_definition() {
    let mut rng = rng(36, 0);
    for channels in [1, 3, 8, 12, 16, 17, 24, 65] {
        let upper = one_of(&mut rng, &[None, Some(f32::INFINITY), Some(2.0)]);
        let x = pixels(&mut rng, channels);
        let dy = floats(&mut rng, x.len());
        let [scale, shift, centers] = [0; 3].map(|_| floats(&mut rng, channels));
        let factors = [0; 3].map(|_| floats(&mut rng, channels));
        let activation = upper.map_or(Activation::Identity, |upper| Activation::Rectifier { upper });
        let affine = Affine::new(&scale, &shift, activation);

        let y = agreed(x.len(), channels, |isa, side, y| affine.run(isa, &Guarded::new(side, &x), y));
        let dx = agreed(x.len(), channels, |isa, side, dx| {
            dx.copy_from_slice(&dy);
            NormGradient { affine: &affine, x: &Guarded::new(side, &x) }.apply(isa, &factors, dx);
        });
        let sums = agreed(2 * channels, channels, |isa, side, sums| {
            let (x, dy) = (Guarded::new(side, &x), Guarded::new(side, &dy));
            let found = NormGradient { affine: &affine, x: &x }.sums(isa, &dy, &centers).concat();
            sums.iter_mut().zip(found).for_each(|(sum, found)| *sum = found as f32);
        });

        let mut expected = [vec![], vec![], vec![0.0; 2 * channels]];
        for (index, (x, dy)) in x.iter().zip(&dy).enumerate() {
            let channel = index % channels;
            let value = f64::from(x.mul_add(scale[channel], shift[channel]));
            let (lower, upper) = match upper {
                Some(upper) => (0.0, f64::from(upper)),
                None => (f64::NEG_INFINITY, f64::INFINITY),
            };
            let through = if value > lower && value < upper { f64::from(*dy) } else { 0.0 };
            let [a, b, c] = [0, 1, 2].map(|which| f64::from(factors[which][channel]));
            expected[0].push(value.clamp(lower, upper));
            expected[1].push(through * a + f64::from(*x) * b + c);
            expected[2][channel] += through;
            expected[2][channels + channel] += through * f64::from(x - centers[channel]);
        }
        assert_close(&y, &expected[0], channels);
        assert_close(&dx, &expected[1], channels);
        assert_close(&sums, &expected[2], channels);
    }
}

#[test]
fn rectified_values_stop_gradients_at_both_ends() {
    let y = [0.0, -0.0, 1.0, 6.0, 5.5, f32::MIN_POSITIVE];
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        let (mut limited, mut unlimited) = ([3.0; 6], [3.0; 6]);

        rectify(isa, &y, 6.0, &mut limited);
        rectify(isa, &y, f32::INFINITY, &mut unlimited);

        assert_eq!(limited, [0.0, 0.0, 3.0, 0.0, 3.0, 3.0]);
        assert_eq!(unlimited, [0.0, 0.0, 3.0, 3.0, 3.0, 3.0]);
    }
}

#[test]
fn maxima_send_gradients_to_where_they_come_from() {
    let mut rng = rng(37, 0);
    for _ in 0..60 {
        let (channels, images) = (one_of(&mut rng, &[1, 3, 8, 12, 16, 33]), between(&mut rng, 0, 2));
        let mut window = window(&mut rng);
        for axis in 0..2 {
            // Every window sees a pixel.
            window.dilation[axis] = 1;
            window.before[axis] = window.before[axis].min(window.kernel[axis] - 1);
            let fitting = (window.size[axis] + window.before[axis]).div_ceil(window.stride[axis]);
            window.out_size[axis] = window.out_size[axis].min(fitting);
        }
        let x = floats(&mut rng, images * window.pixels() * channels);
        let dy = floats(&mut rng, images * window.positions() * channels);
        let taps = |isa, side| {
            let pool = MaxPool { isa, window, channels };
            let mut y = Guarded::new(side, &vec![f32::NAN; dy.len()]);
            let mut taps = Guarded::new(side, &vec![0xa5u8; dy.len()]);
            pool.run(images, &Guarded::new(side, &x), (&mut y, &mut taps));
            (pool, y, taps)
        };

        let y = agreed(dy.len(), window, |isa, side, out| out.copy_from_slice(&taps(isa, side).1));
        let dx = agreed(x.len(), window, |isa, side, dx| {
            let (pool, _, taps) = taps(isa, side);
            pool.gradient(images, (&Guarded::new(side, &dy), &taps), dx);
        });

        let (mut largest, mut gradient) = (Vec::new(), vec![0.0; x.len()]);
        for (index, dy) in dy.iter().enumerate() {
            let (position, channel) = (index / channels, index % channels);
            let (image, position) = (position / window.positions(), position % window.positions());
            let pixels = (0..window.taps()).filter_map(|tap| {
                let row = window.source(0, position / window.out_size[1], tap / window.kernel[1])?;
                let column = window.source(1, position % window.out_size[1], tap % window.kernel[1])?;
                Some(((image * window.size[0] + row) * window.size[1] + column) * channels + channel)
            });
            let best = pixels.reduce(|best, pixel| if x[pixel] > x[best] { pixel } else { best }).unwrap();
            largest.push(f64::from(x[best]));
            gradient[best] += f64::from(*dy);
        }
        assert_close(&y, &largest, window);
        assert_close(&dx, &gradient, window);
    }
}
