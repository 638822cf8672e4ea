//! Which point of a curve is the last that is good enough, with few measurements.

/// What a probe comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// The score of this point is wanted.
    Needs(usize),
    /// The last point that is good enough; none, if not even the first is.
    Last(Option<usize>),
}

/// Walks from the first point to the first that is below `least`.
pub(crate) fn walk(points: usize, least: f64, score: &dyn Fn(usize) -> Option<f64>) -> Probe {
    for point in 0..points {
        match score(point) {
            None => return Probe::Needs(point),
            Some(value) if value >= least => {}
            Some(_) => return Probe::Last(point.checked_sub(1)),
        }
    }
    Probe::Last(points.checked_sub(1))
}

/// Looks at the last point, the first, and then between the last good and the first bad one where `between` says.
///
/// `between` gets both ends with their scores and answers with the share of the way; the point at or behind it is next.
pub(crate) fn divide(
    points: usize,
    least: f64,
    score: &dyn Fn(usize) -> Option<f64>,
    between: &dyn Fn(f64, f64) -> f64,
) -> Probe {
    let Some(last) = points.checked_sub(1) else { return Probe::Last(None) };
    let Some(mut below) = score(last) else { return Probe::Needs(last) };
    if below >= least {
        return Probe::Last(Some(last));
    }
    let Some(mut above) = score(0) else { return Probe::Needs(0) };
    if above < least {
        return Probe::Last(None);
    }
    let (mut good, mut bad) = (0, last);
    while good + 1 < bad {
        let step = (between(above, below) * (bad - good) as f64).ceil();
        // At least one step on, at most one before the bad end; what is not a number is taken as the least.
        let next = good + (step as usize).clamp(1, bad - good - 1);
        let Some(value) = score(next) else { return Probe::Needs(next) };
        if value >= least {
            (good, above) = (next, value);
        } else {
            (bad, below) = (next, value);
        }
    }
    Probe::Last(Some(good))
}

/// Half of the way.
pub(crate) fn half(_above: f64, _below: f64) -> f64 {
    0.5
}

/// The share of the way at which a straight line comes down to `least`.
pub(crate) fn line(least: f64) -> impl Fn(f64, f64) -> f64 {
    move |above, below| (above - least) / (above - below)
}
