use bitloop_core::bits::{BitConfig, Bits, Choice, PointIndex};
use bitloop_core::trial::{
    EvaluateContext, ImageRange, Numerics, PrepareSpec, ProbeSpec, Training, TrialSpec,
};

use super::limits::PATH_BYTES_MAX;
use super::{ConvertError, digest, digest_to_wire, required};
use crate::v1;

/// The number that stands for a tensor without quantizer.
const FLOAT: u32 = 0;

impl From<ImageRange> for v1::ImageRange {
    fn from(range: ImageRange) -> Self {
        Self { start: range.start, len: range.len }
    }
}

impl TryFrom<v1::ImageRange> for ImageRange {
    type Error = ConvertError;

    fn try_from(range: v1::ImageRange) -> Result<Self, ConvertError> {
        match range.start.checked_add(range.len) {
            Some(_) => Ok(Self { start: range.start, len: range.len }),
            None => Err(ConvertError::RangeOverflow { field: "images" }),
        }
    }
}

impl From<Numerics> for v1::Numerics {
    fn from(numerics: Numerics) -> Self {
        match numerics {
            Numerics::Exact => Self::Exact,
            Numerics::Float => Self::Float,
        }
    }
}

fn numerics(value: i32) -> Result<Numerics, ConvertError> {
    match v1::Numerics::try_from(value) {
        Ok(v1::Numerics::Exact) => Ok(Numerics::Exact),
        Ok(v1::Numerics::Float) => Ok(Numerics::Float),
        Ok(v1::Numerics::Unspecified) => Err(ConvertError::Missing { field: "numerics" }),
        Err(_) => Err(ConvertError::UnknownValue { field: "numerics", value }),
    }
}

fn choice_to_wire(choice: Choice) -> u32 {
    match choice {
        Choice::Float => FLOAT,
        Choice::Bits(bits) => bits.get(),
    }
}

fn choice(field: &'static str, bits: u32) -> Result<Choice, ConvertError> {
    if bits == FLOAT {
        return Ok(Choice::Float);
    }
    let narrow = u8::try_from(bits).map_err(|_| ConvertError::UnsupportedBits { field, bits })?;
    let bits = Bits::new(narrow).map_err(|error| ConvertError::bits(field, &error))?;
    Ok(Choice::Bits(bits))
}

fn changes_to_wire(config: &BitConfig) -> Vec<v1::PointChange> {
    config
        .changes()
        .map(|(point, choice)| v1::PointChange { point: point.0, bits: choice_to_wire(choice) })
        .collect()
}

fn bit_config(changes: &[v1::PointChange]) -> Result<BitConfig, ConvertError> {
    for pair in changes.windows(2) {
        if pair[0].point >= pair[1].point {
            return Err(ConvertError::PointOrder { point: pair[1].point });
        }
    }
    let choices = changes
        .iter()
        .map(|change| Ok((PointIndex(change.point), choice("bits", change.bits)?)))
        .collect::<Result<Vec<_>, ConvertError>>()?;
    // The baseline is in the context, which is sent apart. In canonical form no change equals it, so at least one
    // choice is unused; taking that one for the baseline drops nothing.
    let unused = every_choice()
        .find(|candidate| choices.iter().all(|(_, choice)| choice != candidate))
        .ok_or(ConvertError::EveryChoice)?;
    Ok(BitConfig::against(unused, choices))
}

fn every_choice() -> impl Iterator<Item = Choice> {
    let widths = (0..=u8::MAX).filter_map(|bits| Bits::new(bits).ok());
    std::iter::once(Choice::Float).chain(widths.map(Choice::Bits))
}

/// Checks a bit config against the context it is to be evaluated in.
///
/// Errors: `UnknownPoint`, and `EqualsBaseline` for a change that changes nothing.
pub fn check_config(config: &BitConfig, context: &EvaluateContext) -> Result<(), ConvertError> {
    for (point, choice) in config.changes() {
        if point.0 as usize >= context.points.len() {
            return Err(ConvertError::UnknownPoint { point: point.0, points: context.points.len() });
        }
        if choice == context.baseline {
            return Err(ConvertError::EqualsBaseline { point: point.0 });
        }
    }
    Ok(())
}

