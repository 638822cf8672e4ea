//! QuantizeLinear and DequantizeLinear: they become encodings of weights and of what nodes give.

use bitloop_core::graph::Op;

use super::super::builder::Builder;
use super::super::call::{Call, Value, axis_of};
use super::super::encoding::ImportedEncoding;
use super::super::error::Reason;
use super::super::names::name_of;
use super::super::tensor::{Constant, ElementType, Values};
use super::Lowered;

/// QuantizeLinear.
pub(in super::super) fn quantize(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    let element = match call.int("output_dtype")? {
        None | Some(0) => ElementType::Uint8,
        Some(number) => ElementType::from_number(i32::try_from(number).unwrap_or_default())?,
    };
    let value = call.input(0).ok_or(Reason::MissingInput { index: 0 })?;
    let encoding = encoding(builder, call, value, element)?;
    match value {
        Value::Constant(Constant { values: Values::Integers(_), .. }) => {
            Err(Reason::ElementType { index: 0, expected: "floats" })
        }
        Value::Codes(..) => Err(Reason::Codes { index: 0 }),
        Value::Constant(_) | Value::Tensor(_) | Value::Unknown { .. } => {
            Ok(vec![Value::Codes(Box::new(value.clone()), encoding)])
        }
    }
}

/// DequantizeLinear; of integer weights it makes floats.
///
/// What is computed passes through an identity that carries the encoding; it is dropped later wherever the encoding
/// can stand at the node before it.
pub(in super::super) fn dequantize(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    match call.input(0) {
        Some(Value::Codes(value, made)) => {
            let own = encoding(builder, call, value, made.element)?;
            let own = ImportedEncoding { codes: made.codes, ..own };
            if own != *made {
                return Err(Reason::Feature(
                    "its scale or zero point is not that of the QuantizeLinear before it",
                ));
            }
            match &**value {
                Value::Tensor(node) => {
                    let name = builder.push(&name_of(call), Op::Identity, &[node])?;
                    builder.encoding(&name, "output", Some(own));
                    Ok(vec![Value::Tensor(name)])
                }
                Value::Constant(constant) => {
                    Ok(vec![Value::Constant(Constant { encoding: Some(own), ..constant.clone() })])
                }
                Value::Codes(..) | Value::Unknown { .. } => Err(Reason::MissingInput { index: 0 }),
            }
        }
        Some(value @ Value::Constant(constant)) => {
            let Values::Integers(codes) = &constant.values else {
                return Err(Reason::ElementType { index: 0, expected: "integers" });
            };
            let encoding = encoding(builder, call, value, constant.element)?;
            let values = Values::floats(dequantized(codes, &constant.shape, &encoding));
            let constant = Constant { values, encoding: Some(encoding), ..constant.clone() };
            Ok(vec![Value::Constant(Constant { element: ElementType::Float, ..constant })])
        }
        _ => Err(Reason::Feature("it reads something else than weights and what a QuantizeLinear gives")),
    }
}

/// Clip of what a QuantizeLinear gives: it narrows the grid.
pub(super) fn clip_codes(call: &Call<'_>, value: &Value, made: &ImportedEncoding) -> Lowered {
    let end = |index| match call.integers(index)? {
        Some([code]) => Ok(i32::try_from(*code).ok()),
        Some(_) => Err(Reason::Feature("a limit is not one number")),
        None => Ok(None),
    };
    match (made.codes, end(1)?, end(2)?) {
        (None, Some(low), Some(high)) => {
            let clipped = ImportedEncoding { codes: Some([low, high]), ..made.clone() };
            Ok(vec![Value::Codes(Box::new(value.clone()), clipped)])
        }
        (Some(_), _, _) | (None, None, _) | (None, _, None) => {
            Err(Reason::Feature("codes are clipped once, at both ends"))
        }
    }
}

fn dequantized(codes: &[i64], shape: &[usize], encoding: &ImportedEncoding) -> Vec<f32> {
    let inner: usize = encoding.axis.map_or(1, |axis| shape[axis + 1..].iter().product());
    let channels = encoding.scale.len();
    let value = |(index, code): (usize, &i64)| {
        let channel = index / inner % channels;
        // The difference of two integers of at most 33 bits is exact in f64.
        ((*code as f64 - f64::from(encoding.zero_point[channel])) * f64::from(encoding.scale[channel])) as f32
    };
    codes.iter().enumerate().map(value).collect()
}

/// Reads scale, zero point and axis for a value; `otherwise` is the type of the codes without a zero point.
fn encoding(
    builder: &Builder,
    call: &Call<'_>,
    value: &Value,
    otherwise: ElementType,
) -> Result<ImportedEncoding, Reason> {
    let (scales, scale) = call.float_constant(1)?.ok_or(Reason::MissingInput { index: 1 })?;
    if call.int("block_size")?.unwrap_or(0) != 0 || scales.shape.len() > 1 {
        return Err(Reason::Feature("scales of blocks are not supported, only one, or one for each channel"));
    }
    if scale.is_empty() || !scale.iter().all(|scale| scale.is_finite() && *scale > 0.0) {
        return Err(Reason::Feature("a scale is not positive"));
    }
    let axis = match scale {
        [_] => None,
        _ => Some(channel_axis(builder, call, value, scale.len())?),
    };
    let zero_point = match call.integers(2)? {
        None => vec![0; scale.len()],
        Some(points) if points.len() == scale.len() => points
            .iter()
            .map(|point| {
                i32::try_from(*point).map_err(|_| Reason::Number { what: "a zero point", value: *point })
            })
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(Reason::Feature("there are not as many zero points as scales")),
    };
    let element = call.constant(2)?.map_or(otherwise, |points| points.element);
    Ok(ImportedEncoding { scale: scale.to_vec(), zero_point, axis, element, codes: None })
}

/// The axis that has a scale for each index: of a weight, or of one image.
fn channel_axis(builder: &Builder, call: &Call<'_>, value: &Value, scales: usize) -> Result<usize, Reason> {
    let axis = call.int("axis")?.unwrap_or(1);
    let (axis, extent) = match value {
        Value::Constant(constant) => {
            let axis = axis_of(axis, constant.shape.len())?;
            (axis, constant.shape[axis])
        }
        Value::Tensor(node) => {
            let shape = builder.shape(node);
            let axis = super::image_axis(axis, shape.0.len())?;
            (axis, shape.0[axis])
        }
        Value::Codes(..) | Value::Unknown { .. } => return Err(Reason::Codes { index: 0 }),
    };
    if extent != scales {
        return Err(Reason::Feature("there are not as many scales as channels"));
    }
    Ok(axis)
}
