use std::collections::BTreeMap;
use std::sync::Arc;

use bitloop_core::bits::Choice;
use bitloop_core::digest::Digest;
use bitloop_core::trial::{BiasCorrection, EvaluateContext, Numerics, PreparedStep, StepState, Transform};
use candle_core::Device;

use super::{PrepareError, Prepared, Widths, Workshop};
use crate::evaluate::{self, Evaluator};
use crate::transforms::{self, Transformed};

/// The transforms one after the other, each judged right behind it.
pub(super) struct Chain {
    pub(super) network: Transformed,
    /// How biases are to be corrected, if that pays.
    pub(super) correction: Option<BiasCorrection>,
    pub(super) steps: Vec<PreparedStep>,
}

/// What one transform makes of a network.
struct Candidate {
    network: Transformed,
    correction: Option<BiasCorrection>,
    changes: u64,
}

/// How many of the guard's images a network gets right.
struct Measured {
    n: u64,
    float_correct: u64,
    baseline_correct: Option<u64>,
}

impl Chain {
    /// Runs the transforms of a specification; `None` if told to stop.
    pub(super) fn run(workshop: &Workshop<'_>) -> Result<Option<Self>, PrepareError> {
        let spec = workshop.materials.spec;
        let network = Transformed::new(workshop.materials.model.clone());
        let mut chain = Self { network, correction: None, steps: Vec::new() };
        if spec.is_guarded() {
            let Some(given) = workshop.as_given()? else { return Ok(None) };
            chain.steps.push(step(None, StepState::Applied, 0, given));
        }
        for transform in &spec.transforms {
            let candidate = chain.candidate(*transform)?;
            if !spec.is_guarded() {
                chain.network = candidate.network;
                continue;
            }
            if candidate.changes == 0 && *transform != Transform::FoldBatchNorm {
                chain.repeat(*transform);
                continue;
            }
            let Some(measured) = workshop.measured(&candidate)? else { return Ok(None) };
            // Folding keeps the function, and quantizers are placed for the folded network.
            let stays =
                *transform == Transform::FoldBatchNorm || chain.accepts(&measured, spec.guard.drop_max_ppm);
            let state = if stays { StepState::Applied } else { StepState::Undone };
            chain.steps.push(step(Some(*transform), state, candidate.changes, measured));
            if stays {
                chain.network = candidate.network;
                chain.correction = candidate.correction;
            }
        }
        Ok(Some(chain))
    }

    fn candidate(&self, transform: Transform) -> Result<Candidate, PrepareError> {
        let correction = match transform {
            Transform::BiasCorrection(correction) => Some(correction),
            Transform::FoldBatchNorm
            | Transform::ReplaceRelu6
            | Transform::Equalize
            | Transform::HighBiasFold => self.correction,
        };
        let (network, report) = transforms::apply(transform, &self.network)?;
        Ok(Candidate { network, correction, changes: report.touched.len() as u64 })
    }

    /// The accuracy that the next transform is compared with: that of the last one that stayed.
    fn last(&self) -> Option<&PreparedStep> {
        self.steps.iter().rev().find(|step| step.state != StepState::Undone)
    }

    fn accepts(&self, measured: &Measured, drop_max_ppm: u32) -> bool {
        let allowed = u128::from(measured.n) * u128::from(drop_max_ppm);
        let loses_too_many =
            |before: u64, after: u64| u128::from(before.saturating_sub(after)) * 1_000_000 > allowed;
        let Some(last) = self.last() else { return true };
        let baseline_loses = match (last.baseline_correct, measured.baseline_correct) {
            (Some(before), Some(after)) => loses_too_many(before, after),
            _ => false,
        };
        !baseline_loses && !loses_too_many(last.float_correct, measured.float_correct)
    }

    /// Notes a transform that found nothing to do, with the accuracy as it was.
    fn repeat(&mut self, transform: Transform) {
        if let Some(last) = self.last().cloned() {
            let state = StepState::Idle;
            self.steps.push(PreparedStep { transform: Some(transform), state, changes: 0, ..last });
        }
    }
}

fn step(transform: Option<Transform>, state: StepState, changes: u64, measured: Measured) -> PreparedStep {
    PreparedStep {
        transform,
        state,
        changes,
        n: measured.n,
        float_correct: measured.float_correct,
        baseline_correct: measured.baseline_correct,
    }
}

impl Workshop<'_> {
    /// Measures the network as it was given: quantized too, unless quantizers are placed for what folding makes of it.
    fn as_given(&self) -> Result<Option<Measured>, PrepareError> {
        let spec = self.materials.spec;
        let network = Transformed::new(self.materials.model.clone());
        let is_rebuilt = spec.transforms.first() == Some(&Transform::FoldBatchNorm)
            && network.model.graph.without_folded_batch_norms() != network.model.graph;
        if !is_rebuilt {
            return self.measured(&Candidate { network, correction: None, changes: 0 });
        }
        let float = Prepared {
            model: network.model,
            points: Vec::new(),
            biases: spec.candidates.biases,
            encodings: BTreeMap::new(),
            corrected: BTreeMap::new(),
        };
        let measured = self.judged(float)?;
        Ok(measured.map(|measured| Measured { baseline_correct: None, ..measured }))
    }

    /// Measures a network in float and at the baseline's width.
    fn measured(&self, candidate: &Candidate) -> Result<Option<Measured>, PrepareError> {
        let baseline = vec![self.materials.spec.candidates.baseline];
        let widths = Widths { weights: baseline.clone(), activations: baseline };
        match self.quantize(&candidate.network, &widths, candidate.correction)? {
            Some(prepared) => self.judged(prepared),
            None => Ok(None),
        }
    }

    fn judged(&self, prepared: Prepared) -> Result<Option<Measured>, PrepareError> {
        let spec = self.materials.spec;
        let context = EvaluateContext {
            // What is judged here is never stored, so it has no name.
            prepared: Digest::of(b""),
            data: spec.guard.data,
            images: spec.guard.images,
            numerics: Numerics::Float,
            baseline: Choice::Bits(spec.candidates.baseline),
            points: prepared.points.iter().map(|point| point.name.clone()).collect(),
        };
        let images = Arc::clone(self.materials.guard);
        let materials = evaluate::Materials { prepared: Arc::new(prepared), images, context };
        // On the CPU wherever the worker computes, so that every class of device comes to the same decisions.
        let evaluator = Evaluator::new(materials, self.threads, &Device::Cpu)?;
        let references = evaluator.references(self.stop)?;
        Ok(references.map(|references| Measured {
            n: spec.guard.images.len,
            float_correct: references.float_correct,
            baseline_correct: Some(references.baseline_correct),
        }))
    }
}