/// Checks a part against the context whose images it is of.
///
/// Errors: `PartOutside`, also for a part without images.
pub fn check_part(part: ImageRange, context: &EvaluateContext) -> Result<(), ConvertError> {
    let images = context.images.len;
    match part.start.checked_add(part.len) {
        Some(end) if part.len > 0 && end <= images => Ok(()),
        _ => Err(ConvertError::PartOutside { start: part.start, len: part.len, images }),
    }
}

impl From<&PrepareSpec> for v1::Prepare {
    fn from(spec: &PrepareSpec) -> Self {
        Self { document: spec.to_document() }
    }
}

impl TryFrom<v1::Prepare> for PrepareSpec {
    type Error = ConvertError;

    fn try_from(prepare: v1::Prepare) -> Result<Self, ConvertError> {
        Self::from_document(&prepare.document)
            .map_err(|reason| ConvertError::Document { field: "document", reason })
    }
}

impl From<&TrialSpec> for v1::Trial {
    fn from(spec: &TrialSpec) -> Self {
        let spec = match spec {
            TrialSpec::Prepare(prepare) => v1::trial::Spec::Prepare(prepare.as_ref().into()),
            TrialSpec::Evaluate { context, config, part } => v1::trial::Spec::Evaluate(v1::Evaluate {
                context: digest_to_wire(context),
                changes: changes_to_wire(config),
                part: Some((*part).into()),
            }),
            TrialSpec::Train(training) => {
                v1::trial::Spec::Train(v1::Train { document: training.to_document() })
            }
            TrialSpec::Probe(probe) => v1::trial::Spec::Probe(v1::Probe { document: probe.to_document() }),
        };
        Self { spec: Some(spec) }
    }
}

impl TryFrom<v1::Trial> for TrialSpec {
    type Error = ConvertError;

    fn try_from(trial: v1::Trial) -> Result<Self, ConvertError> {
        match required("spec", trial.spec)? {
            v1::trial::Spec::Prepare(prepare) => Ok(Self::Prepare(Box::new(prepare.try_into()?))),
            v1::trial::Spec::Evaluate(evaluate) => Ok(Self::Evaluate {
                context: digest("context", &evaluate.context)?,
                config: bit_config(&evaluate.changes)?,
                part: required("part", evaluate.part)?.try_into()?,
            }),
            v1::trial::Spec::Train(train) => {
                let training = Training::from_document(&train.document)
                    .map_err(|reason| ConvertError::Document { field: "document", reason })?;
                Ok(Self::Train(Box::new(training)))
            }
            v1::trial::Spec::Probe(probe) => {
                let probe = ProbeSpec::from_document(&probe.document)
                    .map_err(|reason| ConvertError::Document { field: "document", reason })?;
                Ok(Self::Probe(Box::new(probe)))
            }
        }
    }
}

/// Points' names come from models, which may call their layers anything; they are limited, and shown by none.
fn points(names: Vec<String>) -> Result<Vec<String>, ConvertError> {
    let field = "points";
    match names.iter().map(String::len).max() {
        Some(len) if len > PATH_BYTES_MAX => Err(ConvertError::TooLong { field, len, max: PATH_BYTES_MAX }),
        Some(_) | None => Ok(names),
    }
}

impl From<&EvaluateContext> for v1::EvaluateContext {
    fn from(context: &EvaluateContext) -> Self {
        Self {
            prepared: digest_to_wire(&context.prepared),
            data: digest_to_wire(&context.data),
            images: Some(context.images.into()),
            numerics: v1::Numerics::from(context.numerics).into(),
            baseline_bits: choice_to_wire(context.baseline),
            points: context.points.clone(),
        }
    }
}

impl TryFrom<v1::EvaluateContext> for EvaluateContext {
    type Error = ConvertError;

    fn try_from(context: v1::EvaluateContext) -> Result<Self, ConvertError> {
        Ok(Self {
            prepared: digest("prepared", &context.prepared)?,
            data: digest("data", &context.data)?,
            images: required("images", context.images)?.try_into()?,
            numerics: numerics(context.numerics)?,
            baseline: choice("baseline_bits", context.baseline_bits)?,
            points: points(context.points)?,
        })
    }
}
