/// Counting tables that values go to in turn: successive equal values, such as zeros behind a rectifier, would
/// otherwise each wait for the count before.
const TABLES: usize = 4;

/// How finely values are counted, and how far a histogram may grow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shape {
    /// Number of bins.
    pub(super) bins: usize,
    /// By how many widths of the first batch's range the range may grow in all, one half on each side.
    pub(super) growth: f32,
}

/// Counts of values in bins of equal width, over the range of all batches as far as it may grow.
///
/// Source: AIMET's histogram observer, `/design/methods/aimet_and_demotion.md` section 2.3; golden data.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Histogram {
    lo: f32,
    hi: f32,
    /// How far the ends may move.
    limits: (f32, f32),
    counts: Vec<u64>,
}

/// The parts of a histogram, as files hold them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parts {
    pub(crate) range: (f32, f32),
    pub(crate) limits: (f32, f32),
    pub(crate) counts: Vec<u64>,
}

impl Histogram {
    /// Counts a first batch, whose smallest and largest value are `range`.
    pub(super) fn new(shape: Shape, values: &[f32], (min, max): (f32, f32)) -> Self {
        let (lo, hi) = if min == max { (min - 0.5, max + 0.5) } else { (min, max) };
        let reach = shape.growth / 2.0 * (hi - lo);
        let mut histogram = Self { lo, hi, limits: (lo - reach, hi + reach), counts: vec![0; shape.bins] };
        histogram.count(values);
        histogram
    }

    /// Counts a later batch, whose smallest and largest value are `range`.
    pub(super) fn add(&mut self, values: &[f32], (min, max): (f32, f32)) {
        let lo = self.lo.min(min).max(self.limits.0);
        let hi = self.hi.max(max).min(self.limits.1);
        if lo < self.lo || hi > self.hi {
            self.rebin(lo, hi);
        }
        self.count(values);
    }

    /// Values outside of the range go to the end bins.
    fn count(&mut self, values: &[f32]) {
        let (lo, hi) = (self.lo, self.hi);
        let (bins, last) = (self.counts.len() as f32, self.counts.len() - 1);
        let bin = |value: f32| {
            let value = if value < lo { lo } else { value };
            let value = if value > hi { hi } else { value };
            (((value - lo) * bins / (hi - lo)) as usize).min(last)
        };
        // A table of 32 bits never overflows on so few values.
        for values in values.chunks(u32::MAX as usize) {
            let mut tables = vec![[0_u32; TABLES]; self.counts.len()];
            for values in values.chunks(TABLES) {
                for (table, value) in values.iter().enumerate() {
                    tables[bin(*value)][table] += 1;
                }
            }
            for (count, tables) in self.counts.iter_mut().zip(&tables) {
                *count += tables.iter().map(|count| u64::from(*count)).sum::<u64>();
            }
        }
    }

    /// Spreads the counts over a wider range: each old bin goes to the new bin of its left edge, but for the share
    /// that lies beyond that bin's right edge, which goes to the next.
    fn rebin(&mut self, lo: f32, hi: f32) {
        let bins = self.counts.len();
        let (old_width, new_width) = ((self.hi - self.lo) / bins as f32, (hi - lo) / bins as f32);
        let index = |edge: f32| (((edge - lo) / new_width).floor().max(0.0) as usize).min(bins - 1);
        let mut counts = vec![0; bins];
        for (bin, &count) in self.counts.iter().enumerate() {
            let left = self.lo + old_width * bin as f32;
            let first = index(left);
            let right = lo + new_width * (first + 1) as f32;
            let inside = (f64::from((right - left) / old_width) * count as f64).round_ties_even() as u64;
            let inside = inside.min(count);
            counts[first] += inside;
            counts[index(left + new_width)] += count - inside;
        }
        *self = Self { lo, hi, limits: self.limits, counts };
    }

    /// Lower and upper edge.
    pub(super) fn range(&self) -> (f32, f32) {
        (self.lo, self.hi)
    }

    /// Counts of the bins.
    pub(super) fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Left edge of a bin, or the upper edge for the one behind the last.
    pub(super) fn edge(&self, bin: usize) -> f32 {
        self.lo + (self.hi - self.lo) / self.counts.len() as f32 * bin as f32
    }

    /// Returns the range that leaves out the values beyond a percentile at either end.
    ///
    /// The ends are left edges of the first bins where the cumulated count reaches the shares `1 - p` and `p`.
    pub(super) fn percentile(&self, parts_per_million: u32) -> (f32, f32) {
        const WHOLE: u128 = 1_000_000;
        let parts = u128::from(parts_per_million);
        if parts >= WHOLE {
            return (self.lo, self.hi);
        }
        let total: u128 = self.counts.iter().map(|count| u128::from(*count)).sum();
        let reached = |share: u128| {
            let mut sum = 0;
            let bin = self.counts.iter().position(|count| {
                sum += u128::from(*count);
                sum * WHOLE >= total * share
            });
            self.edge(bin.unwrap_or(self.counts.len()))
        };
        (reached(WHOLE - parts), reached(parts))
    }

    pub(crate) fn parts(&self) -> Parts {
        Parts { range: self.range(), limits: self.limits, counts: self.counts.clone() }
    }

    /// Checks and joins the parts.
    pub(super) fn from_parts(shape: Shape, parts: Parts) -> Option<Self> {
        let Parts { range: (lo, hi), limits, counts } = parts;
        let finite = lo.is_finite() && hi.is_finite() && lo < hi;
        // An unlimited histogram has infinite limits.
        let within = limits.0 <= lo && limits.1 >= hi;
        let countable = counts.iter().try_fold(0_u64, |sum, count| sum.checked_add(*count)).is_some();
        (finite && within && countable && counts.len() == shape.bins).then_some(Self {
            lo,
            hi,
            limits,
            counts,
        })
    }
}
