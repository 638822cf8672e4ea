//! Layers without parameters.

use rayon::prelude::*;

use super::{Buffers, Layer, Pass, Place};
use crate::kernels::nhwc::{MaxPool, Window, channel_sums};
use crate::qkeras::Phase;
use crate::train::TrainError;

/// Values that one thread takes at a time: long enough to hide the hand-over.
pub(super) const BLOCK: usize = 32 * 1024;

/// The sum of two values.
pub(super) struct Sum;

impl Layer for Sum {
    fn forward(
        &mut self,
        _: &mut Pass<'_>,
        x: &[&[f32]],
        y: &mut [f32],
        _: &mut Buffers,
    ) -> Result<(), TrainError> {
        let parts = y.par_chunks_mut(BLOCK).zip(x[0].par_chunks(BLOCK).zip(x[1].par_chunks(BLOCK)));
        parts.for_each(|(y, (left, right))| {
            let pairs = left.iter().zip(right);
            y.iter_mut().zip(pairs).for_each(|(y, (left, right))| *y = left + right);
        });
        Ok(())
    }

    fn backward(
        &mut self,
        _: &mut Pass<'_>,
        _: Place<'_>,
        dy: Vec<f32>,
        buffers: &mut Buffers,
    ) -> Vec<Option<Vec<f32>>> {
        let mut other = buffers.take(dy.len());
        other
            .par_chunks_mut(BLOCK)
            .zip(dy.par_chunks(BLOCK))
            .for_each(|(other, dy)| other.copy_from_slice(dy));
        vec![Some(dy), Some(other)]
    }
}

/// Max pooling.
pub(super) struct LargestOf {
    window: Window,
    channels: usize,
    /// Where the values of the last way forward came from.
    taps: Vec<u8>,
}

impl LargestOf {
    /// None for windows with more taps than are told apart.
    pub(super) fn new(window: Window, channels: usize) -> Option<Self> {
        (window.taps() <= MaxPool::TAPS_MAX).then_some(Self { window, channels, taps: Vec::new() })
    }

    fn pool(&self, pass: &Pass<'_>) -> (MaxPool, [usize; 2]) {
        let places = [self.window.pixels(), self.window.positions()];
        let values = places.map(|places| (pass.group() * places * self.channels).max(1));
        (MaxPool { isa: pass.isa, window: self.window, channels: self.channels }, values)
    }
}

impl Layer for LargestOf {
    fn forward(
        &mut self,
        pass: &mut Pass<'_>,
        x: &[&[f32]],
        y: &mut [f32],
        _: &mut Buffers,
    ) -> Result<(), TrainError> {
        let (pool, [image, out_image]) = self.pool(pass);
        self.taps.resize(y.len(), 0);
        let outputs = y.par_chunks_mut(out_image).zip(self.taps.par_chunks_mut(out_image));
        let per_image = self.window.pixels() * self.channels;
        outputs
            .zip(x[0].par_chunks(image))
            .with_max_len(1)
            .for_each(|((y, taps), x)| pool.run(x.len() / per_image, x, (y, taps)));
        Ok(())
    }

    fn backward(
        &mut self,
        pass: &mut Pass<'_>,
        at: Place<'_>,
        dy: Vec<f32>,
        buffers: &mut Buffers,
    ) -> Vec<Option<Vec<f32>>> {
        let (pool, [image, out_image]) = self.pool(pass);
        let mut dx = buffers.take(at.x[0].len());
        let per_image = self.window.pixels() * self.channels;
        let outputs = dy.par_chunks(out_image).zip(self.taps.par_chunks(out_image));
        dx.par_chunks_mut(image)
            .zip(outputs)
            .with_max_len(1)
            .for_each(|(dx, (dy, taps))| pool.gradient(dx.len() / per_image, (dy, taps), dx));
        buffers.give(dy);
        vec![Some(dx)]
    }
}

/// The mean of every channel of an image.
pub(super) struct GlobalAverage {
    pub(super) channels: usize,
}

impl Layer for GlobalAverage {
    fn forward(
        &mut self,
        pass: &mut Pass<'_>,
        x: &[&[f32]],
        y: &mut [f32],
        _: &mut Buffers,
    ) -> Result<(), TrainError> {
        let (isa, channels) = (pass.isa, self.channels.max(1));
        let image = (x[0].len() / pass.images.max(1)).max(1);
        let pixels = (image / channels) as f64;
        y.par_chunks_mut(channels).zip(x[0].par_chunks(image)).for_each(|(y, x)| {
            let sums = channel_sums(isa, x, channels);
            y.iter_mut().zip(sums).for_each(|(y, sum)| *y = (sum / pixels) as f32);
        });
        Ok(())
    }

    fn backward(
        &mut self,
        pass: &mut Pass<'_>,
        at: Place<'_>,
        dy: Vec<f32>,
        buffers: &mut Buffers,
    ) -> Vec<Option<Vec<f32>>> {
        let channels = self.channels.max(1);
        let image = (at.x[0].len() / pass.images.max(1)).max(1);
        let share = 1.0 / (image / channels) as f32;
        let mut dx = buffers.take(at.x[0].len());
        dx.par_chunks_mut(image).zip(dy.par_chunks(channels)).for_each(|(dx, dy)| {
            for pixel in dx.chunks_exact_mut(channels) {
                pixel.iter_mut().zip(dy).for_each(|(dx, dy)| *dx = dy * share);
            }
        });
        buffers.give(dy);
        vec![Some(dx)]
    }
}

/// Drops values at random and enlarges those that stay.
pub(super) struct Dropout {
    rate: f32,
    /// What the values of the last way forward were multiplied by.
    mask: Vec<f32>,
}

impl Dropout {
    pub(super) fn new(rate: f32) -> Self {
        Self { rate, mask: Vec::new() }
    }
}

impl Layer for Dropout {
    fn forward(
        &mut self,
        pass: &mut Pass<'_>,
        x: &[&[f32]],
        y: &mut [f32],
        _: &mut Buffers,
    ) -> Result<(), TrainError> {
        if pass.fitting.phase == Phase::Inference {
            y.copy_from_slice(x[0]);
            return Ok(());
        }
        let (rate, kept) = (f64::from(self.rate), 1.0 / (1.0 - self.rate));
        self.mask.clear();
        self.mask.extend((0..y.len()).map(|_| if pass.dropout.uniform() < rate { 0.0 } else { kept }));
        let masked = x[0].iter().zip(&self.mask);
        y.iter_mut().zip(masked).for_each(|(y, (x, mask))| *y = x * mask);
        Ok(())
    }

    fn backward(
        &mut self,
        _: &mut Pass<'_>,
        _: Place<'_>,
        mut dy: Vec<f32>,
        _: &mut Buffers,
    ) -> Vec<Option<Vec<f32>>> {
        dy.iter_mut().zip(&self.mask).for_each(|(dy, mask)| *dy *= mask);
        vec![Some(dy)]
    }
}
