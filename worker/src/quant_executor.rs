//! The executor that measures, over `bitloop-quant`. It keeps what trials share between shards.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bitloop_core::bits::BitConfig;
use bitloop_core::device::{Device, ProbeOffer};
use bitloop_core::digest::Digest;
use bitloop_core::trial::{
    EvaluateContext, ImageRange, Outcome, PrepareSpec, Provenance, Training, TrialResult, TrialSpec, Work,
};
use bitloop_proto::convert::{self, ConvertError};
use bitloop_quant::calibration::CalibrationError;
use bitloop_quant::data::Images;
use bitloop_quant::device::{self, DeviceError, Opened};
use bitloop_quant::evaluate::{EvaluateError, Evaluated, Evaluator, Materials};
use bitloop_quant::lanes::LaneError;
use bitloop_quant::model::Model;
use bitloop_quant::prepare::{self, PrepareError, Prepared};
use bitloop_quant::train::{self, TrainError};
use bitloop_quant::transforms::TransformError;
use tracing::{debug, info};

use crate::artifacts::Artifacts;
use crate::executor::{ExecuteError, Executor, Obstacle, Setting};
use crate::probe::{Probe, Probes};

/// How many contexts' evaluators, models and data sets are kept: the current one's and that of the stage before.
const KEPT: usize = 2;

/// The values used last, by digest.
struct Recent<T>(VecDeque<(Digest, Arc<T>)>);

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(VecDeque::with_capacity(KEPT))
    }
}

impl<T> Recent<T> {
    fn get(&mut self, digest: &Digest) -> Option<Arc<T>> {
        let index = self.0.iter().position(|(known, _)| known == digest)?;
        let entry = self.0.remove(index)?;
        let value = Arc::clone(&entry.1);
        self.0.push_front(entry);
        Some(value)
    }

    fn insert(&mut self, digest: Digest, value: T) -> Arc<T> {
        let value = Arc::new(value);
        self.0.truncate(KEPT - 1);
        self.0.push_front((digest, Arc::clone(&value)));
        value
    }
}

/// Calibrates, evaluates and trains networks.
pub struct QuantExecutor {
    device: Opened,
    threads: usize,
    models: Recent<Model>,
    images: Recent<Images>,
    evaluators: Recent<Evaluator>,
    probes: Probes,
}

/// What came of each trial, in their order, and the work for all of them.
type Results = (Vec<Result<TrialResult, Obstacle>>, Work);

impl QuantExecutor {
    /// Prepares to compute on a device, called `cpu` or `cuda:N`, with as many threads.
    ///
    /// Errors: those of [`device::open`].
    pub fn new(device: &str, threads: usize) -> Result<Self, DeviceError> {
        Ok(Self {
            device: device::open(device)?,
            threads,
            models: Recent::default(),
            images: Recent::default(),
            evaluators: Recent::default(),
            probes: Probes::default(),
        })
    }

    fn model(&mut self, digest: &Digest, artifacts: &dyn Artifacts) -> Result<Arc<Model>, Obstacle> {
        if let Some(model) = self.models.get(digest) {
            return Ok(model);
        }
        let bytes = artifacts.fetch(digest)?;
        debug!(artifact = digest.short(), bytes = bytes.len(), "the model is here");
        let model = Model::from_bytes(&bytes).map_err(|error| Obstacle::Failed(error.to_string()))?;
        Ok(self.models.insert(*digest, model))
    }

    fn images(&mut self, digest: &Digest, artifacts: &dyn Artifacts) -> Result<Arc<Images>, Obstacle> {
        if let Some(images) = self.images.get(digest) {
            return Ok(images);
        }
        let bytes = artifacts.fetch(digest)?;
        debug!(artifact = digest.short(), bytes = bytes.len(), "the images are here");
        let images = Images::from_bytes(&bytes).map_err(|error| Obstacle::Failed(error.to_string()))?;
        Ok(self.images.insert(*digest, images))
    }

