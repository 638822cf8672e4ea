//! Sweeps of about as many trials as wanted, with nothing behind them: models and images are empty artifacts.

use std::collections::BTreeMap;
use std::sync::Arc;

use bitloop_core::bits::{Bits, PointIndex};
use bitloop_core::digest::Digest;
use bitloop_core::evaluation::EvaluationMode;
use bitloop_core::graph::{Graph, INPUT, Input, Linear, Op, Shape};
use bitloop_core::plan::{DataPart, DataParts, OLDEST_PLAN_FORMAT, Pairs, Plan, StagePlan};
use bitloop_core::state::Sources;
use bitloop_core::trial::{Candidates, Guard, ImageRange, Numerics};

use crate::failure::Failure;
use crate::inputs::Prepared;

/// Candidate widths of every point.
const WIDTHS: [u8; 4] = [2, 3, 4, 6];

/// Images that are said to be there, about as many as real sweeps have: an interval of a single image has no bounds, and a
/// results file then has numbers of 300 digits.
const IMAGES: u64 = 1_000;

/// A network of linear layers and what a sweep of it lowers.
pub(super) struct Trials {
    points: u64,
}

impl Trials {
    /// With as few points as give so many trials when each is lowered alone and with every other one, at every width.
    pub(super) fn at_least(trials: u64) -> Self {
        let widths = WIDTHS.len() as u64;
        let of = |points: u64| {
            let alone = points * widths;
            alone + alone * (alone - widths) / 2
        };
        // A chain of layers has an odd number of points.
        let points = (3..).step_by(2).find(|points| of(*points) >= trials).unwrap_or(3);
        Self { points }
    }

    /// With as few points as give so many trials when each is lowered alone, at every width.
    pub(super) fn at_least_alone(trials: u64) -> Self {
        // A chain of layers has an odd number of points.
        Self { points: trials.div_ceil(WIDTHS.len() as u64).max(3) | 1 }
    }

    /// Each point alone.
    pub(super) fn singles(&self, name: &str) -> Result<Prepared, Failure> {
        self.prepared(name, None)
    }

    /// Each point alone, and then each pair of points.
    pub(super) fn pairs(&self, name: &str) -> Result<Prepared, Failure> {
        self.prepared(name, Some(Pairs::Below { quantile_ppm: None }))
    }

    fn graph(&self) -> Graph {
        let input = Input { shape: Shape(vec![1]), mean: vec![0.0], std: vec![1.0] };
        let mut graph = Graph::new("bench", input);
        let mut last = INPUT.to_owned();
        // A layer's weight and its output are points, and so is the input.
        for layer in 0..self.points / 2 {
            let op = Op::Linear(Linear { out_features: 1, bias: false });
            last = graph.push(format!("dense_{layer}"), op, &[&last]);
        }
        graph
    }

    fn prepared(&self, name: &str, pairs: Option<Pairs>) -> Result<Prepared, Failure> {
        let bits = WIDTHS.iter().map(|width| Bits::new(*width)).collect::<Result<Vec<_>, _>>()?;
        let empty = Digest::of(b"");
        let part = DataPart { digest: empty, images: IMAGES };
        let graph = self.graph();
        let points = graph.points()?;
        let single = (0..points.len() as u32).map(PointIndex).collect();
        let plan = Plan {
            format: OLDEST_PLAN_FORMAT,
            name: name.to_owned(),
            numerics: Numerics::Float,
            model: empty,
            points,
            graph,
            data: DataParts { calibration: part, selection: part, report: part, training: None },
            transforms: Vec::new(),
            guard: Guard { data: empty, images: ImageRange { start: 0, len: IMAGES }, drop_max_ppm: 0 },
            candidates: Candidates::with_default_rules(bits.clone(), bits, Bits::new(8)?),
            evaluation: EvaluationMode::default(),
            requirements: Vec::new(),
            stages: vec![StagePlan::Prepare, StagePlan::Sensitivity { single, pairs, subsets: None }],
        };
        let artifacts = BTreeMap::from([(empty, Arc::new(Vec::new()))]);
        Ok(Prepared { plan, sources: Sources::new(), priority: 0, artifacts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_has_at_least_the_trials_that_were_asked_for() {
        for trials in [1, 100, 5_000, 100_000] {
            let prepared = Trials::at_least(trials).pairs("bench").unwrap();

            let size = bitloop_search::plan_size(&prepared.plan);
            assert!((trials..=trials + trials / 5 + 100).contains(&size), "{size} for {trials}");
        }
    }

    #[test]
    fn so_has_one_without_pairs() {
        for trials in [1, 100, 5_000] {
            let prepared = Trials::at_least_alone(trials).singles("bench").unwrap();

            let size = bitloop_search::plan_size(&prepared.plan);
            assert!((trials..=trials + 20).contains(&size), "{size} for {trials}");
        }
    }
}
