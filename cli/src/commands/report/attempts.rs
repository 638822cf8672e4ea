//! Attempts at some of an experiment's trials, from the coordinator's logs.

use std::collections::{BTreeMap, BTreeSet};

use bitloop_core::bits::{BitConfig, Choice, PointIndex};
use bitloop_core::digest::Digest;
use bitloop_core::plan::Plan;
use bitloop_core::report::Report;
use bitloop_core::trial::{TrialKey, TrialSpec};
use bitloop_proto::v1::TrialLogEntry;
use bitloop_report::Attempt;

use crate::client::Client;
use crate::clock::Stopwatch;
use crate::show::moment;

/// Trials whose logs are asked for. A coordinator looks through all its logs for each, and answers a hundred such questions of a
/// client before it makes it wait.
const ASKED_MAX: usize = 48;

/// Time after which no more are asked for.
const SECONDS_MAX: f64 = 15.0;

/// What was found out.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) attempts: Vec<Attempt>,
    /// Trials that were asked for.
    pub(super) asked: u64,
    /// Trials that could have been.
    pub(super) of: u64,
}

/// Asks for the logs of trials that are evenly spread over the experiment. What a coordinator does not say is left out: no
/// number depends on it.
pub(super) async fn ask(client: &mut Client, plan: &Plan, report: &Report) -> Asked {
    let keys = keys(plan, report);
    let mut asked = Asked { of: keys.len() as u64, ..Asked::default() };
    let stopwatch = Stopwatch::start();
    for key in spread(keys) {
        if stopwatch.seconds() > SECONDS_MAX {
            break;
        }
        let Ok(mut stream) = client.trial_log(&key.0.hex(), false).await else { break };
        let mut entries = Vec::new();
        while let Ok(Some(answer)) = stream.message().await {
            entries.extend(answer.entries);
        }
        asked.asked += 1;
        asked.attempts.extend(attempts(entries));
    }
    asked
}

/// As many of the trials as are asked for.
fn spread(keys: Vec<TrialKey>) -> impl Iterator<Item = TrialKey> {
    let step = keys.len().div_ceil(ASKED_MAX).max(1);
    keys.into_iter().step_by(step)
}

/// The trials that a report's numbers are of: what was evaluated, then what was measured on devices, then what was trained.
fn keys(plan: &Plan, report: &Report) -> Vec<TrialKey> {
    let evaluated = report.prepared.map(|prepared| evaluations(plan, report, prepared));
    let probed = report.devices.iter().flat_map(|device| &device.trials);
    let trained = report.trained.iter().flat_map(|search| &search.trials);
    let all = evaluated.into_iter().flatten().chain(probed.chain(trained).copied());
    // Two stages may have asked the same of one device.
    let mut seen = BTreeSet::new();
    all.filter(|key| seen.insert(*key)).collect()
}

/// The preparation, then the first part of every config that is not open.
fn evaluations(plan: &Plan, report: &Report, prepared: Digest) -> Vec<TrialKey> {
    let context = plan.context(prepared);
    let places = plan.points.iter().zip(0..);
    let places: BTreeMap<&str, PointIndex> =
        places.map(|(point, index)| (point.name.as_str(), PointIndex(index))).collect();
    let first = |changes: Vec<(&String, bitloop_core::bits::Bits)>, mode| {
        let choices =
            changes.into_iter().map(|(point, bits)| Some((*places.get(point.as_str())?, Choice::Bits(bits))));
        let choices: Option<Vec<_>> = choices.collect();
        let config = BitConfig::against(Choice::Bits(plan.candidates.baseline), choices?);
        context.trials(&config, mode).next().map(|trial| trial.key())
    };
    let rows = report.rows.iter().filter(|row| row.result.measured().is_some());
    let rows = rows.filter_map(|row| first(vec![(&row.point, row.bits)], plan.evaluation));
    let configs = report.configs.iter().filter(|row| row.result.measured().is_some());
    let configs = configs.filter_map(|row| {
        // Searches measure on all images, sweeps as the experiment says.
        let mode = if row.stage == "search" { plan.evaluation.references() } else { plan.evaluation };
        first(row.changes.iter().map(|(point, bits)| (point, *bits)).collect(), mode)
    });
    let prepare = TrialSpec::Prepare(Box::new(plan.prepare())).key();
    [prepare].into_iter().chain(rows).chain(configs).collect()
}

