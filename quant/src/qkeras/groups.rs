use bitloop_core::qkeras::Axes;
use rayon::prelude::*;

use super::{Channel, FitError, Values};

/// Values that neighbouring blocks hold when they are summed; a fixed number, so that sums do not depend on threads.
const BLOCK: usize = 1 << 15;

/// Where a value stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Among all values.
    pub(super) index: usize,
    pub(super) group: usize,
}

/// Which values share a scale: value `i` is in group `i / inner % count`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Groups {
    pub(super) inner: usize,
    pub(super) count: usize,
    /// Shape of the scales, with an axis for each of the values' axes.
    pub(super) shape: Vec<usize>,
    /// Elements along the scale axis that share a scale.
    pub(super) repeats: usize,
}

/// Where an axis of Keras's layout is in ours.
///
/// Keras's kernels are `(..., in, out)`, ours `(out, in, ...)`; its depthwise kernels `(..., channels, multiplier)`, ours
/// `(channels, multiplier, ...)`.
fn own_axis(channel: Channel, rank: usize, axis: usize) -> usize {
    let from_end = rank - 1 - axis;
    match (channel, from_end) {
        (Channel::Last, _) => axis,
        (Channel::First, 0) | (Channel::None, 1) => 0,
        (Channel::First, 1) | (Channel::None, 0) => 1.min(rank - 1),
        (Channel::First | Channel::None, _) => axis + 2,
    }
}

impl Groups {
    /// One group for all values, whose scale has no axes.
    pub(super) fn whole() -> Self {
        Self { inner: 1, count: 1, shape: Vec::new(), repeats: 1 }
    }

    /// A group for each value.
    pub(super) fn each(shape: &[usize]) -> Self {
        Self { inner: 1, count: shape.iter().product(), shape: shape.to_vec(), repeats: 1 }
    }

    /// A group for each channel; one group if there is no other axis.
    pub(super) fn channels(x: Values<'_>) -> Self {
        let rank = x.shape.len();
        let axis = match x.channel {
            Channel::First => 0,
            Channel::Last => rank.saturating_sub(1),
            Channel::None => rank,
        };
        let mut shape = vec![1; rank];
        if rank < 2 || axis == rank {
            return Self { shape, ..Self::whole() };
        }
        shape[axis] = x.shape[axis];
        Self { inner: x.shape[axis + 1..].iter().product(), count: shape[axis], shape, repeats: 1 }
    }

    /// A group for each index of the given axes, or for several neighbouring ones; by default as [`Groups::channels`].
    ///
    /// Errors: `Axes`, `Group`.
    pub(super) fn along(
        x: Values<'_>,
        axes: Option<&Axes>,
        together: Option<&Axes>,
    ) -> Result<Self, FitError> {
        let mut groups = match axes {
            None => Self::channels(x),
            Some(_) if x.shape.len() == 1 => Self::channels(x),
            Some(axes) => Self::kept(x, &numbers(axes))?,
        };
        let Some(together) = together else {
            return Ok(groups);
        };
        let group = numbers(together);
        match *group.as_slice() {
            [size] if size > 0 && groups.count.is_multiple_of(size as usize) => {
                groups.repeats = size as usize;
                groups.inner *= groups.repeats;
                groups.count /= groups.repeats;
                Ok(groups)
            }
            _ => Err(FitError::Group { length: groups.count, group }),
        }
    }

    /// One group for each index of neighbouring axes, which are counted as Keras lays values out.
    fn kept(x: Values<'_>, axes: &[i32]) -> Result<Self, FitError> {
        let (shape, rank) = (x.shape, x.shape.len());
        let bad = || FitError::Axes { axes: axes.to_vec(), rank };
        let place = |axis: &i32| {
            let axis = if *axis < 0 { *axis + rank as i32 } else { *axis };
            usize::try_from(axis).ok().filter(|axis| *axis < rank).map(|axis| own_axis(x.channel, rank, axis))
        };
        let mut places: Vec<usize> = axes.iter().map(place).collect::<Option<_>>().ok_or_else(bad)?;
        places.sort_unstable();
        if places.windows(2).any(|pair| pair[0] + 1 != pair[1]) {
            return Err(bad());
        }
        let mut scales = vec![1; rank];
        for place in &places {
            scales[*place] = shape[*place];
        }
        let inner = places.last().map_or(1, |last| shape[last + 1..].iter().product());
        Ok(Self { inner, count: scales.iter().product(), shape: scales, repeats: 1 })
    }

    /// The group of a value.
    pub(super) fn group(&self, place: usize) -> usize {
        place / self.inner % self.count
    }

    /// Sums functions of the values by group, with two sums each, in f64 and in an order that depends on the shape
    /// alone.
    pub(super) fn sums(&self, x: &[f32], of: impl Fn(f32, Place) -> [f32; 2] + Sync) -> Vec<[f64; 2]> {
        let add = |totals: &mut [f64; 2], x, place| {
            let [first, second]: [f32; 2] = of(x, place);
            totals[0] += f64::from(first);
            totals[1] += f64::from(second);
        };
        let join = |totals: &mut [f64; 2], part: &[f64; 2]| {
            totals[0] += part[0];
            totals[1] += part[1];
        };
        self.folded(x, [0.0; 2], (add, join))
    }

    /// The largest of a function of the values by group, at least `least`.
    pub(super) fn largest(&self, x: &[f32], least: f32, of: impl Fn(f32) -> f32 + Sync) -> Vec<f32> {
        let larger = |total: &mut f32, value: f32| *total = if value > *total { value } else { *total };
        let add = |total: &mut f32, x, _| larger(total, of(x));
        self.folded(x, least, (add, |total: &mut f32, part: &f32| larger(total, *part)))
    }

    fn folded<T: Copy + Send + Sync>(
        &self,
        x: &[f32],
        start: T,
        (add, join): (impl Fn(&mut T, f32, Place) + Sync, impl Fn(&mut T, &T)),
    ) -> Vec<T> {
        let period = (self.inner * self.count).max(1);
        // Whole periods, so that every block begins with the first group.
        let block = period * BLOCK.div_ceil(period);
        let parts = x.par_chunks(block).enumerate().map(|(index, x)| {
            let mut totals = vec![start; self.count];
            let mut index = index * block;
            for period in x.chunks(period) {
                for ((group, total), run) in totals.iter_mut().enumerate().zip(period.chunks(self.inner)) {
                    for x in run {
                        add(total, *x, Place { index, group });
                        index += 1;
                    }
                }
            }
            totals
        });
        let parts: Vec<_> = parts.collect();
        let mut totals = vec![start; self.count];
        for part in parts {
            totals.iter_mut().zip(&part).for_each(|(total, part)| join(total, part));
        }
        totals
    }
}

fn numbers(axes: &Axes) -> Vec<i32> {
    match axes {
        Axes::One(axis) => vec![*axis],
        Axes::Many(axes) => axes.clone(),
    }
}
