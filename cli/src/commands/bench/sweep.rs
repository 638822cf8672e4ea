//! `bitloop bench sweep`: what a sensitivity sweep takes when configs share what they agree in, and when they do not.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bitloop_core::bits::{BitConfig, Bits, Choice, PointIndex};
use bitloop_core::digest::Digest;
use bitloop_core::plan::{Plan, StagePlan};
use bitloop_core::trial::{EvaluateContext, Evaluation, ImageRange, Work};
use bitloop_quant::data::Images;
use bitloop_quant::device::{Device, Kernels};
use bitloop_quant::evaluate::{Evaluator, Materials};
use bitloop_quant::model::Model;
use bitloop_quant::prepare::{self, Prepared};
use serde_json::{Value, json};

use super::median;
use crate::args::{Output, SweepArguments};
use crate::clock::{self, Stopwatch};
use crate::failure::{Failure, Outcome};
use crate::inputs;
use crate::show;

/// Configs that are evaluated together: as many as a shard has at most.
const SHARD_CONFIGS: usize = 512;

/// A sweep that is measured both ways.
struct Bench {
    evaluator: Evaluator,
    prepared: Arc<Prepared>,
    configs: Vec<BitConfig>,
    /// Of these, the ones that are also evaluated alone.
    alone: Vec<usize>,
}

/// One repetition.
struct Measured {
    results: Vec<Evaluation>,
    work: Work,
    together: Times,
    /// Of the configs that were evaluated alone.
    alone: Times,
}

#[derive(Clone, Copy, Default)]
struct Times {
    wall_s: f64,
    cpu_s: f64,
}

pub(in crate::commands) fn execute(arguments: &SweepArguments, output: Output) -> Outcome {
    let kernels = Kernels::chosen().map_err(|error| Failure::usage(error.to_string()))?;
    let bench = Bench::new(arguments)?;
    let measured = (0..arguments.repetitions).map(|_| bench.measure());
    let measured = measured.collect::<Result<Vec<_>, Failure>>()?;
    let of = |time: &dyn Fn(&Measured) -> f64| median(measured.iter().map(time).collect());
    let all = bench.configs.len() as f64;
    let per_alone = 1.0 / bench.alone.len() as f64;
    let together_s = of(&|one| one.together.wall_s / all);
    let alone_s = of(&|one| one.alone.wall_s * per_alone);
    let ratio = of(&|one| one.alone.wall_s * per_alone / (one.together.wall_s / all));
    let [together_cpu_s, alone_cpu_s] =
        [of(&|one| one.together.cpu_s / all), of(&|one| one.alone.cpu_s * per_alone)];
    let Work { macs, macs_alone } = measured.first().map(|one| one.work).unwrap_or_default();
    let images = bench.evaluator.context().images.len;
    if output == Output::Json {
        return show::json(&json!({
            "experiment": arguments.experiment.display().to_string(),
            "kernels": kernels.name(),
            "threads": arguments.threads,
            "images": images,
            "configs": bench.configs.len(),
            "configs_alone": bench.alone.len(),
            "s_per_config": together_s,
            "s_per_config_alone": alone_s,
            "cpu_s_per_config": together_cpu_s,
            "cpu_s_per_config_alone": alone_cpu_s,
            "times_as_fast": ratio,
            "macs": macs,
            "macs_alone": macs_alone,
            "results": measured.first().map(|one| bench.rows(&one.results)),
        }));
    }
    let ms = |s: f64| format!("{:.2} ms", s * 1e3);
    show::data(&show::fields(&[
        ("experiment", arguments.experiment.display().to_string()),
        ("kernels", kernels.name().to_owned()),
        ("images", images.to_string()),
        ("threads", arguments.threads.to_string()),
        ("configs", format!("{}, {} of them also alone", bench.configs.len(), bench.alone.len())),
        ("together", format!("{} per config, {} of processor time", ms(together_s), ms(together_cpu_s))),
        ("alone", format!("{} per config, {} of processor time", ms(alone_s), ms(alone_cpu_s))),
        ("ratio", format!("{ratio:.2}")),
        ("by work", format!("{:.2} (multiply-adds)", macs_alone as f64 / macs.max(1) as f64)),
        ("median of", arguments.repetitions.to_string()),
    ]))
}

impl Bench {
    fn new(arguments: &SweepArguments) -> Result<Self, Failure> {
        let inputs::Prepared { plan, artifacts, .. } =
            inputs::prepare(&arguments.experiment, &arguments.datasets)?;
        let bytes = |digest: &Digest| artifacts[digest].as_slice();
        let images = |digest: &Digest| Images::from_bytes(bytes(digest));
        let model = Model::from_bytes(bytes(&plan.model))?;
        let spec = plan.prepare();
        let (calibration, guard) = (images(&spec.data)?, Arc::new(images(&spec.guard.data)?));
        let materials =
            prepare::Materials { model: &model, calibration: &calibration, guard: &guard, spec: &spec };
        let threads = usize::from(arguments.threads);
        let prepared = prepare::prepare(&materials, threads, &AtomicBool::new(false))?;
        let (prepared, _) = prepared.expect("nothing stops the preparation");
        let prepared = Arc::new(prepared);
        let context = plan.context(Digest::of(b""));
        let len =
            arguments.images.map_or(context.images.len, |limit| context.images.len.min(u64::from(limit)));
        let context = EvaluateContext { images: ImageRange { len, ..context.images }, ..context };
        let materials = Materials {
            prepared: Arc::clone(&prepared),
            images: Arc::new(images(&plan.data.selection.digest)?),
            context,
        };
        let configs = configs(&plan, arguments.points)?;
        let alone = spread(configs.len(), usize::from(arguments.alone));
        let evaluator = Evaluator::new(materials, threads, &Device::Cpu)?;
        let bench = Self { evaluator, prepared, configs, alone };
        // What is made once and kept: packed weights of every width, and the references.
        bench.together()?;
        Ok(bench)
    }

