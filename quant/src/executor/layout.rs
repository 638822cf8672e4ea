//! Operators that move values: their axes are those of one image, so the batch's is skipped.

use candle_core::{Result, Tensor};

pub(super) fn mean(x: &Tensor, axes: &[usize], keep: bool) -> Result<Tensor> {
    let axes: Vec<usize> = axes.iter().map(|axis| axis + 1).collect();
    if keep { x.mean_keepdim(axes) } else { x.mean(axes) }
}

pub(super) fn reshape(x: &Tensor, shape: &[usize]) -> Result<Tensor> {
    x.reshape([&[x.dim(0)?], shape].concat())
}

pub(super) fn transpose(x: &Tensor, perm: &[usize]) -> Result<Tensor> {
    let axes: Vec<usize> = std::iter::once(0).chain(perm.iter().map(|axis| axis + 1)).collect();
    x.permute(axes)?.contiguous()
}

pub(super) fn slice(x: &Tensor, axis: usize, [start, end, step]: [usize; 3]) -> Result<Tensor> {
    let Some(length) = end.checked_sub(start) else { candle_core::bail!("{start}..{end} is no slice") };
    every(&x.narrow(axis + 1, start, length)?, axis + 1, step)?.contiguous()
}

pub(super) fn pad(x: &Tensor, [before, after]: [&[usize]; 2], value: f32) -> Result<Tensor> {
    let mut padded = x.clone();
    for (axis, (before, after)) in before.iter().zip(after).enumerate() {
        padded = pad_axis(&padded, axis + 1, [*before, *after], value)?;
    }
    Ok(padded)
}

/// Puts a constant before and behind one axis, the batch being axis 0.
pub(super) fn pad_axis(x: &Tensor, axis: usize, [before, after]: [usize; 2], value: f32) -> Result<Tensor> {
    if [before, after] == [0, 0] {
        return Ok(x.clone());
    }
    if value == 0.0 {
        return x.pad_with_zeros(axis, before, after);
    }
    let full = |count: usize| {
        let mut shape = x.dims().to_vec();
        shape[axis] = count;
        Tensor::full(value, shape, x.device())
    };
    Tensor::cat(&[&full(before)?, x, &full(after)?], axis)
}

/// Keeps every `step`-th index of an axis, the batch being axis 0.
pub(super) fn every(x: &Tensor, axis: usize, step: usize) -> Result<Tensor> {
    if step == 1 {
        return Ok(x.clone());
    }
    let kept = (x.dim(axis)?).div_ceil(step.max(1)) as u32;
    let indices: Vec<u32> = (0..kept).map(|index| index * step as u32).collect();
    // A part of an axis leaves gaps, over which candle does not select.
    x.contiguous()?.index_select(&Tensor::new(indices, x.device())?, axis)
}
