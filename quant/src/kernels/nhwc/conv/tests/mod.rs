//! Every instruction set against the definition.

mod naive;

use super::*;
use crate::kernels::nhwc::tests::guard::{Guarded, Side};
use crate::kernels::nhwc::{Ending, Grid};
use crate::rng::{Rng, rng};

const SIDES: [Side; 2] = [Side::Start, Side::End];

fn available() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_available())
}

fn between(rng: &mut Rng, lo: usize, hi: usize) -> usize {
    lo + rng.below(hi - lo + 1)
}

fn one_of<T: Copy>(rng: &mut Rng, items: &[T]) -> T {
    items[rng.below(items.len())]
}

/// A window over an image, with as many outputs as fit and sometimes one more, which hangs over the end.
fn window(rng: &mut Rng) -> Window {
    let mut window = Window::pixelwise([between(rng, 1, 9), between(rng, 1, 9)]);
    if rng.below(4) == 0 {
        return window;
    }
    for axis in 0..2 {
        window.kernel[axis] = one_of(rng, &[1, 2, 3, 3, 5]);
        window.stride[axis] = between(rng, 1, 3);
        window.dilation[axis] = between(rng, 1, 2);
        window.before[axis] = rng.below(4);
        let padded = window.size[axis] + window.before[axis] + rng.below(3);
        let reach = (window.kernel[axis] - 1) * window.dilation[axis];
        window.out_size[axis] = padded.saturating_sub(reach + 1) / window.stride[axis] + 1;
    }
    window
}

fn shape(rng: &mut Rng) -> ConvShape {
    let groups = one_of(rng, &[1, 1, 1, 2, 3]);
    let channels = one_of(rng, &[1, 2, 3, 4, 5, 7, 8, 9, 16, 18]) * groups;
    let out_channels = one_of(rng, &[1, 3, 8, 15, 16, 17, 24, 33, 50, 64, 70, 130]) * groups;
    ConvShape { window: window(rng), channels, out_channels, groups }
}

fn floats(rng: &mut Rng, len: usize) -> Vec<f32> {
    (0..len).map(|_| rng.normal() as f32).collect()
}

/// All endings, of which the clamping ones clamp some of the values.
fn endings(rng: &mut Rng) -> Vec<Ending> {
    let lo = -rng.uniform() as f32;
    let grid = Grid { scale: 0.05 + rng.uniform() as f32 / 8.0, lo: -7.0, hi: 8.0 };
    let code = rng.below(20) as u8;
    vec![
        Ending::Float { lo: f32::NEG_INFINITY, hi: f32::INFINITY, grid: None },
        Ending::Float { lo, hi: lo + 2.0, grid: None },
        Ending::Float { lo, hi: f32::INFINITY, grid: Some(grid) },
        Ending::Codes { lo: 0, hi: 255, zero: rng.below(256) as u8 },
        Ending::Codes { lo: code, hi: code + 15, zero: code + rng.below(16) as u8 },
    ]
}

/// Buffers that lie next to forbidden pages, and the output as f32.
fn ended(side: Side, tail: &Tail<'_>, len: usize, compute: impl FnOnce(&Tail<'_>, Out<'_>)) -> Vec<f32> {
    let (scale, shift) = (Guarded::new(side, tail.scale), Guarded::new(side, tail.shift));
    let tail = Tail { scale: &scale, shift: &shift, ending: tail.ending };
    match tail.ending {
        Ending::Float { .. } => {
            let mut out = Guarded::new(side, &vec![f32::MAX; len]);
            compute(&tail, Out::Floats(&mut out));
            out.to_vec()
        }
        Ending::Codes { .. } => {
            let mut out = Guarded::new(side, &vec![0xa5; len]);
            compute(&tail, Out::Codes(&mut out));
            out.iter().map(|code| f32::from(*code)).collect()
        }
    }
}

/// Whether all bits agree; any NaN is as good as another, and so is either zero of a grid.
#[track_caller]
fn assert_same(ours: &[f32], expected: &[f32], what: impl std::fmt::Debug) {
    assert_eq!(ours.len(), expected.len());
    for (place, (ours, expected)) in ours.iter().zip(expected).enumerate() {
        let same = ours == expected || (ours.is_nan() && expected.is_nan());
        assert!(same, "{ours} instead of {expected} at {place}: {what:?}");
    }
}

