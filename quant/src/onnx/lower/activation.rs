//! Operators that work value by value, softmax and local response normalization.

use bitloop_core::graph::Op;

use super::super::builder::Builder;
use super::super::call::{Call, Value, axis_of, extent_of};
use super::super::error::Reason;
use super::super::names::name_of;
use super::quantize::clip_codes;
use super::{Lowered, single, unchanged};

/// Opset from which softmax works along one axis instead of all axes from one on.
const SOFTMAX_ALONG_AXIS: i64 = 13;
/// Opset from which the limits of Clip are inputs.
const CLIP_INPUTS: i64 = 11;

/// Relu.
pub(in super::super) fn relu(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    single(builder, call, Op::Relu)
}

/// LeakyRelu.
pub(in super::super) fn leaky_relu(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    single(builder, call, Op::LeakyRelu { slope: call.float("alpha", 0.01)? })
}

/// Sigmoid.
pub(in super::super) fn sigmoid(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    single(builder, call, Op::Sigmoid)
}

/// HardSwish.
pub(in super::super) fn hard_swish(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    single(builder, call, Op::HardSwish)
}

/// HardSigmoid.
pub(in super::super) fn hard_sigmoid(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    let op = Op::HardSigmoid { alpha: call.float("alpha", 0.2)?, beta: call.float("beta", 0.5)? };
    single(builder, call, op)
}

/// LRN.
pub(in super::super) fn lrn(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    let size = call.int("size")?.ok_or(Reason::Attribute { name: "size", expected: "given" })?;
    let op = Op::Lrn {
        size: extent_of("size", size)?,
        alpha: call.float("alpha", 1e-4)?,
        beta: call.float("beta", 0.75)?,
        bias: call.float("bias", 1.0)?,
    };
    single(builder, call, op)
}

/// Clip: a rectifier, a ReLU6 or the general form; of codes, a narrower grid.
///
/// A missing limit is the largest number, since a model file cannot hold infinity.
pub(in super::super) fn clip(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    if let Some(Value::Codes(value, made)) = call.input(0) {
        return clip_codes(call, value, made);
    }
    let (min, max) = if call.opset < CLIP_INPUTS {
        (call.float("min", f32::MIN)?, call.float("max", f32::MAX)?)
    } else {
        (call.scalar(1)?.unwrap_or(f32::MIN), call.scalar(2)?.unwrap_or(f32::MAX))
    };
    if min.is_nan() || max.is_nan() {
        return Err(Reason::Feature("a limit is not a number"));
    }
    let (min, max) = (min.max(f32::MIN), max.min(f32::MAX));
    match (min, max) {
        (f32::MIN, f32::MAX) => unchanged(call),
        (0.0, f32::MAX) => single(builder, call, Op::Relu),
        (0.0, 6.0) => single(builder, call, Op::Relu6),
        _ => single(builder, call, Op::Clip { min, max }),
    }
}

/// PRelu with one slope for all values or one per channel.
pub(in super::super) fn p_relu(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    let input = call.computed(0)?.to_owned();
    let (slope, values) = call.float_constant(1)?.ok_or(Reason::MissingInput { index: 1 })?;
    let shape = builder.shape(&input);
    let (channels, rank) = (shape.channels(), shape.0.len());
    if let [slope] = values {
        return single(builder, call, Op::LeakyRelu { slope: *slope });
    }
    // Aligned at the last axes, all but the channels' extent must be 1.
    let mut from_behind = slope.shape.iter().rev().enumerate();
    let is_per_channel =
        values.len() == channels && from_behind.all(|(axis, extent)| *extent == 1 || axis + 1 == rank);
    if !is_per_channel {
        return Err(Reason::ConstantShape {
            found: slope.shape.clone(),
            expected: format!("one slope, or one for each of {channels} channels,"),
        });
    }
    let name = builder.push(&name_of(call), Op::PRelu, &[&input])?;
    builder.weight(&name, "slope", &[channels], values.to_vec())?;
    Ok(vec![Value::Tensor(name)])
}

/// Softmax along an axis; before opset 13 over all axes from it on.
pub(in super::super) fn softmax(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    let input = call.computed(0)?.to_owned();
    let shape = builder.shape(&input).clone();
    let default = if call.opset < SOFTMAX_ALONG_AXIS { 1 } else { -1 };
    let axis = axis_of(call.int("axis")?.unwrap_or(default), shape.0.len() + 1)?;
    let axis = axis.checked_sub(1).ok_or(Reason::Batch)?;
    if call.opset >= SOFTMAX_ALONG_AXIS {
        return single(builder, call, Op::Softmax { axis });
    }
    let long: Vec<usize> = (axis..shape.0.len()).filter(|other| shape.0[*other] != 1).collect();
    if let [] | [_] = long.as_slice() {
        return single(builder, call, Op::Softmax { axis: long.first().copied().unwrap_or(axis) });
    }
    // All values from the axis on are one distribution, so they become one axis for a while.
    let name = name_of(call);
    let mut joined = shape.0[..axis].to_vec();
    joined.push(shape.0[axis..].iter().product());
    let flat = builder.push(&format!("{name}.joined"), Op::Reshape { shape: joined }, &[&input])?;
    let soft = builder.push(&format!("{name}.along"), Op::Softmax { axis }, &[&flat])?;
    Ok(vec![builder.push_value(&name, Op::Reshape { shape: shape.0 }, &soft)?])
}