    fn prepare(
        &mut self,
        spec: &PrepareSpec,
        artifacts: &dyn Artifacts,
        stop: &AtomicBool,
    ) -> Result<Option<TrialResult>, Obstacle> {
        let model = self.model(&spec.model, artifacts)?;
        let calibration = self.images(&spec.data, artifacts)?;
        let guard = match spec.is_guarded() {
            true => self.images(&spec.guard.data, artifacts)?,
            false => Arc::clone(&calibration),
        };
        let materials = prepare::Materials { model: &model, calibration: &calibration, guard: &guard, spec };
        let prepared = prepare::prepare(&materials, self.threads, stop);
        let Some((prepared, steps)) = prepared.map_err(|error| self.prepare_obstacle(error))? else {
            return Ok(None);
        };
        let bytes = prepared.to_bytes().map_err(|error| self.prepare_obstacle(error))?;
        info!(steps = steps.len(), bytes = bytes.len(), "the model is prepared");
        // Stored before the outcome is committed: whoever reads the outcome finds the artifact.
        let artifact = artifacts.store(bytes)?;
        Ok(Some(TrialResult::Prepared { artifact, steps }))
    }

    fn train(&mut self, training: &Training, setting: &Setting<'_>) -> Result<Option<TrialResult>, Obstacle> {
        let model = self.model(&training.model, setting.artifacts)?;
        let validation = self.images(&training.validation.data, setting.artifacts)?;
        // What is only measured needs nothing to learn from.
        let learned = match training.recipe.epochs {
            0 => Arc::clone(&validation),
            _ => self.images(&training.training.data, setting.artifacts)?,
        };
        let materials =
            train::Materials { model: &model, training: &learned, validation: &validation, spec: training };
        let fitted = train::fit_quantized(&materials, self.threads, setting.stop);
        let Some((mut trained, model)) = fitted.map_err(train_obstacle)? else { return Ok(None) };
        info!(epochs = trained.epochs, best_epoch = trained.best_epoch, "the network is trained");
        if let Some(model) = model {
            let bytes = model.to_bytes().map_err(|error| Obstacle::Failed(error.to_string()))?;
            // Stored before the outcome is committed: whoever reads the outcome finds the artifact.
            trained.artifact = Some(setting.artifacts.store(bytes)?);
        }
        Ok(Some(TrialResult::Trained(trained)))
    }

    fn evaluator(
        &mut self,
        digest: &Digest,
        context: &EvaluateContext,
        artifacts: &dyn Artifacts,
    ) -> Result<Arc<Evaluator>, Obstacle> {
        if let Some(evaluator) = self.evaluators.get(digest) {
            return Ok(evaluator);
        }
        let prepared = Prepared::from_bytes(&artifacts.fetch(&context.prepared)?);
        let prepared = prepared.map_err(|error| self.prepare_obstacle(error))?;
        let images = self.images(&context.data, artifacts)?;
        let materials = Materials { prepared: Arc::new(prepared), images, context: context.clone() };
        let Opened { device, kernels, .. } = &self.device;
        let evaluator = Evaluator::with_kernels(materials, self.threads, device, *kernels);
        let evaluator = evaluator.map_err(|error| self.evaluate_obstacle(error))?;
        debug!(
            context = digest.short(),
            threads = self.threads,
            kernels = kernels.name(),
            "ready to evaluate"
        );
        Ok(self.evaluators.insert(*digest, evaluator))
    }

    /// Evaluates the configs of trials on one part of one context's images; `None` if that was stopped.
    fn evaluate(
        &mut self,
        (digest, part): (&Digest, ImageRange),
        configs: &[&BitConfig],
        setting: &Setting<'_>,
    ) -> Result<Option<Results>, Obstacle> {
        let context = setting.context.ok_or(ExecuteError::NoContext)?;
        let evaluator = self.evaluator(digest, context, setting.artifacts)?;
        let wrong = |error: ConvertError| Obstacle::Failed(error.to_string());
        convert::check_part(part, context).map_err(wrong)?;
        let checked: Vec<Result<(), Obstacle>> =
            configs.iter().map(|config| convert::check_config(config, context).map_err(wrong)).collect();
        let good = configs.iter().zip(&checked).filter(|(_, checked)| checked.is_ok());
        let good: Vec<&BitConfig> = good.map(|(config, _)| *config).collect();
        let evaluated = evaluator.evaluate_all(&good, part, setting.stop);
        let evaluated = evaluated.map_err(|error| self.evaluate_obstacle(error))?;
        let Some((evaluated, work)) = evaluated else { return Ok(None) };
        let mut evaluated = evaluated.into_iter();
        let results = checked.into_iter().map(|checked| {
            checked?;
            self.result(evaluated.next().expect("every good config was evaluated"))
        });
        Ok(Some((results.collect(), work)))
    }