fn check_floats(shape: ConvShape, images: usize, rng: &mut Rng) {
    let (x, weight) = (floats(rng, images * shape.image()), floats(rng, shape.out_channels * shape.depth()));
    let (scale, shift) = (floats(rng, shape.out_channels), floats(rng, shape.out_channels));
    let sums = naive::float_sums(&shape, images, &x, &weight);
    for isa in available() {
        let conv = FloatConv::new(isa, shape, &weight);
        for side in SIDES {
            let x = Guarded::new(side, &x);
            for ending in endings(rng) {
                let tail = Tail { scale: &scale, shift: &shift, ending };
                let ours = ended(side, &tail, sums.len(), |tail, out| conv.run(images, &x, tail, out));
                assert_same(&ours, &naive::end(&sums, &tail), (isa, side, shape, ending));
            }
        }
    }
}

fn check_codes(shape: ConvShape, images: usize, rng: &mut Rng) {
    let x: Vec<u8> = (0..images * shape.image()).map(|_| rng.next_u64() as u8).collect();
    let weight: Vec<i8> = (0..shape.out_channels * shape.depth()).map(|_| rng.next_u64() as i8).collect();
    let spread = (shape.depth().max(1) as f32).sqrt() * 150.0;
    let scale: Vec<f32> = floats(rng, shape.out_channels).iter().map(|scale| scale / spread).collect();
    let shift: Vec<f32> = floats(rng, shape.out_channels).iter().map(|shift| shift * 50.0).collect();
    let zero = one_of(rng, &[0, 3, 128, 255]);
    let sums = naive::int_sums(&shape, images, (&x, zero), &weight);
    for isa in available() {
        let conv = IntConv::new(isa, shape, &weight);
        for side in SIDES {
            let x = Guarded::new(side, &x);
            for ending in endings(rng) {
                let tail = Tail { scale: &scale, shift: &shift, ending };
                let ours = ended(side, &tail, sums.len(), |tail, out| conv.run(images, &x, zero, tail, out));
                assert_same(&ours, &naive::end(&sums, &tail), (isa, side, shape, ending));
            }
        }
    }
}

#[test]
fn floats_agree_with_the_definition_for_any_shape() {
    for step in 0..100 {
        let mut rng = rng(1, step);
        let shape = shape(&mut rng);
        let images = between(&mut rng, 1, 3);
        check_floats(shape, images, &mut rng);
    }
}

#[test]
fn codes_agree_with_the_definition_for_any_shape() {
    for step in 0..100 {
        let mut rng = rng(2, step);
        let shape = shape(&mut rng);
        let images = between(&mut rng, 1, 3);
        check_codes(shape, images, &mut rng);
    }
}

fn small(window: Window) -> ConvShape {
    ConvShape { window, channels: 4, out_channels: 20, groups: 2 }
}

#[test]
fn extents_of_zero_leave_nothing_to_do_or_sums_of_nothing() {
    let window = Window { kernel: [3, 3], before: [1, 1], ..Window::pixelwise([4, 5]) };
    let shapes = [
        small(Window { out_size: [0, 5], ..window }),
        small(Window { out_size: [4, 0], ..window }),
        small(Window { kernel: [0, 3], ..window }),
        small(Window { kernel: [3, 0], ..window }),
        small(Window { size: [0, 5], ..window }),
        small(Window { size: [4, 0], ..window }),
        ConvShape { channels: 0, ..small(window) },
        ConvShape { out_channels: 0, ..small(window) },
        ConvShape { channels: 0, ..small(Window::pixelwise([4, 5])) },
    ];
    for (step, shape) in shapes.into_iter().enumerate() {
        let mut rng = rng(3, step as u64);
        check_floats(shape, 2, &mut rng);
        check_codes(shape, 2, &mut rng);
    }
    check_floats(small(window), 0, &mut rng(4, 0));
    check_codes(small(window), 0, &mut rng(4, 0));
}

