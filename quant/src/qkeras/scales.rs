use bitloop_core::qkeras::Alpha;

use super::groups::{Groups, Place};
use super::math::{EPSILON, clip, nearest_power, power_of_two};
use super::{Arithmetic, FitError, Values};

/// How a scale follows from values and their codes by least squares.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeastSquares {
    pub(super) arithmetic: Arithmetic,
    /// Whether it becomes a power of two.
    pub(super) power: bool,
    /// Bounds of the power's exponent.
    pub(super) exponents: [Option<i32>; 2],
}

impl LeastSquares {
    /// The rule of an automatic alpha without bounds; `None` for other alphas.
    pub(super) fn of(alpha: Option<&Alpha>, arithmetic: Arithmetic) -> Option<Self> {
        let power = match alpha? {
            Alpha::Auto => false,
            Alpha::AutoPo2 => true,
            Alpha::Number(_) | Alpha::List(_) => return None,
        };
        Some(Self { arithmetic, power, exponents: [None; 2] })
    }

    /// The groups that have a scale each: those given, but in QKeras each value of a vector for itself.
    pub(super) fn groups(self, shape: &[usize], groups: &Groups) -> Groups {
        match self.arithmetic {
            Arithmetic::Qkeras if shape.len() == 1 => Groups::each(shape),
            Arithmetic::Qkeras | Arithmetic::Corrected => groups.clone(),
        }
    }

    /// Returns `mean(x q) / (mean(q q) + epsilon)` of each group for codes `q` that depend on value and group.
    pub(super) fn scales(
        self,
        x: Values<'_>,
        groups: &Groups,
        code: impl Fn(f32, Place) -> f32 + Sync,
    ) -> Vec<f32> {
        let sums = groups.sums(x.data, |x, place| {
            let q = code(x, place);
            [x * q, q * q]
        });
        let count = x.data.len() as f64 / groups.count.max(1) as f64;
        let scale = |[xq, qq]: [f64; 2]| (xq / count) as f32 / ((qq / count) as f32 + EPSILON);
        sums.into_iter().map(|sums| self.powered(scale(sums))).collect()
    }

    /// Makes a scale a power of two, if scales are such.
    pub(super) fn powered(self, scale: f32) -> f32 {
        if !self.power {
            return scale;
        }
        let [least, most] = self.exponents;
        let bound =
            |exponent: Option<i32>, none| exponent.map_or(none, |exponent| power_of_two(exponent as f32));
        clip(nearest_power(scale), bound(least, 0.0), bound(most, f32::INFINITY))
    }
}

/// The scales that an alpha gives without looking at values: 1 for none and for automatic ones.
///
/// Errors: `Scales`.
pub(super) fn given(alpha: Option<&Alpha>, x: Values<'_>) -> Result<(Groups, Vec<f32>), FitError> {
    match alpha {
        None | Some(Alpha::Auto | Alpha::AutoPo2) => Ok((Groups::whole(), vec![1.0])),
        Some(Alpha::Number(scale)) => Ok((Groups::whole(), vec![*scale as f32])),
        Some(Alpha::List(scales)) => listed(scales, x),
    }
}

/// Scales for the channels, or one for all.
///
/// Errors: `Scales`.
pub(super) fn listed(scales: &[f64], x: Values<'_>) -> Result<(Groups, Vec<f32>), FitError> {
    let values: Vec<f32> = scales.iter().map(|scale| *scale as f32).collect();
    let groups = match (x.shape, values.as_slice()) {
        (_, [_]) => Groups::whole(),
        // A vector's values are the channels of what it is added to.
        ([_], _) => Groups::each(x.shape),
        _ => Groups::channels(x),
    };
    if values.len() != groups.count {
        return Err(FitError::Scales { given: values.len(), channels: groups.count });
    }
    Ok((Groups { shape: vec![values.len()], ..groups }, values))
}

/// Mean and population standard deviation of each group.
pub(super) fn deviations(x: Values<'_>, groups: &Groups) -> Vec<f32> {
    let count = x.data.len() as f64 / groups.count.max(1) as f64;
    let sums = groups.sums(x.data, |x, _| [x, 0.0]);
    let means: Vec<f32> = sums.into_iter().map(|[sum, _]| (sum / count) as f32).collect();
    let squares = groups.sums(x.data, |x, place| {
        let off = x - means[place.group];
        [off * off, 0.0]
    });
    squares.into_iter().map(|[sum, _]| ((sum / count) as f32).sqrt()).collect()
}
