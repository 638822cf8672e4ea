//! How many trials are measured together.

use std::time::Duration;

use bitloop_core::digest::Digest;
use bitloop_core::trial::{TrialKey, TrialSpec};

/// Trials are measured together for about so long, in milliseconds, as far as the worker knows its own pace. What is behind
/// them is not begun, so that others can have it: the coordinator may expect a worker to be faster than it is.
const GROUP_MS: f64 = 3_000.0;

/// A group may take so many times as long, if nothing is left behind it: each costs what trials would have shared across its
/// end.
const LAST_FACTOR: f64 = 1.5;

/// Cuts trials that may be measured together into groups that take a few seconds, however long the shard is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Groups {
    /// What the last group was about, and the time that an image took in one of its trials, in milliseconds.
    pace: Option<(Digest, f64)>,
}

impl Groups {
    /// How many of these trials, of which the first is measured in any case, are measured together next: those that go with
    /// it, as far as they take a few seconds; one while it is unknown how long that takes.
    pub(crate) fn next(&self, trials: &[(TrialKey, TrialSpec)]) -> usize {
        let Some(((_, first), rest)) = trials.split_first() else { return 0 };
        // Measurements of devices share no work: each has its own time.
        if matches!(first, TrialSpec::Probe(_)) {
            return 1;
        }
        let together = 1 + rest.iter().take_while(|(_, spec)| first.goes_with(spec)).count();
        let Some(company) = first.company() else { return together };
        let pace = self.pace.filter(|(context, _)| *context == company.context);
        let Some((_, image_ms)) = pace else { return 1 };
        let trial_ms = image_ms * company.part.len as f64;
        if trial_ms * together as f64 <= LAST_FACTOR * GROUP_MS {
            return together;
        }
        // Here a trial takes some time, so that this is a number.
        ((GROUP_MS / trial_ms) as usize).clamp(1, together)
    }

    /// Takes note of how long trials took together.
    pub(crate) fn learn(&mut self, trials: &[(TrialKey, TrialSpec)], took: Duration) {
        if let Some(company) = trials.first().and_then(|(_, spec)| spec.company()) {
            let images = company.part.len.max(1) as f64 * trials.len() as f64;
            self.pace = Some((company.context, took.as_secs_f64() * 1e3 / images));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bitloop_core::bits::{BitConfig, Choice, PointIndex};
    use bitloop_core::trial::{ImageRange, ProbeSetting, ProbeSpec, ProbeSubject, ProbeTarget};

    use super::*;

    fn trials(context: &str, images: u64, count: u32) -> Vec<(TrialKey, TrialSpec)> {
        let (context, part) = (Digest::of(context.as_bytes()), ImageRange { start: 0, len: images });
        let trial = |point| {
            let config = BitConfig::against(Choice::Bits(eight()), [(PointIndex(point), Choice::Float)]);
            let spec = TrialSpec::Evaluate { context, config, part };
            (spec.key(), spec)
        };
        (0..count).map(trial).collect()
    }

    fn eight() -> bitloop_core::bits::Bits {
        bitloop_core::bits::Bits::new(8).unwrap()
    }

    /// Measures all of them at a pace of so many milliseconds a trial; returns the groups.
    fn cut(groups: &mut Groups, trials: &[(TrialKey, TrialSpec)], trial_ms: u64) -> Vec<usize> {
        let (mut left, mut sizes) = (trials, Vec::new());
        while !left.is_empty() {
            let (group, behind) = left.split_at(groups.next(left));
            groups.learn(group, Duration::from_millis(trial_ms * group.len() as u64));
            sizes.push(group.len());
            left = behind;
        }
        sizes
    }

    #[test]
    fn networks_on_a_device_are_measured_one_by_one_however_fast() {
        let spec = |repetition| ProbeSpec {
            target: ProbeTarget { probe: "integer".to_owned(), on: BTreeMap::new(), class: None },
            prepared: Digest::of(b"prepared"),
            baseline: Choice::Bits(eight()),
            config: BitConfig::baseline(),
            setting: ProbeSetting::default(),
            subject: ProbeSubject::Whole,
            repetition,
            asked_by: None,
        };
        let trial = |repetition| TrialSpec::Probe(Box::new(spec(repetition)));
        let trials: Vec<_> = (0..4).map(|repetition| (trial(repetition).key(), trial(repetition))).collect();

        assert_eq!(cut(&mut Groups::default(), &trials, 1), [1; 4]);
    }

    #[test]
    fn a_shard_that_takes_longer_than_expected_is_cut_where_it_has_taken_a_few_seconds() {
        let mut groups = Groups::default();

        assert_eq!(
            cut(&mut groups, &trials("a", 100, 100), 100),
            [1, 30, 30, 39],
            "one, to know how long it takes"
        );
        assert_eq!(cut(&mut groups, &trials("a", 100, 20), 100), [20], "two seconds are measured at once");
        assert_eq!(cut(&mut groups, &trials("a", 100, 3), 10_000), [3]);
        assert_eq!(cut(&mut groups, &trials("a", 100, 3), 10_000), [1, 1, 1]);
    }

    #[test]
    fn how_long_it_takes_is_a_matter_of_the_context_and_of_the_images() {
        let mut groups = Groups::default();
        cut(&mut groups, &trials("a", 100, 1), 100);

        assert_eq!(groups.next(&trials("a", 1_000, 100)), 3);
        assert_eq!(groups.next(&trials("a", 10, 100)), 100);
        assert_eq!(groups.next(&trials("b", 100, 100)), 1);
    }

    #[test]
    fn trials_that_take_no_time_and_none_at_all_are_no_trouble() {
        let mut groups = Groups::default();

        assert_eq!(cut(&mut groups, &trials("a", 0, 512), 0), [1, 511]);
        assert_eq!(groups.next(&[]), 0);
    }

    #[test]
    fn only_what_goes_together_is_measured_together() {
        let mut groups = Groups::default();
        let two = [trials("a", 100, 2), trials("b", 100, 3)].concat();
        groups.learn(&two[..1], Duration::from_millis(1));

        assert_eq!(groups.next(&two), 2);
    }
}