#[test]
fn blocks_of_positions_and_any_split_of_the_images_do_not_show() {
    let window = Window { kernel: [3, 3], before: [1, 1], ..Window::pixelwise([13, 9]) };
    for (step, channels) in [3, 17, 301].into_iter().enumerate() {
        let mut rng = rng(5, step as u64);
        let shape = ConvShape { window, channels, out_channels: 37, groups: 1 };
        check_floats(shape, 4, &mut rng);
        check_codes(shape, 4, &mut rng);

        let (x, weight) = (floats(&mut rng, 5 * shape.image()), floats(&mut rng, 37 * shape.depth()));
        let (scale, shift) = (vec![1.5; 37], vec![-0.25; 37]);
        let tail = Tail { scale: &scale, shift: &shift, ending: endings(&mut rng)[2] };
        let conv = FloatConv::new(Isa::best(), shape, &weight);
        let (mut whole, mut parts) = (vec![0.0; 5 * shape.out_image()], vec![0.0; 5 * shape.out_image()]);
        conv.run(5, &x, &tail, Out::Floats(&mut whole));
        let (front, back) = x.split_at(2 * shape.image());
        let (first, second) = parts.split_at_mut(2 * shape.out_image());
        conv.run(2, front, &tail, Out::Floats(first));
        conv.run(3, back, &tail, Out::Floats(second));

        assert_same(&parts, &whole, shape);
    }
}

#[test]
fn nan_stays_nan_in_floats_and_becomes_the_lowest_code() {
    let shape = ConvShape { window: Window::pixelwise([5, 5]), channels: 3, out_channels: 33, groups: 1 };
    let mut rng = rng(6, 0);
    let mut x = floats(&mut rng, shape.image());
    x[7] = f32::NAN;
    let (weight, ones) = (floats(&mut rng, 33 * 3), vec![1.0; 33]);
    let sums = naive::float_sums(&shape, 1, &x, &weight);
    for isa in available() {
        for ending in endings(&mut rng) {
            let tail = Tail { scale: &ones, shift: &ones, ending };
            let conv = FloatConv::new(isa, shape, &weight);
            let ours = ended(Side::End, &tail, sums.len(), |tail, out| conv.run(1, &x, tail, out));
            let expected = naive::end(&sums, &tail);

            assert_eq!(expected.iter().any(|value| value.is_nan()), matches!(ending, Ending::Float { .. }));
            assert_same(&ours, &expected, (isa, ending));
        }
    }
}

#[test]
fn the_longest_sums_of_the_largest_products_do_not_overflow() {
    let shape =
        |depth| ConvShape { window: Window::pixelwise([1, 1]), channels: depth, out_channels: 2, groups: 1 };
    let x = vec![255; INT_DEPTH_MAX];
    for isa in available() {
        for weight in [-128, 127] {
            let conv = IntConv::new(isa, shape(INT_DEPTH_MAX), &vec![weight; 2 * INT_DEPTH_MAX]);
            let tail = Tail {
                scale: &[1.0; 2],
                shift: &[0.0; 2],
                ending: Ending::Float { lo: f32::NEG_INFINITY, hi: f32::INFINITY, grid: None },
            };
            let mut out = [0.0; 2];
            conv.run(1, &x, 0, &tail, Out::Floats(&mut out));

            let sum = INT_DEPTH_MAX as i32 * 255 * i32::from(weight);
            assert_eq!(out, [sum as f32; 2], "{isa:?}");
        }
        let longer = vec![1; 2 * (INT_DEPTH_MAX + 1)];
        assert!(std::panic::catch_unwind(|| IntConv::new(isa, shape(INT_DEPTH_MAX + 1), &longer)).is_err());
    }
}

#[test]
fn slices_of_a_wrong_length_are_refused() {
    let shape = small(Window::pixelwise([3, 3]));
    let conv = FloatConv::new(Isa::best(), shape, &vec![1.0; 20 * shape.depth()]);
    let refused = |x: usize, channels: usize, out: usize| {
        let (values, x) = (vec![1.0; channels], vec![1.0; x]);
        let ending = Ending::Float { lo: 0.0, hi: 1.0, grid: None };
        let tail = Tail { scale: &values, shift: &values, ending };
        let mut out = vec![0.0; out];
        let run = std::panic::AssertUnwindSafe(|| conv.run(2, &x, &tail, Out::Floats(&mut out)));
        std::panic::catch_unwind(run).is_err()
    };

    let (image, out_image) = (shape.image(), shape.out_image());
    assert!(!refused(2 * image, 20, 2 * out_image));
    assert!(refused(2 * image - 1, 20, 2 * out_image));
    assert!(refused(2 * image, 19, 2 * out_image));
    assert!(refused(2 * image, 20, 2 * out_image - 1));
}
