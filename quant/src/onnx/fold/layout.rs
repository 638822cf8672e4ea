//! Folded operators that move values or make them.

use super::super::builder::Builder;
use super::super::call::{Call, axis_of, extent_of};
use super::super::error::Reason;
use super::super::lower::{slices, split_extents, target_shape};
use super::super::tensor::{Constant, ElementType, Values, decode, elements};
use super::{broadcast_positions, broadcast_shape, positions, strides};

type Folded = Result<Vec<Constant>, Reason>;

/// The same values under another shape.
fn reshaped(constant: &Constant, shape: Vec<usize>) -> Folded {
    if elements(&shape) != Some(constant.elements()) {
        let expected = format!("as many values as {shape:?}");
        return Err(Reason::ConstantShape { found: constant.shape.clone(), expected });
    }
    Ok(vec![Constant { shape, encoding: None, ..constant.clone() }])
}

/// Where the values of a new tensor lie in another one: the first, and how far it is to the next along each axis.
struct Walk<'a> {
    start: usize,
    steps: &'a [usize],
}

/// A new tensor with values out of this one.
fn selected(builder: &mut Builder, constant: &Constant, shape: Vec<usize>, walk: &Walk<'_>) -> Folded {
    builder.charge(elements(&shape))?;
    let values = constant.values.select(&positions(walk.start, &shape, walk.steps));
    Ok(vec![Constant { shape, values, encoding: None, ..constant.clone() }])
}

/// Identity, Dropout.
pub(in super::super) fn pass(_: &mut Builder, call: &Call<'_>) -> Folded {
    Ok(vec![call.required(0)?.clone()])
}

/// Constant.
pub(in super::super) fn constant(_: &mut Builder, call: &Call<'_>) -> Folded {
    let name = call.output();
    let constant = if let Some(tensor) = call.tensor("value")? {
        Constant { name: name.to_owned(), ..decode(tensor, None)? }
    } else if let Some(values) = call.floats("value_floats")? {
        Constant::floats(name, vec![values.len()], values.to_vec())
    } else if let Some(values) = call.ints("value_ints")? {
        Constant::integers(name, vec![values.len()], values.to_vec())
    } else if let Some(value) = call.int("value_int")? {
        Constant::integers(name, Vec::new(), vec![value])
    } else if call.has("value_float") {
        Constant::floats(name, Vec::new(), vec![call.float("value_float", 0.0)?])
    } else {
        return Err(Reason::Attribute { name: "value", expected: "given" });
    };
    Ok(vec![constant])
}

/// ConstantOfShape.
pub(in super::super) fn constant_of_shape(builder: &mut Builder, call: &Call<'_>) -> Folded {
    let dims = call.integers(0)?.ok_or(Reason::MissingInput { index: 0 })?;
    let shape = dims.iter().map(|extent| extent_of("an extent", *extent)).collect::<Result<Vec<_>, _>>()?;
    builder.charge(elements(&shape))?;
    let count = shape.iter().product();
    let fill = match call.tensor("value")? {
        Some(tensor) => decode(tensor, None)?,
        None => Constant::floats("", vec![1], vec![0.0]),
    };
    let values = match &fill.values {
        Values::Floats(values) if values.len() == 1 => Values::floats(vec![values[0]; count]),
        Values::Integers(values) if values.len() == 1 => Values::integers(vec![values[0]; count]),
        Values::Floats(_) | Values::Integers(_) => {
            return Err(Reason::Attribute { name: "value", expected: "a single number" });
        }
    };
    Ok(vec![Constant { name: call.output().to_owned(), shape, values, ..fill }])
}

/// Cast; numbers in floating point are cut off towards zero.
pub(in super::super) fn cast(builder: &mut Builder, call: &Call<'_>) -> Folded {
    let constant = call.required(0)?;
    let number = call.int("to")?.and_then(|to| i32::try_from(to).ok());
    let element = ElementType::from_number(number.unwrap_or_default())?;
    let values = match (&constant.values, element.is_float()) {
        (Values::Integers(values), false) if element == ElementType::Bool => {
            Values::integers(values.iter().map(|value| i64::from(*value != 0)).collect())
        }
        (Values::Floats(values), false) => {
            builder.charge(Some(constant.elements()))?;
            Values::integers(values.iter().map(|value| *value as i64).collect())
        }
        (Values::Integers(values), true) => {
            builder.charge(Some(constant.elements()))?;
            Values::floats(values.iter().map(|value| *value as f32).collect())
        }
        (same, _) => same.clone(),
    };
    Ok(vec![Constant { element, values, encoding: None, ..constant.clone() }])
}

