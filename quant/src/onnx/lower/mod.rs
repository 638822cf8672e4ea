//! Operators on what the network computes: each becomes nodes of our graph.
//!
//! A tensor of the file has the batch in front; ours are those of one image. While reading, the batch counts as 1.

mod activation;
mod arithmetic;
mod conv;
mod layout;
mod linear;
mod pool;
mod quantize;
mod window;

pub(super) use activation::{
    clip, hard_sigmoid, hard_swish, leaky_relu, lrn, p_relu, relu, sigmoid, softmax,
};
pub(super) use arithmetic::{add, divide, multiply, subtract};
pub(super) use conv::{batch_norm, conv};
pub(super) use layout::{
    cast, concat, flatten, pad, pass, reshape, shape, slice, slices, split, split_extents, squeeze,
    target_shape, transpose, unsqueeze,
};
pub(super) use linear::{gemm, matmul};
pub(super) use pool::{average_pool, global_average_pool, global_max_pool, max_pool, reduce_mean};
pub(super) use quantize::{dequantize, quantize};

use bitloop_core::graph::Op;

use super::builder::Builder;
use super::call::{Call, Value, axis_of};
use super::error::Reason;
use super::names::name_of;

/// Appends nodes for a node of a file and returns what its outputs are.
pub(super) type Lower = fn(&mut Builder, &Call<'_>) -> Lowered;

type Lowered = Result<Vec<Value>, Reason>;

/// Appends the one node that this becomes.
fn single(builder: &mut Builder, call: &Call<'_>, op: Op) -> Lowered {
    let input = call.computed(0)?.to_owned();
    Ok(vec![builder.push_value(&name_of(call), op, &input)?])
}

/// The first input as it is.
fn unchanged(call: &Call<'_>) -> Lowered {
    Ok(vec![Value::Tensor(call.computed(0)?.to_owned())])
}

/// Returns an axis of one image from one that counts the batch.
fn image_axis(axis: i64, image_rank: usize) -> Result<usize, Reason> {
    axis_of(axis, image_rank + 1)?.checked_sub(1).ok_or(Reason::Batch)
}

/// Number of axes of one image that an input has.
fn rank(builder: &Builder, call: &Call<'_>, index: usize) -> Result<usize, Reason> {
    Ok(builder.shape(call.computed(index)?).0.len())
}

/// Height and width of an image that an operator works on.
fn image_size(builder: &Builder, call: &Call<'_>) -> Result<[usize; 2], Reason> {
    match builder.shape(call.computed(0)?).0.as_slice() {
        [_, height, width] => Ok([*height, *width]),
        _ => Err(Reason::Feature("only images (batch, channels, height, width) are supported")),
    }
}
