//! Batch norm over the statistics of the batch, for training: two passes forward, two back.

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::memory::{slice, tensor_like, with_values};

/// Partial sums along a line of pixels: enough to fill the vector registers of any x86.
const LANES: usize = 16;

/// Mean and variance of every channel over the images and pixels of a batch.
#[derive(Clone, Debug)]
pub(crate) struct BatchStatistics {
    /// `(channels,)`.
    pub(crate) mean: Vec<f32>,
    /// Mean squared distance from the mean (divided by the count, not by one less), `(channels,)`.
    pub(crate) variance: Vec<f32>,
}

/// Returns `(x - mean) / sqrt(variance + eps) * gamma + beta` and the batch's statistics; gradients flow through both.
///
/// Shapes: `x` `(n, channels, ...)`, kept; `gamma` and `beta` `(channels,)`; f32 on the CPU.
/// Errors: a message if the shapes do not fit.
/// Source: Ioffe and Szegedy, "Batch Normalization", 2015, algorithm 1 and the gradients of section 3.
pub(crate) fn batch_norm(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
) -> Result<(Tensor, BatchStatistics)> {
    let [images, channels, ..] = *x.dims() else {
        candle_core::bail!("batch norm takes (n, channels, ...), not {:?}", x.dims())
    };
    if gamma.dims() != [channels] || beta.dims() != [channels] || x.elem_count() == 0 {
        candle_core::bail!("batch norm of {:?} takes {channels} gammas and betas", x.dims());
    }
    let statistics = Arc::new(OnceLock::new());
    let norm = BatchNorm {
        eps,
        channels,
        plane: x.elem_count() / (images * channels),
        statistics: Arc::clone(&statistics),
    };
    let y = x.contiguous()?.apply_op3(gamma, beta, norm)?;
    let statistics = statistics.get().expect("the forward pass has filled the statistics");
    Ok((y, statistics.clone()))
}

struct BatchNorm {
    eps: f64,
    channels: usize,
    plane: usize,
    /// Candle's ops give one tensor; the statistics leave by this door.
    statistics: Arc<OnceLock<BatchStatistics>>,
}

impl BatchNorm {
    /// Applies `reduce` to the planes of each channel, one channel after another in one thread.
    fn per_channel<R: Send>(&self, reduce: impl Fn(usize) -> R + Send + Sync) -> Vec<R> {
        (0..self.channels).into_par_iter().map(reduce).collect()
    }

    fn planes<'a>(&self, values: &'a [f32], channel: usize) -> impl Iterator<Item = &'a [f32]> {
        values.chunks_exact(self.plane).skip(channel).step_by(self.channels)
    }

    fn statistics(&self, x: &[f32]) -> BatchStatistics {
        let count = (x.len() / self.channels) as f64;
        let moments = self.per_channel(|channel| {
            let sum: f64 = self.planes(x, channel).map(|plane| sum(plane, |v| v)).sum();
            let mean = sum / count;
            // Around the mean: the difference of two large sums would cancel.
            let center = mean as f32;
            let squares: f64 = self
                .planes(x, channel)
                .map(|plane| sum_of(plane, plane, |v, _| (v - center) * (v - center)))
                .sum();
            (center, (squares / count) as f32)
        });
        let (mean, variance) = moments.into_iter().unzip();
        BatchStatistics { mean, variance }
    }

    fn inverse_deviation(&self, variance: f32) -> f32 {
        (1.0 / (f64::from(variance) + self.eps).sqrt()) as f32
    }
}

