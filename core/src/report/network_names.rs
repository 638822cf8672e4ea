//! What networks on a device are called: where each comes from, and a name that no other one has there.

use std::collections::{BTreeMap, BTreeSet};

use crate::bits::{BitConfig, Bits, Choice};
use crate::graph::PointKind;
use crate::latency::{Probed, is_quantized};
use crate::plan::{Plan, StagePlan};

/// The kind of the float network.
pub(super) const FLOAT: &str = "float";

/// The kind of the network that all others are compared with.
pub(super) const BASELINE: &str = "baseline";

/// The kind of networks of several widths that searches found.
const SEARCH: &str = "search";

/// A network as results speak of it.
pub(super) struct Named {
    /// Where it comes from: `float`, `baseline`, `uniform`, `mixed` or `search`.
    pub(super) kind: &'static str,
    /// What it is called.
    pub(super) name: String,
}

/// The networks that a device was asked about.
pub(super) struct NetworkNames(BTreeMap<BitConfig, Named>);

impl NetworkNames {
    /// Names networks by the widths of their weights and activations, as `W4A8`, where all weights that may be chosen have one,
    /// and all activations. The others are numbered within their kinds in the order in which they were asked for. What searches found
    /// is called a finalist, as searches have numbers of their own.
    pub(super) fn of(plan: &Plan, trials: &[Probed<'_>]) -> Self {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let mut known: BTreeMap<BitConfig, Named> = BTreeMap::new();
        for Probed { stage, spec, .. } in trials {
            let config = &spec.config;
            if known.contains_key(config) {
                continue;
            }
            let widths = uniform_widths(plan, config);
            let kind = match (is_quantized(config), config.changes().len(), &widths) {
                (false, ..) => FLOAT,
                (true, 0, _) => BASELINE,
                (true, _, Some(_)) => "uniform",
                (true, _, None) => origin(plan.stages.get(*stage as usize)),
            };
            let name = match (kind, widths) {
                (FLOAT, _) => FLOAT.to_owned(),
                (BASELINE, Some(widths)) => format!("{BASELINE} {widths}"),
                (BASELINE, None) => BASELINE.to_owned(),
                (_, Some(widths)) => widths,
                (kind, None) => {
                    let count = counts.entry(kind).or_default();
                    *count += 1;
                    let word = if kind == SEARCH { "finalist" } else { kind };
                    format!("{word} {count}: {}", changed(config))
                }
            };
            known.insert(config.clone(), Named { kind, name });
        }
        Self(known)
    }

    /// What a network is called; none that the device was not asked about.
    pub(super) fn get(&self, config: &BitConfig) -> Option<&Named> {
        self.0.get(config)
    }
}

/// Who drew or found a network of several widths.
fn origin(stage: Option<&StagePlan>) -> &'static str {
    match stage {
        Some(StagePlan::Search(_) | StagePlan::Verify { .. } | StagePlan::AutoQKeras(_)) => SEARCH,
        Some(StagePlan::Probe(_) | StagePlan::Prepare | StagePlan::Sensitivity { .. }) | None => "mixed",
    }
}

/// The widths of all weights and of all activations that searches may choose, as `W4A8`; none where either differ among each other.
/// Of a kind that nothing may be chosen of, the baseline's.
fn uniform_widths(plan: &Plan, config: &BitConfig) -> Option<String> {
    let baseline = Choice::Bits(plan.candidates.baseline);
    let searchable = plan.searchable();
    let width = |kind: PointKind| {
        let points = searchable.iter().filter(|point| plan.points[point.0 as usize].kind == kind);
        let widths: BTreeSet<Choice> = points.map(|point| config.choice(*point, baseline)).collect();
        let mut widths = widths.into_iter();
        match (widths.next(), widths.next()) {
            (None, _) => Some(baseline),
            (Some(width), None) => Some(width),
            (Some(_), Some(_)) => None,
        }
    };
    let (weights, activations) = (width(PointKind::Weight)?, width(PointKind::Activation)?);
    Some(format!("W{weights}A{activations}"))
}

/// How many points have which widths: `44 points at 4 bits`, `3 points at 2, 41 at 4 bits`.
fn changed(config: &BitConfig) -> String {
    let mut counts: BTreeMap<Bits, usize> = BTreeMap::new();
    for (_, choice) in config.changes() {
        match choice {
            Choice::Bits(bits) => *counts.entry(bits).or_default() += 1,
            Choice::Float => {}
        }
    }
    let mut words = Vec::new();
    for (bits, count) in counts {
        let points = match (words.is_empty(), count) {
            (true, 1) => " point",
            (true, _) => " points",
            (false, _) => "",
        };
        words.push(format!("{count}{points} at {bits}"));
    }
    format!("{} bits", words.join(", "))
}
