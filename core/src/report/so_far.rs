//! The best configs of a search that is not over, among all that is measured on every image.

use std::collections::{BTreeMap, BTreeSet};

use super::interval::Interval;
use super::measured::{Evaluations, Measured, RowState};
use super::prices::Prices;
use crate::bits::{BitConfig, Choice};
use crate::evaluation::PPM;
use crate::plan::{Amount, Limit, Plan, SearchMethod, SearchPlan};
use crate::selection::Selected;

/// Configs of a search that is not over that are shown.
const BEST_SO_FAR: usize = 5;

/// What a search that is not over has to choose from.
pub(super) struct SoFar<'a> {
    pub(super) plan: &'a Plan,
    pub(super) search: &'a SearchPlan,
    pub(super) prices: &'a Prices,
    /// What the search measured.
    pub(super) own: Evaluations<'a>,
    /// What it and the stages before it measured.
    pub(super) all: &'a Evaluations<'a>,
}

impl SoFar<'_> {
    /// The best configs, best first, with those of their limited or lowered costs that can be priced here.
    pub(super) fn best(&self) -> Vec<Selected> {
        let best = match self.search.method {
            SearchMethod::Exact | SearchMethod::Nsga2 | SearchMethod::Greedy => self.least_loss(),
            SearchMethod::Demotion { drop_max_ppm } => self.most_saved(Some(share(drop_max_ppm))),
            SearchMethod::Amp { drop_max_ppm } => match (drop_max_ppm, self.float()) {
                // The allowed drop is one beside the float network: nothing is known before that is measured.
                (Some(_), None) => Vec::new(),
                (Some(ppm), Some(float)) => self.most_saved(Some(float.value + share(ppm))),
                (None, _) => self.most_saved(None),
            },
        };
        let selected = |config: &BitConfig| Selected {
            config: config.clone(),
            predicted: None,
            costs: self.costs(config),
            devices: Vec::new(),
        };
        best.into_iter().take(BEST_SO_FAR).map(selected).collect()
    }

    /// The configs within the limits, least loss first: the search's own, and where sizes and bit operations are all
    /// that is limited, also those of the stages before it. Other costs cannot be priced here.
    fn least_loss(&self) -> Vec<&BitConfig> {
        // What keeps a limit on a device is known when it was measured there, which happens last.
        if !self.search.targets().is_empty() {
            return Vec::new();
        }
        let own: BTreeSet<&BitConfig> = self.own.configs().iter().copied().collect();
        let within = |config: &BitConfig| {
            let keeps = |limit| self.keeps(config, limit).unwrap_or(false);
            own.contains(config) || self.search.limits.iter().all(keeps)
        };
        let known = measured(self.all).filter(|(config, _)| config.changes().len() > 0 && within(config));
        let mut known: Vec<(&BitConfig, f64)> =
            known.map(|(config, measured)| (config, self.loss(&measured))).collect();
        known.sort_by(|a, b| a.1.total_cmp(&b.1));
        known.into_iter().map(|(config, _)| config).collect()
    }

    /// The search's own configs that drop no more than `drop_max`, as a share of the images, those that save most
    /// first and of equals the one with the least loss.
    ///
    /// What is saved is the cost that the search lowers; without one lowered points are counted, and so they are where the
    /// cost cannot be priced here.
    fn most_saved(&self, drop_max: Option<f64>) -> Vec<&BitConfig> {
        let keeps =
            |measured: &Measured| drop_max.is_none_or(|drop_max| measured.top1_drop.value <= drop_max);
        let known = measured(&self.own).filter(|(_, measured)| keeps(measured));
        let mut known: Vec<(&BitConfig, f64, f64)> =
            known.map(|(config, measured)| (config, self.saved(config), self.loss(&measured))).collect();
        known.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.2.total_cmp(&b.2)));
        known.into_iter().map(|(config, ..)| config).collect()
    }

    fn loss(&self, measured: &Measured) -> f64 {
        measured.loss_by(self.search.objective).value
    }

    fn saved(&self, config: &BitConfig) -> f64 {
        let lowered = config.changes().len() as f64;
        let Some(cost) = self.search.lowered_cost() else { return lowered };
        let of = |config: &BitConfig| self.prices.of(config).of_cost(cost);
        of(&BitConfig::baseline()).zip(of(config)).map_or(lowered, |(baseline, own)| baseline - own)
    }

    /// Whether a config keeps a limit; none if its cost cannot be priced here.
    fn keeps(&self, config: &BitConfig, Limit { cost, at_most, target: _ }: &Limit) -> Option<bool> {
        let at_most = match at_most {
            Amount::Of(amount) => *amount,
            Amount::OfBaselinePpm(ppm) => self.prices.of(&BitConfig::baseline()).of_cost(cost)? * share(*ppm),
        };
        Some(self.prices.of(config).of_cost(cost)? <= at_most)
    }

    fn costs(&self, config: &BitConfig) -> BTreeMap<String, f64> {
        let price = self.prices.of(config);
        let limited = self.search.limits.iter().map(|limit| limit.cost.as_str());
        let costs = limited.chain(self.search.lowered_cost());
        costs.filter_map(|cost| Some((cost.to_owned(), price.of_cost(cost)?))).collect()
    }

    /// The drop of the network whose searchable points have no quantizers.
    fn float(&self) -> Option<Interval> {
        let baseline = Choice::Bits(self.plan.candidates.baseline);
        let searchable = self.plan.searchable().into_iter().map(|point| (point, Choice::Float));
        match self.own.result(&BitConfig::against(baseline, searchable)) {
            RowState::Done(measured) => Some(measured.top1_drop),
            RowState::Open
            | RowState::Partial(_)
            | RowState::Decided(_)
            | RowState::Harmful(_)
            | RowState::Failed { .. } => None,
        }
    }
}

fn share(ppm: u32) -> f64 {
    f64::from(ppm) / f64::from(PPM)
}

/// The quantized configs that are measured on all images, in the order of proposal.
fn measured<'a>(evaluations: &Evaluations<'a>) -> impl Iterator<Item = (&'a BitConfig, Measured)> {
    let is_quantized =
        |config: &BitConfig| config.changes().all(|(_, choice)| matches!(choice, Choice::Bits(_)));
    let quantized = evaluations.configs().iter().copied().filter(move |config| is_quantized(config));
    quantized.filter_map(|config| match evaluations.result(config) {
        RowState::Done(measured) => Some((config, measured)),
        RowState::Open
        | RowState::Partial(_)
        | RowState::Decided(_)
        | RowState::Harmful(_)
        | RowState::Failed { .. } => None,
    })
}
