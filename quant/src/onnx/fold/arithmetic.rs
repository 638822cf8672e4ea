//! Folded operators that compute: value by value, with broadcasting.

use super::super::builder::Builder;
use super::super::call::{Call, axis_of};
use super::super::error::Reason;
use super::super::tensor::{Constant, ElementType, Values, elements};
use super::{broadcast_positions, broadcast_shape};

type Folded = Result<Vec<Constant>, Reason>;

const OVERFLOW: Reason = Reason::Feature("an integer overflows, or is divided by zero");

fn zipped<T: Copy, R>(
    left: (&[usize], &[T]),
    right: (&[usize], &[T]),
    shape: &[usize],
    compute: impl Fn(T, T) -> Option<R>,
) -> Result<Vec<R>, Reason> {
    let at = broadcast_positions(left.0, shape).into_iter().zip(broadcast_positions(right.0, shape));
    at.map(|(l, r)| compute(left.1[l], right.1[r]).ok_or(OVERFLOW)).collect()
}

/// Add, Sub, Mul, Div, Min, Max, Mod of two or more.
pub(in super::super) fn binary(builder: &mut Builder, call: &Call<'_>) -> Folded {
    let mut left = call.required(0)?.clone();
    for index in 1..call.inputs.len() {
        left = binary_step(builder, call, &left, index)?;
    }
    Ok(vec![left])
}

fn binary_step(
    builder: &mut Builder,
    call: &Call<'_>,
    left: &Constant,
    index: usize,
) -> Result<Constant, Reason> {
    let right = call.required(index)?;
    let shape = broadcast_shape(&left.shape, &right.shape)?;
    builder.charge(elements(&shape))?;
    let operator = call.operator();
    let values = match (&left.values, &right.values) {
        (Values::Floats(l), Values::Floats(r)) => {
            let compute = |l: f32, r: f32| float_result(operator, l, r);
            Values::floats(zipped((&left.shape, l), (&right.shape, r), &shape, compute)?)
        }
        (Values::Integers(l), Values::Integers(r)) => {
            let compute = |l: i64, r: i64| integer_result(operator, l, r);
            Values::integers(zipped((&left.shape, l), (&right.shape, r), &shape, compute)?)
        }
        _ => return Err(Reason::Feature("it mixes floats with integers")),
    };
    Ok(Constant { name: call.output().to_owned(), shape, element: left.element, values, encoding: None })
}

fn float_result(operator: &str, left: f32, right: f32) -> Option<f32> {
    match operator {
        "Add" | "Sum" => Some(left + right),
        "Sub" => Some(left - right),
        "Mul" => Some(left * right),
        "Div" => Some(left / right),
        "Min" => Some(left.min(right)),
        "Max" => Some(left.max(right)),
        _ => None,
    }
}

/// Division cuts off towards zero.
fn integer_result(operator: &str, left: i64, right: i64) -> Option<i64> {
    match operator {
        "Add" | "Sum" => left.checked_add(right),
        "Sub" => left.checked_sub(right),
        "Mul" => left.checked_mul(right),
        "Div" => left.checked_div(right),
        "Mod" => left.checked_rem_euclid(right),
        "Min" => Some(left.min(right)),
        "Max" => Some(left.max(right)),
        _ => None,
    }
}

/// Equal.
pub(in super::super) fn compare(builder: &mut Builder, call: &Call<'_>) -> Folded {
    let (left, right) = (call.required(0)?, call.required(1)?);
    let shape = broadcast_shape(&left.shape, &right.shape)?;
    builder.charge(elements(&shape))?;
    let (Values::Integers(l), Values::Integers(r)) = (&left.values, &right.values) else {
        return Err(Reason::ElementType { index: 0, expected: "integers" });
    };
    let equal = |l: i64, r: i64| Some(i64::from(l == r));
    let values = Values::integers(zipped((&left.shape, l), (&right.shape, r), &shape, equal)?);
    let name = call.output().to_owned();
    Ok(vec![Constant { name, shape, element: ElementType::Bool, values, encoding: None }])
}

