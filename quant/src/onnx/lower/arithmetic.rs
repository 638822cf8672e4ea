//! Sums and products of two tensors, or of a tensor and a constant.

use bitloop_core::graph::Op;

use super::super::builder::Builder;
use super::super::call::{Call, Value};
use super::super::error::Reason;
use super::super::names::name_of;
use super::super::tensor::{Constant, Values};
use super::{Lowered, rank, unchanged};

/// Add, Sum.
pub(in super::super) fn add(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    chain(builder, call, &Op::Add)
}

/// Mul.
pub(in super::super) fn multiply(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    chain(builder, call, &Op::Mul)
}

/// Sub of a constant, or from one: the sum with what is negated.
pub(in super::super) fn subtract(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    let name = name_of(call);
    match (call.input(0), call.input(1)) {
        (Some(Value::Tensor(input)), Some(Value::Constant(constant))) => {
            let negated = mapped(constant, 1, |value| -value)?;
            let rank = builder.shape(input).0.len() + 1;
            let constant = builder.push_constant(&negated, 1, rank)?;
            Ok(vec![Value::Tensor(builder.push(&name, Op::Add, &[input, &constant])?)])
        }
        (Some(Value::Constant(_)), Some(Value::Tensor(input))) => {
            let rank = builder.shape(input).0.len() + 1;
            let minus = Constant::floats("minus_one", vec![1], vec![-1.0]);
            let minus = builder.push_constant(&minus, 0, rank)?;
            let negated = builder.push(&format!("{name}.negated"), Op::Mul, &[input, &minus])?;
            let constant = builder.constant_node(call, 0, rank)?;
            Ok(vec![Value::Tensor(builder.push(&name, Op::Add, &[&negated, &constant])?)])
        }
        _ => Err(Reason::Feature("only a difference with a constant is supported")),
    }
}

/// Div by a constant: the product with its reciprocal.
pub(in super::super) fn divide(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    match (call.input(0), call.input(1)) {
        (Some(Value::Tensor(input)), Some(Value::Constant(constant))) => {
            let reciprocal = mapped(constant, 1, |value| 1.0 / value)?;
            let rank = builder.shape(input).0.len() + 1;
            let constant = builder.push_constant(&reciprocal, 1, rank)?;
            Ok(vec![Value::Tensor(builder.push(&name_of(call), Op::Mul, &[input, &constant])?)])
        }
        _ => Err(Reason::Feature("only a quotient by a constant is supported")),
    }
}

fn mapped(constant: &Constant, index: usize, compute: impl Fn(f32) -> f32) -> Result<Constant, Reason> {
    let Values::Floats(values) = &constant.values else {
        return Err(Reason::ElementType { index, expected: "floats" });
    };
    let values = values.iter().map(|value| compute(*value)).collect();
    // A grid of the old values is none of the new ones.
    Ok(Constant { values: Values::floats(values), encoding: None, ..constant.clone() })
}

/// Combines all inputs from the left; the last node has the name.
fn chain(builder: &mut Builder, call: &Call<'_>, op: &Op) -> Lowered {
    let computed =
        (0..call.inputs.len()).filter(|index| matches!(call.input(*index), Some(Value::Tensor(_))));
    let ranks = computed.map(|index| rank(builder, call, index)).collect::<Result<Vec<_>, _>>()?;
    // With unequal ranks the batch of one would meet an inner axis of the other.
    let Some(rank) = ranks.first().copied().filter(|first| ranks.iter().all(|rank| rank == first)) else {
        return Err(Reason::Feature("its inputs have different numbers of axes"));
    };
    if call.inputs.len() == 1 {
        return unchanged(call);
    }
    let name = name_of(call);
    let mut left = operand(builder, call, 0, rank)?;
    let last = call.inputs.len() - 1;
    for index in 1..=last {
        let right = operand(builder, call, index, rank)?;
        let own = if index == last { name.clone() } else { format!("{name}.{index}") };
        left = builder.push(&own, op.clone(), &[&left, &right])?;
    }
    Ok(vec![Value::Tensor(left)])
}

fn operand(builder: &mut Builder, call: &Call<'_>, index: usize, rank: usize) -> Result<String, Reason> {
    match call.input(index) {
        Some(Value::Constant(_)) => builder.constant_node(call, index, rank + 1),
        _ => Ok(call.computed(index)?.to_owned()),
    }
}
