//! Max and average pooling for any kernel, stride and padding, with gradients.

use std::ops::Range;

use bitloop_core::graph::Pool;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::memory::{slice, tensor_like, with_values};
use super::phases::{BLOCK, Phases};

/// Returns the largest value of every window.
///
/// Shapes: `(n, c, h, w)` -> `(n, c, h', w')`, f32 on the CPU. Errors: a message if no window fits.
pub(crate) fn max_pool(x: &Tensor, pool: &Pool) -> Result<Tensor> {
    let windows = Windows::new(x, pool)?;
    x.contiguous()?.apply_op1(MaxPool(windows))
}

/// Returns the mean of every window: over the values inside the image, or with the padding counted as zeros.
///
/// Shapes: `(n, c, h, w)` -> `(n, c, h', w')`, f32 on the CPU. Errors: a message if no window fits.
pub(crate) fn average_pool(x: &Tensor, pool: &Pool) -> Result<Tensor> {
    let windows = Windows::new(x, pool)?;
    x.contiguous()?.apply_op1(AveragePool(windows))
}

pub(super) struct Windows {
    pool: Pool,
    outer: [usize; 2],
    size: [usize; 2],
    out_size: [usize; 2],
}

impl Windows {
    pub(super) fn new(x: &Tensor, pool: &Pool) -> Result<Self> {
        let (n, c, height, width) = x.dims4()?;
        let padding = pool.padding;
        let padded = [height + padding.top + padding.bottom, width + padding.left + padding.right];
        let fits = pool.stride.iter().all(|stride| *stride > 0)
            && padding.top.max(padding.bottom) < pool.kernel[0]
            && padding.left.max(padding.right) < pool.kernel[1]
            && padded[0] >= pool.kernel[0]
            && padded[1] >= pool.kernel[1];
        if !fits {
            candle_core::bail!("{pool:?} does not fit an image of {height}x{width}");
        }
        Ok(Self {
            pool: pool.clone(),
            outer: [n, c],
            size: [height, width],
            out_size: [0, 1].map(|axis| (padded[axis] - pool.kernel[axis]) / pool.stride[axis] + 1),
        })
    }

