//! What follows a layer, channel by channel and without gradients: bias, batch norm with fixed statistics, rectifier.
//!
//! Candle's own elementwise operators run on threads of their own, outside rayon's current pool, and a pass each.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::memory::{slice, with_values};

/// Gives `min(max((v + bias) * scale + shift, lower), upper)` for every value `v`, with three numbers per channel.
///
/// Absent parts are exact identities (`-0.0` to add, one to multiply, infinite limits), so a value goes through the
/// same roundings whether the parts are applied together or one after another. NaN stays NaN.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    channels: Vec<Channel>,
    lower: f32,
    upper: f32,
}

#[derive(Clone, Copy, Debug)]
struct Channel {
    bias: f32,
    scale: f32,
    shift: f32,
}

impl Channel {
    fn is_identity(&self) -> bool {
        self.scale == 1.0 && [self.bias, self.shift].iter().all(|v| v.to_bits() == (-0.0f32).to_bits())
    }
}

impl Tail {
    /// Changes nothing.
    pub(crate) fn identity(channels: usize) -> Self {
        let channel = Channel { bias: -0.0, scale: 1.0, shift: -0.0 };
        Self { channels: vec![channel; channels], lower: f32::NEG_INFINITY, upper: f32::INFINITY }
    }

    /// Adds a bias `(channels,)`, before all else.
    ///
    /// Errors: a message for another shape, type or device.
    pub(crate) fn with_bias(mut self, bias: &Tensor) -> Result<Self> {
        self.set(bias, |channel, bias| channel.bias = bias)?;
        Ok(self)
    }

    /// Multiplies by `scale` and adds `shift`, both `(channels,)`, after the bias.
    ///
    /// Errors: a message for another shape, type or device.
    pub(crate) fn with_scale_and_shift(mut self, scale: &Tensor, shift: &Tensor) -> Result<Self> {
        self.set(scale, |channel, scale| channel.scale = scale)?;
        self.set(shift, |channel, shift| channel.shift = shift)?;
        Ok(self)
    }

    /// Cuts off what is below zero or above `upper`, at the end.
    pub(crate) fn with_rectifier(self, upper: f32) -> Self {
        Self { lower: 0.0, upper, ..self }
    }

    /// Adds a bias per channel, before all else.
    ///
    /// Errors: a message for another number of channels.
    pub(super) fn with_bias_values(mut self, bias: &[f32]) -> Result<Self> {
        self.set_values(bias, |channel, bias| channel.bias = bias)?;
        Ok(self)
    }

    fn set(&mut self, values: &Tensor, part: impl Fn(&mut Channel, f32)) -> Result<()> {
        with_values(values, |values| self.set_values(values, part))
    }

    fn set_values(&mut self, values: &[f32], part: impl Fn(&mut Channel, f32)) -> Result<()> {
        self.check(values.len())?;
        self.channels.iter_mut().zip(values).for_each(|(channel, value)| part(channel, *value));
        Ok(())
    }

    pub(super) fn check(&self, channels: usize) -> Result<()> {
        if self.channels.len() != channels {
            candle_core::bail!("{channels} channels do not fit a tail of {}", self.channels.len());
        }
        Ok(())
    }

    fn is_identity(&self) -> bool {
        self.has_no_limits() && self.channels.iter().all(Channel::is_identity)
    }

    fn has_no_limits(&self) -> bool {
        self.lower == f32::NEG_INFINITY && self.upper == f32::INFINITY
    }

    /// Replaces values of one channel.
    pub(super) fn apply_to_channel(&self, channel: usize, values: &mut [f32]) {
        let channel = self.channels[channel];
        if !(self.has_no_limits() && channel.is_identity()) {
            values.iter_mut().for_each(|v| *v = self.value(channel, *v));
        }
    }

    /// Replaces the values of whole images, `(channels, ...)` each.
    pub(super) fn apply(&self, images: &mut [f32], plane: usize) {
        if self.is_identity() {
            return;
        }
        if plane == 1 {
            for image in images.chunks_exact_mut(self.channels.len().max(1)) {
                image.iter_mut().zip(&self.channels).for_each(|(v, channel)| *v = self.value(*channel, *v));
            }
            return;
        }
        for (values, channel) in images.chunks_exact_mut(plane.max(1)).zip(self.channels.iter().cycle()) {
            values.iter_mut().for_each(|v| *v = self.value(*channel, *v));
        }
    }

    #[inline(always)]
    fn value(&self, channel: Channel, v: f32) -> f32 {
        let v = (v + channel.bias) * channel.scale + channel.shift;
        // Comparisons rather than `max` and `min`, which would turn NaN into a limit.
        let v = if v < self.lower { self.lower } else { v };
        if v > self.upper { self.upper } else { v }
    }
}

/// Returns `x` after the tail, without gradients.
///
/// Shapes: `x` `(n, channels, ...)` f32 on the CPU, kept. Errors: a message if the shapes do not fit.
pub(crate) fn apply_tail(x: &Tensor, tail: &Tail) -> Result<Tensor> {
    tail.check(x.dim(1)?)?;
    x.contiguous()?.apply_op1_no_bwd(&Follow(tail))
}

/// Returns `left + right` after the tail, without gradients.
///
/// Shapes: both `(n, channels, ...)` f32 on the CPU, kept. Errors: a message if the shapes do not fit.
pub(crate) fn add(left: &Tensor, right: &Tensor, tail: &Tail) -> Result<Tensor> {
    if left.dims() != right.dims() {
        candle_core::bail!("{:?} and {:?} cannot be added", left.dims(), right.dims());
    }
    tail.check(left.dim(1)?)?;
    left.contiguous()?.apply_op2_no_bwd(&right.contiguous()?, &Follow(tail))
}

/// The tail behind one tensor, or behind the sum of two.
struct Follow<'a>(&'a Tail);

impl Follow<'_> {
    /// Writes the images of a batch of `shape` one by one, each on one thread.
    fn images(&self, shape: &Shape, write: impl Fn(usize, &mut [f32]) + Sync) -> CpuStorage {
        let mut y = vec![0.0; shape.elem_count()];
        let plane: usize = shape.dims().iter().skip(2).product();
        let image = (self.0.channels.len() * plane).max(1);
        y.par_chunks_mut(image).enumerate().for_each(|(index, y)| {
            write(index * image, y);
            self.0.apply(y, plane);
        });
        CpuStorage::F32(y)
    }
}

impl CustomOp1 for Follow<'_> {
    fn name(&self) -> &'static str {
        "bitloop-tail"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(storage, layout)?;
        let write = |start: usize, y: &mut [f32]| y.copy_from_slice(&x[start..start + y.len()]);
        Ok((self.images(layout.shape(), write), layout.shape().clone()))
    }
}

impl CustomOp2 for Follow<'_> {
    fn name(&self) -> &'static str {
        "bitloop-add"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (left, right) = (slice(s1, l1)?, slice(s2, l2)?);
        let write = |start: usize, y: &mut [f32]| {
            let pairs = left[start..start + y.len()].iter().zip(&right[start..start + y.len()]);
            y.iter_mut().zip(pairs).for_each(|(y, (left, right))| *y = left + right);
        };
        Ok((self.images(l1.shape(), write), l1.shape().clone()))
    }
}
