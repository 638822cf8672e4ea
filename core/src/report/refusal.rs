//! Why a config that a search found is not recommended after all.

use std::collections::BTreeSet;

use crate::bits::BitConfig;
use crate::state::{Experiment, Ledger, StageProgress};
use crate::trial::{Fidelity, ProbeSpec, ProbeTarget, Reading, TrialResult, TrialSpec};

/// What devices computed in a verify stage, beside the simulation.
pub(super) struct Refusals<'a> {
    compared: Vec<Compared<'a>>,
}

/// What one device computed of one config.
struct Compared<'a> {
    config: &'a BitConfig,
    target: &'a ProbeTarget,
    /// Why that is not what was simulated; none if it is, as far as is allowed.
    refused: Option<String>,
}

impl<'a> Refusals<'a> {
    /// Gathers the comparisons of a verify stage. Devices may differ by so many parts per million of the images.
    pub(super) fn new(
        (ledger, experiment): (&'a Ledger, &'a Experiment),
        stage: &'a StageProgress,
        difference_max_ppm: u32,
    ) -> Self {
        let compared = stage.trials.iter().filter_map(|key| {
            let TrialSpec::Probe(probe) = &ledger.trial(key)?.spec else { return None };
            let TrialResult::Measured(measured) = &ledger.outcome_for(experiment, key)?.result else {
                return None;
            };
            let Reading::Fidelity(found) = &measured.reading else { return None };
            let refused = refusal(probe, found, difference_max_ppm);
            Some(Compared { config: &probe.config, target: &probe.target, refused })
        });
        Self { compared: compared.collect() }
    }

    /// Why a config is not recommended; none if no device was found to differ.
    pub(super) fn of(&self, config: &BitConfig) -> Option<String> {
        self.of_config(config).find_map(|compared| compared.refused.clone())
    }

    /// Why a config is passed over that nothing was found against: devices that compute another config otherwise say nothing of
    /// it. None if there are no such devices.
    pub(super) fn unconfirmed(&self, config: &BitConfig) -> Option<String> {
        let differing = self.compared.iter().filter(|compared| compared.refused.is_some());
        let differing: BTreeSet<&ProbeTarget> = differing.map(|compared| compared.target).collect();
        let known: BTreeSet<&ProbeTarget> = self.of_config(config).map(|compared| compared.target).collect();
        let silent: Vec<String> = differing.difference(&known).map(ToString::to_string).collect();
        (!silent.is_empty()).then(|| {
            format!(
                "{} computes another config otherwise than simulated, and was not compared here; `verify` compares as many as its \
                 `top` says",
                silent.join(" and ")
            )
        })
    }

    fn of_config(&self, config: &BitConfig) -> impl Iterator<Item = &Compared<'a>> {
        self.compared.iter().filter(move |compared| compared.config == config)
    }
}

/// Why a config is not recommended of which a device recognizes so many images; none if they are as many as simulated,
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
