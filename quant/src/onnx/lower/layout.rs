//! Operators that move values without changing them, and the shape of what is computed.

use bitloop_core::graph::Op;

use super::super::builder::Builder;
use super::super::call::{Call, Value, axis_of, extent_of};
use super::super::error::Reason;
use super::super::fold::permutation;
use super::super::names::name_of;
use super::super::tensor::{Constant, ElementType, elements};
use super::{Lowered, image_axis, single, unchanged};

/// Opset from which the last part of an equal Split may be smaller.
const UNEVEN_SPLIT: i64 = 18;

/// The extents of an input as the file sees them, with the batch as 1.
fn batch_shape(builder: &Builder, call: &Call<'_>) -> Result<Vec<usize>, Reason> {
    match call.input(0) {
        Some(Value::Constant(constant)) => Ok(constant.shape.clone()),
        _ => Ok([&[1], builder.shape(call.computed(0)?).0.as_slice()].concat()),
    }
}

/// Identity; Dropout, which does nothing outside of training.
pub(in super::super) fn pass(_: &mut Builder, call: &Call<'_>) -> Lowered {
    if call.integers(2)?.is_some_and(|training| training != [0]) {
        return Err(Reason::Feature("it is in training mode; export the model for inference"));
    }
    unchanged(call)
}

/// Cast between types of floating point.
pub(in super::super) fn cast(_: &mut Builder, call: &Call<'_>) -> Lowered {
    let number = call.int("to")?.and_then(|to| i32::try_from(to).ok());
    match ElementType::from_number(number.unwrap_or_default())?.is_float() {
        true => unchanged(call),
        false => Err(Reason::Feature("only floats are computed with")),
    }
}

/// Shape; the batch counts as 1.
pub(in super::super) fn shape(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    let shape: Vec<i64> = batch_shape(builder, call)?.into_iter().map(|extent| extent as i64).collect();
    let rank = shape.len() as i64;
    let bound = |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize;
    let (start, end) = (bound(call.int("start")?.unwrap_or(0)), bound(call.int("end")?.unwrap_or(rank)));
    let part = shape.get(start..end).unwrap_or_default().to_vec();
    Ok(vec![Value::Constant(Constant::integers(call.output(), vec![part.len()], part))])
}

/// Flatten behind the batch.
pub(in super::super) fn flatten(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    let rank = builder.shape(call.computed(0)?).0.len();
    match axis_of(call.int("axis")?.unwrap_or(1), rank + 1)? {
        1 if rank == 1 => unchanged(call),
        1 => single(builder, call, Op::Flatten),
        _ => Err(Reason::Batch),
    }
}

/// Reshape behind the batch.
pub(in super::super) fn reshape(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    let from = batch_shape(builder, call)?;
    let target = call.integers(1)?.ok_or(Reason::MissingInput { index: 1 })?;
    let keeps_zeros = call.flag("allowzero", false)?;
    let shape = target_shape(target, &from, keeps_zeros)?;
    match (target.first(), shape.as_slice()) {
        (Some(-1..=1), [1, image @ ..]) if !image.is_empty() => reshaped(builder, call, image.to_vec()),
        _ => Err(Reason::Batch),
    }
}

/// The values under other extents, by the simplest operator that does it.
fn reshaped(builder: &mut Builder, call: &Call<'_>, shape: Vec<usize>) -> Lowered {
    let from = builder.shape(call.computed(0)?);
    if from.0 == shape {
        return unchanged(call);
    }
    match shape.len() {
        0 => Err(Reason::Batch),
        1 => single(builder, call, Op::Flatten),
        _ => single(builder, call, Op::Reshape { shape }),
    }
}

/// Returns the extents that a Reshape asks for: 0 keeps the extent, -1 is what is left.
pub(in super::super) fn target_shape(
    target: &[i64],
    from: &[usize],
    keeps_zeros: bool,
) -> Result<Vec<usize>, Reason> {
    let total = elements(from).ok_or(Reason::TooLarge)?;
    let impossible =
        || Reason::ConstantShape { found: from.to_vec(), expected: format!("one for {target:?}") };
    let mut open = None;
    let mut shape = Vec::with_capacity(target.len());
    for (axis, extent) in target.iter().enumerate() {
        shape.push(match extent {
            -1 if open.replace(axis).is_some() => {
                return Err(Reason::Feature("more than one extent is left open"));
            }
            -1 => 1,
            0 if !keeps_zeros => *from.get(axis).ok_or_else(impossible)?,
            given => extent_of("an extent", *given)?,
        });
    }
    let known = elements(&shape).ok_or_else(impossible)?;
    if let Some(axis) = open {
        shape[axis] = total.checked_div(known).ok_or_else(impossible)?;
    }
    if elements(&shape) == Some(total) { Ok(shape) } else { Err(impossible()) }
}

