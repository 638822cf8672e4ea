//! How the trials of a batch are written in facts.
//!
//! A sweep proposes up to a million of them, and those that go together differ in their configs alone. So what they have
//! in common is written once, and each config as a few characters: `0=4 12=float;0=4 13=2` is two configs, of two points
//! each.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize, Serializer};

use super::fact::Batch;
use crate::autoqkeras::Asked;
use crate::bits::{BitConfig, Bits, Choice, PointIndex};
use crate::digest::Digest;
use crate::trial::{EvaluateContext, ImageRange, TrialSpec};

/// What stands between two configs, between two changes of one, and between a point and what it gets.
const BETWEEN_CONFIGS: char = ';';
const BETWEEN_CHANGES: char = ' ';
const BETWEEN_POINT_AND_CHOICE: char = '=';

/// What a point without a quantizer gets.
const FLOAT: &str = "float";

/// Trials of a batch that follow each other.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Run {
    /// One that goes alone.
    Trial(TrialSpec),
    /// Evaluations that go together.
    Evaluations { context: Digest, part: ImageRange, configs: String },
}

/// A batch as it was and is written.
#[derive(Deserialize)]
pub(super) struct Written {
    context: Option<EvaluateContext>,
    /// Where it was written before there were runs.
    #[serde(default)]
    trials: Vec<TrialSpec>,
    #[serde(default)]
    runs: Vec<Run>,
    #[serde(default)]
    asked: Vec<Asked>,
}

/// Writes trials as runs.
pub(super) fn write<S: Serializer>(trials: &[TrialSpec], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(trials.chunk_by(is_one_run).filter_map(Run::of))
}

/// Whether two trials have all in common but their configs.
fn is_one_run(a: &TrialSpec, b: &TrialSpec) -> bool {
    a.context().is_some() && a.goes_with(b)
}

impl TryFrom<Written> for Batch {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written { context, mut trials, runs, asked } = written;
        for run in runs {
            run.read(&mut trials)?;
        }
        Ok(Self { context, trials, asked })
    }
}

impl Run {
    /// The run of trials that go together, or of one.
    fn of(trials: &[TrialSpec]) -> Option<Self> {
        let first = trials.first()?;
        let TrialSpec::Evaluate { context, part, .. } = first else {
            return Some(Self::Trial(first.clone()));
        };
        let mut text = String::new();
        for (index, trial) in trials.iter().enumerate() {
            if index > 0 {
                text.push(BETWEEN_CONFIGS);
            }
            if let TrialSpec::Evaluate { config, .. } = trial {
                write_config(&mut text, config);
            }
        }
        Some(Self::Evaluations { context: *context, part: *part, configs: text })
    }

    fn read(self, trials: &mut Vec<TrialSpec>) -> Result<(), String> {
        match self {
            Self::Trial(trial) => trials.push(trial),
            Self::Evaluations { context, part, configs } => {
                for config in configs.split(BETWEEN_CONFIGS) {
                    let config = read_config(config).ok_or_else(|| format!("`{config}` is no bit config"))?;
                    trials.push(TrialSpec::Evaluate { context, config, part });
                }
            }
        }
        Ok(())
    }
}

fn write_config(text: &mut String, config: &BitConfig) {
    for (index, (point, choice)) in config.changes().enumerate() {
        if index > 0 {
            text.push(BETWEEN_CHANGES);
        }
        let point = point.0;
        match choice {
            Choice::Float => write!(text, "{point}{BETWEEN_POINT_AND_CHOICE}{FLOAT}"),
            Choice::Bits(bits) => write!(text, "{point}{BETWEEN_POINT_AND_CHOICE}{bits}"),
        }
        .expect("a string takes everything");
    }
}

fn read_config(text: &str) -> Option<BitConfig> {
    let changes = text.split(BETWEEN_CHANGES).filter(|_| !text.is_empty());
    let changes = changes.map(|change| {
        let (point, choice) = change.split_once(BETWEEN_POINT_AND_CHOICE)?;
        let choice = match choice {
            FLOAT => Choice::Float,
            bits => Choice::Bits(Bits::new(bits.parse().ok()?).ok()?),
        };
        Some((PointIndex(point.parse().ok()?), choice))
    });
    changes.collect::<Option<BTreeMap<_, _>>>().map(BitConfig::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn evaluate(data: &[u8], changes: &[(u32, Choice)]) -> TrialSpec {
        let config: BTreeMap<_, _> =
            changes.iter().map(|(point, choice)| (PointIndex(*point), *choice)).collect();
        let part = ImageRange { start: 0, len: 10 };
        TrialSpec::Evaluate { context: Digest::of(data), config: config.into(), part }
    }

    fn bits(width: u8) -> Choice {
        Choice::Bits(Bits::new(width).unwrap())
    }

    fn batch(trials: Vec<TrialSpec>) -> Batch {
        Batch { trials, ..Batch::default() }
    }

    #[test]
    fn what_evaluations_have_in_common_is_written_once() {
        let (a, b) = (b"a", b"b");
        let batch = batch(vec![
            evaluate(a, &[]),
            evaluate(a, &[(0, Choice::Float), (12, bits(4))]),
            evaluate(b, &[(1, bits(16))]),
        ]);

        let written = serde_json::to_value(&batch).unwrap();

        let part = json!({ "start": 0, "len": 10 });
        let run = |data: &[u8], configs: &str| json!({ "evaluations": { "context": Digest::of(data), "part": part, "configs": configs } });
        let runs = [run(a, ";0=float 12=4"), run(b, "1=16")];
        assert_eq!(written, json!({ "context": null, "runs": runs }));
        assert_eq!(serde_json::from_value::<Batch>(written).unwrap(), batch);
    }

    #[test]
    fn batches_from_before_runs_are_read() {
        let batch = batch(vec![evaluate(b"a", &[(3, bits(2))]), evaluate(b"a", &[])]);

        let written = json!({ "context": null, "trials": batch.trials });

        assert_eq!(serde_json::from_value::<Batch>(written).unwrap(), batch);
    }

    #[test]
    fn what_is_no_config_is_refused() {
        for configs in ["0", "0=", "=4", "0=9", "0=4 ", "x=4", "0=4,1=4", " "] {
            let part = json!({ "start": 0, "len": 10 });
            let run = json!({ "context": Digest::of(b"a"), "part": part, "configs": configs });

            let read = serde_json::from_value::<Batch>(json!({ "runs": [{ "evaluations": run }] }));

            assert!(read.unwrap_err().to_string().contains("is no bit config"), "{configs}");
        }
    }

    fn trials() -> impl Strategy<Value = Vec<TrialSpec>> {
        let choice = prop_oneof![Just(Choice::Float), (2..=8_u8).prop_map(bits), Just(bits(16))];
        let config = proptest::collection::vec((any::<u32>(), choice), 0..4);
        let trial = (0..3_u8, config).prop_map(|(data, config)| evaluate(&[data], &config));
        proptest::collection::vec(trial, 0..20)
    }

    proptest! {
        #[test]
        fn every_batch_reads_back_as_it_was(trials in trials()) {
            let batch = batch(trials);
            let text = serde_json::to_string(&batch).unwrap();
            prop_assert_eq!(serde_json::from_str::<Batch>(&text).unwrap(), batch);
        }
    }
}
