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
}

/// Scores logits against a label.
///
/// The label's rank counts larger logits and equal ones of earlier classes, so the first maximum wins.
/// The loss is the cross-entropy `log(sum(exp(logits))) - logits[label]`.
pub(super) fn score(logits: &[f32], label: usize) -> Score {
    let own = logits[label];
    let before = logits.iter().enumerate();
    let rank = before.filter(|(class, logit)| **logit > own || (**logit == own && *class < label)).count();
    Score { correct: rank == 0, correct_top5: rank < TOP, loss: log_sum_exp(logits) - f64::from(own) }
}

/// Returns the sums of one image.
///
/// `float` are the float network's logits and `baseline` the baseline's score of the same image.
pub(super) fn evaluation(logits: &[f32], label: usize, float: &[f32], baseline: &Score) -> Evaluation {
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
        kl_sum: divergence(float, logits),
        signal_sum: pairs().map(|(f, _)| f * f).sum(),
        noise_sum: pairs().map(|(f, l)| (f - l) * (f - l)).sum(),
    }
}

/// KL divergence of the class probabilities, `sum(p * log(p / q))`, in nats; never below zero.
fn divergence(p_logits: &[f32], q_logits: &[f32]) -> f64 {
    let (p_norm, q_norm) = (log_sum_exp(p_logits), log_sum_exp(q_logits));
    let terms = p_logits.iter().zip(q_logits).map(|(p, q)| {
        let (log_p, log_q) = (f64::from(*p) - p_norm, f64::from(*q) - q_norm);
        libm::exp(log_p) * (log_p - log_q)
    });
    // Rounding may leave a tiny negative number where both are nearly equal.
    terms.sum::<f64>().max(0.0)
}

/// `log(sum(exp(x)))`, shifted by the maximum so that nothing overflows.
fn log_sum_exp(logits: &[f32]) -> f64 {
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
        assert!((divergence(&[0.0, 0.0], &[ln3, 0.0]) - expected).abs() < 1e-7);
        assert_eq!(divergence(&[0.3, -2.0, 1.0], &[0.3, -2.0, 1.0]), 0.0);
    }

    #[test]
    fn discordant_images_count_on_one_side() {
        let right = score(&[1.0, 0.0], 0);

        let lost = evaluation(&[0.0, 1.0], 0, &[1.0, 0.0], &right);

        assert_eq!((lost.lost, lost.gained, lost.correct), (1, 0, 0));
        assert_eq!((lost.signal_sum, lost.noise_sum), (1.0, 2.0));
        assert!((lost.loss_difference_sum - 1.0).abs() < 1e-12);
    }
}
