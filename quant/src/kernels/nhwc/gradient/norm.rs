//! Batch norm over the statistics of the batch with the activation behind it, and what both do to gradients.

use super::Activation;
use super::activation::{Bend, Bent, inside};
use super::lanes::{Lined, each_line, folded, line, repeated};
use crate::kernels::nhwc::Isa;
use crate::kernels::nhwc::simd::Simd;
use crate::kernels::nhwc::taps::check_lengths;

/// Count, sum and squared distances from the mean of some values, per channel.
#[derive(Clone, Debug)]
pub(crate) struct Moments {
    count: usize,
    sums: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    /// Measures `x` `(pixels, channels)`, of which there is at least one pixel.
    ///
    /// Panics: `x` has no whole pixels.
    pub(crate) fn of(isa: Isa, x: &[f32], channels: usize) -> Self {
        let sums = channel_sums(isa, x, channels);
        let count = x.len() / channels.max(1);
        let means: Vec<f32> = sums.iter().map(|sum| (sum / count as f64) as f32).collect();
        let centers = repeated(&means);
        let mut squares = Squares { x, centers: &centers, sums: vec![0.0; line(channels)] };
        each_line(isa, (x.len(), line(channels)), &mut squares);
        let mut moments = Self { count, sums, squares: folded(&squares.sums, channels) };
        // The squares are around the rounded means.
        for (square, (sum, mean)) in moments.squares.iter_mut().zip(moments.sums.iter().zip(means)) {
            let rounding = sum / count as f64 - f64::from(mean);
            *square = (*square - count as f64 * rounding * rounding).max(0.0);
        }
        moments
    }

    /// Returns means and variances (divided by the count) of all parts together.
    pub(crate) fn together(parts: &[Self]) -> (Vec<f64>, Vec<f64>) {
        let channels = parts.first().map_or(0, |part| part.sums.len());
        let count = parts.iter().map(|part| part.count).sum::<usize>() as f64;
        let total =
            |of: fn(&Self) -> &[f64], channel: usize| parts.iter().map(|part| of(part)[channel]).sum::<f64>();
        let means: Vec<f64> =
            (0..channels).map(|channel| total(|part| &part.sums, channel) / count).collect();
        let variances = means.iter().enumerate().map(|(channel, mean)| {
            let between: f64 = parts
                .iter()
                .map(|part| {
                    let distance = part.sums[channel] / part.count as f64 - mean;
                    part.count as f64 * distance * distance
                })
                .sum();
            (total(|part| &part.squares, channel) + between) / count
        });
        let variances = variances.collect();
        (means, variances)
    }
}

/// Returns the sum over all pixels, per channel. Shapes: `x` `(pixels, channels)`.
///
/// Panics: `x` has no whole pixels.
pub(crate) fn channel_sums(isa: Isa, x: &[f32], channels: usize) -> Vec<f64> {
    check_lengths([x.len() % channels.max(1), channels.min(1)], [0, 1]);
    let mut sums = Sums { x, sums: vec![0.0; line(channels)] };
    each_line(isa, (x.len(), line(channels)), &mut sums);
    folded(&sums.sums, channels)
}

/// Zeroes the gradients `dy` where the rectified `y` is not between 0 and `upper`.
///
/// Panics: the slices have different lengths.
pub(crate) fn rectify(isa: Isa, y: &[f32], upper: f32, dy: &mut [f32]) {
    check_lengths([y.len(), y.len()], [dy.len(), y.len()]);
    let len = y.len();
    each_line(isa, (len, line(1)), &mut Rectify { y, upper, dy });
}

/// `x * scale + shift` per channel in one rounding, and then an activation.
pub(crate) struct Affine {
    scale: Vec<f32>,
    shift: Vec<f32>,
    activation: Activation,
}

impl Affine {
    /// Takes `(channels,)` scales and as many shifts.
    pub(crate) fn new(scale: &[f32], shift: &[f32], activation: Activation) -> Self {
        Self { scale: repeated(scale), shift: repeated(shift), activation }
    }

