//! Matrix product on one thread: a safe face for the `gemm` crate.

#![expect(unsafe_code, reason = "the gemm crate takes raw pointers; every length is checked before the call")]

/// A view of a matrix: any strides, inside a slice.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Sees `values` as `rows` rows of `columns` values.
    ///
    /// Panics: the slice has another length (a broken invariant of the calling kernel).
    pub(super) fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(values.len(), rows * columns, "a matrix covers its slice");
        Self { values, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// Keeps the columns `start..start + count`.
    ///
    /// Panics: the matrix has fewer columns (a broken invariant of the calling kernel).
    pub(super) fn columns(self, start: usize, count: usize) -> Self {
        assert!(start + count <= self.columns, "columns lie inside the matrix");
        let offset = (start * self.column_stride).min(self.values.len());
        Self { values: &self.values[offset..], columns: count, ..self }
    }

    /// Swaps rows and columns without moving values.
    pub(super) fn transposed(self) -> Self {
        Self {
            values: self.values,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }

    fn is_inside(&self) -> bool {
        if self.rows == 0 || self.columns == 0 {
            return true;
        }
        let last = (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride;
        last < self.values.len()
    }
}

/// Writes `left * right` to `out` (row by row), or adds it.
///
/// Panics: extents do not fit (a broken invariant of the calling kernel).
pub(super) fn gemm(out: &mut [f32], add: bool, left: Matrix<'_>, right: Matrix<'_>) {
    let (rows, columns, depth) = (left.rows, right.columns, left.columns);
    assert_eq!(right.rows, depth, "the inner extents agree");
    assert_eq!(out.len(), rows * columns, "the product covers its slice");
    assert!(left.is_inside() && right.is_inside(), "factors lie inside their slices");
    if rows == 0 || columns == 0 {
        return;
    }
    if depth == 0 {
        if !add {
            out.fill(0.0);
        }
        return;
    }
    // SAFETY: `left` and `right` read only offsets up to the last element checked by `is_inside`, `out` holds exactly
    // rows * columns values at row stride `columns`, and `&mut` rules out that it overlaps a factor. Strides fit
    // isize because slices do.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            depth,
            out.as_mut_ptr(),
            1,
            columns as isize,
            add,
            left.values.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.values.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
