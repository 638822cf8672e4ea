//! Measurements of devices, and limits on what is measured there.

use std::collections::{BTreeMap, BTreeSet};

use super::reader::{Fields, Place};
use super::requires_reader::{is_label, labels};
use super::shared::parts_per_million;
use crate::duration;
use crate::latency::Quantity;
use crate::plan::{Amount, Limit, Metric, ProbePlan};
use crate::trial::{ProbeSetting, ProbeTarget};

/// Decimals of a percentage that parts per million have.
const PERCENT_DECIMALS: u8 = 4;
/// Largest limit on a cost, far above every unit's use.
const COST_MAX: f64 = 1e18;
/// Largest increase of a loss that makes sense as a limit, in nats; a drop of top-1 has at most so many percentage points.
const LOSS_MAX: f64 = 100.0;
const BATCH_MAX: u64 = 1024;
const THREADS_MAX: u64 = 1024;
const CONFIGS_DEFAULT: u64 = 16;
const REPETITIONS_DEFAULT: u64 = 3;
/// Images whose outputs tell whether a device computes what is simulated.
const FIDELITY_DEFAULT: u64 = 128;
const IMAGES_MAX: u64 = 1_000_000;
/// Widest and narrowest interval, in percent of the median.
const INTERVAL_PERCENT: std::ops::RangeInclusive<f64> = 0.01..=10.0;
/// Longest measurement, in milliseconds.
const AT_MOST_MS: std::ops::RangeInclusive<u128> = 100..=600_000;

/// Reads a stage that measures a device.
pub(super) fn probe(place: &Place<'_>) -> Option<ProbePlan> {
    let known = [
        "probe",
        "on",
        "batch",
        "threads",
        "configs",
        "repetitions",
        "interval",
        "at_most",
        "fidelity",
        "seed",
    ];
    let fields = place.fields(&known)?;
    let target = target_of(&fields);
    let setting = setting(&fields);
    let configs =
        fields.optional("configs", CONFIGS_DEFAULT, |place| place.integer(0..=ProbePlan::CONFIGS_MAX));
    let repetitions = repetitions(&fields);
    let fidelity = fields.optional("fidelity", FIDELITY_DEFAULT, |place| place.integer(0..=IMAGES_MAX));
    let seed = fields.optional("seed", 0, |place| place.integer(0..=u64::MAX));
    let (target, configs, repetitions) = (target?, configs?, repetitions?);
    Some(ProbePlan { target, setting: setting?, configs, repetitions, fidelity: fidelity?, seed: seed? })
}

/// The keys `batch`, `threads`, `interval` and `at_most` of a mapping.
pub(super) fn setting(fields: &Fields<'_>) -> Option<ProbeSetting> {
    let usual = ProbeSetting::default();
    let batch = fields.optional("batch", u64::from(usual.batch), |place| place.integer(1..=BATCH_MAX));
    let threads =
        fields.optional("threads", u64::from(usual.threads), |place| place.integer(1..=THREADS_MAX));
    let half_width_ppm = fields.optional("interval", usual.half_width_ppm, interval);
    let at_most_ms = fields.optional("at_most", usual.at_most_ms, at_most_ms);
    Some(ProbeSetting {
        batch: batch? as u32,
        threads: threads? as u32,
        half_width_ppm: half_width_ppm?,
        at_most_ms: at_most_ms?,
    })
}

/// The key `repetitions` of a mapping.
pub(super) fn repetitions(fields: &Fields<'_>) -> Option<u32> {
    let read = |place: &Place<'_>| place.integer(1..=u64::from(ProbePlan::REPETITIONS_MAX));
    fields.optional("repetitions", REPETITIONS_DEFAULT, read).map(|repetitions| repetitions as u32)
}

/// The keys `probe` and `on` of a mapping.
pub(super) fn target_of(fields: &Fields<'_>) -> Option<ProbeTarget> {
    let probe = fields.required("probe", "probe: integer", |place| {
        let text = place.text()?;
        match is_label(text) {
            true => Some(text.to_owned()),
            false => place.mistake(
                format!("`{text}` is no probe"),
                "write its name, such as `integer`; `bitloop worker --probe NAME` offers it",
            ),
        }
    });
    let on = fields.optional("on", BTreeMap::new(), labels);
    Some(ProbeTarget { probe: probe?, on: on?, class: None })
}

/// How far an interval may reach from the median: a percentage, as parts per million.
fn interval(place: &Place<'_>) -> Option<u32> {
    const HINT: &str = "write a percentage from 0.01% to 10%, such as 0.5%";
    let percent = place.as_text().and_then(percentage).filter(|percent| INTERVAL_PERCENT.contains(percent));
    match percent {
        Some(percent) => parts_per_million(place, percent, PERCENT_DECIMALS),
        None => place.expected("a percentage of the median", HINT),
    }
}

fn percentage(text: &str) -> Option<f64> {
    text.strip_suffix('%').and_then(|number| number.trim().parse().ok())
}