impl CustomOp3 for BatchNorm {
    fn name(&self) -> &'static str {
        "bitloop-batch-norm"
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
        let (x, gamma, beta) = (slice(s1, l1)?, slice(s2, l2)?, slice(s3, l3)?);
        let statistics = self.statistics.get_or_init(|| self.statistics(x));
        let mut y = vec![0.0; x.len()];
        let image = self.plane * self.channels;
        y.par_chunks_mut(image).zip(x.par_chunks(image)).for_each(|(y, x)| {
            let planes = y.chunks_exact_mut(self.plane).zip(x.chunks_exact(self.plane));
            for (channel, (y, x)) in planes.enumerate() {
                let scale = gamma[channel] * self.inverse_deviation(statistics.variance[channel]);
                let shift = beta[channel] - statistics.mean[channel] * scale;
                for (y, x) in y.iter_mut().zip(x) {
                    *y = x * scale + shift;
                }
            }
        });
        Ok((CpuStorage::F32(y), l1.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradients = with_values(x, |x| {
            with_values(gamma, |gamma| with_values(dy, |dy| Ok(self.gradients(x, gamma, dy))))
        })?;
        let [dx, dgamma, dbeta] = gradients;
        Ok((Some(tensor_like(dx, x)?), Some(tensor_like(dgamma, gamma)?), Some(tensor_like(dbeta, beta)?)))
    }
}

impl BatchNorm {
    /// Gradients to `x`, `gamma` and `beta`: with `h = (x - mean) / deviation`, `dx = gamma / deviation * (dy -
    /// mean(dy) - h * mean(dy * h))`.
    fn gradients(&self, x: &[f32], gamma: &[f32], dy: &[f32]) -> [Vec<f32>; 3] {
        let statistics = self.statistics.get_or_init(|| self.statistics(x));
        let (dgamma, dbeta): (Vec<f32>, Vec<f32>) = self
            .per_channel(|channel| {
                let center = statistics.mean[channel];
                let (mut sum_dy, mut sum_dy_x) = (0.0f64, 0.0f64);
                for (x, dy) in self.planes(x, channel).zip(self.planes(dy, channel)) {
                    sum_dy += sum(dy, |v| v);
                    sum_dy_x += sum_of(x, dy, |x, dy| (x - center) * dy);
                }
                let inverse = self.inverse_deviation(statistics.variance[channel]);
                ((sum_dy_x * f64::from(inverse)) as f32, sum_dy as f32)
            })
            .into_iter()
            .unzip();
        let count = (x.len() / self.channels) as f32;
        let image = self.plane * self.channels;
        let mut dx = vec![0.0; x.len()];
        dx.par_chunks_mut(image).zip(x.par_chunks(image)).zip(dy.par_chunks(image)).for_each(
            |((dx, x), dy)| {
                for channel in 0..self.channels {
                    let pixels = channel * self.plane..(channel + 1) * self.plane;
                    let inverse = self.inverse_deviation(statistics.variance[channel]);
                    let scale = gamma[channel] * inverse;
                    let slope = dgamma[channel] / count * inverse;
                    let offset = dbeta[channel] / count - statistics.mean[channel] * slope;
                    let pairs = x[pixels.clone()].iter().zip(&dy[pixels.clone()]);
                    for (dx, (x, dy)) in dx[pixels].iter_mut().zip(pairs) {
                        *dx = scale * (dy - offset - x * slope);
                    }
                }
            },
        );
        [dx, dgamma, dbeta]
    }
}

fn sum(values: &[f32], term: impl Fn(f32) -> f32) -> f64 {
    sum_of(values, values, |value, _| term(value))
}

/// Sums `term` over two lines, in lanes so that the compiler may use vectors without changing the order.
fn sum_of(left: &[f32], right: &[f32], term: impl Fn(f32, f32) -> f32) -> f64 {
    let mut lanes = [0.0f32; LANES];
    let (left_chunks, right_chunks) = (left.chunks_exact(LANES), right.chunks_exact(LANES));
    let rest = left_chunks.remainder().iter().zip(right_chunks.remainder());
    let tail: f32 = rest.map(|(l, r)| term(*l, *r)).sum();
    for (l, r) in left_chunks.zip(right_chunks) {
        for (lane, (l, r)) in lanes.iter_mut().zip(l.iter().zip(r)) {
            *lane += term(*l, *r);
        }
    }
    f64::from(lanes.iter().sum::<f32>() + tail)
}
