use rayon::prelude::*;

use super::groups::Groups;
use crate::kernels::cuda::{FittedMap, Found as FoundByGroup, Map};

/// Values that a thread takes at a time.
const BLOCK: usize = 1 << 14;

/// How one value is mapped, given what its group has found.
pub(super) trait Element: Send + Sync {
    /// What a group has found.
    type At: Copy + Send + Sync;

    /// The quantized value; `draws` are 0 where nothing is drawn.
    fn value(&self, at: Self::At, x: f32, draws: [f32; 2]) -> f32;

    /// The derivative that is passed on.
    fn slope(&self, at: Self::At, x: f32) -> f32;

    /// The same map for a GPU: its family and numbers, without the groups.
    fn map(&self) -> Map;

    /// What a group has found, as a GPU is told.
    fn found(at: Self::At) -> FoundByGroup;
}

/// A map over slices.
pub(super) trait Pass: Send + Sync {
    /// Writes the quantized values.
    fn forward(&self, x: &[f32], y: &mut [f32]);

    /// Writes the gradient to the values.
    fn backward(&self, x: &[f32], gradient: &[f32], passed: &mut [f32]);

    /// The same for a GPU.
    fn map(&self) -> FittedMap<'_>;
}

/// An element's map with what the groups have found, and the draws for each value, if any.
pub(super) struct Placed<E: Element> {
    pub(super) element: E,
    pub(super) groups: Groups,
    pub(super) found: Vec<E::At>,
    pub(super) draws: Vec<Vec<f32>>,
}

impl<E: Element> Placed<E> {
    /// Calls `map` with every run of values that share a group, as places in `start..`, or with runs of one period if
    /// neighbours differ.
    fn runs(&self, x: &[f32], mut map: impl FnMut(std::ops::Range<usize>, Found<'_, E::At>)) {
        let Groups { inner, count, .. } = self.groups;
        if count == 1 {
            return map(0..x.len(), Found::One(self.found[0]));
        }
        let period = if inner == 1 { count } else { inner };
        for (run, start) in (0..x.len()).step_by(period.max(1)).enumerate() {
            let places = start..x.len().min(start + period);
            match inner {
                1 => map(places, Found::Each(&self.found)),
                _ => map(places, Found::One(self.found[run % count])),
            }
        }
    }

    /// Values of a block: whole periods, so that every block begins with the first group.
    fn block(&self) -> usize {
        let period = (self.groups.inner * self.groups.count).max(1);
        if self.groups.count == 1 { BLOCK } else { period * BLOCK.div_ceil(period) }
    }

    fn drawn(&self, x: &[f32], y: &mut [f32], first: usize) {
        let draw =
            |tensor: usize, place: usize| self.draws.get(tensor).map_or(0.0, |draws| draws[first + place]);
        self.runs(x, |places, found| {
            for (index, place) in places.enumerate() {
                let draws = [draw(0, place), draw(1, place)];
                y[place] = self.element.value(found.at(index), x[place], draws);
            }
        });
    }

    fn undrawn(&self, x: &[f32], y: &mut [f32]) {
        self.runs(x, |places, found| {
            let (x, y) = (&x[places.clone()], &mut y[places]);
            found.map(x.iter().zip(y), |at, (x, y)| *y = self.element.value(at, *x, [0.0; 2]));
        });
    }
}

/// What the values of a run have found.
#[derive(Clone, Copy)]
enum Found<'a, A> {
    One(A),
    Each(&'a [A]),
}

impl<A: Copy> Found<'_, A> {
    #[inline(always)]
    fn at(self, index: usize) -> A {
        match self {
            Self::One(at) => at,
            Self::Each(found) => found[index],
        }
    }

    #[inline(always)]
    fn map<T>(self, items: impl Iterator<Item = T>, mut map: impl FnMut(A, T)) {
        match self {
            Self::One(at) => items.for_each(|item| map(at, item)),
            Self::Each(found) => found.iter().zip(items).for_each(|(at, item)| map(*at, item)),
        }
    }
}

impl<E: Element> Pass for Placed<E> {
    fn forward(&self, x: &[f32], y: &mut [f32]) {
        let block = self.block();
        let blocks = x.par_chunks(block).zip(y.par_chunks_mut(block)).enumerate();
        blocks.for_each(|(index, (x, y))| match self.draws.is_empty() {
            true => self.undrawn(x, y),
            false => self.drawn(x, y, index * block),
        });
    }

    fn backward(&self, x: &[f32], gradient: &[f32], passed: &mut [f32]) {
        let block = self.block();
        let values = x.par_chunks(block).zip(gradient.par_chunks(block));
        values.zip(passed.par_chunks_mut(block)).for_each(|((x, gradient), passed)| {
            self.runs(x, |places, found| {
                let values = x[places.clone()].iter().zip(&gradient[places.clone()]);
                found.map(values.zip(&mut passed[places]), |at, ((x, gradient), passed)| {
                    *passed = gradient * self.element.slope(at, *x);
                });
            });
        });
    }

    fn map(&self) -> FittedMap<'_> {
        let (inner, count) = (self.groups.inner as i64, self.groups.count as i64);
        let found = self.found.iter().map(|at| E::found(*at)).collect();
        FittedMap { map: Map { inner, count, ..self.element.map() }, found, draws: &self.draws }
    }
}

/// How far quantized values replace the float values they stand for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noise {
    factor: f32,
    /// Whether the whole gradient passes, whatever the factor is.
    straight: bool,
}

impl Noise {
    /// Quantized values alone.
    pub(super) const FULL: Self = Self { factor: 1.0, straight: true };

    pub(super) fn new(factor: f64, straight: bool) -> Self {
        Self { factor: factor as f32, straight }
    }

    /// Returns `float + factor (quantized - float)`, with the rounding of each of the three operations: where the two
    /// differ much in size, the result is not quite the quantized value, in QKeras as here.
    #[inline(always)]
    pub(super) fn mix(self, float: f32, quantized: f32) -> f32 {
        if self.straight {
            float + self.factor * (quantized - float)
        } else {
            (1.0 - self.factor) * float + self.factor * quantized
        }
    }

    /// The same for a GPU.
    pub(super) fn of(self, map: Map) -> Map {
        Map { noise: self.factor, straight: i32::from(self.straight), ..map }
    }

    /// The derivative with respect to the float value.
    #[inline(always)]
    pub(super) fn slope(self) -> f32 {
        if self.straight { 1.0 } else { 1.0 - self.factor }
    }
}
