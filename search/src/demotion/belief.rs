//! What the measured sets let expect of all others.
//!
//! A loss is taken as a sum of a part per lowered group, a part per pair of lowered groups and noise, all normal: a
//! Gaussian process whose kernel counts the members and the pairs that two sets share. Pairs matter less the farther
//! apart they stand in the model, as the inverse square of their distance, and not at all beyond [`REACH`]; what
//! groups far apart do to each other is left to the noise. How strong pairs and noise are beside single groups is
//! what makes the measured losses most likely, of a few ratios.
//!
//! Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, algorithm 2.1 (expectation,
//! variance and likelihood by a Cholesky factor).

use super::set::Set;

/// Pairs farther apart than this do not interact.
const REACH: usize = 8;
/// Standard deviations of pairs next to each other that are tried, beside that of single groups.
const PAIR_RATIOS: [f64; 4] = [0.1, 0.3, 1.0, 2.0];
/// Standard deviations of the noise that are tried, likewise.
const NOISE_RATIOS: [f64; 4] = [0.05, 0.15, 0.4, 1.0];
/// Noise that grows with the loss, as a share of it: far from none the sum no longer holds, as scores have a floor.
const RELATIVE_NOISE: f64 = 0.05;

/// A fitted expectation of losses.
pub(crate) struct Belief {
    sets: Vec<Set>,
    variances: Variances,
    /// The lower triangle of the Cholesky factor, row by row.
    factor: Vec<Vec<f64>>,
    /// Expected parts of single groups.
    one: Vec<f64>,
    /// Expected parts of pairs: of each group with those above it, by distance - 1.
    two: Vec<[f64; REACH]>,
}

#[derive(Clone, Copy)]
struct Variances {
    one: f64,
    /// Of a pair at distance 1.
    two: f64,
    noise: f64,
}

impl Variances {
    fn noise_at(&self, loss: f64) -> f64 {
        self.noise + (RELATIVE_NOISE * loss).powi(2)
    }

    fn kernel(&self, shared: (f64, f64)) -> f64 {
        self.one * shared.0 + self.two * shared.1
    }
}

/// What is expected of one set, before it is measured.
#[derive(Clone)]
pub(crate) struct Expectation {
    /// The expected loss.
    pub(crate) loss: f64,
    /// The variance of a measurement of it.
    pub(crate) variance: f64,
    noise: f64,
    /// Its kernel with what is measured, divided by the factor.
    explained: Vec<f64>,
}

impl Belief {
    /// Fits the losses of sets of `groups` groups, none twice and all finite; single groups give the scale.
    pub(crate) fn fit(groups: usize, measured: &[(Set, f64)]) -> Self {
        let (mean, deviation) = scale(groups, measured);
        let sets: Vec<Set> = measured.iter().map(|(set, _)| set.clone()).collect();
        let residuals: Vec<f64> = measured.iter().map(|(set, loss)| loss - mean * set.len() as f64).collect();
        let shared: Vec<Vec<(f64, f64)>> = (0..sets.len())
            .map(|row| sets[..=row].iter().map(|set| shared(&sets[row], set)).collect())
            .collect();
        let mut fits =
            PAIR_RATIOS.iter().flat_map(|pair| NOISE_RATIOS.iter().map(move |noise| (pair, noise)));
        let fit = |(pair, noise): (&f64, &f64)| {
            let [one, two, noise] = [1.0, *pair, *noise].map(|ratio| (ratio * deviation).powi(2));
            let variances = Variances { one, two, noise };
            let factor = factorize(&shared, |row| variances.noise_at(measured[row].1), &variances);
            let whitened = forward(&factor, residuals.clone());
            let logarithms: f64 =
                factor.iter().filter_map(|row| row.last()).map(|pivot| libm::log(*pivot)).sum();
            let likelihood = -0.5 * whitened.iter().map(|value| value * value).sum::<f64>() - logarithms;
            (likelihood, variances, factor, whitened)
        };
        let first = fits.next().map(fit).expect("there are ratios");
        // The first of equals, so that ties end the same everywhere.
        let (_, variances, factor, whitened) =
            fits.map(fit).fold(first, |best, next| if next.0 > best.0 { next } else { best });
        let weights = backward(&factor, whitened);
        let mut belief =
            Self { sets, variances, factor, one: vec![mean; groups], two: vec![[0.0; REACH]; groups] };
        belief.spread(&weights);
        belief
    }

