//! The learning rate at which the loss falls fastest.

use std::sync::atomic::{AtomicBool, Ordering};

use super::TrainError;
use super::session::Session;

/// Steps at most; with the shares below, 14 for each tenfold of the rate.
const STEPS_MAX: usize = 100;
/// The first and the last rate, as shares of the optimizer's.
const SHARES: [f64; 2] = [1e-6, 10.0];
/// What the smoothed loss keeps of its value at every step.
const KEPT: f64 = 0.9;
/// How many times its lowest value the smoothed loss reaches at the end.
const HOPELESS: f64 = 4.0;
/// Part of the steps over which a fall is measured, to each side.
const SIDE: usize = 20;
/// Points at the beginning that an average of so few losses says nothing at: as many as the average spans.
const UNSETTLED: usize = 10;
/// A fall counts above so many standard deviations of a single loss. Between smoothed losses ten steps apart chance makes
/// about a quarter of one, and of the hundred places that are looked at the largest is some two and a half times that.
const NOISE: f64 = 1.0;
/// What the median of distances between neighbours is of a normal deviation: 0.6745 times the root of 2.
const MEDIAN_DISTANCE: f64 = 0.954;

/// Looks for the first learning rate and leaves the network as it was; none if `stop` became true.
///
/// The rate rises geometrically from step to step over a first epoch, until the loss is far above its lowest value. Losses are
/// smoothed by an exponential average, whose start at 0 is divided out. The rate in the middle of the steepest fall is taken,
/// but none above the optimizer's, which is also the answer where nothing falls by more than the losses scatter.
///
/// Errors: those of a step.
/// Source: the range test of Smith, "Cyclical Learning Rates for Training Neural Networks", 2017, with rates that rise
/// geometrically; that the steepest fall decides is our rule.
pub(super) fn find(session: &mut Session<'_>, stop: &AtomicBool) -> Result<Option<f64>, TrainError> {
    let kept = (session.parameters.clone(), session.running.clone(), session.moments.clone());
    let found = falling(session, stop);
    (session.parameters, session.running, session.moments) = kept;
    Ok(found?.map(|share| session.course.optimizer.learning_rate() * share))
}

fn falling(session: &mut Session<'_>, stop: &AtomicBool) -> Result<Option<f64>, TrainError> {
    let batch = session.course.batch;
    let count = session.course.steps().min(STEPS_MAX);
    let order = session.course.order(0);
    let mut curve = Curve::default();
    for (step, images) in order.chunks_exact(batch).take(count).enumerate() {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let share = share(step, count);
        let loss = session.step_at(images, step, share)?;
        if !curve.add(share, loss) {
            break;
        }
    }
    Ok(Some(curve.steepest().min(1.0)))
}

/// The rate of a step, as a share of the optimizer's.
fn share(step: usize, steps: usize) -> f64 {
    let [first, last] = SHARES;
    first * libm::pow(last / first, step as f64 / (steps.max(2) - 1) as f64)
}

/// Smoothed losses by rate.
#[derive(Default)]
struct Curve {
    average: f64,
    /// Rate and smoothed loss.
    points: Vec<(f64, f64)>,
    /// As they came.
    losses: Vec<f64>,
}

impl Curve {
    /// Adds a loss; false if it is of no use to go on.
    fn add(&mut self, share: f64, loss: f64) -> bool {
        if !loss.is_finite() {
            return false;
        }
        self.losses.push(loss);
        self.average = KEPT * self.average + (1.0 - KEPT) * loss;
        let seen = 1.0 - libm::pow(KEPT, self.points.len() as f64 + 1.0);
        let smoothed = self.average / seen;
        let lowest = self.points.iter().map(|(_, loss)| *loss).fold(smoothed, f64::min);
        self.points.push((share, smoothed));
        smoothed <= HOPELESS * lowest
    }

    /// The rate at the middle of the steepest fall; 1 if there is none.
    fn steepest(&self) -> f64 {
        let side = (self.points.len() / SIDE).max(1);
        let settled = self.points.get(UNSETTLED..).unwrap_or_default();
        let falls = settled.windows(2 * side + 1).map(|window| {
            let (before, after) = (window[0].1, window[2 * side].1);
            (before - after, window[side].0)
        });
        let least = NOISE * self.scatter();
        let steepest = falls.filter(|(fall, _)| *fall > least).max_by(|a, b| a.0.total_cmp(&b.0));
        steepest.map_or(1.0, |(_, share)| share)
    }

    /// The standard deviation of losses about their course, by the median distance of neighbours, which neither the fall nor
    /// the rise at the end moves much.
    fn scatter(&self) -> f64 {
        let mut distances: Vec<f64> = self.losses.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
        distances.sort_by(f64::total_cmp);
        distances.get(distances.len() / 2).map_or(0.0, |median| median / MEDIAN_DISTANCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::rng;

    fn steepest(mut loss: impl FnMut(f64) -> f64) -> (f64, usize) {
        let mut curve = Curve::default();
        for step in 0..STEPS_MAX {
            let share = share(step, STEPS_MAX);
            if !curve.add(share, loss(share)) {
                break;
            }
        }
        (curve.steepest(), curve.points.len())
    }

    #[test]
    fn rates_rise_geometrically_from_a_millionth_to_ten_times() {
        assert!((share(0, 100) - 1e-6).abs() < 1e-18);
        assert!((share(99, 100) - 10.0).abs() < 1e-9);
        assert!((share(50, 101) / share(49, 101) - share(1, 101) / share(0, 101)).abs() < 1e-9);
    }

    #[test]
    fn the_steepest_fall_is_found_and_a_rise_ends_the_search() {
        // Falls around a rate of 1e-3 and explodes behind 0.1.
        let loss = |share: f64| 1.0 + 1.0 / (1.0 + share / 1e-3) + (share / 0.1).powi(4);

        let (found, steps) = steepest(loss);

        assert!((1e-3..1e-2).contains(&found), "{found}");
        assert!(steps < STEPS_MAX, "{steps}");
    }

    /// A loss that scatters by a tenth, with a number for every step and seed.
    fn noisy(seed: u64, fall: f64) -> f64 {
        let mut draws = rng(seed, 0);
        let mut noise = || draws.normal();
        steepest(|share| 2.0 - fall / (1.0 + 1e-3 / share) + 0.1 * noise()).0
    }

    #[test]
    fn noise_is_no_fall_and_hides_none() {
        let stays = (0..100).filter(|seed| noisy(*seed, 0.0) == 1.0).count();
        assert!(stays >= 90, "{stays} of 100");
        let found = (0..100).filter(|seed| (1e-4..1e-2).contains(&noisy(*seed, 1.0))).count();
        assert!(found >= 90, "{found} of 100");
    }

    #[test]
    fn without_a_fall_the_rate_stays() {
        assert_eq!(steepest(|share| 1.0 + share).0, 1.0);
        assert_eq!(steepest(|_| f64::NAN), (1.0, 0));
    }
}
