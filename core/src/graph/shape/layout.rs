//! Shapes behind operators that move values without windows: joining, cutting, reordering.

use super::{CHANNELS_MAX, RANK_MAX, Shape, axis_of, checked_elements, parameter, wrong_shape};
use crate::graph::{GraphError, Node};

pub(super) fn mean(node: &Node, axes: &[usize], keep: bool, input: &Shape) -> Result<Shape, GraphError> {
    for axis in axes {
        axis_of(node, *axis, input)?;
    }
    if axes.is_empty() || !axes.is_sorted_by(|one, next| one < next) {
        return Err(parameter(node, "axes must be ascending and at least one"));
    }
    let extents = input.0.iter().enumerate().filter_map(|(axis, extent)| match axes.contains(&axis) {
        true => keep.then_some(1),
        false => Some(*extent),
    });
    Ok(Shape(extents.collect()))
}

pub(super) fn concat(node: &Node, axis: usize, inputs: &[&Shape]) -> Result<Shape, GraphError> {
    let mut joined = inputs[0].clone();
    axis_of(node, axis, &joined)?;
    for other in &inputs[1..] {
        let fits = other.0.len() == joined.0.len()
            && other.0.iter().zip(&joined.0).enumerate().all(|(at, (one, other))| at == axis || one == other);
        if !fits {
            let along = if axis == 0 { "the channels".to_owned() } else { format!("axis {axis}") };
            return Err(wrong_shape(
                node,
                other,
                &format!("all but {along} must equal those of {}", inputs[0]),
            ));
        }
        joined.0[axis] += other.0[axis];
    }
    Ok(joined)
}

pub(super) fn reshape(node: &Node, shape: &[usize], input: &Shape) -> Result<Shape, GraphError> {
    let shape = Shape(shape.to_vec());
    if shape.0.is_empty() || shape.0.len() > RANK_MAX || checked_elements(&shape) != checked_elements(input) {
        return Err(wrong_shape(node, input, &format!("it cannot become {shape}")));
    }
    Ok(shape)
}

pub(super) fn transpose(node: &Node, perm: &[usize], input: &Shape) -> Result<Shape, GraphError> {
    let mut sorted = perm.to_vec();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..input.0.len()) {
        return Err(wrong_shape(node, input, &format!("{perm:?} is no order of its axes")));
    }
    Ok(Shape(perm.iter().map(|axis| input.0[*axis]).collect()))
}

pub(super) fn slice(
    node: &Node,
    axis: usize,
    [start, end, step]: [usize; 3],
    input: &Shape,
) -> Result<Shape, GraphError> {
    let extent = axis_of(node, axis, input)?;
    if step == 0 || start >= end || end > extent {
        let reason = format!("{start}..{end} in steps of {step} are no indices of axis {axis}");
        return Err(wrong_shape(node, input, &reason));
    }
    let mut shape = input.clone();
    shape.0[axis] = (end - start).div_ceil(step);
    Ok(shape)
}

pub(super) fn pad(node: &Node, [before, after]: [&[usize]; 2], input: &Shape) -> Result<Shape, GraphError> {
    let rank = input.0.len();
    if before.len() != rank || after.len() != rank {
        return Err(wrong_shape(node, input, "one number per axis must be given before and after"));
    }
    if before.iter().chain(after).any(|count| *count > CHANNELS_MAX) {
        return Err(parameter(node, "padding must be at most 2^20"));
    }
    let extents = input.0.iter().zip(before).zip(after);
    Ok(Shape(extents.map(|((extent, before), after)| before + extent + after).collect()))
}
