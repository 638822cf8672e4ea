use super::Comparison;

/// What a trial is compared by: its score, or, where it recognizes less than is allowed, minus what is missing.
///
/// So what keeps the limit is always better than what does not, and of the latter what comes nearest. A score below nothing,
/// which a very strict goal can give, counts as nothing beside a limit.
/// Units: shares of the images.
pub fn objective(size: &Comparison, accuracy: f64, least: Option<f64>) -> f64 {
    match least {
        Some(least) if accuracy < least => accuracy - least,
        Some(_) => f64::from(size.score(accuracy)).max(0.0),
        None => f64::from(size.score(accuracy)),
    }
}

/// Returns the index of the highest of these values, the first of equal ones; what is no number counts as none.
pub fn best(values: impl IntoIterator<Item = Option<f64>>) -> Option<usize> {
    let numbers = values.into_iter().enumerate().filter_map(|(index, value)| Some((index, value?)));
    let numbers = numbers.filter(|(_, value)| !value.is_nan());
    numbers.reduce(|best, other| if other.1 > best.1 { other } else { best }).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_the_first_of_the_highest_numbers() {
        assert_eq!(best([Some(f64::NAN), None, Some(0.5), Some(0.7), Some(0.7)]), Some(3));
        assert_eq!(best([None, Some(f64::NAN)]), None);
    }

    #[test]
    fn what_keeps_the_limit_is_better_than_what_does_not() {
        let of = |trial: f64, delta: f64| Comparison { reference: 8.0, trial, delta, total_factor: 0.0 };
        let (large, small) = (of(8.0, 0.0), of(1.0, 0.24));

        let kept = objective(&large, 0.80, Some(0.80));
        assert_eq!(kept, f64::from(0.80_f32));
        assert!(objective(&small, 0.79, Some(0.80)) < kept);
        assert!(objective(&small, 0.78, Some(0.80)) < objective(&large, 0.79, Some(0.80)));
        assert!(objective(&small, 0.79, None) > kept);
        let strict = of(16.0, -1.5);
        assert!(objective(&strict, 0.81, None) < 0.0);
        assert!(objective(&strict, 0.81, Some(0.80)) > objective(&small, 0.79, Some(0.80)));
    }
}