    fn result(&self, evaluated: Evaluated) -> Result<TrialResult, Obstacle> {
        let sums = evaluated.map_err(|error| self.evaluate_obstacle(error))?;
        let finite = [
            sums.loss_sum,
            sums.loss_difference_sum,
            sums.loss_difference_squares,
            sums.kl_sum,
            sums.signal_sum,
            sums.noise_sum,
        ];
        match finite.iter().all(|sum| sum.is_finite()) {
            true => Ok(TrialResult::Evaluated(sums)),
            false => Err(Obstacle::Failed("a sum over the images is not a finite number".to_owned())),
        }
    }

    /// Measures trials that go together; `None` if that was stopped. An error is that of all of them.
    fn attempt(&mut self, trials: &[&TrialSpec], setting: &Setting<'_>) -> Result<Option<Results>, Obstacle> {
        match trials {
            [] => Ok(None),
            [TrialSpec::Prepare(prepare), ..] => {
                let prepared = self.prepare(prepare, setting.artifacts, setting.stop)?;
                Ok(prepared.map(|prepared| (vec![Ok(prepared)], Work::default())))
            }
            [TrialSpec::Train(training), ..] => {
                let trained = self.train(training, setting)?;
                Ok(trained.map(|trained| (vec![Ok(trained)], Work::default())))
            }
            [TrialSpec::Evaluate { context, part, .. }, ..] => {
                let configs = trials.iter().filter_map(|trial| match trial {
                    TrialSpec::Evaluate { config, .. } => Some(config),
                    TrialSpec::Prepare(_) | TrialSpec::Train(_) | TrialSpec::Probe(_) => None,
                });
                let configs: Vec<&BitConfig> = configs.collect();
                self.evaluate((context, *part), &configs, setting)
            }
            // They are measured one by one, before anything is attempted together.
            [TrialSpec::Probe(_), ..] => Ok(None),
        }
    }

    /// Measures devices, one trial after another.
    fn probe(
        &mut self,
        trials: &[&TrialSpec],
        setting: &Setting<'_>,
        give: &mut dyn FnMut(Outcome),
    ) -> Result<(), ExecuteError> {
        for trial in trials {
            let TrialSpec::Probe(probe) = trial else { continue };
            if setting.stop.load(Ordering::Relaxed) {
                break;
            }
            match self.probes.measure(probe, setting)? {
                Some(outcome) => give(outcome),
                None => break,
            }
        }
        Ok(())
    }

    /// Tells what fails everywhere from what fails here: threads, and a device other than the CPU.
    fn evaluate_obstacle(&self, error: EvaluateError) -> Obstacle {
        match error {
            EvaluateError::Lanes(error) => lane_obstacle(&error),
            EvaluateError::Prepared(error) => self.prepare_obstacle(*error),
            error @ (EvaluateError::Kernels(_) | EvaluateError::Exact) => {
                Obstacle::Here(ExecuteError::Device { reason: error.to_string() })
            }
            EvaluateError::Execute(error) => self.execute_obstacle(format!("evaluating failed: {error}")),
            error @ (EvaluateError::Graph(_)
            | EvaluateError::Data(_)
            | EvaluateError::Points { .. }
            | EvaluateError::UnknownPoint { .. }
            | EvaluateError::Classes { .. }
            | EvaluateError::NotFinite { .. }
            | EvaluateError::Quantizer { .. }) => Obstacle::Failed(error.to_string()),
        }
    }

    fn prepare_obstacle(&self, error: PrepareError) -> Obstacle {
        match error {
            PrepareError::Evaluate(error) => self.evaluate_obstacle(*error),
            PrepareError::Lanes(error) => lane_obstacle(&error),
            PrepareError::Calibration(error) => self.calibration_obstacle(error),
            PrepareError::Transform(TransformError::Lanes(error)) => lane_obstacle(&error),
            PrepareError::Transform(TransformError::Execute(error)) => {
                self.execute_obstacle(format!("transforming failed: {error}"))
            }
            error @ (PrepareError::Transform(_)
            | PrepareError::Graph(_)
            | PrepareError::Quantizer { .. }
            | PrepareError::UnknownNode { .. }
            | PrepareError::MissingWidth { .. }
            | PrepareError::NotPrepared { .. }
            | PrepareError::Model(_)) => Obstacle::Failed(error.to_string()),
        }
    }

