//! Dense and grouped convolution: windows gathered into a matrix (im2col), then one matrix product per image and group.

use std::cell::RefCell;

use rayon::prelude::*;

use super::conv::Geometry;
use super::gemm::{Matrix, gemm};
use super::tail::Tail;
use super::windows::{Gathered, Windows};
use super::{IMAGE_GROUPS, sum_in_order};

/// Columns up to which images share a matrix product: a few times what fills the vector registers.
const COLUMNS: usize = 128;

thread_local! {
    /// Gathered windows; kept between calls because allocating and clearing it costs as much as filling it.
    static WINDOWS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Returns `weight * windows(x)` per image, after the tail.
pub(super) fn forward(x: &[f32], weight: &[f32], geometry: &Geometry, tail: &Tail) -> Vec<f32> {
    let gathering = Windows::new(geometry);
    let mut y = vec![0.0; geometry.images * geometry.out_image()];
    // Fixed by the shapes, so that results do not depend on the threads.
    let together = (COLUMNS / geometry.positions().max(1)).max(1);
    let images = x.par_chunks((together * geometry.image()).max(1));
    y.par_chunks_mut((together * geometry.out_image()).max(1)).zip(images).for_each(|(y, x)| {
        if y.len() == geometry.out_image() {
            for (group, y) in Group::all(geometry).zip(y.chunks_mut(Group::outputs(geometry))) {
                with_windows(group.of_input(x), geometry, &gathering, |windows| {
                    gemm(y, false, group.weight(weight), windows);
                });
            }
        } else {
            forward_together(x, weight, &gathering, y);
        }
        tail.apply(y, geometry.positions());
    });
    y
}

/// One product for several images: a layer with few positions would otherwise arrange its weights anew for each.
fn forward_together(x: &[f32], weight: &[f32], gathering: &Windows<'_>, y: &mut [f32]) {
    let geometry = gathering.geometry();
    let (outputs, positions) = (Group::outputs(geometry), geometry.positions());
    let columns = y.len() / geometry.out_channels;
    let (taps, products) = (geometry.depth() * columns, outputs / positions * columns);
    with_buffer(taps + products + gathering.scratch(), |buffer| {
        let (windows, rest) = buffer.split_at_mut(taps);
        let (product, scratch) = rest.split_at_mut(products);
        for group in Group::all(geometry) {
            let mut gathered = Gathered { windows, columns, scratch };
            for (image, x) in x.chunks_exact(geometry.image()).enumerate() {
                gathering.gather(group.of_input(x), image, &mut gathered);
            }
            let all = Matrix::new(gathered.windows, geometry.depth(), columns);
            gemm(product, false, group.weight(weight), all);
            for (image, y) in y.chunks_exact_mut(geometry.out_image()).enumerate() {
                let y = y[group.index * outputs..][..outputs].chunks_exact_mut(positions);
                for (y, product) in y.zip(product.chunks_exact(columns)) {
                    y.copy_from_slice(&product[image * positions..][..positions]);
                }
            }
        }
    });
}

/// Returns the gradient to the input: `weight^T * dy`, scattered back to the pixels.
pub(super) fn input_gradient(weight: &[f32], dy: &[f32], geometry: &Geometry) -> Vec<f32> {
    let mut dx = vec![0.0; geometry.images * geometry.image()];
    let rows = geometry.depth();
    dx.par_chunks_mut(geometry.image().max(1)).zip(dy.par_chunks(geometry.out_image())).for_each(
        |(dx, dy)| {
            for group in Group::all(geometry) {
                let weight = group.weight(weight).transposed();
                let dx = &mut dx[group.input_range()];
                let dy = group.of_output(dy);
                if geometry.is_pointwise() {
                    gemm(dx, false, weight, dy);
                    continue;
                }
                with_buffer(rows * geometry.positions(), |windows| {
                    gemm(windows, false, weight, dy);
                    scatter(windows, dx, geometry);
                });
            }
        },
    );
    dx
}

/// Returns the gradient to the weight: `dy * windows(x)^T`, summed over images.
pub(super) fn weight_gradient(x: &[f32], dy: &[f32], geometry: &Geometry) -> Vec<f32> {
    let length = geometry.out_channels * geometry.depth();
    let images = geometry.images.div_ceil(IMAGE_GROUPS).max(1);
    let gathering = Windows::new(geometry);
    let mut sums = vec![0.0; IMAGE_GROUPS * length];
    sums.par_chunks_mut(length)
        .zip(x.par_chunks((images * geometry.image()).max(1)))
        .zip(dy.par_chunks(images * geometry.out_image()))
        .for_each(|((sum, x), dy)| {
            let pairs = x.chunks(geometry.image().max(1)).zip(dy.chunks(geometry.out_image()));
            for (x, dy) in pairs {
                for (group, sum) in Group::all(geometry).zip(sum.chunks_mut(length / geometry.groups)) {
                    with_windows(group.of_input(x), geometry, &gathering, |windows| {
                        gemm(sum, true, group.of_output(dy), windows.transposed());
                    });
                }
            }
        });
    sum_in_order(&sums, length)
}

/// One group of channels of a convolution.
struct Group<'a> {
    index: usize,
    geometry: &'a Geometry,
}