    fn plane(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Values that are compared, those of the padding among them.
    pub(super) fn steps(&self) -> usize {
        let windows = self.outer[0] * self.outer[1] * self.positions();
        windows * self.pool.kernel[0] * self.pool.kernel[1]
    }

    /// Values that the mean over a window is taken of.
    fn counted(&self, rows: &Range<usize>, columns: &Range<usize>) -> f32 {
        let [height, width] = self.pool.kernel;
        (if self.pool.count_padding { height * width } else { rows.len() * columns.len() }) as f32
    }

    fn positions(&self) -> usize {
        self.out_size[0] * self.out_size[1]
    }

    fn out_shape(&self) -> Shape {
        Shape::from((self.outer[0], self.outer[1], self.out_size[0], self.out_size[1]))
    }

    /// Pixels of the window at output `position` along `axis`.
    fn pixels(&self, axis: usize, position: usize) -> Range<usize> {
        let before = [self.pool.padding.top, self.pool.padding.left][axis];
        let start = position * self.pool.stride[axis];
        let end = (start + self.pool.kernel[axis]).saturating_sub(before).min(self.size[axis]);
        start.saturating_sub(before).min(end)..end
    }

    /// Gives every output of one channel its window's rows and columns.
    fn each(&self, mut visit: impl FnMut(usize, Range<usize>, Range<usize>)) {
        for oy in 0..self.out_size[0] {
            for ox in 0..self.out_size[1] {
                visit(oy * self.out_size[1] + ox, self.pixels(0, oy), self.pixels(1, ox));
            }
        }
    }

    fn forward(&self, x: &[f32], channel: impl Fn(&[f32], &mut [f32]) + Sync) -> Vec<f32> {
        let mut y = vec![0.0; self.outer[0] * self.outer[1] * self.positions()];
        y.par_chunks_mut(self.positions())
            .zip(x.par_chunks(self.plane().max(1)))
            .for_each(|(y, x)| channel(x, y));
        y
    }

    fn phases(&self) -> Phases {
        Phases {
            size: self.size,
            out_size: self.out_size,
            stride: self.pool.stride,
            before: [self.pool.padding.top, self.pool.padding.left],
            reach: self.pool.kernel.map(|extent| extent - 1),
        }
    }

    /// The largest values, a block of outputs at a time: for windows that are narrower than the image.
    pub(super) fn largest_by_blocks(&self, x: &[f32]) -> Vec<f32> {
        let phases = self.phases();
        let [kh, kw] = self.pool.kernel;
        let offsets: Vec<usize> = (0..kh * kw).map(|tap| phases.offset([tap / kw, tap % kw])).collect();
        let mut y = vec![0.0; self.outer[0] * self.outer[1] * self.positions()];
        y.par_chunks_mut(self.positions()).enumerate().for_each_init(
            // Padding is never larger than what is inside; every window has something inside.
            || phases.room(f32::NEG_INFINITY),
            |room, (index, y)| {
                let plane = &x[index * self.plane()..][..self.plane()];
                phases.outputs((plane, room), y, |phases, y| largest_of_taps(phases, &offsets, y));
            },
        );
        y
    }

    /// The largest values, one window after another.
    pub(super) fn largest_by_windows(&self, x: &[f32]) -> Vec<f32> {
        self.forward(x, |x, y| {
            self.each(|position, rows, columns| y[position] = x[self.largest(x, rows, columns)]);
        })
    }

    fn backward(
        &self,
        x: &[f32],
        dy: &[f32],
        channel: impl Fn(&[f32], &[f32], &mut [f32]) + Sync,
    ) -> Vec<f32> {
        let mut dx = vec![0.0; x.len()];
        let plane = self.plane().max(1);
        dx.par_chunks_mut(plane)
            .zip(x.par_chunks(plane))
            .zip(dy.par_chunks(self.positions()))
            .for_each(|((dx, x), dy)| channel(x, dy, dx));
        dx
    }

    /// Index of the first largest value; a NaN counts as largest, so that it is not hidden.
    fn largest(&self, x: &[f32], rows: Range<usize>, columns: Range<usize>) -> usize {
        let mut best = rows.start * self.size[1] + columns.start;
        for row in rows {
            for index in row * self.size[1] + columns.start..row * self.size[1] + columns.end {
                if x[index] > x[best] || (x[index].is_nan() && !x[best].is_nan()) {
                    best = index;
                }
            }
        }
        best
    }
}

/// Writes blocks of outputs: for each the largest of what is read at the offsets; a NaN counts as largest.
fn largest_of_taps(phases: &[f32], offsets: &[usize], y: &mut [f32]) {
    // As many as a vector register of any x86 holds.
    const LANES: usize = 4;
    for (block, y) in y.chunks_exact_mut(BLOCK).enumerate() {
        let phases = &phases[block * BLOCK..];
        let mut largest = [[f32::NEG_INFINITY; LANES]; BLOCK / LANES];
        for offset in offsets {
            let (values, _) = phases[*offset..][..BLOCK].as_chunks::<LANES>();
            for (largest, values) in largest.iter_mut().zip(values) {
                for (largest, value) in largest.iter_mut().zip(values) {
                    // Not `max`, which would prefer a number to NaN.
                    *largest = if *value > *largest || value.is_nan() { *value } else { *largest };
                }
            }
        }
        y.copy_from_slice(largest.as_flattened());
    }
}

struct MaxPool(Windows);

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "bitloop-max-pool"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let windows = &self.0;
        let x = slice(storage, layout)?;
        let y = match windows.phases().are_worthwhile() {
            true => windows.largest_by_blocks(x),
            false => windows.largest_by_windows(x),
        };
        Ok((CpuStorage::F32(y), windows.out_shape()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let windows = &self.0;
        let channel = |x: &[f32], dy: &[f32], dx: &mut [f32]| {
            windows.each(|position, rows, columns| dx[windows.largest(x, rows, columns)] += dy[position]);
        };
        with_values(x, |values| {
            with_values(dy, |dy| tensor_like(windows.backward(values, dy, channel), x).map(Some))
        })
    }
}

struct AveragePool(Windows);

impl CustomOp1 for AveragePool {
    fn name(&self) -> &'static str {
        "bitloop-average-pool"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let windows = &self.0;
        let width = windows.size[1];
        let y = windows.forward(slice(storage, layout)?, |x, y| {
            windows.each(|position, rows, columns| {
                let count = windows.counted(&rows, &columns);
                let lines = rows.map(|row| &x[row * width + columns.start..row * width + columns.end]);
                y[position] = lines.flatten().sum::<f32>() / count;
            });
        });
        Ok((CpuStorage::F32(y), windows.out_shape()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let windows = &self.0;
        let width = windows.size[1];
        let channel = |_: &[f32], dy: &[f32], dx: &mut [f32]| {
            windows.each(|position, rows, columns| {
                let share = dy[position] / windows.counted(&rows, &columns);
                for row in rows {
                    for value in &mut dx[row * width + columns.start..row * width + columns.end] {
                        *value += share;
                    }
                }
            });
        };
        with_values(x, |values| {
            with_values(dy, |dy| tensor_like(windows.backward(values, dy, channel), x).map(Some))
        })
    }
}
