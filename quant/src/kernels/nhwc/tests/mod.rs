//! Every instruction set against the definition, on buffers with guard pages on both sides.

mod channels;
mod curves;
mod depthwise;
pub(super) mod guard;
mod pointwise;
mod pool;
mod ties;

use super::*;
use crate::rng::{Rng, rng};
use guard::{Guarded, Side};

const SIDES: [Side; 2] = [Side::Start, Side::End];

/// The same values twice, at the beginning and at the end of accessible memory.
fn guarded<T: Copy>(values: &[T]) -> [Guarded<T>; 2] {
    SIDES.map(|side| Guarded::new(side, values))
}

fn available() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_available())
}

fn between(rng: &mut Rng, lo: usize, hi: usize) -> usize {
    lo + rng.below(hi - lo + 1)
}

fn one_of<T: Copy>(rng: &mut Rng, items: &[T]) -> T {
    items[rng.below(items.len())]
}

fn floats(rng: &mut Rng, len: usize) -> Vec<f32> {
    (0..len).map(|_| rng.normal() as f32).collect()
}

fn codes(rng: &mut Rng, len: usize) -> Vec<u8> {
    (0..len).map(|_| rng.below(256) as u8).collect()
}

fn channels(rng: &mut Rng) -> usize {
    one_of(
        rng,
        &[1, 2, 3, 5, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33, 58, 63, 64, 65, 80, 100, 127, 128, 130],
    )
}

/// A window over an image, with all outputs that fit and sometimes one more, which hangs over the end.
fn window(rng: &mut Rng) -> Window {
    let mut window = Window::pixelwise([between(rng, 1, 11), between(rng, 1, 19)]);
    let usual = rng.below(2) == 0;
    for axis in 0..2 {
        window.kernel[axis] = one_of(rng, &[1, 2, 3, 3, 3, 4, 5, 5, 6, 7, 9]);
        window.stride[axis] = between(rng, 1, if usual { 2 } else { 4 });
        window.dilation[axis] = if usual { 1 } else { between(rng, 1, 3) };
        window.before[axis] = if usual { window.kernel[axis] / 2 } else { rng.below(7) };
        let padded = window.size[axis] + window.before[axis] + rng.below(4);
        let reach = (window.kernel[axis] - 1) * window.dilation[axis];
        window.out_size[axis] = padded.saturating_sub(reach + 1) / window.stride[axis] + 1;
    }
    if usual {
        // The quick ways of the kernels want equal sides.
        (window.kernel[0], window.stride[0]) = (window.kernel[1], window.stride[1]);
    }
    window
}

/// Source pixels of a window with their taps, in order; those in the padding are left out.
fn sources(window: &Window, position: usize) -> Vec<(usize, usize)> {
    let [row, column] = [position / window.out_size[1], position % window.out_size[1]];
    let mut sources = Vec::new();
    for down in 0..window.kernel[0] {
        for right in 0..window.kernel[1] {
            if let (Some(y), Some(x)) = (window.source(0, row, down), window.source(1, column, right)) {
                sources.push((down * window.kernel[1] + right, y * window.size[1] + x));
            }
        }
    }
    sources
}

/// All endings for values around 0, of which the clamping ones clamp some.
fn endings(rng: &mut Rng) -> Vec<Ending> {
    let lo = -rng.uniform() as f32;
    let grid = Grid { scale: 0.05 + rng.uniform() as f32 / 8.0, lo: -7.0, hi: 8.0 };
    let code = rng.below(20) as u8;
    vec![
        Ending::Float { lo: f32::NEG_INFINITY, hi: f32::INFINITY, grid: None },
        Ending::Float { lo, hi: 1.0, grid: None },
        Ending::Float { lo: 0.0, hi: f32::INFINITY, grid: Some(grid) },
        Ending::Codes { lo: 0, hi: 255, zero: 0 },
        Ending::Codes { lo: 0, hi: 255, zero: rng.below(256) as u8 },
        Ending::Codes { lo: code, hi: code + 100, zero: code + rng.below(101) as u8 },
    ]
}

/// What is stored for a value, with codes as f32.
fn ended(value: f32, ending: Ending) -> f32 {
    let clamp = |x: f32, lo: f32, hi: f32| if x.is_nan() { x } else { x.max(lo).min(hi) };
    match ending {
        Ending::Float { lo, hi, grid } => {
            let value = clamp(value, lo, hi);
            match grid {
                Some(grid) => clamp(value / grid.scale, grid.lo, grid.hi).round_ties_even() * grid.scale,
                None => value,
            }
        }
        Ending::Codes { lo, .. } if value.is_nan() => f32::from(lo),
        Ending::Codes { lo, hi, zero } => {
            clamp(value.round_ties_even() + f32::from(zero), f32::from(lo), f32::from(hi))
        }
    }
}

/// Stores with a kernel on every instruction set and compares with `values` as the ending stores them.
fn compare(values: &[f32], ending: Ending, kernel: impl Fn(Isa, usize, Out<'_>)) {
    let expected: Vec<f32> = values.iter().map(|value| ended(*value, ending)).collect();
    for isa in available() {
        for side in [0, 1] {
            let stored: Vec<f32> = match ending {
                Ending::Float { .. } => {
                    let mut out = Guarded::new(SIDES[side], &vec![7.5; values.len()]);
                    kernel(isa, side, Out::Floats(&mut out));
                    out.to_vec()
                }
                Ending::Codes { .. } => {
                    let mut out = Guarded::new(SIDES[side], &vec![77; values.len()]);
                    kernel(isa, side, Out::Codes(&mut out));
                    out.iter().map(|code| f32::from(*code)).collect()
                }
            };
            assert_same(&stored, &expected, &format!("{isa:?} {ending:?}"));
        }
    }
}

/// The same bits, except that all NaNs are alike, and that a clamped zero has no sign.
#[track_caller]
fn assert_same(stored: &[f32], expected: &[f32], what: &str) {
    assert_eq!(stored.len(), expected.len(), "{what}");
    for (at, (stored, expected)) in stored.iter().zip(expected).enumerate() {
        let same = stored == expected || stored.is_nan() && expected.is_nan();
        assert!(same, "{what}: {stored} instead of {expected} at {at}");
    }
}
