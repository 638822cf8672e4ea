use super::Comparison;

/// What a trial is compared by: its score, or, where it recognizes less than is allowed, minus what is missing.
///
/// So what keeps the limit is always better than what does not, and of the latter what comes nearest.
/// Units: shares of the images.
pub fn objective(size: &Comparison, accuracy: f64, least: Option<f64>) -> f64 {
    match least {
        Some(least) if accuracy < least => accuracy - least,
        Some(_) | None => f64::from(size.score(accuracy)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_the_limit_is_better_than_what_does_not() {
        let of = |trial: f64, delta: f64| Comparison { reference: 8.0, trial, delta, total_factor: 0.0 };
        let (large, small) = (of(8.0, 0.0), of(1.0, 0.24));

        let kept = objective(&large, 0.80, Some(0.80));
        assert_eq!(kept, f64::from(0.80_f32));
        assert!(objective(&small, 0.79, Some(0.80)) < kept);
        assert!(objective(&small, 0.78, Some(0.80)) < objective(&large, 0.79, Some(0.80)));
        assert!(objective(&small, 0.79, None) > kept);
    }
}
