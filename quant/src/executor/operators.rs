//! Operators as functions of tensors: the CPU runs our kernels, other devices candle's operators and a few of ours.
//!
//! All branches compute the same function; the tests compare them on the CPU, so what a GPU is asked for is tested.

use bitloop_core::graph::{Conv2d, Padding, Pool};
use candle_core::{Result, Tensor};

use super::ScaleShift;
use super::layout::{every, pad_axis};
use crate::kernels::{self, Curve, Kernels, Operators, Tail};

/// What is done to a layer's output, in this order; absent parts are left out.
#[derive(Default)]
pub(super) struct After {
    /// `(channels,)`.
    pub(super) bias: Option<Tensor>,
    /// A batch norm with fixed statistics.
    pub(super) norm: Option<ScaleShift>,
    /// Upper limit of a rectifier.
    pub(super) upper: Option<f32>,
}

impl After {
    pub(super) fn is_empty(&self) -> bool {
        let Self { bias, norm, upper } = self;
        bias.is_none() && norm.is_none() && upper.is_none()
    }

    /// The same as the tail of a kernel of ours; `None` with gradients, which such kernels have not.
    fn tail(&self, inputs: &[&Tensor], channels: usize) -> Result<Option<Tail>> {
        let norm = self.norm.iter().flat_map(|norm| [&norm.scale, &norm.shift]);
        if inputs.iter().copied().chain(&self.bias).chain(norm).any(Tensor::track_op) {
            return Ok(None);
        }
        let mut tail = Tail::identity(channels);
        if let Some(bias) = &self.bias {
            tail = tail.with_bias(bias)?;
        }
        if let Some(norm) = &self.norm {
            tail = tail.with_scale_and_shift(&norm.scale, &norm.shift)?;
        }
        if let Some(upper) = self.upper {
            tail = tail.with_rectifier(upper);
        }
        Ok(Some(tail))
    }

    /// The same out of candle's operators.
    pub(super) fn composed(&self, x: Tensor) -> Result<Tensor> {
        let mut x = x;
        if let Some(bias) = &self.bias {
            x = x.broadcast_add(&along_channels(bias, x.rank())?)?;
        }
        if let Some(norm) = &self.norm {
            let scale = along_channels(&norm.scale, x.rank())?;
            let shift = along_channels(&norm.shift, x.rank())?;
            x = x.broadcast_mul(&scale)?.broadcast_add(&shift)?;
        }
        match self.upper {
            Some(upper) => relu_composed(&x, upper),
            None => Ok(x),
        }
    }
}

/// Every operator by the kernels that a walk computes with.
#[derive(Clone, Copy)]
pub(super) struct Compute(pub(super) Kernels);

impl Compute {
    fn on(self, x: &Tensor) -> Operators {
        self.0.operators(x.device())
    }

    fn is_own(self, x: &Tensor) -> bool {
        self.on(x) == Operators::Own
    }

    pub(super) fn after(self, x: &Tensor, after: &After) -> Result<Tensor> {
        if self.is_own(x)
            && let Some(tail) = after.tail(&[x], x.dim(1)?)?
        {
            return kernels::apply_tail(x, &tail);
        }
        after.composed(x.clone())
    }

    pub(super) fn add(self, left: &Tensor, right: &Tensor, after: &After) -> Result<Tensor> {
        if left.dims() != right.dims() {
            let rank = left.rank().max(right.rank());
            return after.composed(aligned(left, rank)?.broadcast_add(&aligned(right, rank)?)?);
        }
        if self.is_own(left)
            && let Some(tail) = after.tail(&[left, right], left.dim(1)?)?
        {
            return kernels::add(left, right, &tail);
        }
        after.composed((left + right)?)
    }

    pub(super) fn conv2d(self, [x, weight]: [&Tensor; 2], conv: &Conv2d, after: &After) -> Result<Tensor> {
        match self.on(x) {
            Operators::Own => match after.tail(&[x, weight], conv.out_channels)? {
                Some(tail) => kernels::conv2d_then(x, weight, conv, tail),
                None => after.composed(kernels::conv2d(x, weight, conv)?),
            },
            Operators::Cuda => match depthwise_after([x, weight], conv, after)? {
                Some(y) => Ok(y),
                None => after.composed(conv2d_composed(x, weight, conv)?),
            },
            Operators::Candle => after.composed(conv2d_composed(x, weight, conv)?),
        }
    }

