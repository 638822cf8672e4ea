use std::collections::BTreeSet;

use super::autoqkeras::KEY;
use super::data_reader::data;
use super::error::SpecError;
use super::evaluation_reader::evaluation;
use super::file::read_file;
use super::model::{PrepareRules, model, prepare};
use super::placement_reader::placement_source;
use super::reader::{Fields, Place};
use super::requires_reader::requires;
use super::shared::{name, parts_per_million};
use super::stage_reader::stage;
use super::{
    ActivationQuantization, ExperimentSpec, GRANULARITIES, PlacementSource, QuantizationSpec, StageSpec,
    WeightQuantization,
};
use crate::bits::{Bits, UnsupportedBits};
use crate::device::{DeviceKind, Requirements};
use crate::evaluation::EvaluationMode;
use crate::trial::{ActivationRule, Calibration, Numerics, Percentile, Scheme};

const CALIBRATIONS: [(&str, Calibration); 4] = [
    ("min_max", Calibration::MinMax),
    ("sqnr", Calibration::Sqnr),
    ("tf_enhanced", Calibration::TfEnhanced),
    ("mse", Calibration::Mse),
];
/// The one calibration that has a parameter.
const PERCENTILE: &str = "percentile";
/// One part per million above the half, where the ends of the range would meet.
const PERCENT_MIN: f64 = 50.0001;
const PERCENT_MAX: f64 = 100.0;
/// Priorities by which people can say all they mean.
pub const PRIORITY_MAX: i32 = 100;

impl ExperimentSpec {
    /// Reads an experiment file; `docs/experiment.md` describes its keys.
    ///
    /// Defaults: `data.split: test`, `data.pad: 0`, `data.report: rest`, `data.seed: 0`, `prepare:
    /// [fold_batch_norm]`, `weights.scheme: symmetric`, `weights.granularity` as the placement says,
    /// `weights.calibration: min_max`, `placement: default`, `activations.scheme: asymmetric`,
    /// `activations.calibration: min_max`, `evaluation: full`, `priority: 0`, no `requires`.
    /// Widths come back in ascending order.
    ///
    /// Errors: every mistake in the text, in the order of the file.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        let known = [
            "version",
            "name",
            "numerics",
            "model",
            "data",
            "prepare",
            "quantization",
            "evaluation",
            "stages",
            "requires",
            "priority",
        ];
        read_file(text, &known, experiment)
    }
}

fn experiment(fields: &Fields<'_>) -> Option<ExperimentSpec> {
    let trains = fields.optional("stages", false, trains)?;
    let name = fields.required("name", "name: my-experiment", name);
    let numerics = fields.optional("numerics", Numerics::Exact, numerics);
    let model = fields.required("model", "model: { checkpoint: model.safetensors }", model);
    let prepare = fields.optional("prepare", PrepareRules::default(), prepare);
    let data_example = match trains {
        true => "data: { dataset: fashion_mnist, training: 20000, selection: 2500 }",
        false => "data: { dataset: fashion_mnist, calibration: 512, selection: 2000 }",
    };
    let data = fields.required("data", data_example, |place| data(place, trains));
    let quantization = match trains {
        true => refuse_where_trained(fields).map(|()| None),
        false => {
            let example = "quantization: { weights: { bits: [4] }, activations: { bits: [4] }, baseline: 8 }";
            fields.required("quantization", example, quantization).map(Some)
        }
    };
    let evaluation = fields.optional("evaluation", EvaluationMode::default(), evaluation);
    let example = "stages: [{ sensitivity: { single: all } }]";
    let stages =
        fields.required("stages", example, |place| place.list("[{ sensitivity: { single: all } }]", stage));
    let requires = fields.optional("requires", Requirements::NONE, requires);
    let priority = fields.optional("priority", 0, priority);
    let (stages, stage_requires) = stages?.into_iter().unzip();
    let spec = ExperimentSpec {
        name: name?,
        numerics: numerics?,
        model: model?,
        data: data?,
        prepare: prepare?,
        quantization: quantization?,
        evaluation: evaluation?,
        stages,
        requires: requires?,
        stage_requires,
        priority: priority?,
    };
    can_be_exact(fields, &spec)?;
    calibrates(fields, &spec)?;
    Some(spec)
}

