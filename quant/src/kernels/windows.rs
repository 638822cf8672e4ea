//! Windows of an image gathered into a matrix (im2col).
//!
//! The values of one kernel tap at all output positions are a shifted copy of the plane where the stride is one and
//! the width stays, and of one of its *phases* (every s-th row and column) otherwise. So a tap is mostly one copy.

use std::ops::Range;

use super::conv::Geometry;

/// Where the taps of a convolution lie; the same for all channels and images.
pub(super) struct Windows<'a> {
    geometry: &'a Geometry,
    taps: Vec<Tap>,
    /// Rows of a phase, and values from one of its rows to the next.
    phase: [usize; 2],
}

/// The windows of some images.
pub(super) struct Gathered<'a> {
    /// `(depth, columns)`.
    pub(super) windows: &'a mut [f32],
    /// Output positions of all the images.
    pub(super) columns: usize,
    /// As long as [`Windows::scratch`] says.
    pub(super) scratch: &'a mut [f32],
}

struct Tap {
    /// Output positions whose tap lies inside the image.
    rows: Range<usize>,
    columns: Range<usize>,
    /// Position in the phases of what the first of these outputs reads.
    first: usize,
}

impl<'a> Windows<'a> {
    pub(super) fn new(geometry: &'a Geometry) -> Self {
        let phase = [0, 1].map(|axis| geometry.size[axis].div_ceil(geometry.stride[axis]));
        let is_split = geometry.stride != [1, 1];
        // As wide as the output if possible, as only then lines follow each other without gaps in both.
        let phase = [phase[0], if is_split { phase[1].max(geometry.out_size[1]) } else { phase[1] }];
        let [kh, kw] = geometry.kernel;
        let taps = (0..kh * kw).map(|tap| Tap::new(geometry, phase, [tap / kw, tap % kw])).collect();
        Self { geometry, taps, phase }
    }

    pub(super) fn geometry(&self) -> &'a Geometry {
        self.geometry
    }

    /// Values that [`Windows::gather`] needs room for beside the windows.
    pub(super) fn scratch(&self) -> usize {
        match self.geometry.stride {
            [1, 1] => 0,
            [down, right] => down * right * self.phase[0] * self.phase[1],
        }
    }

    /// Writes every window of one of the images as a column: row `(channel, ky, kx)` holds that tap's value for each
    /// output position, behind those of the images before it.
    pub(super) fn gather(&self, planes: &[f32], position: usize, images: &mut Gathered<'_>) {
        let geometry = self.geometry;
        let positions = geometry.positions();
        let Gathered { windows, columns, scratch } = images;
        let channels = windows.chunks_exact_mut(self.taps.len() * *columns);
        for (windows, plane) in channels.zip(planes.chunks_exact(geometry.plane().max(1))) {
            let source = match geometry.stride {
                [1, 1] => plane,
                _ => {
                    self.split(plane, scratch);
                    &**scratch
                }
            };
            for (line, tap) in windows.chunks_exact_mut(*columns).zip(&self.taps) {
                let line = &mut line[position * positions..(position + 1) * positions];
                tap.copy(source, line, self.phase[1], geometry.out_size[1]);
            }
        }
    }

    /// Takes a plane apart into its phases, `(row % down, column % right)`.
    fn split(&self, plane: &[f32], phases: &mut [f32]) {
        let [down, right] = self.geometry.stride;
        let [height, width] = self.phase;
        for (row, pixels) in plane.chunks_exact(self.geometry.size[1].max(1)).enumerate() {
            let start = (row % down * right * height + row / down) * width;
            let line = &mut phases[start..];
            match right {
                1 => line[..pixels.len()].copy_from_slice(pixels),
                2 => split_pairs(pixels, line, height * width),
                _ => {
                    for column in 0..right.min(pixels.len()) {
                        let phase = &mut line[column * height * width..];
                        let pixels = pixels[column..].iter().step_by(right);
                        phase.iter_mut().zip(pixels).for_each(|(value, pixel)| *value = *pixel);
                    }
                }
            }
        }
    }
}

/// Separates even from odd columns, the most common stride, in a form that becomes vector shuffles.
fn split_pairs(pixels: &[f32], line: &mut [f32], distance: usize) {
    let (pairs, rest) = pixels.as_chunks::<2>();
    let (even, odd) = line.split_at_mut(distance);
    for ((even, odd), [first, second]) in even.iter_mut().zip(&mut *odd).zip(pairs) {
        *even = *first;
        *odd = *second;
    }
    if let [last] = rest {
        even[pairs.len()] = *last;
    }
}

impl Tap {
    fn new(geometry: &Geometry, phase: [usize; 2], tap: [usize; 2]) -> Self {
        let [rows, columns] = [0, 1].map(|axis| geometry.inside(axis, tap[axis]));
        let first = match rows.is_empty() || columns.is_empty() {
            true => 0,
            false => {
                let row = geometry.source(0, rows.start, tap[0]);
                let column = geometry.source(1, columns.start, tap[1]);
                let [down, right] = geometry.stride;
                let index = row % down * right + column % right;
                (index * phase[0] + row / down) * phase[1] + column / right
            }
        };
        Self { rows, columns, first }
    }

    /// Writes the tap's values for all output positions, zero where it lies outside the image.
    fn copy(&self, source: &[f32], line: &mut [f32], pitch: usize, width: usize) {
        if self.rows.is_empty() || self.columns.is_empty() {
            return line.fill(0.0);
        }
        let start = self.rows.start * width + self.columns.start;
        let end = (self.rows.end - 1) * width + self.columns.end;
        line[..start].fill(0.0);
        line[end..].fill(0.0);
        let source = &source[self.first..];
        let gap = width - self.columns.len();
        if pitch == width {
            // What is copied between the lines is not theirs, and overwritten below.
            line[start..end].copy_from_slice(&source[..end - start]);
        } else {
            for (values, source) in line[start..end].chunks_mut(width).zip(source.chunks(pitch)) {
                values[..self.columns.len()].copy_from_slice(&source[..self.columns.len()]);
            }
        }
        if self.rows.len() == 1 {
            return;
        }
        let outside = start + self.columns.len();
        for column in outside..outside + gap {
            // Down the columns, as a row's gap is too short for the call that filling it would become.
            let values = line[column..].iter_mut().step_by(width).take(self.rows.len() - 1);
            values.for_each(|value| *value = 0.0);
        }
    }
}