fn at_most_ms(place: &Place<'_>) -> Option<u32> {
    let read = match duration::parse(place.text()?) {
        Ok(read) => read.as_millis(),
        Err(problem) => return place.mistake(problem, ""),
    };
    match AT_MOST_MS.contains(&read) {
        true => Some(read as u32),
        false => place.mistake("it is out of range", "write a duration from 100ms to 10m"),
    }
}

/// What `constraints` say.
#[derive(Default)]
pub(super) struct Constraints {
    /// On costs.
    pub(super) limits: Vec<Limit>,
    /// On the loss, where something else is lowered.
    pub(super) loss: Option<(Metric, f64)>,
}

/// Reads limits: costs by name, on devices as `{ max: 3.0, probe: integer }` or a list of those; which computed costs there
/// are is known to the searches.
pub(super) fn constraints(place: &Place<'_>) -> Option<Constraints> {
    const EXAMPLE: &str = "constraints: { size_kib: 50% }";
    let mut read = Constraints::default();
    let mut complete = true;
    for (name, place) in place.entries(EXAMPLE)? {
        let metric = Metric::ALL.into_iter().find(|metric| metric.as_str() == name);
        if let Some(metric) = metric {
            let loss = place.number(0.0..=LOSS_MAX);
            complete &= loss.is_some() && read.loss.is_none();
            if read.loss.is_some() {
                place.mistake::<()>("there is a limit on the loss already", "keep one of them");
            }
            read.loss = loss.map(|loss| (metric, loss));
            continue;
        }
        let limits = match Quantity::of_cost(&name) {
            Some(_) => measured_limits(&place, &name),
            None if place.is_mapping() || place.is_list() => {
                let known = Quantity::COST_NAMES.join(", ");
                place.mistake(
                    format!("`{name}` is not measured on devices"),
                    format!("measured costs are {known}; others have a number or a percentage"),
                )
            }
            None => amount(&place).map(|at_most| vec![Limit::computed(&name, at_most)]),
        };
        complete &= limits.is_some();
        read.limits.extend(limits.into_iter().flatten());
    }
    complete.then_some(read)
}

fn measured_limits(place: &Place<'_>, cost: &str) -> Option<Vec<Limit>> {
    let example = format!("{cost}: {{ max: 3.0, probe: integer }}");
    let one = |place: &Place<'_>| {
        if !place.is_mapping() {
            let hint = format!("`{cost}` is measured: say where, as in `{example}`");
            return place.expected("a mapping with the keys `max` and `probe`", hint);
        }
        let fields = place.fields(&["max", "probe", "on"])?;
        let at_most = fields.required("max", "max: 3.0", amount);
        let target = target_of(&fields);
        Some(Limit { cost: cost.to_owned(), at_most: at_most?, target: Some(target?) })
    };
    if !place.is_list() {
        return one(place).map(|limit| vec![limit]);
    }
    let limits = place.list(&example, one)?;
    let mut seen = BTreeSet::new();
    match limits.iter().filter_map(|limit| limit.target.as_ref()).find(|target| !seen.insert(*target)) {
        Some(twice) => place.mistake(format!("there are two limits on {twice}"), "keep one of them"),
        None => Some(limits),
    }
}

/// A number in the cost's unit, or a percentage of the baseline's cost.
fn amount(place: &Place<'_>) -> Option<Amount> {
    let Some(text) = place.as_text() else {
        return place.number(0.0..=COST_MAX).map(Amount::Of);
    };
    match percentage(text).filter(|percent| (0.0..=100.0).contains(percent)) {
        Some(percent) => parts_per_million(place, percent, PERCENT_DECIMALS).map(Amount::OfBaselinePpm),
        None => place.expected(
            "a number, or a percentage of the baseline's cost such as `50%`",
            "write a number in the cost's unit, or a percentage from 0% to 100%",
        ),
    }
}

/// What a search lowers.
pub(super) enum Objective {
    /// The loss by a metric.
    Loss(Metric),
    /// A measured cost.
    Cost(&'static str, ProbeTarget),
}

/// Reads the word of a metric, or `{ latency_ms: { probe: integer } }`.
pub(super) fn objective(place: &Place<'_>) -> Option<Objective> {
    let costs = Quantity::COST_NAMES.map(|name| (name, name));
    if place.is_mapping() {
        let (cost, place) = place.variant(&costs)?;
        let target = target_of(&place.fields(&["probe", "on"])?)?;
        return Some(Objective::Cost(cost, target));
    }
    if let Some((cost, _)) = costs.iter().find(|(name, _)| place.as_text() == Some(name)) {
        let hint = format!("write `objective: {{ {cost}: {{ probe: integer }} }}`");
        return place.mistake("it is measured, and nothing says where", hint);
    }
    place.word(&Metric::ALL.map(|metric| (metric.as_str(), metric))).map(Objective::Loss)
}