/// Whether the stages are searches that train. In company nothing else can be told: the other keys depend on it.
fn trains(place: &Place<'_>) -> Option<bool> {
    let stages = place.lists(KEY);
    let trains = stages.contains(&true);
    match trains && stages.contains(&false) {
        false => Some(trains),
        true => place.mistake(
            format!("a search that trains (`{KEY}`) has no other stages beside it"),
            "put it into an experiment of its own",
        ),
    }
}

/// Reports what only networks have that are quantized as they are.
fn refuse_where_trained(fields: &Fields<'_>) -> Option<()> {
    let keys = ["numerics", "prepare", "quantization", "evaluation"].into_iter();
    let given: Vec<&str> = keys.filter(|key| fields.has(key)).collect();
    for key in &given {
        let problem = "does not belong to a search that trains";
        let hint = match *key {
            "quantization" => "remove it; `quantization_config` and `limit` are keys of the stage",
            _ => "remove it",
        };
        fields.mistake::<()>(key, problem, hint);
    }
    given.is_empty().then_some(())
}

/// Reports a search that trains and measures on a device without the images by which the network gets its scales there.
fn calibrates(fields: &Fields<'_>, spec: &ExperimentSpec) -> Option<()> {
    let measures = |stage: &StageSpec| match stage {
        StageSpec::AutoQKeras(search) => search.goal.measured().is_some(),
        StageSpec::Sensitivity(_) | StageSpec::Search(_) | StageSpec::Probe(_) | StageSpec::Verify { .. } => {
            false
        }
    };
    if spec.data.calibration == 0 && spec.stages.iter().any(measures) {
        let problem = "is missing: the goal `measured` needs images by which scales are found for the device";
        return fields.mistake("data.calibration", problem, "add `calibration: 128`");
    }
    Some(())
}

/// Reports stages that ask for exact arithmetic on devices that do not have it.
fn can_be_exact(fields: &Fields<'_>, spec: &ExperimentSpec) -> Option<()> {
    let is_gpu = |requires: &Requirements| {
        requires.device == Some(DeviceKind::Cuda) || requires.gpu_memory_bytes.is_some()
    };
    let asks = |(stage, own): (&StageSpec, &Option<Requirements>)| {
        let measures = !matches!(stage, StageSpec::AutoQKeras(_));
        measures && is_gpu(own.as_ref().unwrap_or(&spec.requires))
    };
    if spec.numerics == Numerics::Exact && spec.stages.iter().zip(&spec.stage_requires).any(asks) {
        let hint = "write `numerics: float`, or ask for no GPU";
        return fields.mistake("requires", "exact arithmetic runs on CPU workers only", hint);
    }
    Some(())
}

fn priority(place: &Place<'_>) -> Option<i32> {
    let hint = format!("write a whole number from -{PRIORITY_MAX} to {PRIORITY_MAX}; more goes first");
    let number = place.any_integer(&hint)?;
    let priority = i32::try_from(number).ok().filter(|priority| priority.abs() <= PRIORITY_MAX);
    priority.or_else(|| place.mistake(format!("{number} is no priority"), hint))
}

fn numerics(place: &Place<'_>) -> Option<Numerics> {
    place.word(&[Numerics::Exact, Numerics::Float].map(|numerics| (numerics.as_str(), numerics)))
}