    fn calibration_obstacle(&self, error: CalibrationError) -> Obstacle {
        match error {
            CalibrationError::Lanes(error) => lane_obstacle(&error),
            CalibrationError::Execute(error) => self.execute_obstacle(format!("calibrating failed: {error}")),
            error @ (CalibrationError::Data(_)
            | CalibrationError::Graph(_)
            | CalibrationError::NotFinite { .. }
            | CalibrationError::NotStatistics { .. }
            | CalibrationError::Version { .. }
            | CalibrationError::MissingPoint { .. }
            | CalibrationError::Quantizer { .. }) => Obstacle::Failed(error.to_string()),
        }
    }

    /// Networks are trained on the CPU, whatever the device.
    fn provenance_of(&self, trial: &TrialSpec) -> Provenance {
        match trial {
            TrialSpec::Train(_) => {
                let (device, kernels) = (device::cpu_class(), train::kernels().to_owned());
                Provenance { device, kernels, ..self.provenance() }
            }
            TrialSpec::Prepare(_) | TrialSpec::Evaluate { .. } | TrialSpec::Probe(_) => self.provenance(),
        }
    }

    fn execute_obstacle(&self, reason: String) -> Obstacle {
        match self.device.device.is_cpu() {
            true => Obstacle::Failed(reason),
            false => Obstacle::Here(ExecuteError::Device { reason }),
        }
    }
}

/// Tells what fails everywhere from what fails here: threads, and kernels that this machine lacks.
fn train_obstacle(error: TrainError) -> Obstacle {
    match error {
        TrainError::Lanes(error) => lane_obstacle(&error),
        error @ TrainError::Kernels(_) => Obstacle::Here(ExecuteError::Device { reason: error.to_string() }),
        error @ TrainError::NoNumbers { .. } => Obstacle::Failed(error.to_string()),
        error => Obstacle::Failed(format!("training failed: {error}")),
    }
}

fn lane_obstacle(error: &LaneError) -> Obstacle {
    Obstacle::Here(ExecuteError::Device { reason: error.to_string() })
}

impl Executor for QuantExecutor {
    fn device(&self) -> Device {
        self.device.inventory.clone()
    }

    fn float_only(&self) -> bool {
        !self.device.kernels.are_exact()
    }

    fn run(
        &mut self,
        trials: &[&TrialSpec],
        setting: &Setting<'_>,
        give: &mut dyn FnMut(Outcome),
    ) -> Result<(), ExecuteError> {
        if setting.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        if let Some(TrialSpec::Probe(_)) = trials.first() {
            return self.probe(trials, setting, give);
        }
        let (results, work) = match self.attempt(trials, setting) {
            Ok(results) => results.unwrap_or_default(),
            Err(Obstacle::Failed(reason)) => {
                let failed = trials.iter().map(|_| Err(Obstacle::Failed(reason.clone())));
                (failed.collect(), Work::default())
            }
            Err(Obstacle::Here(error)) => return Err(error),
        };
        let work = work.share(results.len());
        for (trial, result) in trials.iter().zip(results) {
            let result = match result {
                Ok(result) => result,
                Err(Obstacle::Failed(reason)) => TrialResult::Failed { reason },
                Err(Obstacle::Here(error)) => return Err(error),
            };
            give(Outcome { result, provenance: self.provenance_of(trial), work });
        }
        Ok(())
    }

    fn provenance(&self) -> Provenance {
        Provenance {
            engine: format!("bitloop {}", env!("CARGO_PKG_VERSION")),
            device: self.device().class,
            kernels: self.device.kernels.name().to_owned(),
        }
    }

    fn probes(&self) -> Vec<ProbeOffer> {
        self.probes.offers()
    }

    fn take_probes(&mut self, probes: Vec<Probe>) {
        self.probes = Probes::new(probes);
    }

    fn reset(&mut self) {
        self.models = Recent::default();
        self.images = Recent::default();
        self.evaluators = Recent::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_values_used_last_are_kept() {
        let [a, b, c] = ["a", "b", "c"].map(|text| Digest::of(text.as_bytes()));
        let mut recent = Recent::default();
        recent.insert(a, 1);
        recent.insert(b, 2);

        recent.get(&a);
        recent.insert(c, 3);

        assert!(recent.get(&b).is_none());
        assert_eq!(recent.get(&a).as_deref(), Some(&1));
        assert_eq!(recent.get(&c).as_deref(), Some(&3));
    }
}
