//! Operators on constants, computed at import: weights that are reshaped, and the arithmetic of shapes.
//!
//! Constants have the shapes of the file, with the batch as 1.

mod arithmetic;
mod layout;

pub(super) use arithmetic::{binary, compare, power, reduce_product, select, unary};
pub(super) use layout::{
    cast, concat, constant, constant_of_shape, expand, flatten, gather, pass, permutation, range, reshape,
    slice, split, squeeze, transpose, unsqueeze,
};

use super::builder::Builder;
use super::call::Call;
use super::error::Reason;
use super::tensor::Constant;

/// Computes the outputs of a node whose inputs are all constants.
pub(super) type Fold = fn(&mut Builder, &Call<'_>) -> Result<Vec<Constant>, Reason>;

/// Steps from value to value along each axis of a row-major tensor.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// Positions of a tensor's values where index `i` of each axis is `start + i * step` in values of the source.
fn positions(start: usize, shape: &[usize], steps: &[usize]) -> Vec<usize> {
    if shape.contains(&0) {
        return Vec::new();
    }
    let mut positions = vec![start];
    for (extent, step) in shape.iter().zip(steps) {
        positions = positions.iter().flat_map(|at| (0..*extent).map(move |i| at + i * step)).collect();
    }
    positions
}

/// The shape that two tensors broadcast to.
fn broadcast_shape(left: &[usize], right: &[usize]) -> Result<Vec<usize>, Reason> {
    let rank = left.len().max(right.len());
    let extent = |shape: &[usize], axis: usize| match (axis + shape.len()).checked_sub(rank) {
        Some(axis) => shape[axis],
        None => 1,
    };
    (0..rank)
        .map(|axis| match (extent(left, axis), extent(right, axis)) {
            (one, other) if one == other => Ok(one),
            (1, other) | (other, 1) => Ok(other),
            _ => Err(Reason::ConstantShape {
                found: right.to_vec(),
                expected: format!("one that broadcasts with {left:?}"),
            }),
        })
        .collect()
}

/// Positions of a tensor's values when it is broadcast to `target`.
fn broadcast_positions(shape: &[usize], target: &[usize]) -> Vec<usize> {
    let own = strides(shape);
    let missing = target.len() - shape.len();
    let steps: Vec<usize> = (0..target.len())
        .map(|axis| match axis.checked_sub(missing) {
            Some(axis) if shape[axis] != 1 => own[axis],
            _ => 0,
        })
        .collect();
    positions(0, target, &steps)
}
