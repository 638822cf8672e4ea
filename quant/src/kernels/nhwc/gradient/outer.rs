//! Sums of outer products: what a matrix product is when both factors lie row by row along what is summed over.

#![expect(unsafe_code, reason = "loads and stores through pointers without a check for each")]

use crate::kernels::nhwc::simd::{Kernel, Simd};

/// Columns of sums are a multiple of this: the widest vector.
pub(super) const WIDEST: usize = 16;

/// Rows that belong together: `left` `(rows, left_columns)` and `right` `(rows, right_columns)`, of whatever strides.
pub(super) struct Outer<'a> {
    pub(super) rows: usize,
    pub(super) left: &'a [f32],
    pub(super) left_stride: usize,
    pub(super) left_columns: usize,
    /// Rows are at least as long as those of the sums.
    pub(super) right: &'a [f32],
    pub(super) right_stride: usize,
    /// A multiple of [`WIDEST`].
    pub(super) right_columns: usize,
    /// `(left_columns, right_columns)`, to which the products are added.
    pub(super) sums: &'a mut [f32],
}

impl Outer<'_> {
    fn check(&self) {
        let reach = |stride: usize, columns: usize| match self.rows {
            0 => 0,
            rows => (rows - 1) * stride + columns,
        };
        assert!(self.left.len() >= reach(self.left_stride, self.left_columns), "rows of the left factor");
        assert!(self.right.len() >= reach(self.right_stride, self.right_columns), "rows of the right factor");
        assert_eq!(self.sums.len(), self.left_columns * self.right_columns, "sums");
        assert!(self.right_columns.is_multiple_of(WIDEST), "whole vectors");
    }
}

impl Kernel for Outer<'_> {
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        self.check();
        let vectors = self.right_columns / S::LANES;
        let mut vector = 0;
        while vector < vectors {
            let column = vector * S::LANES;
            // As many sums as the registers hold: 32 of them where vectors have 16 lanes, else 16.
            let wide = S::LANES == WIDEST;
            // SAFETY: `check` has compared the lengths; the panels end within the columns.
            unsafe {
                match vectors - vector {
                    1 if wide => self.panel::<S, 16, 1>(simd, column),
                    1 => self.panel::<S, 8, 1>(simd, column),
                    2 | 5 if wide => self.panel::<S, 12, 2>(simd, column),
                    4 if wide => self.panel::<S, 6, 4>(simd, column),
                    _ if wide => self.panel::<S, 8, 3>(simd, column),
                    _ => self.panel::<S, 6, 2>(simd, column),
                }
            }
            vector += match vectors - vector {
                1 => 1,
                2 | 5 => 2,
                4 if wide => 4,
                _ if wide => 3,
                _ => 2,
            };
        }
    }
}

impl Outer<'_> {
    /// SAFETY: the lengths fit, and `V` vectors from `column` on lie within the columns.
    #[inline(always)]
    unsafe fn panel<S: Simd, const M: usize, const V: usize>(&mut self, simd: S, column: usize) {
        let mut row = 0;
        // SAFETY: the rows of the tiles end within `left_columns`.
        unsafe {
            while row + M <= self.left_columns {
                self.tile::<S, M, V>(simd, [row, column]);
                row += M;
            }
            while row + 4 <= self.left_columns {
                self.tile::<S, 4, V>(simd, [row, column]);
                row += 4;
            }
            while row < self.left_columns {
                self.tile::<S, 1, V>(simd, [row, column]);
                row += 1;
            }
        }
    }

    /// SAFETY: as for `panel`; `M` rows of sums from `row` on exist.
    #[inline(always)]
    unsafe fn tile<S: Simd, const M: usize, const V: usize>(&mut self, simd: S, [row, column]: [usize; 2]) {
        // SAFETY: `check` has compared what is visited here with the lengths; `&mut` in `self` rules out aliases.
        unsafe {
            let sums = self.sums.as_mut_ptr().add(row * self.right_columns + column);
            let mut tile = [[simd.splat(0.0); V]; M];
            for (m, row) in tile.iter_mut().enumerate() {
                for (v, sum) in row.iter_mut().enumerate() {
                    *sum = simd.load(sums.add(m * self.right_columns + v * S::LANES));
                }
            }
            let mut left = self.left.as_ptr().add(row);
            let mut right = self.right.as_ptr().add(column);
            for _ in 0..self.rows {
                let mut factors = [simd.splat(0.0); V];
                for (v, factor) in factors.iter_mut().enumerate() {
                    *factor = simd.load(right.add(v * S::LANES));
                }
                for (m, row) in tile.iter_mut().enumerate() {
                    let value = simd.splat(*left.add(m));
                    for (sum, factor) in row.iter_mut().zip(&factors) {
                        *sum = simd.fma(value, *factor, *sum);
                    }
                }
                left = left.wrapping_add(self.left_stride);
                right = right.wrapping_add(self.right_stride);
            }
            for (m, row) in tile.iter().enumerate() {
                for (v, sum) in row.iter().enumerate() {
                    simd.store(sums.add(m * self.right_columns + v * S::LANES), *sum);
                }
            }
        }
    }
}