/// Where.
pub(in super::super) fn select(builder: &mut Builder, call: &Call<'_>) -> Folded {
    let (left, right) = (call.required(1)?, call.required(2)?);
    let condition = call.integers(0)?.ok_or(Reason::MissingInput { index: 0 })?;
    let of = &call.required(0)?.shape;
    let shape = broadcast_shape(of, &broadcast_shape(&left.shape, &right.shape)?)?;
    builder.charge(elements(&shape))?;
    let at = broadcast_positions(of, &shape);
    let (l, r) = (broadcast_positions(&left.shape, &shape), broadcast_positions(&right.shape, &shape));
    fn chosen<T: Copy>(condition: impl Iterator<Item = bool>, left: Vec<T>, right: Vec<T>) -> Vec<T> {
        condition.zip(left.into_iter().zip(right)).map(|(first, (l, r))| if first { l } else { r }).collect()
    }
    let condition = at.iter().map(|at| condition[*at] != 0);
    let values = match (left.values.select(&l), right.values.select(&r)) {
        (Values::Floats(l), Values::Floats(r)) => Values::floats(chosen(condition, l.to_vec(), r.to_vec())),
        (Values::Integers(l), Values::Integers(r)) => {
            Values::integers(chosen(condition, l.to_vec(), r.to_vec()))
        }
        _ => return Err(Reason::Feature("it mixes floats with integers")),
    };
    Ok(vec![Constant {
        name: call.output().to_owned(),
        shape,
        element: left.element,
        values,
        encoding: None,
    }])
}

/// Neg, Sqrt, Floor, Ceil.
pub(in super::super) fn unary(builder: &mut Builder, call: &Call<'_>) -> Folded {
    let data = call.required(0)?;
    builder.charge(Some(data.elements()))?;
    let values = match (&data.values, call.operator()) {
        (Values::Floats(values), "Neg") => Values::floats(values.iter().map(|v| -v).collect()),
        (Values::Floats(values), "Sqrt") => Values::floats(values.iter().map(|v| v.sqrt()).collect()),
        (Values::Floats(values), "Floor") => Values::floats(values.iter().map(|v| v.floor()).collect()),
        (Values::Floats(values), "Ceil") => Values::floats(values.iter().map(|v| v.ceil()).collect()),
        (Values::Integers(values), "Neg") => {
            let negated = values.iter().map(|v| v.checked_neg().ok_or(OVERFLOW));
            Values::integers(negated.collect::<Result<_, _>>()?)
        }
        _ => return Err(Reason::ElementType { index: 0, expected: "floats" }),
    };
    Ok(vec![Constant { name: call.output().to_owned(), values, encoding: None, ..data.clone() }])
}

/// Pow of floats.
pub(in super::super) fn power(builder: &mut Builder, call: &Call<'_>) -> Folded {
    let missing = |index| Reason::MissingInput { index };
    let (left, l) = call.float_constant(0)?.ok_or_else(|| missing(0))?;
    let (right, r) = call.float_constant(1)?.ok_or_else(|| missing(1))?;
    let shape = broadcast_shape(&left.shape, &right.shape)?;
    builder.charge(elements(&shape))?;
    let values = zipped((&left.shape, l), (&right.shape, r), &shape, |l, r| Some(l.powf(r)))?;
    Ok(vec![Constant::floats(call.output(), shape, values)])
}

/// ReduceProd of all values, or along the only axis.
pub(in super::super) fn reduce_product(_: &mut Builder, call: &Call<'_>) -> Folded {
    let data = call.required(0)?;
    let values = call.integers(0)?.ok_or(Reason::MissingInput { index: 0 })?;
    let rank = data.shape.len();
    for axis in call.attribute_or_input("axes", 1)?.unwrap_or_default() {
        axis_of(*axis, rank)?;
    }
    if rank > 1 {
        return Err(Reason::Feature("only lists of numbers are multiplied"));
    }
    let product =
        values.iter().try_fold(1_i64, |product, value| product.checked_mul(*value)).ok_or(OVERFLOW)?;
    let shape = if call.flag("keepdims", true)? { vec![1; rank] } else { Vec::new() };
    Ok(vec![Constant::integers(call.output(), shape, vec![product])])
}
