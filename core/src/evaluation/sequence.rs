//! A confidence sequence for the drop of top-1 over `N` images, of which a growing sample is measured.
//!
//! The images are in random order, so the first `n` are drawn without replacement from a population with `L` lost and
//! `G` gained images. Under given `(L, G)` the counts of the sample are multivariate hypergeometric; let `h` be their
//! probability, and `m` their probability under a prior over `(L, G)`. The ratio of prior to posterior at `(L, G)` is
//! `m / h`; it starts at 1 and is a nonnegative martingale under the true `(L, G)`, so by Ville's inequality it reaches
//! `1 / alpha` at any time at all with a probability of at most `alpha`. The pairs at which it has not are a confidence
//! set at all times together, whatever the prior and whenever the measuring stops. At `n = N` it is a single pair.
//!
//! Source: Waudby-Smith and Ramdas, "Confidence sequences for sampling without replacement", NeurIPS 2020: the
//! prior-posterior-ratio martingale, for which they propose Dirichlet-multinomial priors where there are several
//! categories. The prior is left to the user there; ours is `PRIOR`, a mixture.

use super::PPM;

/// Weight and Dirichlet parameters for lost, gained and other images of the components of the prior.
///
/// A prior only decides how narrow the intervals are. Most configs of a sweep disagree with the baseline on a few
/// percent of the images, about as often for better as for worse: that is the first component. The others are for
/// configs that hardly ever disagree, and for those that break the network. A component of weight `w` needs as much
/// evidence more as `ln(1 / w)` is beside `ln(1 / alpha)`: a tenth for the first one.
const PRIOR: [(f64, [f64; 3]); 3] =
    [(0.7, [1.0, 1.0, 100.0]), (0.2, [1.0, 1.0, 1_000.0]), (0.1, [1.0, 1.0, 4.0])];

/// Factorials that are kept; those of larger numbers are computed each time.
const TABLE: u64 = 1 << 16;

/// Where `lost - gained` over all images lies, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropBounds {
    /// The smallest value.
    pub low: i64,
    /// The largest value.
    pub high: i64,
}

impl DropBounds {
    /// All that so many images could give.
    pub fn any(images: u64) -> Self {
        let images = signed(images);
        Self { low: -images, high: images }
    }

    /// What both allow. Where nothing is left, one of the two missed the truth, which only happens as rarely as the
    /// confidence says; then the newer one, which saw more images.
    pub fn narrowed(self, newer: Self) -> Self {
        let both = Self { low: self.low.max(newer.low), high: self.high.min(newer.high) };
        if both.low <= both.high { both } else { newer }
    }
}

/// The confidence sequence for a number of images and a confidence.
#[derive(Clone, Debug)]
pub struct DropSequence {
    images: i64,
    ln_alpha: f64,
    /// `ln(k!)` for k up to the number of images, or up to [`TABLE`].
    ln_factorials: Vec<f64>,
}

impl DropSequence {
    /// Makes the sequence for samples from `images` images, of whom the bounds hold with this confidence.
    pub fn new(images: u64, confidence_ppm: u32) -> Self {
        let alpha = f64::from(PPM.saturating_sub(confidence_ppm)) / f64::from(PPM);
        let mut sum = 0.0;
        let ln_factorial = |k: u64| {
            sum += libm::log(k.max(1) as f64);
            sum
        };
        let ln_factorials = (0..=images.min(TABLE)).map(ln_factorial).collect();
        Self { images: signed(images), ln_alpha: libm::log(alpha), ln_factorials }
    }

    /// How many images there are.
    pub fn images(&self) -> u64 {
        self.images.unsigned_abs()
    }

    /// The smallest and the largest `lost - gained` over all images that a sample of `n` leaves open.
    ///
    /// Panics: `lost + gained > n`, or `n` is more than there are.
    pub fn bounds(&self, lost: u64, gained: u64, n: u64) -> DropBounds {
        assert!(lost + gained <= n && n <= self.images(), "a sample is part of the images");
        if n == self.images() {
            let drop = signed(lost) - signed(gained);
            return DropBounds { low: drop, high: drop };
        }
        let sample = Sample { lost: signed(lost), gained: signed(gained), same: signed(n - lost - gained) };
        let threshold = self.ln_marginal(sample) + self.ln_alpha;
        self.search(sample, threshold)
    }

    /// `ln C(n, k)`.
    fn ln_choose(&self, n: i64, k: i64) -> f64 {
        if n as usize >= self.ln_factorials.len() {
            let fewer = k.min(n - k);
            return ln_falling(n as f64, fewer as f64) - self.ln_factorial(fewer);
        }
        self.ln_factorial(n) - self.ln_factorial(k) - self.ln_factorial(n - k)
    }

    fn ln_factorial(&self, k: i64) -> f64 {
        self.ln_factorials.get(k as usize).copied().unwrap_or_else(|| ln_gamma(k as f64 + 1.0))
    }

