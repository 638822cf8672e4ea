use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::interval::{Interval, mean_difference, paired_difference};
use crate::bits::BitConfig;
use crate::evaluation::sequence::DropBounds;
use crate::evaluation::{EvaluationMode, Judge, Progress, Verdict};
use crate::state::{Experiment, Ledger, TrialState};
use crate::trial::{Evaluation, ImageRange, TrialKey, TrialResult, TrialSpec};

/// What evaluations say about a config, beside the baseline on the same images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Images.
    pub n: u64,
    /// Images classified rightly.
    pub correct: u64,
    /// Images with the label among the first five classes.
    pub correct_top5: u64,
    /// Images that only the baseline gets right.
    pub lost: u64,
    /// Images that only this config gets right.
    pub gained: u64,
    /// Share of images classified rightly, in 0..1.
    pub top1: f64,
    /// The baseline's share minus this one's, with its interval: on all images the paired interval for images like
    /// these, on some of them the anytime-valid one for the drop on all of them.
    pub top1_drop: Interval,
    /// Mean cross-entropy in nats.
    pub loss: f64,
    /// Mean increase of the cross-entropy over the baseline's, with its interval.
    pub loss_increase: Interval,
    /// Mean KL divergence from the float network in nats.
    pub kl: f64,
    /// Signal to quantization noise of the logits in decibels; none without noise.
    pub sqnr_db: Option<f64>,
}

impl Measured {
    fn new(sums: &Evaluation, top1_drop: Interval) -> Self {
        let n = sums.n as f64;
        let noisy = sums.noise_sum > 0.0;
        Self {
            n: sums.n,
            correct: sums.correct,
            correct_top5: sums.correct_top5,
            lost: sums.lost,
            gained: sums.gained,
            top1: sums.correct as f64 / n,
            top1_drop,
            loss: sums.loss_sum / n,
            loss_increase: mean_difference(sums.loss_difference_sum, sums.loss_difference_squares, sums.n),
            kl: sums.kl_sum / n,
            sqnr_db: noisy.then(|| 10.0 * libm::log10(sums.signal_sum / sums.noise_sum)),
        }
    }

    /// Of all images.
    fn full(sums: &Evaluation) -> Self {
        Self::new(sums, paired_difference(sums.lost, sums.gained, sums.n))
    }

    /// Of some of `images` images.
    fn partial(sums: &Evaluation, drop: DropBounds, images: u64) -> Self {
        let share = |difference: i64| difference as f64 / images as f64;
        let value = (sums.lost as f64 - sums.gained as f64) / sums.n as f64;
        Self::new(sums, Interval { value, low: share(drop.low), high: share(drop.high) })
    }
}

/// What came of a config.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum RowState {
    /// Not measured yet.
    Open,
    /// Measured on some of the images; more are to come.
    Partial(Measured),
    /// Measured on as many images as the tolerance needs.
    Decided(Measured),
    /// Measured on as many images as it takes to know that the drop is larger than the tolerance.
    Harmful(Measured),
    /// Measured on all images.
    Done(Measured),
    /// It cannot be measured.
    Failed {
        /// Why.
        reason: String,
    },
}

impl RowState {
    /// The word used in tables and CSV.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Partial(_) => "partial",
            Self::Decided(_) => "decided",
            Self::Harmful(_) => "harmful",
            Self::Done(_) => "done",
            Self::Failed { .. } => "failed",
        }
    }

    /// Whether the numbers are of all images (`full`) or of some (`partial`); empty where there are none.
    pub fn extent(&self) -> &'static str {
        match self {
            Self::Done(_) => "full",
            Self::Partial(_) | Self::Decided(_) | Self::Harmful(_) => "partial",
            Self::Open | Self::Failed { .. } => "",
        }
    }

    /// The numbers, if there are any.
    pub fn measured(&self) -> Option<&Measured> {
        match self {
            Self::Partial(measured)
            | Self::Decided(measured)
            | Self::Harmful(measured)
            | Self::Done(measured) => Some(measured),
            Self::Open | Self::Failed { .. } => None,
        }
    }
}

