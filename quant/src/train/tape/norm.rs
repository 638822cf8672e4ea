//! Batch norm with the activation behind it.

use rayon::prelude::*;

use super::{Buffers, Layer, Pass, Place};
use crate::kernels::nhwc::{Activation, Affine, Moments, NormGradient};
use crate::qkeras::Phase;
use crate::train::TrainError;

/// What the running statistics keep of their old value at every step: Keras's examples' and PyTorch's choice.
const KEPT: f32 = 0.9;

/// Source: Ioffe and Szegedy, "Batch Normalization", 2015, algorithm 1 and the gradients of section 3.
pub(super) struct Normalization {
    name: String,
    channels: usize,
    eps: f64,
    /// What stands behind it.
    activation: Activation,
    /// What the last way forward found.
    batch: Option<Batch>,
}

struct Batch {
    means: Vec<f64>,
    /// One over the deviations.
    inverses: Vec<f64>,
    affine: Affine,
}

impl Normalization {
    pub(super) fn new(name: String, channels: usize, eps: f64) -> Self {
        Self { name, channels, eps, activation: Activation::Identity, batch: None }
    }

    /// Values of a group of images.
    fn group(&self, pass: &Pass<'_>, x: &[f32]) -> usize {
        (pass.group() * (x.len() / pass.images.max(1))).max(1)
    }

    /// Means and variances of the batch, which the running ones follow.
    fn measured(&self, pass: &mut Pass<'_>, x: &[f32]) -> [Vec<f64>; 2] {
        let (isa, channels, group) = (pass.isa, self.channels, self.group(pass, x));
        let parts: Vec<Moments> =
            x.par_chunks(group).with_max_len(1).map(|x| Moments::of(isa, x, channels)).collect();
        let (means, variances) = Moments::together(&parts);
        // The variance of a sample is smaller than that of what it is drawn from.
        let count = (x.len() / channels.max(1)) as f64;
        let unbiased = count / (count - 1.0).max(1.0);
        self.track(pass, "running_mean", means.iter().copied());
        self.track(pass, "running_var", variances.iter().map(|variance| variance * unbiased));
        [means, variances]
    }

    fn tracked(&self, pass: &Pass<'_>, part: &str) -> Vec<f64> {
        let running = pass.running.get(&format!("{}.{part}", self.name));
        let running = running.expect("the tape was built for these statistics");
        running.iter().map(|value| f64::from(*value)).collect()
    }

    fn track(&self, pass: &mut Pass<'_>, part: &str, batch: impl Iterator<Item = f64>) {
        let running = pass.running.entry(format!("{}.{part}", self.name)).or_default();
        for (running, batch) in running.iter_mut().zip(batch) {
            *running = KEPT * *running + (1.0 - KEPT) * batch as f32;
        }
    }
}

impl Layer for Normalization {
    fn forward(
        &mut self,
        pass: &mut Pass<'_>,
        x: &[&[f32]],
        y: &mut [f32],
        _: &mut Buffers,
    ) -> Result<(), TrainError> {
        let (isa, group, x) = (pass.isa, self.group(pass, x[0]), x[0]);
        let [means, variances] = match pass.fitting.phase {
            Phase::Training => self.measured(pass, x),
            Phase::Inference => ["running_mean", "running_var"].map(|part| self.tracked(pass, part)),
        };
        let inverses: Vec<f64> =
            variances.iter().map(|variance| 1.0 / (variance + self.eps).sqrt()).collect();
        let [gamma, beta] = ["gamma", "beta"].map(|part| &pass.parameter(&self.name, part).values);
        let scales: Vec<f64> =
            gamma.iter().zip(&inverses).map(|(gamma, inverse)| f64::from(*gamma) * inverse).collect();
        let shifts = beta.iter().zip(means.iter().zip(&scales));
        let shifts: Vec<f32> =
            shifts.map(|(beta, (mean, scale))| (f64::from(*beta) - mean * scale) as f32).collect();
        let scales: Vec<f32> = scales.into_iter().map(|scale| scale as f32).collect();
        let affine = Affine::new(&scales, &shifts, self.activation);
        y.par_chunks_mut(group)
            .zip(x.par_chunks(group))
            .with_max_len(1)
            .for_each(|(y, x)| affine.run(isa, x, y));
        self.batch = Some(Batch { means, inverses, affine });
        Ok(())
    }

    /// With `h = (x - mean) / deviation`, `dx = gamma / deviation * (g - mean(g) - h * mean(g * h))`.
    fn backward(
        &mut self,
        pass: &mut Pass<'_>,
        at: Place<'_>,
        mut dy: Vec<f32>,
        _: &mut Buffers,
    ) -> Vec<Option<Vec<f32>>> {
        let (isa, channels, x) = (pass.isa, self.channels, at.x[0]);
        let group = self.group(pass, x);
        let Batch { means, inverses, affine } =
            self.batch.take().expect("the way back follows a way forward");
        let centers: Vec<f32> = means.iter().map(|mean| *mean as f32).collect();
        let parts: Vec<[Vec<f64>; 2]> = x
            .par_chunks(group)
            .zip(dy.par_chunks(group))
            .with_max_len(1)
            .map(|(x, dy)| NormGradient { affine: &affine, x }.sums(isa, dy, &centers))
            .collect();
        let count = (x.len() / channels.max(1)) as f64;
        let gamma = &pass.parameter(&self.name, "gamma").values;
        let mut factors = [0, 1, 2].map(|_| Vec::with_capacity(channels));
        let (mut to_gamma, mut to_beta) = (Vec::with_capacity(channels), Vec::with_capacity(channels));
        for channel in 0..channels {
            let [sum, product] =
                [0, 1].map(|which| parts.iter().map(|part| part[which][channel]).sum::<f64>());
            let inverse = inverses[channel];
            // The products are around the rounded mean.
            let product = product - sum * (means[channel] - f64::from(centers[channel]));
            let scale = f64::from(gamma[channel]) * inverse;
            let slope = product * inverse * inverse / count;
            factors[0].push(scale as f32);
            factors[1].push((-scale * slope) as f32);
            factors[2].push((scale * (means[channel] * slope - sum / count)) as f32);
            to_gamma.push((product * inverse) as f32);
            to_beta.push(sum as f32);
        }
        dy.par_chunks_mut(group)
            .zip(x.par_chunks(group))
            .with_max_len(1)
            .for_each(|(dy, x)| NormGradient { affine: &affine, x }.apply(isa, &factors, dy));
        pass.give_gradient(&self.name, "gamma", to_gamma);
        pass.give_gradient(&self.name, "beta", to_beta);
        vec![Some(dy)]
    }

    fn bend(&mut self, activation: Activation) -> bool {
        let is_free = self.activation == Activation::Identity;
        if is_free {
            self.activation = activation;
        }
        is_free
    }
}