    pub(super) fn linear(self, x: &Tensor, weight: &Tensor, after: &After) -> Result<Tensor> {
        if !self.is_own(x) {
            return after.composed(x.matmul(&weight.t()?)?);
        }
        match after.tail(&[x, weight], weight.dim(0)?)? {
            Some(tail) => kernels::linear_then(x, weight, tail),
            None => after.composed(kernels::linear(x, weight)?),
        }
    }

    pub(super) fn relu(self, x: &Tensor, upper: f32) -> Result<Tensor> {
        if self.is_own(x) { kernels::relu(x, upper) } else { relu_composed(x, upper) }
    }

    pub(super) fn max_pool(self, x: &Tensor, pool: &Pool) -> Result<Tensor> {
        if self.is_own(x) { kernels::max_pool(x, pool) } else { max_pool_composed(x, pool) }
    }

    pub(super) fn average_pool(self, x: &Tensor, pool: &Pool) -> Result<Tensor> {
        if self.is_own(x) { kernels::average_pool(x, pool) } else { average_pool_composed(x, pool) }
    }

    /// Our kernel has no gradients.
    pub(super) fn curve(self, x: &Tensor, curve: Curve) -> Result<Tensor> {
        if self.is_own(x) && !x.track_op() { kernels::curve(x, curve) } else { curve_composed(x, curve) }
    }
}

/// A convolution whose channels are filtered by themselves, which candle computes one after another; `None` for others
/// and with gradients.
fn depthwise_after([x, weight]: [&Tensor; 2], conv: &Conv2d, after: &After) -> Result<Option<Tensor>> {
    if [x, weight].into_iter().chain(&after.bias).any(Tensor::track_op) {
        return Ok(None);
    }
    // A batch norm stands between bias and rectifier, so that these cannot be one step then.
    let upper = after.upper.filter(|_| after.norm.is_none());
    let Some(y) = kernels::cuda::depthwise(x, weight, conv, (after.bias.as_ref(), upper))? else {
        return Ok(None);
    };
    match &after.norm {
        None => Ok(Some(y)),
        norm => After { bias: None, norm: norm.clone(), upper: after.upper }.composed(y).map(Some),
    }
}

/// Candle knows one stride and one padding for both axes: pad first, and keep every n-th row and column afterwards.
pub(super) fn conv2d_composed(x: &Tensor, weight: &Tensor, conv: &Conv2d) -> Result<Tensor> {
    let x = pad(x, conv.padding, 0.0)?;
    let weight = &dilated(weight, conv.dilation)?;
    let [down, right] = conv.stride;
    if down == right {
        return x.conv2d(weight, 0, down, 1, conv.groups);
    }
    let y = x.conv2d(weight, 0, 1, 1, conv.groups)?;
    every(&every(&y, 2, down)?, 3, right)
}

/// Puts zeros between the taps, as candle knows one distance for both axes.
fn dilated(weight: &Tensor, dilation: [usize; 2]) -> Result<Tensor> {
    let (out, per_group, height, width) = weight.dims4()?;
    let [down, right] = dilation.map(|distance| distance.saturating_sub(1));
    if [down, right] == [0, 0] {
        return Ok(weight.clone());
    }
    let rows = weight.reshape((out, per_group, height, 1, width))?.pad_with_zeros(3, 0, down)?;
    let rows = rows.reshape((out, per_group, height * (down + 1), width, 1))?;
    let taps = rows.pad_with_zeros(4, 0, right)?;
    let taps = taps.reshape((out, per_group, height * (down + 1), width * (right + 1)))?;
    taps.narrow(2, 0, height * (down + 1) - down)?.narrow(3, 0, width * (right + 1) - right)
}

