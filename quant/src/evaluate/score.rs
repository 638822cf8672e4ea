//! What the logits of an image say, in f64, by functions that give the same bits on every machine.

use bitloop_core::trial::Evaluation;

/// Ranks below this count as "among the five largest".
const TOP: usize = 5;

/// Right or wrong, and how badly, for one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Score {
    pub(super) correct: bool,
    correct_top5: bool,
    loss: f64,
    /// [`log_sum_exp`] of the logits.
    norm: f64,
}

/// What an image's logits are compared with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reference<'a> {
    /// The float network's logits, and their [`log_sum_exp`].
    pub(super) float: &'a [f32],
    pub(super) float_norm: f64,
    pub(super) baseline: &'a Score,
}

/// Scores logits against a label.
///
/// The label's rank counts larger logits and equal ones of earlier classes, so the first maximum wins.
/// The loss is the cross-entropy `log(sum(exp(logits))) - logits[label]`.
pub(super) fn score(logits: &[f32], label: usize) -> Score {
    let (rank, norm) = (rank(logits, label), log_sum_exp(logits));
    let loss = norm - f64::from(logits[label]);
    Score { correct: rank == 0, correct_top5: rank < TOP, loss, norm }
}

/// Whether no other class has a larger logit, nor an earlier one an equal one.
pub(super) fn is_correct(logits: &[f32], label: usize) -> bool {
    rank(logits, label) == 0
}

fn rank(logits: &[f32], label: usize) -> usize {
    let own = logits[label];
    let before = logits.iter().enumerate();
    before.filter(|(class, logit)| **logit > own || (**logit == own && *class < label)).count()
}

/// Returns the sums of one image, compared with the other networks' logits of the same image.
pub(super) fn evaluation(logits: &[f32], label: usize, reference: Reference<'_>) -> Evaluation {
    let Reference { float, float_norm, baseline } = reference;
    let this = score(logits, label);
    let difference = this.loss - baseline.loss;
    let pairs = || float.iter().zip(logits).map(|(f, l)| (f64::from(*f), f64::from(*l)));
    Evaluation {
        n: 1,
        correct: u64::from(this.correct),
        correct_top5: u64::from(this.correct_top5),
        lost: u64::from(baseline.correct && !this.correct),
        gained: u64::from(!baseline.correct && this.correct),
        loss_sum: this.loss,
        loss_difference_sum: difference,
        loss_difference_squares: difference * difference,
        kl_sum: divergence((float, float_norm), (logits, this.norm)),
        signal_sum: pairs().map(|(f, _)| f * f).sum(),
        noise_sum: pairs().map(|(f, l)| (f - l) * (f - l)).sum(),
    }
}

/// KL divergence of the class probabilities, `sum(p * log(p / q))`, in nats; never below zero.
///
/// Each side has its logits and their [`log_sum_exp`].
fn divergence((p_logits, p_norm): (&[f32], f64), (q_logits, q_norm): (&[f32], f64)) -> f64 {
    let terms = p_logits.iter().zip(q_logits).map(|(p, q)| {
        let (log_p, log_q) = (f64::from(*p) - p_norm, f64::from(*q) - q_norm);
        libm::exp(log_p) * (log_p - log_q)
    });
    // Rounding may leave a tiny negative number where both are nearly equal.
    terms.sum::<f64>().max(0.0)
}

/// `log(sum(exp(x)))`, shifted by the maximum so that nothing overflows.
pub(super) fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|logit| libm::exp(f64::from(*logit) - max)).sum();
    max + libm::log(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_maxima_wins() {
        assert!(score(&[1.0, 1.0, 0.0], 0).correct);
        assert!(!score(&[1.0, 1.0, 0.0], 1).correct);
        assert!(score(&[5.0, 4.0, 3.0, 2.0, 1.0, 0.0], 4).correct_top5);
        assert!(!score(&[5.0, 4.0, 3.0, 2.0, 1.0, 0.0], 5).correct_top5);
    }

    #[test]
    fn losses_and_divergences_equal_their_definitions() {
        let half = score(&[0.0, 0.0], 1);
        assert!((half.loss - 2.0_f64.ln()).abs() < 1e-15);
        assert!((score(&[1000.0, 0.0], 1).loss - 1000.0).abs() < 1e-9);

        let ln3 = 3.0_f32.ln();
        let expected = 0.5 * (0.5_f64 / 0.75).ln() + 0.5 * (0.5_f64 / 0.25).ln();
        let divergence = |p: &[f32], q: &[f32]| divergence((p, log_sum_exp(p)), (q, log_sum_exp(q)));
        assert!((divergence(&[0.0, 0.0], &[ln3, 0.0]) - expected).abs() < 1e-7);
        assert_eq!(divergence(&[0.3, -2.0, 1.0], &[0.3, -2.0, 1.0]), 0.0);
    }

    #[test]
    fn discordant_images_count_on_one_side() {
        let float = [1.0, 0.0];
        let right = score(&float, 0);
        let reference = Reference { float: &float, float_norm: log_sum_exp(&float), baseline: &right };

        let lost = evaluation(&[0.0, 1.0], 0, reference);

        assert_eq!((lost.lost, lost.gained, lost.correct), (1, 0, 0));
        assert_eq!((lost.signal_sum, lost.noise_sum), (1.0, 2.0));
        assert!((lost.loss_difference_sum - 1.0).abs() < 1e-12);
    }
}
