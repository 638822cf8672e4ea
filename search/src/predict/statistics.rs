//! How well predictions agree with measurements: the figures that tables of predictors show.

/// Pearson's correlation; 0 where one side is constant.
///
/// Formula: `cov(a, b) / sqrt(var(a) var(b))`.
pub fn pearson(a: &[f64], b: &[f64]) -> f64 {
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut both, mut square_a, mut square_b) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        both += (a - mean_a) * (b - mean_b);
        square_a += (a - mean_a) * (a - mean_a);
        square_b += (b - mean_b) * (b - mean_b);
    }
    if square_a > 0.0 && square_b > 0.0 { both / (square_a * square_b).sqrt() } else { 0.0 }
}

/// Spearman's rank correlation: Pearson's of the ranks, ties at their mean rank.
pub fn spearman(a: &[f64], b: &[f64]) -> f64 {
    pearson(&ranks(a), &ranks(b))
}

/// The root of the mean squared difference.
pub fn rmse(predicted: &[f64], measured: &[f64]) -> f64 {
    let squares = predicted.iter().zip(measured).map(|(p, m)| (p - m) * (p - m));
    (squares.sum::<f64>() / predicted.len() as f64).sqrt()
}

/// The share of the measured variance that predictions explain: `1 - sum (p - m)^2 / sum (m - mean)^2`.
pub fn r2(predicted: &[f64], measured: &[f64]) -> f64 {
    let mean = mean(measured);
    let rest: f64 = predicted.iter().zip(measured).map(|(p, m)| (p - m) * (p - m)).sum();
    1.0 - rest / measured.iter().map(|m| (m - mean) * (m - mean)).sum::<f64>()
}

/// The mean, over groups of at least six, of Pearson's correlation within the group.
///
/// With sizes of subsets as groups it leaves out the easy part of predicting losses, that more changes cost more.
pub fn pearson_within(groups: &[usize], predicted: &[f64], measured: &[f64]) -> f64 {
    let mut sorted: Vec<usize> = groups.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut found = Vec::new();
    for group in sorted {
        let of = |values: &[f64]| -> Vec<f64> {
            values.iter().zip(groups).filter(|(_, other)| **other == group).map(|(value, _)| *value).collect()
        };
        let (predicted, measured) = (of(predicted), of(measured));
        if predicted.len() >= 6 {
            found.push(pearson(&predicted, &measured));
        }
    }
    mean(&found)
}

/// The mean; 0 of nothing.
pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / (values.len() as f64).max(1.0)
}

/// The standard deviation with `n - 1`; 0 of fewer than two.
pub(crate) fn deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    (squares / (values.len() as f64 - 1.0).max(1.0)).sqrt()
}

/// The quantile with linear interpolation between order statistics; 0 of nothing.
///
/// Formula: position `share (n - 1)` in ascending order. Source: Hyndman and Fan, "Sample Quantiles in Statistical
/// Packages", 1996, definition 7.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let position = share * last as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (position - below as f64) * (sorted[above] - sorted[below])
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let tied = order[start..].iter().take_while(|index| values[**index] == values[order[start]]).count();
        for index in &order[start..start + tied] {
            ranks[*index] = start as f64 + (tied as f64 - 1.0) / 2.0;
        }
        start += tied;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_share_their_rank() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 0.0]), [2.5, 1.0, 2.5, 0.0]);
    }

    #[test]
    fn correlations_within_groups_do_not_see_what_groups_differ_by() {
        let groups: Vec<usize> = (0..12).map(|index| index / 6).collect();
        let measured: Vec<f64> =
            (0..12).map(|index| f64::from(index % 6) + 100.0 * f64::from(index / 6)).collect();
        let predicted: Vec<f64> = measured.iter().map(|m| if *m < 50.0 { *m } else { 300.0 - m }).collect();

        assert!(pearson(&predicted, &measured) > 0.99);
        assert!(pearson_within(&groups, &predicted, &measured).abs() < 1e-12);
    }

    #[test]
    fn quantiles_lie_between_order_statistics() {
        assert_eq!(quantile(&[4.0, 1.0, 2.0], 0.75), 3.0);
        assert_eq!(quantile(&[4.0, 1.0, 3.0, 2.0], 0.75), 3.25);
        assert_eq!((quantile(&[1.0, 2.0], 0.0), quantile(&[1.0, 2.0], 1.0)), (1.0, 2.0));
        assert_eq!(quantile(&[], 0.5), 0.0);
    }
}
