//! 2-d convolution with gradients: dispatch between the dense (im2col and gemm) and the depthwise kernels.

use std::ops::Range;

use bitloop_core::graph::Conv2d;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::memory::{slice, tensor_like, with_values};
use super::phases::Phases;
use super::tail::Tail;
use super::{dense, depthwise};

/// Returns the convolution of `x` with `weight`, without bias.
///
/// Shapes: `x` `(n, in, h, w)`, `weight` `(out, in / groups, kh, kw)` -> `(n, out, h', w')`, all f32 on the CPU.
/// Errors: a message if the shapes do not fit.
pub(crate) fn conv2d(x: &Tensor, weight: &Tensor, conv: &Conv2d) -> Result<Tensor> {
    let geometry = Geometry::new(x.dims4()?, weight.dims4()?, conv)?;
    let tail = Tail::identity(geometry.out_channels);
    x.contiguous()?.apply_op2(&weight.contiguous()?, Convolution { geometry, tail })
}

/// Returns the convolution after the tail, each image while it is in the core's cache; without gradients.
///
/// Shapes and errors: as [`conv2d`].
pub(crate) fn conv2d_then(x: &Tensor, weight: &Tensor, conv: &Conv2d, tail: Tail) -> Result<Tensor> {
    let geometry = Geometry::new(x.dims4()?, weight.dims4()?, conv)?;
    tail.check(geometry.out_channels)?;
    x.contiguous()?.apply_op2_no_bwd(&weight.contiguous()?, &Convolution { geometry, tail })
}

/// Extents of a convolution over a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    pub(super) images: usize,
    pub(super) channels: usize,
    pub(super) size: [usize; 2],
    pub(super) out_channels: usize,
    pub(super) out_size: [usize; 2],
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) dilation: [usize; 2],
    /// Rows above, columns to the left.
    pub(super) before: [usize; 2],
    pub(super) groups: usize,
    padded: bool,
}

impl Geometry {
    pub(super) fn new(
        (images, channels, height, width): (usize, usize, usize, usize),
        (out_channels, per_group, kh, kw): (usize, usize, usize, usize),
        conv: &Conv2d,
    ) -> Result<Self> {
        let (groups, padding) = (conv.groups, conv.padding);
        if groups == 0
            || per_group * groups != channels
            || out_channels % groups != 0
            || [kh, kw] != conv.kernel
        {
            candle_core::bail!(
                "a weight of shape {out_channels}x{per_group}x{kh}x{kw} in {groups} group(s) does not fit {channels} channel(s) and {conv:?}"
            );
        }
        let padded = [height + padding.top + padding.bottom, width + padding.left + padding.right];
        let is_empty = [conv.stride, conv.kernel, conv.dilation].as_flattened().contains(&0);
        let reach = [0, 1].map(|axis| conv.kernel[axis].saturating_sub(1) * conv.dilation[axis] + 1);
        if is_empty || padded[0] < reach[0] || padded[1] < reach[1] {
            candle_core::bail!("{conv:?} has no window that fits a padded image of {padded:?}");
        }
        Ok(Self {
            images,
            channels,
            size: [height, width],
            out_channels,
            out_size: [0, 1].map(|axis| (padded[axis] - reach[axis]) / conv.stride[axis] + 1),
            kernel: conv.kernel,
            stride: conv.stride,
            dilation: conv.dilation,
            before: [padding.top, padding.left],
            groups,
            padded: padded != [height, width],
        })
    }

    /// Values of one input image.
    pub(super) fn image(&self) -> usize {
        self.channels * self.plane()
    }

    /// Values of one input channel.
    pub(super) fn plane(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Values of one output image.
    pub(super) fn out_image(&self) -> usize {
        self.out_channels * self.positions()
    }

    /// Values of one output channel.
    pub(super) fn positions(&self) -> usize {
        self.out_size[0] * self.out_size[1]
    }

    /// Weights of one output channel.
    pub(super) fn depth(&self) -> usize {
        self.channels / self.groups * self.kernel[0] * self.kernel[1]
    }

    /// How a channel lies where its outputs are computed in blocks.
    pub(super) fn phases(&self) -> Phases {
        Phases {
            size: self.size,
            out_size: self.out_size,
            stride: self.stride,
            before: self.before,
            reach: [0, 1].map(|axis| (self.kernel[axis] - 1) * self.dilation[axis]),
        }
    }

    /// Whether the windows are the pixels, so that there is nothing to gather.
    pub(super) fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && !self.padded
    }

    /// Whether every channel is filtered by itself, by one filter or several.
    pub(super) fn is_channelwise(&self) -> bool {
        self.groups == self.channels && self.groups > 1
    }

    /// Whether every channel has its own filter.
    pub(super) fn is_depthwise(&self) -> bool {
        self.is_channelwise() && self.groups == self.out_channels
    }

    /// Output positions along `axis` whose kernel tap `tap` lies inside the image.
    pub(super) fn inside(&self, axis: usize, tap: usize) -> Range<usize> {
        let (stride, before, tap) = (self.stride[axis], self.before[axis], tap * self.dilation[axis]);
        let start = before.saturating_sub(tap).div_ceil(stride);
        let end = match (self.size[axis] + before).checked_sub(tap + 1) {
            Some(last) => (last / stride + 1).min(self.out_size[axis]),
            None => 0,
        };
        start.min(end)..end
    }

    /// Input position along `axis` under kernel tap `tap` at an output position from [`Geometry::inside`].
    pub(super) fn source(&self, axis: usize, position: usize, tap: usize) -> usize {
        position * self.stride[axis] + tap * self.dilation[axis] - self.before[axis]
    }
}

/// Returns the convolution of an image and a weight, after the tail.
pub(super) fn forward((x, weight): (&[f32], &[f32]), geometry: &Geometry, tail: &Tail) -> Vec<f32> {
    match geometry.is_depthwise() {
        true => depthwise::forward(x, weight, geometry, tail),
        false => dense::forward(x, weight, geometry, tail),
    }
}

struct Convolution {
    geometry: Geometry,
    tail: Tail,
}

impl CustomOp2 for Convolution {
    fn name(&self) -> &'static str {
        "bitloop-conv2d"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let geometry = &self.geometry;
        let y = forward((slice(s1, l1)?, slice(s2, l2)?), geometry, &self.tail);
        let [height, width] = geometry.out_size;
        let shape = Shape::from((geometry.images, geometry.out_channels, height, width));
        Ok((CpuStorage::F32(y), shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let geometry = &self.geometry;
        let gradients = if geometry.is_depthwise() {
            [depthwise::input_gradient, depthwise::weight_gradient]
        } else {
            [dense::input_gradient, dense::weight_gradient]
        };
        with_values(dy, |dy| {
            // The first layer's input needs no gradient; it would cost as much as the other one.
            let dx = match x.track_op() {
                true => {
                    Some(with_values(weight, |weight| tensor_like(gradients[0](weight, dy, geometry), x))?)
                }
                false => None,
            };
            let dw = match weight.track_op() {
                true => Some(with_values(x, |x| tensor_like(gradients[1](x, dy, geometry), weight))?),
                false => None,
            };
            Ok((dx, dw))
        })
    }
}