/// The evaluations that a stage proposed, by config and part.
pub struct Evaluations<'a> {
    /// In the order in which each was first proposed.
    configs: Vec<&'a BitConfig>,
    /// By config, then by first image and number of images: in one table, as most configs have one part.
    parts: BTreeMap<(&'a BitConfig, u64, u64), &'a TrialState>,
    judge: Judge,
    references: Judge,
}

impl<'a> Evaluations<'a> {
    /// Gathers an experiment's trials that are evaluations on `images` images in all; others are left out.
    pub fn new(
        (ledger, experiment): (&'a Ledger, &'a Experiment),
        keys: &[TrialKey],
        mode: EvaluationMode,
        images: u64,
    ) -> Self {
        let mut configs = Vec::new();
        let mut parts: BTreeMap<(&BitConfig, u64, u64), &TrialState> = BTreeMap::new();
        for trial in keys.iter().filter_map(|key| ledger.trial(key)) {
            if let TrialSpec::Evaluate { config, part, .. } = &trial.spec {
                let next = parts.range((config, 0, 0)..).next();
                if next.is_none_or(|((known, ..), _)| *known != config) {
                    configs.push(config);
                }
                parts.insert((config, part.start, part.len), experiment.came_of(trial));
            }
        }
        Self {
            configs,
            parts,
            judge: Judge::new(mode, images),
            references: Judge::new(mode.references(), images),
        }
    }

    /// The configs, in the order in which each was first proposed.
    pub fn configs(&self) -> &[&'a BitConfig] {
        &self.configs
    }

    /// What came of a config that is measured on all images, whatever the mode: the float network, the baseline, and
    /// what a search tries.
    pub fn reference(&self, config: &BitConfig) -> RowState {
        self.judged(config, &self.references)
    }

    /// What came of a config of a sweep.
    pub fn row(&self, config: &BitConfig) -> RowState {
        self.judged(config, &self.judge)
    }

    /// What came of a config, whether it was measured as configs of a sweep are or as references are: all images go
    /// before some of them.
    pub fn result(&self, config: &BitConfig) -> RowState {
        match self.reference(config) {
            complete @ RowState::Done(_) => complete,
            reference @ (RowState::Open
            | RowState::Partial(_)
            | RowState::Decided(_)
            | RowState::Harmful(_)
            | RowState::Failed { .. }) => match self.row(config) {
                RowState::Open => reference,
                known => known,
            },
        }
    }

    fn judged(&self, config: &BitConfig, judge: &Judge) -> RowState {
        let mut progress = judge.start();
        while let Some(ImageRange { start, len }) = judge.next_part(&progress) {
            let trial = self.parts.get(&(config, start, len));
            match trial.map_or(Ok(None), |trial| sums(trial)) {
                Ok(Some(part)) => {
                    if let Err(error) = judge.add(&mut progress, part) {
                        return RowState::Failed { reason: error.to_string() };
                    }
                }
                Ok(None) => break,
                Err(reason) => return RowState::Failed { reason },
            }
        }
        row_state(&progress, judge)
    }
}

fn row_state(progress: &Progress, judge: &Judge) -> RowState {
    let partial = || Measured::partial(&progress.sums, judge.drop(progress), judge.images());
    match progress.verdict {
        Verdict::Undecided if progress.parts == 0 => RowState::Open,
        Verdict::Undecided => RowState::Partial(partial()),
        Verdict::Decided => RowState::Decided(partial()),
        Verdict::Harmful => RowState::Harmful(partial()),
        Verdict::Complete => RowState::Done(Measured::full(&progress.sums)),
    }
}

/// A trial's sums, if it is done. Errors: why there will be none.
fn sums(trial: &TrialState) -> Result<Option<&Evaluation>, String> {
    match trial {
        TrialState::Open => Ok(None),
        TrialState::Quarantined { losses } => {
            Err(format!("quarantined: {losses} workers were lost while they ran it"))
        }
        TrialState::Done(outcome) => match &outcome.result {
            TrialResult::Evaluated(sums) => Ok(Some(sums)),
            TrialResult::Failed { reason } => Err(reason.clone()),
            TrialResult::Prepared { .. } | TrialResult::Trained(_) | TrialResult::Measured(_) => {
                Err("no evaluation came back".to_owned())
            }
        },
    }
}
