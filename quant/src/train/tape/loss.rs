//! Cross-entropy and its gradient, and how well logits name their labels.

/// What the logits should say.
pub(in crate::train) struct Targets<'a> {
    /// Class of each image.
    pub(in crate::train) labels: &'a [usize],
    pub(in crate::train) classes: usize,
    /// Share of the target that is spread over all classes.
    pub(in crate::train) smoothing: f64,
}

/// Returns the mean cross-entropy and its gradient to the logits `(images, classes)`.
///
/// In f64 with exponentials that are the same on every machine.
pub(in crate::train) fn cross_entropy(logits: &[f32], targets: &Targets<'_>) -> (f64, Vec<f32>) {
    let images = targets.labels.len().max(1) as f64;
    let everywhere = targets.smoothing / targets.classes as f64;
    let mut loss = 0.0;
    let mut gradient = Vec::with_capacity(logits.len());
    for (row, label) in logits.chunks_exact(targets.classes.max(1)).zip(targets.labels) {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f64> =
            row.iter().map(|logit| libm::exp(f64::from(*logit) - f64::from(largest))).collect();
        let sum: f64 = powers.iter().sum();
        let log_sum = f64::from(largest) + libm::log(sum);
        for (class, (logit, power)) in row.iter().zip(powers).enumerate() {
            let target = everywhere + if class == *label { 1.0 - targets.smoothing } else { 0.0 };
            loss -= target * (f64::from(*logit) - log_sum);
            gradient.push(((power / sum - target) / images) as f32);
        }
    }
    (loss / images, gradient)
}

/// Returns how many rows of logits `(images, classes)` have their first largest value at the label, and the sum of their
/// cross-entropies, in nats, without smoothing.
pub(in crate::train) fn judge(logits: &[f32], targets: &Targets<'_>) -> (u64, f64) {
    let (mut correct, mut loss_sum) = (0, 0.0);
    for (row, label) in logits.chunks_exact(targets.classes.max(1)).zip(targets.labels) {
        let first_largest = (0..row.len()).rev().max_by(|a, b| row[*a].total_cmp(&row[*b]));
        correct += u64::from(first_largest == Some(*label));
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|logit| libm::exp(f64::from(*logit) - f64::from(largest))).sum();
        loss_sum += f64::from(largest) - f64::from(row[*label]) + libm::log(sum);
    }
    (correct, loss_sum)
}