    /// The probability of the sample's counts under the prior.
    fn ln_marginal(&self, sample: Sample) -> f64 {
        let counts = [sample.lost, sample.gained, sample.same];
        let n: i64 = counts.iter().sum();
        let arrangements =
            self.ln_factorial(n) - counts.iter().map(|count| self.ln_factorial(*count)).sum::<f64>();
        let components = PRIOR.map(|(weight, parameters)| {
            let total: f64 = parameters.iter().sum();
            let rising: f64 = parameters.iter().zip(counts).map(|(a, count)| ln_rising(*a, count)).sum();
            libm::log(weight) + rising - ln_rising(total, n)
        });
        let largest = components.into_iter().fold(f64::NEG_INFINITY, f64::max);
        arrangements + largest + libm::log(components.map(|ln| libm::exp(ln - largest)).iter().sum::<f64>())
    }

    /// Finds the ends of the set of pairs whose `ln h` is above `threshold`.
    ///
    /// `ln h` is a sum of concave functions of `L`, of `G` and of `L + G`. Interpolated linearly between whole numbers,
    /// its maximum over a line `L - G = d` is concave in `d`, and is reached where `L` is whole or half a whole number.
    /// So that maximum is searched by bisection; a value of `d` that only a half number reaches is then passed over.
    fn search(&self, sample: Sample, threshold: f64) -> DropBounds {
        let lowest = sample.lost - (self.images - sample.same - sample.lost);
        let highest = (self.images - sample.same - sample.gained) - sample.gained;
        let line = |d: i64| self.along(sample, d);
        let top = first(lowest, highest, |d| line(d + 1).any <= line(d).any);
        let mut high = first(top, highest, |d| line(d + 1).any <= threshold);
        while high > top && line(high).whole <= threshold {
            high -= 1;
        }
        // The first value above the threshold, looking up from the lowest.
        let mut low = first(lowest, top, |d| line(d).any > threshold);
        while low < top && line(low).whole <= threshold {
            low += 1;
        }
        DropBounds { low, high }
    }

    /// The largest `ln h` of the pairs with `L - G = d`.
    fn along(&self, sample: Sample, d: i64) -> Line {
        let least = sample.lost.max(sample.gained + d);
        let most = (self.images - sample.same + d).div_euclid(2);
        if least > most {
            return Line { whole: f64::NEG_INFINITY, any: f64::NEG_INFINITY };
        }
        let n = sample.lost + sample.gained + sample.same;
        let samples = self.ln_choose(self.images, n);
        let lost = |l: i64| self.ln_choose(l, sample.lost);
        let gained = |g: i64| self.ln_choose(g, sample.gained);
        let same = |others: i64| self.ln_choose(others, sample.same) - samples;
        let whole = |l: i64| lost(l) + gained(l - d) + same(self.images - 2 * l + d);
        let best = first(least, most, |l| whole(l + 1) <= whole(l));
        // Half way to the next pair, where the others are one fewer; that next pair itself may take one too many.
        let between = |l: i64| {
            let ends = lost(l) + lost(l + 1) + gained(l - d) + gained(l + 1 - d);
            ends / 2.0 + same(self.images - 2 * l - 1 + d)
        };
        let room = (self.images - sample.same + d - 1).div_euclid(2);
        let halves = (best - 1).max(least)..=best.min(room);
        let top = whole(best);
        Line { whole: top, any: halves.map(between).fold(top, f64::max) }
    }
}

/// Counts of a sample.
#[derive(Clone, Copy)]
struct Sample {
    lost: i64,
    gained: i64,
    same: i64,
}

/// The largest value on a line, over whole numbers and over half numbers too.
struct Line {
    whole: f64,
    any: f64,
}

/// The first number in `low..high` at which `is_past` holds, else `high`; it holds from some number on.
fn first(mut low: i64, mut high: i64, is_past: impl Fn(i64) -> bool) -> i64 {
    while low < high {
        let middle = low + (high - low).div_euclid(2);
        if is_past(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// `ln (a (a + 1) ... (a + k - 1))`.
fn ln_rising(a: f64, k: i64) -> f64 {
    ln_gamma(a + k as f64) - ln_gamma(a)
}

/// `ln (n (n - 1) ... (n - k + 1))` for a large `n` and `k` up to its half.
///
/// The difference of two logarithms of factorials, written so that their large common part is never there: it would
/// leave less than the steps between neighbouring pairs.
fn ln_falling(n: f64, k: f64) -> f64 {
    let rest = n - k;
    k * libm::log(n) - (rest + 0.5) * libm::log1p(-k / n) - k + stirling_tail(n) - stirling_tail(rest)
}

/// `ln Gamma(x)` for `x > 0`, to about 1e-13 of its size.
///
/// Source: Stirling's series, with the argument raised to where four terms are enough (Abramowitz and Stegun, 6.1.41).
fn ln_gamma(mut x: f64) -> f64 {
    const LARGE: f64 = 15.0;
    let mut below = 0.0;
    while x < LARGE {
        below += libm::log(x);
        x += 1.0;
    }
    (x - 0.5) * libm::log(x) - x + 0.5 * libm::log(std::f64::consts::TAU) + stirling_tail(x) - below
}

/// The terms of Stirling's series that fall with `x`, from 15 on.
fn stirling_tail(x: f64) -> f64 {
    let inverse = 1.0 / x;
    let square = inverse * inverse;
    inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square * (1.0 / 1680.0))))
}

/// Numbers of images fit: a plan has fewer by far.
fn signed(count: u64) -> i64 {
    i64::try_from(count).expect("there are fewer than 2^63 images")
}