fn quantization(place: &Place<'_>) -> Option<QuantizationSpec> {
    let fields = place.fields(&["placement", "weights", "activations", "baseline"])?;
    let placement = fields.optional("placement", PlacementSource::Preset("default"), placement_source);
    let baseline = fields.required("baseline", "baseline: 8", width);
    let weights = fields.required("weights", "weights: { bits: [2, 4] }", |place| weights(place, baseline));
    let activations =
        fields.required("activations", "activations: { bits: [2, 4] }", |place| activations(place, baseline));
    Some(QuantizationSpec {
        placement: placement?,
        weights: weights?,
        activations: activations?,
        baseline: baseline?,
    })
}

fn weights(place: &Place<'_>, baseline: Option<Bits>) -> Option<WeightQuantization> {
    let fields = place.fields(&["bits", "scheme", "granularity", "calibration"])?;
    let bits = fields.required("bits", "bits: [2, 4]", |place| candidates(place, baseline));
    let scheme = fields.optional("scheme", Scheme::Symmetric, scheme);
    let granularity = fields.optional("granularity", None, |place| place.word(&GRANULARITIES).map(Some));
    let calibration = fields.optional("calibration", Calibration::MinMax, calibration);
    Some(WeightQuantization {
        bits: bits?,
        scheme: scheme?,
        granularity: granularity?,
        calibration: calibration?,
    })
}

fn activations(place: &Place<'_>, baseline: Option<Bits>) -> Option<ActivationQuantization> {
    let fields = place.fields(&["bits", "scheme", "calibration"])?;
    let bits = fields.required("bits", "bits: [2, 4]", |place| candidates(place, baseline));
    let scheme = fields.optional("scheme", Scheme::Asymmetric, scheme);
    let calibration = fields.optional("calibration", Calibration::MinMax, calibration);
    let rule = ActivationRule { scheme: scheme?, calibration: calibration? };
    Some(ActivationQuantization { bits: bits?, rule })
}

fn scheme(place: &Place<'_>) -> Option<Scheme> {
    place.word(&Scheme::ALL.map(|scheme| (scheme.as_str(), scheme)))
}

/// A word, or `{ percentile: 99.9 }`.
fn calibration(place: &Place<'_>) -> Option<Calibration> {
    if !place.is_mapping() {
        if place.as_text() == Some(PERCENTILE) {
            return place.mistake("it is not said which percentile", "write `{ percentile: 99.9 }`");
        }
        return place.word(&CALIBRATIONS);
    }
    let ((), place) = place.variant(&[(PERCENTILE, ())])?;
    let percent = place.number(PERCENT_MIN..=PERCENT_MAX)?;
    let ppm = parts_per_million(&place, percent, 4)?;
    Percentile::new(ppm).ok().map(Calibration::Percentile)
}

/// Widths below the baseline's, ascending; each width that cannot be tried is a mistake of its own.
fn candidates(place: &Place<'_>, baseline: Option<Bits>) -> Option<Vec<Bits>> {
    let mut seen = BTreeSet::new();
    let mut complete = true;
    for item in place.items("[2, 4]")? {
        let accepted = width(&item).and_then(|bits| {
            if !seen.insert(bits) {
                return item.mistake(format!("{bits} is already in the list"), "remove it");
            }
            match baseline {
                Some(baseline) if bits >= baseline => item.mistake(
                    format!("{bits} bits are not below the baseline of {baseline}"),
                    "remove the width, or choose a larger `quantization.baseline`",
                ),
                Some(_) | None => Some(bits),
            }
        });
        complete &= accepted.is_some();
    }
    complete.then(|| seen.into_iter().collect())
}

fn width(place: &Place<'_>) -> Option<Bits> {
    const HINT: &str = "choose 2 to 8 or 16";
    let number = place.any_integer(HINT)?;
    match u8::try_from(number).map(Bits::new) {
        Ok(Ok(bits)) => Some(bits),
        Ok(Err(UnsupportedBits(_))) | Err(_) => {
            place.mistake(format!("{number} bits are not supported"), HINT)
        }
    }
}