    fn measure(&self) -> Result<Measured, Failure> {
        let ((results, work), together) = timed(|| self.together())?;
        let ((), alone) = timed(|| {
            for index in &self.alone {
                self.evaluate(std::slice::from_ref(&self.configs[*index]))?;
            }
            Ok(())
        })?;
        Ok(Measured { results, work, together, alone })
    }

    fn together(&self) -> Result<(Vec<Evaluation>, Work), Failure> {
        let (mut results, mut total) = (Vec::with_capacity(self.configs.len()), Work::default());
        for shard in self.configs.chunks(SHARD_CONFIGS) {
            let (evaluated, work) = self.evaluate(shard)?;
            results.extend(evaluated);
            total.add(work);
        }
        Ok((results, total))
    }

    fn evaluate(&self, configs: &[BitConfig]) -> Result<(Vec<Evaluation>, Work), Failure> {
        let configs: Vec<&BitConfig> = configs.iter().collect();
        let whole = self.evaluator.context().whole();
        let evaluated = self.evaluator.evaluate_all(&configs, whole, &AtomicBool::new(false))?;
        let (evaluated, work) = evaluated.expect("nothing stops the evaluation");
        Ok((evaluated.into_iter().collect::<Result<Vec<_>, _>>()?, work))
    }

    /// Every config with its sums, so that decisions can be compared.
    fn rows(&self, results: &[Evaluation]) -> Vec<Value> {
        let row = |(config, sums): (&BitConfig, &Evaluation)| {
            let changes = config.changes();
            json!({
                "lowered": changes.map(|(point, choice)| self.lowered(point, choice)).collect::<Vec<_>>(),
                "n": sums.n,
                "correct": sums.correct,
                "lost": sums.lost,
                "gained": sums.gained,
                "loss": sums.loss_sum / sums.n.max(1) as f64,
                "loss_increase": sums.loss_difference_sum / sums.n.max(1) as f64,
            })
        };
        self.configs.iter().zip(results).map(row).collect()
    }

    /// A point with the encodings that it has in the baseline and when it is lowered.
    fn lowered(&self, point: PointIndex, choice: Choice) -> Value {
        let index = point.0 as usize;
        let encoding = |choice| match choice {
            Choice::Float => Value::Null,
            Choice::Bits(bits) => self.prepared.encoding(index, bits).map_or(
                Value::Null,
                |encoding| json!({ "bits": bits, "scale": encoding.scale(), "offset": encoding.offset() }),
            ),
        };
        let baseline = self.evaluator.context().baseline;
        let (name, kind) = (&self.prepared.points[index].name, self.prepared.points[index].kind.as_str());
        json!({ "point": name, "kind": kind, "encoding": encoding(choice), "baseline": encoding(baseline) })
    }
}

/// The baseline with each of the sweep's points lowered to its smallest width, or each pair of them.
fn configs(plan: &Plan, lowered: u8) -> Result<Vec<BitConfig>, Failure> {
    let sweep = plan.stages.iter().find_map(|stage| match stage {
        StagePlan::Sensitivity { single, .. } => Some(single),
        StagePlan::Prepare
        | StagePlan::Search(_)
        | StagePlan::Probe(_)
        | StagePlan::AutoQKeras(_)
        | StagePlan::Verify { .. } => None,
    });
    let points = sweep.ok_or_else(|| Failure::usage("the experiment has no sensitivity sweep".to_owned()))?;
    let baseline = Choice::Bits(plan.candidates.baseline);
    let smallest = |point: &PointIndex| {
        let widths: &[Bits] = plan.candidates.bits(plan.points[point.0 as usize].kind);
        (*point, Choice::Bits(widths.iter().copied().min().unwrap_or(plan.candidates.baseline)))
    };
    let single = points.iter().map(|point| BitConfig::against(baseline, [smallest(point)]));
    if lowered == 1 {
        return Ok(single.collect());
    }
    let pairs = points.iter().enumerate().flat_map(|(index, first)| {
        points[index + 1..]
            .iter()
            .map(move |second| BitConfig::against(baseline, [first, second].map(smallest)))
    });
    let pairs: Vec<BitConfig> = pairs.collect();
    match pairs.is_empty() {
        true => Err(Failure::usage("the sweep has one point alone, and so no pairs".to_owned())),
        false => Ok(pairs),
    }
}

/// Positions spread evenly over `0..count`, at most `wanted`.
fn spread(count: usize, wanted: usize) -> Vec<usize> {
    let wanted = wanted.min(count).max(1);
    (0..wanted).map(|index| (2 * index + 1) * count / (2 * wanted)).collect()
}

fn timed<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<(T, Times), Failure> {
    let (watch, cpu) = (Stopwatch::start(), clock::cpu_seconds());
    let value = work()?;
    let cpu = clock::cpu_seconds().zip(cpu).map_or(f64::NAN, |(end, start)| end - start);
    Ok((value, Times { wall_s: watch.seconds(), cpu_s: cpu }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configs_alone_are_spread_over_the_depth() {
        assert_eq!(spread(10, 2), [2, 7]);
        assert_eq!(spread(3, 9), [0, 1, 2]);
        assert_eq!(spread(1, 1), [0]);
    }
}
