//! Losses of single changes, for every level: measured, or read between measured ones.

use crate::measurements::Measurements;
use crate::space::Variable;

use super::statistics::quantile;

/// A number for each level of each variable.
pub(crate) type PerLevel = Vec<Vec<f64>>;

/// What single changes cost.
#[derive(Clone, Debug)]
pub(crate) struct Singles {
    /// Loss of each level by itself; 0 at the reference.
    pub(crate) loss: PerLevel,
    /// Dropped bits as a share of those between the reference and the lowest width: 0 at the reference, 1 at the lowest.
    pub(crate) share: PerLevel,
    /// What was not measured, in sentences.
    pub(crate) notes: Vec<String>,
}

impl Singles {
    /// Reads rows of one change.
    ///
    /// A level without a row lies on the line, in dropped bits, between its measured neighbours, of which the reference
    /// at 0 is one; beyond the last measured level, on the line from the reference through it. A variable without any
    /// row gets the median slope of the others, and if there is no single row at all, that of all rows together.
    pub(crate) fn of(measurements: &Measurements) -> Self {
        let variables = &measurements.space.variables;
        let mut points: Vec<Vec<(f64, f64)>> = vec![vec![(0.0, 0.0)]; variables.len()];
        for row in measurements.of_size(1) {
            let (variable, level) = row.changes[0];
            let dropped = dropped(&variables[variable as usize], level as usize);
            points[variable as usize].push((dropped, row.loss));
        }
        let share = shares(variables);
        let slope = typical_slope(measurements, &points, &share);
        let mut read = Self { loss: Vec::new(), share, notes: Vec::new() };
        let (mut unmeasured, mut between) = (0, 0);
        for (variable, points) in variables.iter().zip(&mut points) {
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            match points.len() {
                1 if variable.widths.len() > 1 => unmeasured += 1,
                measured => between += variable.widths.len() - measured,
            }
            let levels = 0..variable.widths.len();
            read.loss.push(levels.map(|level| line(points, dropped(variable, level), slope)).collect());
        }
        if unmeasured > 0 {
            read.notes.push(format!(
                "{unmeasured} of {} variables were never changed alone; they are taken for typical ones",
                variables.len()
            ));
        }
        if between > 0 {
            read.notes.push(format!(
                "{between} widths were never measured alone; their losses are interpolated linearly in dropped bits"
            ));
        }
        read
    }
}

/// Bits between the reference and a level.
fn dropped(variable: &Variable, level: usize) -> f64 {
    let reference = variable.widths[variable.reference() as usize].get();
    f64::from(reference) - f64::from(variable.widths[level].get())
}

fn shares(variables: &[Variable]) -> PerLevel {
    let of = |variable: &Variable| {
        let most = dropped(variable, 0).max(1.0);
        (0..variable.widths.len()).map(|level| dropped(variable, level) / most).collect()
    };
    variables.iter().map(of).collect()
}

/// The loss per dropped bit of a variable of which nothing is known.
fn typical_slope(measurements: &Measurements, points: &[Vec<(f64, f64)>], share: &PerLevel) -> f64 {
    let last = points.iter().filter_map(|points| points.iter().skip(1).max_by(|a, b| a.0.total_cmp(&b.0)));
    let slopes: Vec<f64> = last.map(|(dropped, loss)| loss / dropped).collect();
    if !slopes.is_empty() {
        return quantile(&slopes, 0.5);
    }
    let per_bit = measurements.rows.iter().filter_map(|row| {
        let bits: f64 = row
            .changes
            .iter()
            .map(|(variable, level)| {
                let (variable, level) = (*variable as usize, *level as usize);
                share[variable][level] * dropped(&measurements.space.variables[variable], 0)
            })
            .sum();
        (bits > 0.0).then_some(row.loss / bits)
    });
    quantile(&per_bit.collect::<Vec<_>>(), 0.5)
}

/// The value at `x` on the lines through points that ascend from the origin.
fn line(points: &[(f64, f64)], x: f64, slope: f64) -> f64 {
    let above = points.partition_point(|point| point.0 < x);
    match (points.len(), points.get(above)) {
        (_, Some(point)) if point.0 == x => point.1,
        (1, _) => slope * x,
        (_, Some(next)) => {
            let last = points[above - 1];
            last.1 + (next.1 - last.1) * (x - last.0) / (next.0 - last.0)
        }
        (count, None) => points[count - 1].1 * x / points[count - 1].0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_through_measured_points_and_the_origin() {
        let points = [(0.0, 0.0), (2.0, 1.0), (4.0, 5.0)];

        let found: Vec<f64> = (0..=6).map(|x| line(&points, f64::from(x), 9.0)).collect();

        assert_eq!(found, [0.0, 0.5, 1.0, 3.0, 5.0, 6.25, 7.5]);
        assert_eq!(line(&points[..1], 2.0, 9.0), 18.0);
    }
}