/// Puts together what belongs to one attempt: the lease that it began with, and what ended it.
fn attempts(entries: Vec<TrialLogEntry>) -> Vec<Attempt> {
    let mut begun: BTreeMap<u32, Attempt> = BTreeMap::new();
    let mut ended = Vec::new();
    for entry in entries.into_iter().filter(|entry| entry.attempt > 0) {
        match entry.what.as_str() {
            "leased" => {
                let attempt = Attempt {
                    worker: entry.worker,
                    from_ms: entry.unix_ms,
                    time: moment(entry.unix_ms).unwrap_or_default(),
                    to_ms: entry.unix_ms,
                    end: "under way".to_owned(),
                    text: entry.text,
                };
                begun.insert(entry.attempt, attempt);
            }
            // Neither says that anything is over.
            "begun" | "line" | "left_out" => {}
            end => {
                if let Some(attempt) = begun.remove(&entry.attempt) {
                    ended.push(Attempt { to_ms: entry.unix_ms, end: end.to_owned(), ..attempt });
                }
            }
        }
    }
    ended.extend(begun.into_values());
    ended
}

#[cfg(test)]
mod tests {
    use bitloop_core::report::DeviceReport;
    use bitloop_report::Material;

    use super::*;

    fn entry(unix_ms: u64, what: &str, attempt: u32) -> TrialLogEntry {
        let worker = format!("w{attempt}");
        TrialLogEntry { unix_ms, what: what.to_owned(), attempt, worker, ..TrialLogEntry::default() }
    }

    #[test]
    fn measurements_on_devices_and_trainings_are_asked_for_beside_evaluations() {
        let read = |text: &str| serde_json::from_str::<Material>(text).unwrap();
        let searched = read(include_str!("../../../../report/tests/material/search.json"));
        let device = include_str!("../../../../report/tests/material/device.json");
        let trained = read(include_str!("../../../../report/tests/material/training.json"));
        let made = |what: &str, count: u32| -> Vec<TrialKey> {
            (0..count).map(|index| TrialKey(Digest::of(format!("{what} {index}").as_bytes()))).collect()
        };
        let evaluated = keys(&searched.plan, &searched.report);
        let (probed, trainings) = (made("probe", 100), made("training", 60));
        let mut report = searched.report;
        let measured =
            DeviceReport { trials: probed.clone(), ..serde_json::from_str::<DeviceReport>(device).unwrap() };
        // The same device by two stages.
        report.devices = vec![measured.clone(), measured];
        report.trained = trained.report.trained;
        report.trained[0].trials.clone_from(&trainings);

        let all = keys(&searched.plan, &report);

        assert!(evaluated.len() > 10, "{} evaluations", evaluated.len());
        assert_eq!(all, [evaluated.clone(), probed.clone(), trainings.clone()].concat());
        let asked: Vec<TrialKey> = spread(all).collect();
        assert!(asked.len() <= ASKED_MAX);
        for kind in [evaluated, probed, trainings] {
            assert!(kind.iter().any(|key| asked.contains(key)));
        }
    }

    #[test]
    fn an_attempt_lasts_from_its_lease_to_what_ended_it() {
        let entries = vec![
            entry(10, "leased", 1),
            entry(12, "begun", 1),
            entry(20, "leased", 2),
            entry(25, "line", 2),
            entry(30, "measured", 2),
            entry(30, "overtaken", 1),
            entry(40, "duplicate", 1),
            entry(50, "leased", 3),
            entry(60, "quarantined", 0),
        ];

        let found = attempts(entries);

        let found: Vec<_> =
            found.iter().map(|it| (it.worker.as_str(), it.from_ms, it.to_ms, it.end.as_str())).collect();
        assert_eq!(
            found,
            [("w2", 20, 30, "measured"), ("w1", 10, 30, "overtaken"), ("w3", 50, 50, "under way")]
        );
    }
}
