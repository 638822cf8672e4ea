//! Small dense matrices: Cholesky factors and what follows from them.

/// A square matrix, row by row.
#[derive(Clone, Debug)]
pub(crate) struct Square {
    /// Rows and columns.
    pub(crate) size: usize,
    /// Shapes: `(size, size)`.
    pub(crate) values: Vec<f64>,
}

impl Square {
    pub(crate) fn zeros(size: usize) -> Self {
        Self { size, values: vec![0.0; size * size] }
    }

    pub(crate) fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.size..(row + 1) * self.size]
    }

    pub(crate) fn add(&mut self, row: usize, column: usize, value: f64) {
        self.values[row * self.size + column] += value;
    }

    /// The Cholesky factor of a symmetric matrix of which the lower triangle counts; none if it is not positive definite.
    pub(crate) fn cholesky(mut self) -> Option<Cholesky> {
        for row in 0..self.size {
            let (above, below) = self.values.split_at_mut(row * self.size);
            for column in 0..row {
                let other = &above[column * self.size..column * self.size + column + 1];
                below[column] = (below[column] - dot(&below[..column], &other[..column])) / other[column];
            }
            let square = below[row] - dot(&below[..row], &below[..row]);
            if !square.is_finite() || square <= 0.0 {
                return None;
            }
            below[row] = square.sqrt();
        }
        Some(Cholesky { lower: self })
    }
}

/// A lower triangular factor `L` of `A = L L^T`.
#[derive(Clone, Debug)]
pub(crate) struct Cholesky {
    lower: Square,
}

impl Cholesky {
    /// The factor of nothing.
    pub(crate) fn empty() -> Self {
        Self { lower: Square::zeros(0) }
    }

    /// Solves `L x = b` in place.
    pub(crate) fn forward(&self, b: &mut [f64]) {
        for row in 0..b.len() {
            let known = dot(&self.lower.row(row)[..row], &b[..row]);
            b[row] = (b[row] - known) / self.lower.row(row)[row];
        }
    }

    /// Solves `A x = b` in place.
    pub(crate) fn solve(&self, b: &mut [f64]) {
        self.forward(b);
        for row in (0..b.len()).rev() {
            let factors = self.lower.row(row);
            b[row] /= factors[row];
            let value = b[row];
            for (b, factor) in b[..row].iter_mut().zip(factors) {
                *b -= factor * value;
            }
        }
    }

    /// `A^-1`.
    pub(crate) fn inverse(&self) -> Square {
        let size = self.lower.size;
        let mut inverse = Square::zeros(size);
        for (row, values) in inverse.values.chunks_exact_mut(size.max(1)).enumerate() {
            values[row] = 1.0;
            self.solve(values);
        }
        inverse
    }

    /// `log det A`.
    pub(crate) fn log_determinant(&self) -> f64 {
        2.0 * (0..self.lower.size).map(|row| libm::log(self.lower.row(row)[row])).sum::<f64>()
    }
}

/// The sum of products, in four parts that processors can add at once.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 4];
    let (a_chunks, b_chunks) = (a.chunks_exact(4), b[..a.len()].chunks_exact(4));
    let rest: f64 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..4 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + rest
}

/// The coefficients of least squares by normal equations, from weighted sparse rows `(column, value)`; columns that the
/// rows do not tell apart share what they explain, by a penalty far below the precision of well-posed ones.
pub(crate) fn least_squares(columns: usize, rows: &[Vec<(usize, f64)>], targets: &[f64]) -> Vec<f64> {
    let mut normal = Square::zeros(columns);
    let mut right = vec![0.0; columns];
    for (row, target) in rows.iter().zip(targets) {
        for (a, x) in row {
            right[*a] += x * target;
            for (b, y) in row {
                normal.add(*a, *b, x * y);
            }
        }
    }
    let largest = (0..columns).map(|column| normal.row(column)[column]).fold(0.0, f64::max);
    // A well-posed system is solved as it stands; only a singular one is given a penalty.
    for penalty in [0.0, 1e-9, 1e-6, 1e-3] {
        let mut penalised = normal.clone();
        for column in 0..columns {
            penalised.add(column, column, penalty * largest.max(f64::MIN_POSITIVE));
        }
        if let Some(factor) = penalised.cholesky().filter(|factor| factor.is_well_posed()) {
            factor.solve(&mut right);
            return right;
        }
    }
    vec![0.0; columns]
}

impl Cholesky {
    /// Whether no pivot is lost in rounding.
    pub(crate) fn is_well_posed(&self) -> bool {
        let pivots = || (0..self.lower.size).map(|row| self.lower.row(row)[row]);
        let largest = pivots().fold(0.0, f64::max);
        pivots().all(|pivot| pivot > 1e-6 * largest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix() -> Square {
        Square { size: 3, values: vec![4.0, 2.0, 0.4, 2.0, 5.0, 1.0, 0.4, 1.0, 3.0] }
    }

    #[test]
    fn a_factor_solves_inverts_and_has_the_determinant() {
        let factor = matrix().cholesky().expect("positive definite");

        let mut x = vec![1.0, 2.0, 3.0];
        factor.solve(&mut x);

        let times = |vector: &[f64]| [0, 1, 2].map(|row| dot(matrix().row(row), vector));
        for (found, expected) in times(&x).iter().zip([1.0, 2.0, 3.0]) {
            assert!((found - expected).abs() < 1e-12);
        }
        for row in 0..3 {
            let unit = times(factor.inverse().row(row));
            assert!((0..3).all(|column| (unit[column] - f64::from(u8::from(row == column))).abs() < 1e-12));
        }
        // By hand: 4 (15 - 1) - 2 (6 - 0.4) + 0.4 (2 - 2).
        assert!((libm::exp(factor.log_determinant()) - 44.8).abs() < 1e-9);
    }

    #[test]
    fn a_matrix_that_is_not_positive_definite_has_no_factor() {
        assert!(Square { size: 2, values: vec![1.0, 2.0, 2.0, 1.0] }.cholesky().is_none());
    }

    #[test]
    fn columns_that_rows_do_not_tell_apart_share_what_they_explain() {
        let rows = vec![vec![(0, 1.0), (1, 1.0)], vec![(0, 1.0), (1, 1.0), (2, 1.0)]];

        let found = least_squares(3, &rows, &[2.0, 5.0]);

        for (found, expected) in found.iter().zip([1.0, 1.0, 3.0]) {
            assert!((found - expected).abs() < 1e-4, "{found} is not {expected}");
        }
    }
}