/// Gather.
pub(in super::super) fn gather(builder: &mut Builder, call: &Call<'_>) -> Folded {
    let data = call.required(0)?;
    let indices = call.integers(1)?.ok_or(Reason::MissingInput { index: 1 })?;
    let axis = axis_of(call.int("axis")?.unwrap_or(0), data.shape.len())?;
    let wrapped = indices
        .iter()
        .map(|index| {
            axis_of(*index, data.shape[axis]).map_err(|_| Reason::Number { what: "an index", value: *index })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let (outer, inner) = (&data.shape[..axis], &data.shape[axis + 1..]);
    let shape = [outer, &call.required(1)?.shape, inner].concat();
    builder.charge(elements(&shape))?;
    let steps = strides(&data.shape);
    let mut at = Vec::new();
    for start in positions(0, outer, &steps[..axis]) {
        for index in &wrapped {
            at.extend(positions(start + index * steps[axis], inner, &steps[axis + 1..]));
        }
    }
    Ok(vec![Constant { shape, values: data.values.select(&at), encoding: None, ..data.clone() }])
}

/// Slice.
pub(in super::super) fn slice(builder: &mut Builder, call: &Call<'_>) -> Folded {
    let data = call.required(0)?;
    let (mut shape, mut steps) = (data.shape.clone(), strides(&data.shape));
    let mut start = 0;
    for slice in slices(call, &data.shape)? {
        start += slice.start * steps[slice.axis];
        shape[slice.axis] = slice.end.saturating_sub(slice.start).div_ceil(slice.step);
        steps[slice.axis] *= slice.step;
    }
    selected(builder, data, shape, &Walk { start, steps: &steps })
}

/// Split.
pub(in super::super) fn split(builder: &mut Builder, call: &Call<'_>) -> Folded {
    let data = call.required(0)?;
    let axis = axis_of(call.int("axis")?.unwrap_or(0), data.shape.len())?;
    let steps = strides(&data.shape);
    let mut parts = Vec::new();
    let mut start = 0;
    for extent in split_extents(call, data.shape[axis])? {
        let mut shape = data.shape.clone();
        shape[axis] = extent;
        parts.extend(selected(builder, data, shape, &Walk { start: start * steps[axis], steps: &steps })?);
        start += extent;
    }
    Ok(parts)
}

/// Transpose.
pub(in super::super) fn transpose(builder: &mut Builder, call: &Call<'_>) -> Folded {
    let data = call.required(0)?;
    let perm = permutation(call, data.shape.len())?;
    let steps = strides(&data.shape);
    let shape = perm.iter().map(|axis| data.shape[*axis]).collect();
    let steps: Vec<usize> = perm.iter().map(|axis| steps[*axis]).collect();
    let mut folded = selected(builder, data, shape, &Walk { start: 0, steps: &steps })?;
    // The grid moves with its axis.
    if let (Some(constant), Some(encoding)) = (folded.first_mut(), &data.encoding) {
        let mut encoding = encoding.clone();
        encoding.axis = encoding.axis.and_then(|axis| perm.iter().position(|from| *from == axis));
        constant.encoding = Some(encoding);
    }
    Ok(folded)
}

/// The axes' order, reversed unless given.
pub(in super::super) fn permutation(call: &Call<'_>, rank: usize) -> Result<Vec<usize>, Reason> {
    let Some(perm) = call.ints("perm")? else { return Ok((0..rank).rev().collect()) };
    let perm = perm.iter().map(|axis| axis_of(*axis, rank)).collect::<Result<Vec<_>, _>>()?;
    let mut sorted = perm.clone();
    sorted.sort_unstable();
    if sorted != (0..rank).collect::<Vec<_>>() {
        return Err(Reason::Attribute { name: "perm", expected: "each axis once" });
    }
    Ok(perm)
}

/// Reshape.
pub(in super::super) fn reshape(_: &mut Builder, call: &Call<'_>) -> Folded {
    let data = call.required(0)?;
    let target = call.integers(1)?.ok_or(Reason::MissingInput { index: 1 })?;
    reshaped(data, target_shape(target, &data.shape, call.flag("allowzero", false)?)?)
}

/// Flatten.
pub(in super::super) fn flatten(_: &mut Builder, call: &Call<'_>) -> Folded {
    let data = call.required(0)?;
    let axis = call.int("axis")?.unwrap_or(1);
    let rank = data.shape.len();
    let axis = if axis == rank as i64 { rank } else { axis_of(axis, rank)? };
    let (outer, inner) = data.shape.split_at(axis);
    reshaped(data, vec![outer.iter().product(), inner.iter().product()])
}

/// Unsqueeze.
pub(in super::super) fn unsqueeze(_: &mut Builder, call: &Call<'_>) -> Folded {
    let data = call.required(0)?;
    let axes = call.attribute_or_input("axes", 1)?.ok_or(Reason::MissingInput { index: 1 })?;
    let rank = data.shape.len() + axes.len();
    let axes = axes.iter().map(|axis| axis_of(*axis, rank)).collect::<Result<Vec<_>, _>>()?;
    let mut rest = data.shape.iter();
    let shape: Vec<usize> = (0..rank)
        .map(|axis| if axes.contains(&axis) { 1 } else { rest.next().copied().unwrap_or(1) })
        .collect();
    reshaped(data, shape)
}

/// Squeeze.
pub(in super::super) fn squeeze(_: &mut Builder, call: &Call<'_>) -> Folded {
    let data = call.required(0)?;
    let rank = data.shape.len();
    let axes = match call.attribute_or_input("axes", 1)? {
        Some(axes) => axes.iter().map(|axis| axis_of(*axis, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).filter(|axis| data.shape[*axis] == 1).collect(),
    };
    let kept = (0..rank).filter(|axis| !axes.contains(axis)).map(|axis| data.shape[axis]).collect();
    reshaped(data, kept)
}

/// Expand.
pub(in super::super) fn expand(builder: &mut Builder, call: &Call<'_>) -> Folded {
    let data = call.required(0)?;
    let dims = call.integers(1)?.ok_or(Reason::MissingInput { index: 1 })?;
    let dims = dims.iter().map(|extent| extent_of("an extent", *extent)).collect::<Result<Vec<_>, _>>()?;
    let shape = broadcast_shape(&data.shape, &dims)?;
    builder.charge(elements(&shape))?;
    let values = data.values.select(&broadcast_positions(&data.shape, &shape));
    Ok(vec![Constant { shape, values, encoding: None, ..data.clone() }])
}

/// Range of integers.
pub(in super::super) fn range(builder: &mut Builder, call: &Call<'_>) -> Folded {
    let number = |index| match call.integers(index)? {
        Some([number]) => Ok(*number),
        Some(_) | None => Err(Reason::ElementType { index, expected: "a single integer" }),
    };
    let (start, limit, delta) = (number(0)?, number(1)?, number(2)?);
    let step = match extent_of("the step", delta)? {
        0 => return Err(Reason::Number { what: "the step", value: 0 }),
        step => step,
    };
    let span = limit.checked_sub(start).unwrap_or(i64::MAX).max(0);
    let count = (span as u64).div_ceil(step as u64) as usize;
    builder.charge(Some(count))?;
    let values = (0..count).map(|index| start + (index * step) as i64).collect();
    Ok(vec![Constant::integers(call.output(), vec![count], values)])
}

/// Concat.
pub(in super::super) fn concat(builder: &mut Builder, call: &Call<'_>) -> Folded {
    let first = call.required(0)?;
    let axis = axis_of(call.int("axis")?.unwrap_or(1), first.shape.len())?;
    let parts = (0..call.inputs.len()).map(|index| call.required(index)).collect::<Result<Vec<_>, _>>()?;
    let without = |shape: &[usize]| [&shape[..axis], &shape[axis + 1..]].concat();
    for part in &parts {
        if part.shape.len() != first.shape.len() || without(&part.shape) != without(&first.shape) {
            let expected = format!("one like {:?} but for axis {axis}", first.shape);
            return Err(Reason::ConstantShape { found: part.shape.clone(), expected });
        }
    }
    let mut shape = first.shape.clone();
    shape[axis] = parts.iter().map(|part| part.shape[axis]).sum();
    builder.charge(elements(&shape))?;
    let outer: usize = if shape.contains(&0) { 0 } else { shape[..axis].iter().product() };
    fn joined<T: Copy>(parts: &[&[T]], outer: usize) -> Vec<T> {
        let row = |part: &&[T], index: usize| {
            let len = part.len() / outer.max(1);
            part[index * len..(index + 1) * len].to_vec()
        };
        (0..outer).flat_map(|index| parts.iter().flat_map(move |part| row(part, index))).collect()
    }
    let (mut floats, mut integers) = (Vec::new(), Vec::new());
    for part in &parts {
        match &part.values {
            Values::Floats(values) => floats.push(values.as_slice()),
            Values::Integers(values) => integers.push(values.as_slice()),
        }
    }
    let values = match (floats.is_empty(), integers.is_empty()) {
        (_, true) => Values::floats(joined(&floats, outer)),
        (true, false) => Values::integers(joined(&integers, outer)),
        (false, false) => return Err(Reason::Feature("it joins floats with integers")),
    };
    Ok(vec![Constant {
        name: call.output().to_owned(),
        shape,
        element: first.element,
        values,
        encoding: None,
    }])
}