    /// Gives the weights of the measured sets to their members and pairs.
    fn spread(&mut self, weights: &[f64]) {
        for (set, weight) in self.sets.iter().zip(weights) {
            for member in set.iter() {
                self.one[member] += self.variances.one * weight;
                for distance in 1..=REACH.min(self.two.len() - 1 - member) {
                    if set.contains(member + distance) {
                        let part = self.variances.two / (distance * distance) as f64 * weight;
                        self.two[member][distance - 1] += part;
                    }
                }
            }
        }
    }

    /// By how much the expected loss rises when `member` is lowered besides `set`.
    pub(crate) fn increase(&self, set: &Set, member: usize) -> f64 {
        let above = (1..=REACH).filter(|distance| member + distance < self.one.len());
        let above = above.filter(|distance| set.contains(member + distance));
        let below = (1..=REACH.min(member)).filter(|distance| set.contains(member - distance));
        let above: f64 = above.map(|distance| self.two[member][distance - 1]).sum();
        let below: f64 = below.map(|distance| self.two[member - distance][distance - 1]).sum();
        self.one[member] + above + below
    }

    /// The expected loss of a set.
    pub(crate) fn loss(&self, set: &Set) -> f64 {
        let mut lowered = Set::empty(self.one.len());
        let mut loss = 0.0;
        for member in set.iter() {
            loss += self.increase(&lowered, member);
            lowered = lowered.with(member);
        }
        loss
    }

    /// What is expected of a set.
    pub(crate) fn expect(&self, set: &Set) -> Expectation {
        let loss = self.loss(set);
        let kernel = self.sets.iter().map(|other| self.variances.kernel(shared(set, other)));
        let explained = forward(&self.factor, kernel.collect());
        let known: f64 = explained.iter().map(|value| value * value).sum();
        let noise = self.variances.noise_at(loss);
        let variance = (self.variances.kernel(shared(set, set)) - known).max(0.0) + noise;
        Expectation { loss, variance, noise, explained }
    }

    /// Narrows what is expected of `set`, as though `other` were measured and came out as expected.
    pub(crate) fn suppose(
        &self,
        (set, expectation): (&Set, &mut Expectation),
        (other, supposed): (&Set, &Expectation),
    ) {
        let pairs = expectation.explained.iter().zip(&supposed.explained);
        let known: f64 = pairs.map(|(a, b)| a * b).sum();
        let covariance = self.variances.kernel(shared(set, other)) - known;
        let part = covariance / supposed.variance.sqrt();
        expectation.explained.push(part);
        expectation.variance = (expectation.variance - part * part).max(expectation.noise);
    }
}

/// The mean and the standard deviation of single groups' losses; no less than all groups at once have on average.
fn scale(groups: usize, measured: &[(Set, f64)]) -> (f64, f64) {
    let singles: Vec<f64> =
        measured.iter().filter(|(set, _)| set.len() == 1).map(|(_, loss)| *loss).collect();
    let count = singles.len().max(1) as f64;
    let mean = singles.iter().sum::<f64>() / count;
    let deviation = (singles.iter().map(|loss| (loss - mean).powi(2)).sum::<f64>() / count).sqrt();
    let all = measured.iter().find(|(set, _)| set.len() == groups).map_or(0.0, |(_, loss)| loss.abs());
    (mean, deviation.max(all / groups.max(1) as f64).max(f64::EPSILON))
}

/// How many members two sets share, and how many pairs of neighbours, weighted by their distance.
fn shared(a: &Set, b: &Set) -> (f64, f64) {
    let pairs = (1..=REACH).map(|distance| a.common_pairs(b, distance) as f64 / (distance * distance) as f64);
    (a.common(b) as f64, pairs.sum())
}

