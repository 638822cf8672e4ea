//! Every instruction set against the definition.

mod guard;
mod naive;

use super::*;
use crate::kernels::nhwc::{Ending, Grid};
use crate::rng::{Rng, rng};
use guard::{Guarded, Side};

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
        Ending::Codes { lo: 0, hi: 255 },
        Ending::Codes { lo: code, hi: code + 15 },
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
    for step in 0..150 {
        let mut rng = rng(1, step);
        let shape = shape(&mut rng);
        let images = between(&mut rng, 1, 3);
        check_floats(shape, images, &mut rng);
    }
}

#[test]
fn codes_agree_with_the_definition_for_any_shape() {
    for step in 0..150 {
        let mut rng = rng(2, step);
        let shape = shape(&mut rng);
        let images = between(&mut rng, 1, 3);
        check_codes(shape, images, &mut rng);
    }
}