/// Reshapes `(channels,)` so that it broadcasts along axis 1 of a tensor with `rank` axes.
fn along_channels(values: &Tensor, rank: usize) -> Result<Tensor> {
    let mut shape = vec![1; rank];
    if rank < 2 {
        candle_core::bail!("a tensor of rank {rank} has no channels");
    }
    shape[1] = values.elem_count();
    values.reshape(shape)
}

fn relu_composed(x: &Tensor, upper: f32) -> Result<Tensor> {
    if upper.is_finite() { x.clamp(0.0, upper) } else { x.relu() }
}

/// Padding must lose against every value; the lowest finite number does and has no gradient trouble.
pub(super) fn max_pool_composed(x: &Tensor, pool: &Pool) -> Result<Tensor> {
    pad(x, pool.padding, f32::MIN)?.max_pool2d_with_stride(pair(pool.kernel), pair(pool.stride))
}

/// The mean over zeros and pixels, divided by the share of pixels unless padding counts.
pub(super) fn average_pool_composed(x: &Tensor, pool: &Pool) -> Result<Tensor> {
    let mean =
        |x: &Tensor| pad(x, pool.padding, 0.0)?.avg_pool2d_with_stride(pair(pool.kernel), pair(pool.stride));
    if pool.count_padding {
        return mean(x);
    }
    mean(x)?.broadcast_div(&mean(&x.narrow(0, 0, 1)?.narrow(1, 0, 1)?.ones_like()?)?)
}

pub(super) fn global_average_pool(x: &Tensor) -> Result<Tensor> {
    x.flatten_from(2)?.mean(2)
}

fn pair([first, second]: [usize; 2]) -> (usize, usize) {
    (first, second)
}

fn pad(x: &Tensor, padding: Padding, value: f32) -> Result<Tensor> {
    let x = pad_axis(x, 2, [padding.top, padding.bottom], value)?;
    pad_axis(&x, 3, [padding.left, padding.right], value)
}

/// Puts axes of extent 1 behind the batch, so that candle's broadcasting aligns the images and not the batch.
fn aligned(x: &Tensor, rank: usize) -> Result<Tensor> {
    let mut shape = x.dims().to_vec();
    while shape.len() < rank {
        shape.insert(1, 1);
    }
    x.reshape(shape)
}

pub(super) fn multiply(left: &Tensor, right: &Tensor) -> Result<Tensor> {
    let rank = left.rank().max(right.rank());
    aligned(left, rank)?.broadcast_mul(&aligned(right, rank)?)
}

/// The same out of candle's operators: for gradients, and for devices without a kernel of ours.
pub(super) fn curve_composed(x: &Tensor, curve: Curve) -> Result<Tensor> {
    match curve {
        Curve::LeakyRelu { slope } => x.relu()? + (x.minimum(0.0)? * f64::from(slope))?,
        Curve::HardSwish => x * (x / 6.0)?.affine(1.0, 0.5)?.clamp(0.0, 1.0)?,
        Curve::HardSigmoid { alpha, beta } => x.affine(f64::from(alpha), f64::from(beta))?.clamp(0.0, 1.0),
        Curve::Sigmoid => candle_nn::ops::sigmoid(x),
        Curve::Clip { min, max } => x.clamp(min, max),
    }
}

pub(super) fn p_relu(x: &Tensor, slope: &Tensor) -> Result<Tensor> {
    x.relu()? + x.minimum(0.0)?.broadcast_mul(&along_channels(slope, x.rank())?)?
}

/// As ONNX defines it: of an even number of channels, the odd one is taken from those that follow.
pub(super) fn lrn(x: &Tensor, size: usize, [alpha, beta, bias]: [f32; 3]) -> Result<Tensor> {
    let channels = x.dim(1)?;
    let before = (size - 1) / 2;
    let squares = x.sqr()?.pad_with_zeros(1, before, size - 1 - before)?;
    let mut sum = squares.narrow(1, 0, channels)?;
    for offset in 1..size {
        sum = (sum + squares.narrow(1, offset, channels)?)?;
    }
    x / sum.affine(f64::from(alpha) / size as f64, f64::from(bias))?.powf(f64::from(beta))?
}
