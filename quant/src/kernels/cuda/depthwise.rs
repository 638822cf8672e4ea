use bitloop_core::graph::Conv2d;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::Launch;
use crate::kernels::conv::{self, Geometry};
use crate::kernels::memory::slice;
use crate::kernels::tail::Tail;

/// Returns the convolution of every channel with its own filters, plus the bias, cut off below zero and above `upper` if
/// there is one; `None` if channels are not filtered by themselves. Without gradients.
///
/// Shapes: `x` `(n, in, h, w)`, `weight` `(in * multiplier, 1, kh, kw)`, `bias` `(in * multiplier,)` ->
/// `(n, in * multiplier, h', w')`, all f32 on one device. Errors: a message if the shapes do not fit.
pub(crate) fn depthwise(
    x: &Tensor,
    weight: &Tensor,
    conv: &Conv2d,
    (bias, upper): (Option<&Tensor>, Option<f32>),
) -> Result<Option<Tensor>> {
    let geometry = Geometry::new(x.dims4()?, weight.dims4()?, conv)?;
    if !geometry.is_channelwise() {
        return Ok(None);
    }
    let bias = match bias {
        Some(bias) if bias.dims() != [geometry.out_channels] => {
            candle_core::bail!("{:?} biases do not fit {} channels", bias.dims(), geometry.out_channels)
        }
        Some(bias) => bias.contiguous()?,
        None => Tensor::zeros(geometry.out_channels, x.dtype(), x.device())?,
    };
    let operator = Depthwise { geometry, upper };
    x.contiguous()?.apply_op3_no_bwd(&weight.contiguous()?, &bias, &operator).map(Some)
}

/// Extents of a convolution as the kernel takes them; `depthwise.cu` says what each is.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Extents {
    pub(super) planes: i32,
    pub(super) out_channels: i32,
    pub(super) multiplier: i32,
    pub(super) size: [i32; 2],
    pub(super) out_size: [i32; 2],
    pub(super) kernel: [i32; 2],
    pub(super) stride: [i32; 2],
    pub(super) dilation: [i32; 2],
    pub(super) before: [i32; 2],
    pub(super) limits: [f32; 2],
}

pub(super) struct Depthwise {
    pub(super) geometry: Geometry,
    pub(super) upper: Option<f32>,
}

impl Depthwise {
    /// Returns what the kernel is started with.
    ///
    /// Errors: a message if the tensors are too large to be counted in 31 bits.
    pub(super) fn launch(&self) -> Result<(Extents, Launch)> {
        let geometry = &self.geometry;
        let planes = geometry.images * geometry.out_channels;
        let launch = Launch::over(geometry.positions(), planes);
        match (self.extents(planes), launch) {
            (Some(extents), Some(launch)) => Ok((extents, launch)),
            _ => candle_core::bail!(
                "{planes} planes of {:?} values are too large for the GPU; evaluate fewer images at a time",
                geometry.size
            ),
        }
    }

    /// The kernel counts rows of a padded image and planes in 31 bits, also one step beyond the last.
    fn extents(&self, planes: usize) -> Option<Extents> {
        const LARGEST: usize = 1 << 30;
        let geometry = &self.geometry;
        let count = |value: usize| i32::try_from(value).ok().filter(|_| value <= LARGEST);
        let pair = |[first, second]: [usize; 2]| Some([count(first)?, count(second)?]);
        let reach = [0, 1].map(|axis| {
            (geometry.out_size[axis] - 1) * geometry.stride[axis]
                + geometry.kernel[axis] * geometry.dilation[axis]
        });
        pair(reach)?;
        count(geometry.positions())?;
        let limits = self.upper.map_or([f32::NEG_INFINITY, f32::INFINITY], |upper| [0.0, upper]);
        Some(Extents {
            planes: count(planes)?,
            out_channels: count(geometry.out_channels)?,
            multiplier: count(geometry.out_channels / geometry.channels)?,
            size: pair(geometry.size)?,
            out_size: pair(geometry.out_size)?,
            kernel: pair(geometry.kernel)?,
            stride: pair(geometry.stride)?,
            dilation: pair(geometry.dilation)?,
            before: pair(geometry.before)?,
            limits,
        })
    }

    pub(super) fn out_shape(&self) -> Shape {
        let geometry = &self.geometry;
        Shape::from((geometry.images, geometry.out_channels, geometry.out_size[0], geometry.out_size[1]))
    }
}

impl CustomOp3 for Depthwise {
    fn name(&self) -> &'static str {
        "bitloop-depthwise"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        // Refused here too, so that what a GPU refuses is seen without one.
        self.launch()?;
        let tail = Tail::identity(self.geometry.out_channels).with_bias_values(slice(s3, l3)?)?;
        let tail = match self.upper {
            Some(upper) => tail.with_rectifier(upper),
            None => tail,
        };
        let y = conv::forward((slice(s1, l1)?, slice(s2, l2)?), &self.geometry, &tail);
        Ok((CpuStorage::F32(y), self.out_shape()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s1: &candle_core::CudaStorage,
        l1: &Layout,
        s2: &candle_core::CudaStorage,
        l2: &Layout,
        s3: &candle_core::CudaStorage,
        l3: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        let y = super::device::depthwise(self, [(s1, l1), (s2, l2), (s3, l3)])?;
        Ok((y, self.out_shape()))
    }
}