/// Unsqueeze behind the batch.
pub(in super::super) fn unsqueeze(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    let from = builder.shape(call.computed(0)?).0.clone();
    let axes = call.attribute_or_input("axes", 1)?.ok_or(Reason::MissingInput { index: 1 })?;
    let rank = from.len() + axes.len();
    let axes = axes.iter().map(|axis| image_axis(*axis, rank)).collect::<Result<Vec<_>, _>>()?;
    let mut rest = from.into_iter();
    let shape = (0..rank).map(|axis| if axes.contains(&axis) { Some(1) } else { rest.next() });
    let shape: Option<Vec<usize>> = shape.collect();
    reshaped(builder, call, shape.ok_or(Reason::Attribute { name: "axes", expected: "each axis once" })?)
}

/// Squeeze behind the batch.
pub(in super::super) fn squeeze(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    let from = builder.shape(call.computed(0)?).0.clone();
    // Without axes the batch would be squeezed too if it were 1, so nobody exports that for a network.
    let axes = call.attribute_or_input("axes", 1)?.ok_or(Reason::Batch)?;
    let axes = axes.iter().map(|axis| image_axis(*axis, from.len())).collect::<Result<Vec<_>, _>>()?;
    if axes.iter().any(|axis| from[*axis] != 1) {
        return Err(Reason::Attribute { name: "axes", expected: "axes of extent 1" });
    }
    let kept = from.iter().enumerate().filter(|(axis, _)| !axes.contains(axis)).map(|(_, extent)| *extent);
    reshaped(builder, call, kept.collect())
}

/// Transpose behind the batch.
pub(in super::super) fn transpose(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    let rank = builder.shape(call.computed(0)?).0.len() + 1;
    let perm = permutation(call, rank)?;
    if perm[0] != 0 {
        return Err(Reason::Batch);
    }
    if perm.is_sorted() {
        return unchanged(call);
    }
    single(builder, call, Op::Transpose { perm: perm[1..].iter().map(|axis| axis - 1).collect() })
}

/// Concat behind the batch.
pub(in super::super) fn concat(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    let rank = builder.shape(call.computed(0)?).0.len();
    let axis = image_axis(call.int("axis")?.unwrap_or(1), rank)?;
    let parts = (0..call.inputs.len()).map(|index| call.computed(index)).collect::<Result<Vec<_>, _>>()?;
    if parts.len() == 1 {
        return unchanged(call);
    }
    Ok(vec![Value::Tensor(builder.push(&name_of(call), Op::Concat { axis }, &parts)?)])
}

/// A part of an axis.
pub(in super::super) struct Part {
    pub(in super::super) axis: usize,
    pub(in super::super) start: usize,
    pub(in super::super) end: usize,
    pub(in super::super) step: usize,
    /// Whether every index is kept, however many there are.
    is_whole: bool,
}

/// Reads what a Slice keeps of a tensor of this shape, which counts the batch.
pub(in super::super) fn slices(call: &Call<'_>, shape: &[usize]) -> Result<Vec<Part>, Reason> {
    /// From here on an end stands for "to the end", as exporters write it.
    const OPEN_END: i64 = i32::MAX as i64;
    let missing = |index| Reason::MissingInput { index };
    let starts = call.attribute_or_input("starts", 1)?.ok_or(missing(1))?;
    let ends = call.attribute_or_input("ends", 2)?.ok_or(missing(2))?;
    let all: Vec<i64> = (0..starts.len() as i64).collect();
    let axes = call.attribute_or_input("axes", 3)?.unwrap_or(&all);
    let ones = vec![1; starts.len()];
    let steps = call.integers(4)?.unwrap_or(&ones);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err(Reason::Feature("starts, ends, axes and steps have different lengths"));
    }
    let mut parts: Vec<Part> = Vec::new();
    for (index, axis) in axes.iter().enumerate() {
        let axis = axis_of(*axis, shape.len())?;
        if parts.iter().any(|part| part.axis == axis) {
            return Err(Reason::Attribute { name: "axes", expected: "each axis once" });
        }
        let extent = shape[axis] as i64;
        let bound = |at: i64| (if at < 0 { at.saturating_add(extent) } else { at }).clamp(0, extent) as usize;
        let step = match steps[index] {
            step @ 1.. => step.min(extent.max(1)) as usize,
            _ => return Err(Reason::Feature("only steps forward are supported")),
        };
        let is_whole = starts[index] == 0 && ends[index] >= OPEN_END && step == 1;
        parts.push(Part { axis, start: bound(starts[index]), end: bound(ends[index]), step, is_whole });
    }
    Ok(parts)
}