    /// Shapes: `x` and `y` `(pixels, channels)`. Panics: they have different lengths.
    pub(crate) fn run(&self, isa: Isa, x: &[f32], y: &mut [f32]) {
        check_lengths([x.len(), x.len()], [y.len(), x.len()]);
        self.activation.bend(Forward { isa, affine: self, x, y });
    }
}

/// Gradients of batch norm and activation: with `g` the gradient that the activation lets through.
pub(crate) struct NormGradient<'a> {
    /// What the forward pass did.
    pub(crate) affine: &'a Affine,
    /// `(pixels, channels)`: what went in.
    pub(crate) x: &'a [f32],
}

impl NormGradient<'_> {
    /// Returns `sum(g)` and `sum(g * (x - center))` per channel. Shapes: `dy` as `x`, `centers` `(channels,)`.
    ///
    /// Panics: the lengths differ.
    pub(crate) fn sums(&self, isa: Isa, dy: &[f32], centers: &[f32]) -> [Vec<f64>; 2] {
        check_lengths([dy.len(), line(centers.len())], [self.x.len(), self.affine.scale.len()]);
        let mut sums = [0, 1].map(|_| vec![0.0; line(centers.len())]);
        let gradient = SumsOf { isa, norm: self, dy, centers: &repeated(centers), sums: &mut sums };
        self.affine.activation.bend(gradient);
        sums.map(|sums| folded(&sums, centers.len()))
    }

    /// Replaces `dy` by `g * a + (x * b + c)`, with `[a, b, c]` `(channels,)` each.
    ///
    /// Panics: the lengths differ.
    pub(crate) fn apply(&self, isa: Isa, factors: &[Vec<f32>; 3], dy: &mut [f32]) {
        let factors = [0, 1, 2].map(|index| repeated(&factors[index]));
        let line = self.affine.scale.len();
        check_lengths([dy.len(), factors[0].len()], [self.x.len(), line]);
        self.affine.activation.bend(ApplyTo { isa, norm: self, factors: &factors, dy });
    }

    /// The gradient that the activation lets through.
    #[inline(always)]
    fn through<S: Simd>(&self, simd: S, bend: impl Bend, [place, at]: [usize; 2], dy: S::F) -> S::F {
        let Affine { scale, shift, .. } = self.affine;
        let y = simd.fma(simd.floats(self.x, place), simd.floats(scale, at), simd.floats(shift, at));
        bend.passed(simd, y, dy)
    }
}

struct Sums<'a> {
    x: &'a [f32],
    sums: Vec<f32>,
}

impl Lined for Sums<'_> {
    #[inline(always)]
    fn line<S: Simd>(&mut self, simd: S, start: usize, len: usize) {
        let mut at = 0;
        while at < len {
            let sum = simd.add(simd.floats(&self.sums, at), simd.floats(self.x, start + at));
            simd.put(&mut self.sums, at, sum);
            at += S::LANES;
        }
    }
}

struct Squares<'a> {
    x: &'a [f32],
    centers: &'a [f32],
    sums: Vec<f32>,
}

impl Lined for Squares<'_> {
    #[inline(always)]
    fn line<S: Simd>(&mut self, simd: S, start: usize, len: usize) {
        let mut at = 0;
        while at < len {
            let distance = simd.sub(simd.floats(self.x, start + at), simd.floats(self.centers, at));
            let sum = simd.fma(distance, distance, simd.floats(&self.sums, at));
            simd.put(&mut self.sums, at, sum);
            at += S::LANES;
        }
    }
}

struct Rectify<'a> {
    y: &'a [f32],
    upper: f32,
    dy: &'a mut [f32],
}

