//! Weights in the order in which tiles read them.

#![expect(unsafe_code, reason = "cache lines are viewed as the numbers they hold")]

use super::ConvShape;
use super::depth::Depth;
use super::vector::{Floats, Product};

/// A line of cache, so that no register of weights lies in two.
#[repr(align(64))]
#[derive(Clone, Copy)]
struct Line(#[expect(dead_code, reason = "viewed as other types")] [u8; LINE]);

const LINE: usize = 64;

/// Some neighbouring output channels of a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panel {
    /// First output channel.
    pub(super) channel: usize,
    /// Output channels.
    pub(super) live: usize,
    /// Registers that hold a sum for each of them.
    pub(super) vectors: usize,
    /// Where its weights begin.
    pub(super) weights: usize,
    /// Where its sums of weights begin.
    pub(super) sums: usize,
}

/// Weights of a layer.
pub(super) struct Panels<P: Product> {
    pub(super) shape: ConvShape,
    pub(super) depth: Depth,
    /// Panels of the groups, one group after another.
    pub(super) panels: Vec<Panel>,
    weights: Lines<P::Weight>,
    sums: Lines<i32>,
}

/// Numbers whose first one begins a line of cache.
struct Lines<T> {
    lines: Vec<Line>,
    len: usize,
    kind: std::marker::PhantomData<T>,
}

impl<P: Product> Panels<P> {
    /// Lays out `weight` `(out, in / groups, rows, columns)`.
    pub(super) fn new(shape: ConvShape, weight: &[impl Copy + Into<P::Weight> + Summand]) -> Self {
        shape.check_weight(weight.len());
        let depth = Depth::new::<P>(&shape);
        let lanes = P::Floats::LANES;
        let panels = layout(&shape, P::VECTORS_MAX, lanes, depth.steps() * P::STEP);
        let width = |panel: &Panel| panel.vectors * lanes;
        let columns: usize = panels.iter().map(width).sum();
        let mut weights = Lines::<P::Weight>::zeroed(columns * depth.steps() * P::STEP);
        let mut sums = Lines::<i32>::zeroed(columns);

        let (taps, channels) = (shape.window.taps(), shape.group_channels());
        for panel in &panels {
            let (to, width) = (&mut weights.as_mut()[panel.weights..], width(panel));
            for column in 0..panel.live {
                let filter = &weight[(panel.channel + column) * shape.depth()..][..shape.depth()];
                for (place, number) in depth.order().enumerate() {
                    let Some(number) = number else { continue };
                    let (step, part) = (place / P::STEP, place % P::STEP);
                    let value = filter[number % channels * taps + number / channels];
                    to[(step * width + column) * P::STEP + part] = value.into();
                }
                sums.as_mut()[panel.sums + column] = filter.iter().map(|weight| weight.summand()).sum();
            }
        }
        Self { shape, depth, panels, weights, sums }
    }

    /// Size of the weights in memory.
    pub(super) fn bytes(&self) -> usize {
        (self.weights.lines.len() + self.sums.lines.len()) * LINE
    }

    /// Weights of a panel: per step, per column, those of the step's values.
    pub(super) fn weights(&self, panel: &Panel) -> &[P::Weight] {
        &self.weights.as_ref()[panel.weights..]
    }

    /// Sum of the weights of each column of a panel.
    pub(super) fn sums(&self, panel: &Panel) -> &[i32] {
        &self.sums.as_ref()[panel.sums..]
    }
}

/// What a weight adds to the sum of its filter's weights.
pub(super) trait Summand {
    fn summand(&self) -> i32;
}

impl Summand for i8 {
    fn summand(&self) -> i32 {
        i32::from(*self)
    }
}

impl Summand for f32 {
    /// Nothing: where values are floats, 0 stands for itself.
    fn summand(&self) -> i32 {
        0
    }
}

/// Cuts the output channels of each group into panels of nearly the same width.
fn layout(shape: &ConvShape, vectors_max: usize, lanes: usize, depth: usize) -> Vec<Panel> {
    let channels = shape.group_out_channels();
    let vectors = channels.div_ceil(lanes);
    let count = vectors.div_ceil(vectors_max);
    let mut panels = Vec::with_capacity(count * shape.groups);
    let mut columns = 0;
    for group in 0..shape.groups {
        let mut first = 0;
        for number in 0..count {
            let vectors = vectors * (number + 1) / count - vectors * number / count;
            let live = (vectors * lanes).min(channels - first);
            let channel = group * channels + first;
            panels.push(Panel { channel, live, vectors, weights: columns * depth, sums: columns });
            columns += vectors * lanes;
            first += live;
        }
    }
    panels
}

impl<T: Copy> Lines<T> {
    fn zeroed(len: usize) -> Self {
        let lines = (len * size_of::<T>()).div_ceil(LINE);
        Self { lines: vec![Line([0; LINE]); lines], len, kind: std::marker::PhantomData }
    }

    fn as_mut(&mut self) -> &mut [T] {
        // SAFETY: the lines hold `len` numbers of a kind for which all bits are valid, and are aligned for each.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

impl<T> Lines<T> {
    fn as_ref(&self) -> &[T] {
        // SAFETY: as in `as_mut`.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}
