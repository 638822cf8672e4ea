//! Why a config that a search found is not recommended after all.

use crate::bits::BitConfig;
use crate::state::{Experiment, Ledger, StageProgress};
use crate::trial::{Fidelity, ProbeSpec, Reading, TrialResult, TrialSpec};

/// What devices computed in a verify stage, and by how much they may differ.
pub(super) struct Refusals<'a> {
    pub(super) ledger: &'a Ledger,
    pub(super) experiment: &'a Experiment,
    pub(super) stage: &'a StageProgress,
    /// In parts per million of the images.
    pub(super) difference_max_ppm: u32,
}

impl Refusals<'_> {
    /// Why a config is not recommended; none if no device was found to differ.
    pub(super) fn of(&self, config: &BitConfig) -> Option<String> {
        let trials = self.stage.trials.iter().filter_map(|key| self.ledger.trial(key));
        let outcome = |key| self.ledger.outcome_for(self.experiment, key);
        trials.filter_map(|trial| self.reason(&trial.spec, config, outcome(&trial.key)?)).next()
    }

    fn reason(
        &self,
        spec: &TrialSpec,
        config: &BitConfig,
        outcome: &crate::trial::Outcome,
    ) -> Option<String> {
        let TrialSpec::Probe(probe) = spec else { return None };
        let TrialResult::Measured(measured) = &outcome.result else { return None };
        let Reading::Fidelity(found) = &measured.reading else { return None };
        refusal(probe, found, self.difference_max_ppm).filter(|_| probe.config == *config)
    }
}

/// Why a config is not recommended of which a device recognizes so many report images; none if they are as many as simulated,
/// but for so many parts per million.
pub(super) fn refusal(probe: &ProbeSpec, found: &Fidelity, difference_max_ppm: u32) -> Option<String> {
    let first = found.first_difference.as_ref();
    let from = first.map(|first| format!(", from `{}` on", first.node)).unwrap_or_default();
    (difference_ppm(found) > f64::from(difference_max_ppm)).then(|| {
        format!(
            "{} recognizes {} of {} images, {} as simulated{from}",
            probe.target, found.device_correct, found.n, found.simulated_correct
        )
    })
}

/// By how many images the device differs, in parts per million of them.
fn difference_ppm(found: &Fidelity) -> f64 {
    found.device_correct.abs_diff(found.simulated_correct) as f64 / found.n.max(1) as f64 * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_a_part_of_the_images_to_either_side() {
        let found = |device_correct| Fidelity {
            n: 1_000,
            device_correct,
            simulated_correct: 700,
            ..Fidelity::default()
        };

        assert_eq!(difference_ppm(&found(694)), 6_000.0);
        assert_eq!(difference_ppm(&found(706)), 6_000.0);
        assert_eq!(difference_ppm(&found(700)), 0.0);
    }
}