impl Lined for Rectify<'_> {
    #[inline(always)]
    fn line<S: Simd>(&mut self, simd: S, start: usize, len: usize) {
        let mut at = start;
        while at < start + len {
            let dy = simd.floats(self.dy, at);
            simd.put(self.dy, at, inside(simd, simd.floats(self.y, at), [0.0, self.upper], dy));
            at += S::LANES;
        }
    }
}

struct Forward<'a> {
    isa: Isa,
    affine: &'a Affine,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Bent for Forward<'_> {
    fn with(self, bend: impl Bend) {
        let Self { isa, affine, x, y } = self;
        each_line(isa, (x.len(), affine.scale.len()), &mut Apply { affine, bend, x, y });
    }
}

struct Apply<'a, B> {
    affine: &'a Affine,
    bend: B,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl<B: Bend> Lined for Apply<'_, B> {
    #[inline(always)]
    fn line<S: Simd>(&mut self, simd: S, start: usize, len: usize) {
        let Affine { scale, shift, .. } = self.affine;
        let mut at = 0;
        while at < len {
            let x = simd.floats(self.x, start + at);
            let y = simd.fma(x, simd.floats(scale, at), simd.floats(shift, at));
            simd.put(self.y, start + at, self.bend.value(simd, y));
            at += S::LANES;
        }
    }
}

struct SumsOf<'a> {
    isa: Isa,
    norm: &'a NormGradient<'a>,
    dy: &'a [f32],
    centers: &'a [f32],
    sums: &'a mut [Vec<f32>; 2],
}

impl Bent for SumsOf<'_> {
    fn with(self, bend: impl Bend) {
        let Self { isa, norm, dy, centers, sums } = self;
        let extents = (dy.len(), centers.len());
        each_line(isa, extents, &mut GradientSums { norm, bend, dy, centers, sums });
    }
}

struct GradientSums<'a, B> {
    norm: &'a NormGradient<'a>,
    bend: B,
    dy: &'a [f32],
    centers: &'a [f32],
    sums: &'a mut [Vec<f32>; 2],
}

impl<B: Bend> Lined for GradientSums<'_, B> {
    #[inline(always)]
    fn line<S: Simd>(&mut self, simd: S, start: usize, len: usize) {
        let [sums, products] = self.sums;
        let mut at = 0;
        while at < len {
            let g = self.norm.through(simd, self.bend, [start + at, at], simd.floats(self.dy, start + at));
            let x = simd.sub(simd.floats(self.norm.x, start + at), simd.floats(self.centers, at));
            let sum = simd.add(simd.floats(sums, at), g);
            simd.put(sums, at, sum);
            let product = simd.fma(g, x, simd.floats(products, at));
            simd.put(products, at, product);
            at += S::LANES;
        }
    }
}

struct ApplyTo<'a> {
    isa: Isa,
    norm: &'a NormGradient<'a>,
    factors: &'a [Vec<f32>; 3],
    dy: &'a mut [f32],
}

impl Bent for ApplyTo<'_> {
    fn with(self, bend: impl Bend) {
        let Self { isa, norm, factors, dy } = self;
        each_line(isa, (dy.len(), factors[0].len()), &mut GradientApply { norm, bend, factors, dy });
    }
}

struct GradientApply<'a, B> {
    norm: &'a NormGradient<'a>,
    bend: B,
    factors: &'a [Vec<f32>; 3],
    dy: &'a mut [f32],
}

impl<B: Bend> Lined for GradientApply<'_, B> {
    #[inline(always)]
    fn line<S: Simd>(&mut self, simd: S, start: usize, len: usize) {
        let [a, b, c] = self.factors;
        let mut at = 0;
        while at < len {
            let g = self.norm.through(simd, self.bend, [start + at, at], simd.floats(self.dy, start + at));
            let x = simd.floats(self.norm.x, start + at);
            let rest = simd.fma(x, simd.floats(b, at), simd.floats(c, at));
            simd.put(self.dy, start + at, simd.fma(g, simd.floats(a, at), rest));
            at += S::LANES;
        }
    }
}
