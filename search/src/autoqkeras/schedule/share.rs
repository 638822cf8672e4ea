//! Trials of each block.

use super::ScheduleError;

/// The least number of trials of a block in QKeras.
const QKERAS_TRIALS_MIN: f64 = 10.0;

/// `int(max(10, trials * cost / reference))`, as QKeras; the sum can be far more than `trials`.
pub(super) fn as_qkeras(trials: u32, costs: &[f64], reference: f64) -> Vec<u32> {
    let share = |cost: &f64| (f64::from(trials) * cost / reference).max(QKERAS_TRIALS_MIN) as u32;
    costs.iter().map(share).collect()
}

/// Shares trials out by cost, at least one each, so that they sum up to `trials`: by largest remainders.
///
/// Errors: `TooFewTrials`.
pub(super) fn by_cost(trials: u32, costs: &[f64]) -> Result<Vec<u32>, ScheduleError> {
    if (trials as usize) < costs.len() {
        return Err(ScheduleError::TooFewTrials { trials, blocks: costs.len() });
    }
    let mut shares = vec![1; costs.len()];
    // Those that are worth less than one trial get one; the others share what is left.
    let mut rest: Vec<usize> = (0..costs.len()).collect();
    loop {
        let quotas = quotas(trials - (costs.len() - rest.len()) as u32, costs, &rest);
        let more: Vec<usize> =
            rest.iter().zip(&quotas).filter(|(_, quota)| **quota >= 1.0).map(|(at, _)| *at).collect();
        if more.len() == rest.len() {
            round(&quotas, &rest, &mut shares);
            return Ok(shares);
        }
        rest = more;
    }
}

/// What each of `rest` is worth of so many trials; equal parts if all cost nothing.
fn quotas(trials: u32, costs: &[f64], rest: &[usize]) -> Vec<f64> {
    let total: f64 = rest.iter().map(|at| costs[*at]).sum();
    let share = |at: &usize| if total > 0.0 { costs[*at] / total } else { 1.0 / rest.len() as f64 };
    rest.iter().map(|at| f64::from(trials) * share(at)).collect()
}

/// Rounds quotas down and gives the trials left to those that lost most, the first of equal ones.
fn round(quotas: &[f64], rest: &[usize], shares: &mut [u32]) {
    let total = quotas.iter().sum::<f64>().round() as u32;
    let mut given = 0;
    for (at, quota) in rest.iter().zip(quotas) {
        shares[*at] = *quota as u32;
        given += shares[*at];
    }
    let mut by_loss: Vec<(f64, usize)> =
        rest.iter().zip(quotas).map(|(at, quota)| (quota.fract(), *at)).collect();
    by_loss.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    for (_, at) in by_loss.iter().cycle().take(total.saturating_sub(given) as usize) {
        shares[*at] += 1;
    }
}