/// The Cholesky factor of the measured sets' kernel with their noise.
fn factorize(
    shared: &[Vec<(f64, f64)>],
    noise: impl Fn(usize) -> f64,
    variances: &Variances,
) -> Vec<Vec<f64>> {
    let mut factor: Vec<Vec<f64>> = Vec::with_capacity(shared.len());
    for (row, counts) in shared.iter().enumerate() {
        let mut values: Vec<f64> = counts.iter().map(|count| variances.kernel(*count)).collect();
        for column in 0..row {
            let known: f64 = values[..column].iter().zip(&factor[column]).map(|(a, b)| a * b).sum();
            values[column] = (values[column] - known) / factor[column][column];
        }
        let known: f64 = values[..row].iter().map(|value| value * value).sum();
        // Never below the noise but for rounding, which must not make a root of a negative number.
        values[row] = (values[row] - known + noise(row)).max(noise(row)).sqrt();
        factor.push(values);
    }
    factor
}

/// Solves `factor x = values`.
fn forward(factor: &[Vec<f64>], mut values: Vec<f64>) -> Vec<f64> {
    for (row, parts) in factor.iter().enumerate() {
        let known: f64 = values[..row].iter().zip(parts).map(|(a, b)| a * b).sum();
        values[row] = (values[row] - known) / parts[row];
    }
    values
}

/// Solves `factor^T x = values`.
fn backward(factor: &[Vec<f64>], mut values: Vec<f64>) -> Vec<f64> {
    for row in (0..values.len()).rev() {
        values[row] /= factor[row][row];
        let value = values[row];
        for (column, part) in factor[row][..row].iter().enumerate() {
            values[column] -= part * value;
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(members: &[usize]) -> Set {
        members.iter().fold(Set::empty(6), |set, member| set.with(*member))
    }

    /// `0.01 (member + 1)` each, and 0.02 more where 2 and 3 meet.
    fn loss(set: &Set) -> f64 {
        let pair = if set.contains(2) && set.contains(3) { 0.02 } else { 0.0 };
        set.iter().map(|member| 0.01 * (member + 1) as f64).sum::<f64>() + pair
    }

    fn measured(sets: &[&[usize]]) -> Vec<(Set, f64)> {
        sets.iter().map(|members| (set(members), loss(&set(members)))).collect()
    }

    #[test]
    fn a_pair_seen_in_two_sets_is_expected_in_a_third() {
        let sets: [&[usize]; 10] =
            [&[], &[0], &[1], &[2], &[3], &[4], &[5], &[2, 3], &[0, 2, 3], &[0, 1, 2, 3, 4, 5]];
        let belief = Belief::fit(6, &measured(&sets));

        let [with, without] = [belief.expect(&set(&[2, 3, 5])), belief.expect(&set(&[1, 3, 5]))];

        assert!((with.loss - 0.15).abs() < 0.008, "{}", with.loss);
        assert!((without.loss - 0.12).abs() < 0.008, "{}", without.loss);
    }

    #[test]
    fn what_was_measured_leaves_little_but_noise_and_supposing_narrows_like_measuring() {
        let sets: [&[usize]; 8] = [&[], &[0], &[1], &[2], &[3], &[4], &[5], &[0, 1, 2, 3, 4, 5]];
        let belief = Belief::fit(6, &measured(&sets));
        let (one, other) = (set(&[0, 1, 2]), set(&[1, 2]));

        let mut supposed = belief.expect(&one);
        let before = supposed.variance;
        let noise = supposed.noise;
        let expectation = belief.expect(&other);
        belief.suppose((&one, &mut supposed), (&other, &expectation));

        assert!(before > supposed.variance && supposed.variance >= noise);
        // The same from scratch: the other set with its expected loss among the measured ones, at equal variances.
        let mut factor = belief.factor.clone();
        let mut row = expectation.explained.clone();
        row.push(expectation.variance.sqrt());
        factor.push(row);
        let kernel =
            belief.sets.iter().chain([&other]).map(|known| belief.variances.kernel(shared(&one, known)));
        let explained = forward(&factor, kernel.collect());
        let known: f64 = explained.iter().map(|value| value * value).sum();
        let expected = belief.variances.kernel(shared(&one, &one)) - known + noise;
        assert!(
            (supposed.variance - expected).abs() < 1e-12 * expected.max(1e-9),
            "{} {expected}",
            supposed.variance
        );
    }
}