impl<'a> Group<'a> {
    fn all(geometry: &'a Geometry) -> impl Iterator<Item = Self> {
        (0..geometry.groups).map(move |index| Self { index, geometry })
    }

    /// Output values of one group of one image.
    fn outputs(geometry: &Geometry) -> usize {
        geometry.out_image() / geometry.groups
    }

    fn input_range(&self) -> std::ops::Range<usize> {
        let length = self.geometry.image() / self.geometry.groups;
        self.index * length..(self.index + 1) * length
    }

    fn of_input<'b>(&self, image: &'b [f32]) -> &'b [f32] {
        &image[self.input_range()]
    }

    fn of_output<'b>(&self, image: &'b [f32]) -> Matrix<'b> {
        let length = Self::outputs(self.geometry);
        let values = &image[self.index * length..(self.index + 1) * length];
        Matrix::new(values, self.geometry.out_channels / self.geometry.groups, self.geometry.positions())
    }

    fn weight<'b>(&self, weight: &'b [f32]) -> Matrix<'b> {
        let rows = self.geometry.out_channels / self.geometry.groups;
        let length = rows * self.geometry.depth();
        Matrix::new(&weight[self.index * length..(self.index + 1) * length], rows, self.geometry.depth())
    }
}

fn with_buffer(length: usize, work: impl FnOnce(&mut [f32])) {
    WINDOWS.with_borrow_mut(|buffer| {
        if buffer.len() < length {
            buffer.resize(length, 0.0);
        }
        work(&mut buffer[..length]);
    });
}

fn with_windows(planes: &[f32], geometry: &Geometry, gathering: &Windows<'_>, work: impl FnOnce(Matrix<'_>)) {
    let (rows, columns) = (geometry.depth(), geometry.positions());
    if geometry.is_pointwise() {
        return work(Matrix::new(planes, rows, columns));
    }
    with_buffer(rows * columns + gathering.scratch(), |buffer| {
        let (windows, scratch) = buffer.split_at_mut(rows * columns);
        gathering.gather(planes, 0, &mut Gathered { windows, columns, scratch });
        work(Matrix::new(windows, rows, columns));
    });
}

/// Adds every window's values to the pixels they came from: the transpose of [`Windows::gather`].
fn scatter(windows: &[f32], planes: &mut [f32], geometry: &Geometry) {
    let [kh, kw] = geometry.kernel;
    let [out_height, out_width] = geometry.out_size;
    let (width, plane) = (geometry.size[1], geometry.plane());
    for (row, taps) in windows.chunks_exact(out_height * out_width).enumerate() {
        let (channel, ky, kx) = (row / (kh * kw), row / kw % kh, row % kw);
        let target = &mut planes[channel * plane..(channel + 1) * plane];
        let (rows, columns) = (geometry.inside(0, ky), geometry.inside(1, kx));
        if columns.is_empty() {
            continue;
        }
        for oy in rows {
            let line = &taps[oy * out_width..][columns.clone()];
            let target = &mut target[geometry.source(0, oy, ky) * width..][..width];
            let target = &mut target[geometry.source(1, columns.start, kx)..];
            if geometry.stride[1] == 1 {
                for (t, value) in target[..line.len()].iter_mut().zip(line) {
                    *t += value;
                }
            } else {
                for (t, value) in target.iter_mut().step_by(geometry.stride[1]).zip(line) {
                    *t += value;
                }
            }
        }
    }
}