/// Slice behind the batch.
pub(in super::super) fn slice(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    let shape = batch_shape(builder, call)?;
    let parts = slices(call, &shape)?;
    let mut kept = Vec::new();
    for part in parts.into_iter().filter(|part| !part.is_whole) {
        let axis = part.axis.checked_sub(1).ok_or(Reason::Batch)?;
        if part.end <= part.start {
            return Err(Reason::Feature("nothing is left of an axis"));
        }
        if (part.start, part.end, part.step) != (0, shape[part.axis], 1) {
            kept.push(Op::Slice { axis, start: part.start, end: part.end, step: part.step });
        }
    }
    let name = name_of(call);
    let last = kept.len();
    let mut node = call.computed(0)?.to_owned();
    for (index, op) in (1..).zip(kept) {
        let own = if index == last { name.clone() } else { format!("{name}.{index}") };
        node = builder.push(&own, op, &[&node])?;
    }
    Ok(vec![Value::Tensor(node)])
}

/// Split behind the batch: a slice for each part.
pub(in super::super) fn split(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    let input = call.computed(0)?.to_owned();
    let shape = builder.shape(&input).0.clone();
    let axis = image_axis(call.int("axis")?.unwrap_or(0), shape.len())?;
    let name = name_of(call);
    let mut start = 0;
    let mut parts = Vec::new();
    for (index, extent) in split_extents(call, shape[axis])?.into_iter().enumerate() {
        let end = start + extent;
        parts.push(match extent == shape[axis] {
            true => Value::Tensor(input.clone()),
            false => {
                let op = Op::Slice { axis, start, end, step: 1 };
                builder.push_value(&format!("{name}.{index}"), op, &input)?
            }
        });
        start = end;
    }
    Ok(parts)
}

/// Reads how long the parts of a Split are.
pub(in super::super) fn split_extents(call: &Call<'_>, extent: usize) -> Result<Vec<usize>, Reason> {
    let parts = call.node.output.len();
    let extents = match call.attribute_or_input("split", 1)? {
        Some(extents) => {
            extents.iter().map(|part| extent_of("a part", *part)).collect::<Result<Vec<_>, _>>()?
        }
        None => {
            let each = extent.div_ceil(parts.max(1));
            if call.opset < UNEVEN_SPLIT && each * parts != extent {
                return Err(Reason::Feature("the parts are not equal"));
            }
            (0..parts).map(|part| each.min(extent.saturating_sub(part * each))).collect()
        }
    };
    let total = extents.iter().try_fold(0_usize, |total, part| total.checked_add(*part));
    if extents.len() != parts || total != Some(extent) {
        return Err(Reason::Feature("the parts do not make up the axis"));
    }
    Ok(extents)
}

/// Pad with a constant, behind the batch.
pub(in super::super) fn pad(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    let rank = builder.shape(call.computed(0)?).0.len();
    let pads = match call.attribute_or_input("pads", 1)? {
        Some(pads) => pads.to_vec(),
        None => return Err(Reason::MissingInput { index: 1 }),
    };
    let value = if call.has("value") { call.float("value", 0.0)? } else { call.scalar(2)?.unwrap_or(0.0) };
    if pads.iter().all(|pad| *pad == 0) {
        return unchanged(call);
    }
    if call.text("mode", "constant")? != "constant" {
        return Err(Reason::Attribute { name: "mode", expected: "`constant`" });
    }
    let all: Vec<i64> = (0..=rank as i64).collect();
    let axes = call.integers(3)?.unwrap_or(&all);
    if pads.len() != 2 * axes.len() {
        return Err(Reason::Attribute { name: "pads", expected: "two numbers for each axis" });
    }
    let (mut before, mut after) = (vec![0; rank], vec![0; rank]);
    for (index, axis) in axes.iter().enumerate() {
        let pair = [pads[index], pads[index + axes.len()]];
        match axis_of(*axis, rank + 1)?.checked_sub(1) {
            None if pair == [0, 0] => {}
            None => return Err(Reason::Batch),
            Some(axis) => {
                before[axis] = extent_of("a padding", pair[0])?;
                after[axis] = extent_of("a padding", pair[1])?;
            }
        }
    }
    single(builder, call, Op::Pad { before, after, value })
}
