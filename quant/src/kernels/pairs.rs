use bitloop_core::graph::{Conv2d, Padding, Pool};
use candle_core::{Device, Result, Tensor};

use super::conv::Geometry;
use super::depthwise;
use super::memory::with_values;
use super::pool::Windows;
use super::tail::Tail;
use crate::rng::rng;

/// A kernel in a fast and in a plain form, which give the same bytes, on random values in rayon's current pool.
pub struct Pair {
    x: Tensor,
    kernel: Kernel,
}

enum Kernel {
    Depthwise { weight: Vec<f32>, geometry: Geometry },
    MaxPool(Windows),
}

impl Pair {
    /// A depthwise convolution of images `(n, channels, side, side)` with padding that keeps the size at stride 1.
    ///
    /// Errors: those of candle, and a message for a kernel or stride of 0.
    pub fn depthwise(shape: [usize; 4], kernel: usize, stride: usize) -> Result<Self> {
        let channels = shape[1];
        let conv = Conv2d {
            out_channels: channels,
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: Padding::all(kernel / 2),
            dilation: [1, 1],
            groups: channels,
            bias: false,
        };
        let x = random(shape)?;
        let geometry = Geometry::new(x.dims4()?, (channels, 1, kernel, kernel), &conv)?;
        let weight = with_values(&random([channels, 1, kernel, kernel])?, |values| Ok(values.to_vec()))?;
        Ok(Self { x, kernel: Kernel::Depthwise { weight, geometry } })
    }

    /// A max pooling of images `(n, channels, side, side)` with padding that keeps the size at stride 1.
    ///
    /// Errors: as [`Pair::depthwise`].
    pub fn max_pool(shape: [usize; 4], kernel: usize, stride: usize) -> Result<Self> {
        let x = random(shape)?;
        let padding = Padding::all(kernel / 2);
        let pool = Pool { kernel: [kernel; 2], stride: [stride; 2], padding, count_padding: false };
        let windows = Windows::new(&x, &pool)?;
        Ok(Self { x, kernel: Kernel::MaxPool(windows) })
    }

    /// Products or comparisons of one call, those with padding among them.
    pub fn steps(&self) -> usize {
        match &self.kernel {
            Kernel::Depthwise { geometry, .. } => geometry.images * geometry.out_image() * geometry.depth(),
            Kernel::MaxPool(windows) => windows.steps(),
        }
    }

    /// The outputs `(n, channels, h', w')` by the fast form.
    ///
    /// Errors: those of candle.
    pub fn fast(&self) -> Result<Vec<f32>> {
        with_values(&self.x, |x| {
            Ok(match &self.kernel {
                Kernel::Depthwise { weight, geometry } => {
                    depthwise::forward_by_blocks(x, weight, geometry, &Tail::identity(geometry.out_channels))
                }
                Kernel::MaxPool(windows) => windows.largest_by_blocks(x),
            })
        })
    }

    /// The outputs by the plain form.
    ///
    /// Errors: those of candle.
    pub fn plain(&self) -> Result<Vec<f32>> {
        with_values(&self.x, |x| {
            Ok(match &self.kernel {
                Kernel::Depthwise { weight, geometry } => {
                    depthwise::forward_by_taps(x, weight, geometry, &Tail::identity(geometry.out_channels))
                }
                Kernel::MaxPool(windows) => windows.largest_by_windows(x),
            })
        })
    }
}

fn random(shape: [usize; 4]) -> Result<Tensor> {
    let mut rng = rng(0, 0);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal() as f32).collect();
    Tensor::from_vec(values, &shape, &Device::Cpu)
}
