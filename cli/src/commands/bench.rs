//! `bitloop bench`: what bitloop itself costs, as medians of repetitions.

mod dispatch;
mod encodings;
mod eval;
mod farm;
mod kernels;
mod process;
mod submit;
mod sweep;
mod train;
mod trials;
mod workers;

pub(super) use dispatch::execute as dispatch;
pub(super) use encodings::execute as encodings;
pub(super) use eval::execute as eval;
pub(super) use kernels::execute as kernels;
pub(super) use submit::execute as submit;
pub(super) use sweep::execute as sweep;
pub(super) use train::execute as train;
pub(super) use workers::execute as workers;

/// Middle value; the mean of the two middle ones of an even number.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
